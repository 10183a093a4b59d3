"""Tests of messages that field devices really send on a bad day.

Each of them is an alert that says what was wrong with the message.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.contracts.events import AlertType
from tests.providers import Provider
from tests.support.commands import run_vigil
from tests.support.customer import Customer
from tests.support.outside_clients import OutsideClients

FOUND = (
    "SELECT alert_type, severity, status, flags, location, message, tenant_id FROM mqtt_device_alert"
    " WHERE source_id = %s"
)


def raised(outside: OutsideClients, source: str) -> dict[str, Any]:
    """Return the one alert of a source."""
    [row] = outside.until(lambda: outside.rows(FOUND, source))
    names = ("alert_type", "severity", "status", "flags", "location", "message", "tenant_id")
    return dict(zip(names, row, strict=True))


@pytest.mark.parametrize("what", ["unknown", "disabled guard", "stolen device"])
def test_a_panic_of_whoever_has_no_right_to_one_is_an_alert_that_says_so(
    outside: OutsideClients, what: str
) -> None:
    source = f"{what.replace(' ', '-')}-{outside.run}"
    kind = "device" if "device" in what else "guard"
    if what != "unknown":
        options = ["--family", "alert"] if kind == "device" else []
        run_vigil(outside.env, kind, "add", source, *options, "--no-credential")
        run_vigil(outside.env, kind, "disable", source)
    flag = "unknown_source" if what == "unknown" else "source_disabled"
    screen = outside.screen()
    screen.wait("snapshot")
    outside.publish(f"alert/panic/{source}", {"message": "help"})
    _, frame = screen.wait("critical_alert", lambda f: f["data"]["source_id"] == source)
    assert flag in frame["data"]["flags"]
    assert raised(outside, source)["flags"] == frame["data"]["flags"]


@pytest.mark.parametrize(
    "location",
    [
        {"lat": 91, "lon": 0},
        {"lat": 12.9, "lon": 181},
        {"lat": "here", "lon": "there"},
        {"lat": 12.9},
        {"lat": None, "lon": None},
        [120.9, 77.5],
        "Gate 4",
        {"lat": 0, "lon": 0},
        {"lat": 1e308, "lon": 77.5},
    ],
    ids=str,
)
def test_a_place_that_is_nonsense_is_an_alert_without_a_place(
    outside: OutsideClients, location: object
) -> None:
    source = f"guard-{outside.run}"
    outside.publish(f"alert/panic/{source}", {"location": location})
    found = raised(outside, source)
    assert (found["alert_type"], found["location"]) == ("PANIC", None)
    no_fix = location in ({"lat": None, "lon": None}, {"lat": 0, "lon": 0})
    assert ("no_fix" if no_fix else "location") in found["flags"]


@pytest.mark.parametrize("written", ["critical", "CRITICAL", "CriTical", "low", "Medium"])
def test_a_severity_is_one_in_any_case(outside: OutsideClients, written: str) -> None:
    source = f"guard-{outside.run}"
    outside.publish(f"alert/intrusion/{source}", {"severity": written})
    assert raised(outside, source)["severity"] == written.upper()


@pytest.mark.parametrize("battery", [0, 0.0, 19])
def test_an_empty_battery_is_an_alert_and_not_a_missing_value(
    outside: OutsideClients, battery: float
) -> None:
    source = f"device-{outside.run}"
    outside.publish(f"device/{source}/telemetry", {"battery": battery})
    assert raised(outside, source)["alert_type"] == "LOW_BATTERY"


@pytest.mark.parametrize("reading", [{"type": "SMOKE", "value": 150}, {"type": "smoke", "value": 150.5}])
@pytest.mark.parametrize("word", ["reading", "status"])
def test_smoke_is_fire_by_its_value(outside: OutsideClients, reading: dict[str, Any], word: str) -> None:
    source = f"sensor-{outside.run}"
    outside.publish(f"sensor/{source}/{word}", reading)
    found = raised(outside, source)
    assert (found["alert_type"], found["severity"]) == ("FIRE", "CRITICAL")


@pytest.mark.parametrize("state", ["ALARM", "alarm", "Detected"])
def test_smoke_is_fire_by_its_state_and_over_by_its_state(outside: OutsideClients, state: str) -> None:
    source = f"sensor-{outside.run}"
    outside.publish(f"sensor/{source}/status", {"type": "Smoke", "state": state})
    assert raised(outside, source)["alert_type"] == "FIRE"
    outside.publish(f"sensor/{source}/status", {"type": "SMOKE", "state": "clear"})
    cleared = "SELECT 1 FROM mqtt_device_alert WHERE source_id = %s AND cleared_at IS NOT NULL"
    outside.until(lambda: outside.rows(cleared, source))
    assert raised(outside, source)["status"] == "NEW", "what was grave is closed by a human only"


@pytest.mark.parametrize("kind", [kind for kind in AlertType if kind is not AlertType.UNREADABLE_ALERT])
def test_each_type_can_be_raised_and_closed(outside: OutsideClients, kind: AlertType) -> None:
    source = f"guard-{outside.run}"
    screen = outside.screen()
    screen.wait("snapshot")
    topic = kind.lower().replace("_", "-") if kind is not AlertType.UNKNOWN else "something-new"
    outside.publish(f"alert/{topic}/{source}", {"message": "<script>alert(1)</script>"})
    found = raised(outside, source)
    assert (found["alert_type"], found["status"]) == (kind, "NEW")
    [(alert_id,)] = outside.rows("SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s", source)
    for verb, status in (
        ("acknowledge_alert", "ACKNOWLEDGED"),
        ("start_alert", "IN_PROGRESS"),
        ("resolve_alert", "RESOLVED"),
    ):
        screen.send(type=verb, alert_id=alert_id, note="seen to", ref=verb)
        assert screen.wait("ack", lambda f, verb=verb: f["ref"] == verb)
        outside.until(lambda status=status: raised(outside, source)["status"] == status)
    named = "something-new: " if kind is AlertType.UNKNOWN else ""
    assert raised(outside, source)["message"] == f"{named}<script>alert(1)</script>", "text is text"


def test_an_alert_that_cannot_be_read_can_be_closed_too(outside: OutsideClients) -> None:
    source = f"guard-{outside.run}"
    screen = outside.screen()
    screen.wait("snapshot")
    outside.publish(f"alert/panic/{source}", b"{")
    assert raised(outside, source)["alert_type"] == "UNREADABLE_ALERT"
    [(alert_id,)] = outside.rows("SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s", source)
    screen.send(type="false_alarm", alert_id=alert_id, reason="test", ref="r")
    screen.wait("ack", lambda f: f["ref"] == "r")
    outside.until(lambda: raised(outside, source)["status"] == "FALSE_ALARM")


def test_two_presses_are_one_alert_and_one_after_the_end_is_a_new_one(
    outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]
) -> None:
    house = Customer(outside, tmp_path, outer)
    screen = outside.screen(tenant_id=house.tenant_id)
    screen.wait("snapshot")
    for _ in range(2):
        house.press()
    query = "SELECT occurrences FROM mqtt_device_alert WHERE source_id = %s ORDER BY received_at"
    outside.until(lambda: outside.rows(query, house.guard) == [(2,)])
    [(alert_id, _, _)] = house.alerts()
    screen.send(type="resolve_alert", alert_id=alert_id, note="found well", ref="r")
    screen.wait("ack", lambda f: f["ref"] == "r")
    house.press()
    outside.until(lambda: outside.rows(query, house.guard) == [(2,), (1,)])
    assert [status for _, status, _ in house.alerts()] == ["RESOLVED", "NEW"]
    house.close()


def test_a_panic_is_never_put_on_the_shelf(outside: OutsideClients) -> None:
    source = f"guard-{outside.run}"
    outside.publish(f"alert/panic/{source}", {})
    raised(outside, source)
    [(alert_id,)] = outside.rows("SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s", source)
    later = {"reason": "quiet, please", "until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    status, answer = outside.request(
        "POST", f"/api/v1/alerts/{alert_id}/shelve", later, token=outside.token()
    )
    assert (status, "'Panic' cannot be shelved" in str(answer)) == (400, True), answer
