"""Tests that docs/mqtt.md is what its generator makes, and is complete."""

from __future__ import annotations

from gateway.mqtt.decoding.payloads import PAYLOADS
from ops.commands import mqtt_page
from ops.environment import PROJECT

DOCS = PROJECT / "docs"


def test_the_page_of_mqtt_is_what_the_types_say() -> None:
    page = (DOCS / "mqtt.md").read_text()
    assert page == mqtt_page.page(), "run `python -m ops.commands.mqtt_page > docs/mqtt.md`"


def test_the_page_of_mqtt_has_every_field_of_every_family() -> None:
    page = (DOCS / "mqtt.md").read_text()
    for family, shape in PAYLOADS.items():
        section = page.partition(f"\n## {family}/")[2].partition("\n## ")[0]
        own = set(shape.__struct_fields__) - set(mqtt_page.EVERY_MESSAGE)
        assert {field for field in own if f"| `{field}`" not in section} == set(), family
    assert all(f"| `{field}` |" in page for field in mqtt_page.EVERY_MESSAGE)
