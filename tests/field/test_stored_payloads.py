"""Tests that a payload is stored beside its columns only when it contains more than its row."""

from __future__ import annotations

import json
from typing import Any

from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients


def newest(outside: OutsideClients, kind: str, source: str) -> dict[str, Any]:
    """Return the newest row of a source as `vigil latest` shows it."""

    def found() -> list[dict[str, Any]]:
        said = run_vigil(outside.env, "latest", kind, "--source", source, "--json", "--limit", "1")
        rows: list[dict[str, Any]] = json.loads(said)
        return rows

    [row] = outside.until(found)
    return row


def test_a_payload_of_known_fields_is_its_row_and_any_other_is_kept_as_it_came(
    outside: OutsideClients,
) -> None:
    # Given a phone and a sensor that send known fields only, and two that send more
    run = outside.run
    fix = {"lat": 12.9716, "lon": 77.5946, "accuracy": 4.5, "battery": 81, "source": "gps", "msg_id": "p-1"}
    outside.publish(f"guard/plain-{run}/gps", fix)
    outside.publish(f"guard/more-{run}/gps", {**fix, "altitude": 920.5})
    outside.publish(f"sensor/plain-{run}/reading", {"type": "TEMPERATURE", "value": 21.5})
    outside.publish(f"sensor/odd-{run}/reading", {"type": "temperature", "value": "21,5"})

    # When they are stored, then the row gives back everything that a plain payload contained
    plain = newest(outside, "location", f"plain-{run}")
    assert {name: plain[name] for name in fix} == fix
    assert (plain["raw_data"], plain["quality"]) == (None, [])
    reading = newest(outside, "sensor", f"plain-{run}")
    assert (reading["type"], reading["value"], reading["raw_data"]) == ("TEMPERATURE", 21.5, None)

    # And another payload is stored whole, in its own notation
    assert newest(outside, "location", f"more-{run}")["raw_data"] == {**fix, "altitude": 920.5}
    odd = newest(outside, "sensor", f"odd-{run}")
    assert (odd["value"], odd["raw_data"]) == (21.5, {"type": "temperature", "value": "21,5"})
