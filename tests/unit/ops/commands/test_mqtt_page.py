"""Tests that the page of topics and fields is what the code says."""

from ops.commands.mqtt_page import page
from ops.environment import PROJECT
from services.contracts.families import FAMILIES


def test_the_page_is_what_the_table_says() -> None:
    command = "python -m ops.commands.mqtt_page > docs/mqtt.md"
    assert (PROJECT / "docs" / "mqtt.md").read_text() == page(), f"run `{command}`"


def test_every_field_has_a_type_and_a_meaning() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert len(rows) > 30
    assert [row for row in rows if "|  |" in row] == []
    assert [row for row in rows if "value" in row.split("|")[2]] == []


def test_every_topic_has_its_fields() -> None:
    heads = {line.removeprefix("## ") for line in page().splitlines() if line.startswith("## ")}
    assert {row.topic for row in FAMILIES} <= heads
