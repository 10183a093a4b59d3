"""Tests that docs/mqtt.md is what its generator makes, and is complete."""

from __future__ import annotations

from gateway.mqtt.decoding.payloads import PAYLOADS
from ops.commands import mqtt_page
from ops.environment import PROJECT
from services.contracts.families import COMMON_FIELDS, FAMILIES


def test_the_page_of_mqtt_is_what_the_types_say() -> None:
    command = "python -m ops.commands.mqtt_page > docs/mqtt.md"
    assert (PROJECT / "docs" / "mqtt.md").read_text() == mqtt_page.page(), f"run `{command}`"


def test_the_page_of_mqtt_has_every_field_of_every_family() -> None:
    page = mqtt_page.page()
    for family, shape in PAYLOADS.items():
        section = page.partition(f"\n## {family}/")[2].partition("\n## ")[0]
        own = set(shape.__struct_fields__) - set(COMMON_FIELDS)
        assert {field for field in own if f"| `{field}`" not in section} == set(), family
    assert all(f"| `{field}` |" in page for field in COMMON_FIELDS)


def test_every_field_has_a_type_and_a_meaning() -> None:
    rows = [line for line in mqtt_page.page().splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert len(rows) > 30
    assert [row for row in rows if "|  |" in row] == []
    assert [row for row in rows if "value" in row.split("|")[2]] == []


def test_every_topic_has_its_fields_and_its_storage() -> None:
    page = mqtt_page.page()
    heads = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    assert {row.topic for row in FAMILIES} <= heads
    storage = page.partition("\n## Storage\n")[2].partition("\n## ")[0]
    assert all(f"| `{row.topic}` | {row.lane} |" in storage for row in FAMILIES)
