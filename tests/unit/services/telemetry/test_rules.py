from datetime import UTC, datetime

import pytest

from ops.environment import PROJECT
from services import config
from services.messages import AlertType, DeviceReading, HealthReading, Origin, SensorReading
from services.telemetry.rules import Finding, Ruleset, parse_rules

AT = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = Origin("s", b"0" * 16, None, "t", AT, AT, False, (), None, "{}")
SHIPPED = parse_rules(config.load(PROJECT / "config.yaml", environ={}).rules)
RULES = Ruleset(SHIPPED)


def told(reading: DeviceReading | SensorReading | HealthReading, rules: Ruleset = RULES) -> list[Finding]:
    """Findings that say something: between the thresholds is neither here nor there."""
    return [finding for finding in rules.findings(reading) if finding.stage != "between"]


@pytest.mark.parametrize(
    ("battery", "met"), [(0, [True]), (19.9, [True]), (20, []), (24.9, []), (25, [False]), (None, [])]
)
def test_low_battery_is_raised_below_20_and_cleared_from_25(battery: float | None, met: list[bool]) -> None:
    found = told(DeviceReading(ORIGIN, battery, None, None, None))
    assert [finding.met for finding in found] == met
    assert all(finding.alert_type is AlertType.LOW_BATTERY for finding in found)


@pytest.mark.parametrize(
    ("kind", "value", "state", "alert", "met"),
    [
        ("SMOKE", 101, None, AlertType.FIRE, True),
        ("SMOKE", 100, None, AlertType.FIRE, False),
        ("SMOKE", None, "ALARM", AlertType.FIRE, True),
        ("SMOKE", 5, "DETECTED", AlertType.FIRE, True),
        ("SMOKE", None, "CLEAR", AlertType.FIRE, False),
        ("INTRUSION", None, "DETECTED", AlertType.INTRUSION, True),
        ("GLASS_BREAK", None, "ALARM", AlertType.INTRUSION, True),
        ("GLASS_BREAK", None, "NORMAL", AlertType.INTRUSION, False),
        ("WATER_LEAK", None, "DETECTED", AlertType.EQUIPMENT_FAILURE, True),
    ],
)
def test_sensors_raise_and_clear(
    kind: str, value: float | None, state: str | None, alert: AlertType, met: bool
) -> None:
    [finding] = told(SensorReading(ORIGIN, "reading", kind, value, state))
    assert (finding.alert_type, finding.met) == (alert, met)


def test_a_door_and_a_sensor_without_news_call_for_nothing() -> None:
    assert told(SensorReading(ORIGIN, "reading", "DOOR", None, "OPEN")) == []
    assert told(SensorReading(ORIGIN, "reading", "SMOKE", None, None)) == []
    assert told(SensorReading(ORIGIN, "reading", "INTRUSION", None, "OPEN")) == []


def test_each_usage_above_90_is_a_trouble_of_its_own() -> None:
    found = {finding.name: finding for finding in told(HealthReading(ORIGIN, 91, 90, None, None))}
    assert {name: finding.met for name, finding in found.items()} == {"cpu": True, "memory": False}
    assert found["cpu"].dedup_key("s") != found["memory"].dedup_key("s")
