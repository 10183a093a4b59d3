from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.environment import PROJECT
from services.contracts.errors import Misconfigured
from services.contracts.events import AlertType
from services.contracts.families import DeviceReading, HealthReading, Origin, SensorReading
from services.platform import config
from services.telemetry.rule_engine import Finding, Ruleset, RuleState
from services.telemetry.rules import Rule, RuleOverride, parse_rules

AT = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = Origin("s", b"0" * 16, None, "t", AT, AT, False, (), None, "{}")
SHIPPED = parse_rules(config.load(PROJECT / "config.yaml", environ={}).rules)
RULES = Ruleset(SHIPPED)


def told(reading: DeviceReading | SensorReading | HealthReading, rules: Ruleset = RULES) -> list[Finding]:
    """Return the findings that say something. A value between the thresholds says nothing."""
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


BATTERY = {
    "name": "battery",
    "source": "device",
    "field": "battery",
    "raise_below": 20,
    "clear_from": 25,
    "alert": "LOW_BATTERY",
}


def rule(**changes: Any) -> Rule:
    return Rule.parse({name: value for name, value in {**BATTERY, **changes}.items() if value is not None})


def device(battery: float | None) -> DeviceReading:
    return DeviceReading(ORIGIN, battery, None, None, None)


def heard(
    rules: Ruleset, readings: Sequence[tuple[float, float | None]], standing: RuleState
) -> list[tuple[float, str]]:
    """Return (second, event) for battery readings at these seconds."""
    told = []
    for second, battery in readings:
        for finding in rules.findings(device(battery)):
            what = standing.take(finding, AT + timedelta(seconds=second))
            if what is not None:
                told.append((second, what))
    return told


percents = st.integers(0, 100).map(float)


@given(st.lists(percents, max_size=30), percents, percents)
def test_between_its_thresholds_a_condition_stays_what_it_was(
    values: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    rules, standing = Ruleset([rule(raise_below=low, clear_from=high)]), RuleState()
    for value in values:
        before = set(standing.conditions)
        told = heard(rules, [(0, value)], standing)
        if low <= value < high:
            assert (told, standing.conditions) == ([], before)
        else:
            assert standing.conditions == ({"battery"} if value < low else set())


def held_by_the_book(
    readings: Sequence[tuple[float, float | None]], hold_s: float
) -> list[tuple[float, str]]:
    """Return the expected events, computed from the whole history of known values at once."""
    known = [(second, value) for second, value in readings if value is not None]
    told, raised = [], False
    for number, (second, value) in enumerate(known):
        if value < 20:
            first = number
            while first and known[first - 1][1] < 20:
                first -= 1
            raised = raised or second - known[first][0] >= hold_s
            told.append((second, "met" if raised else "held"))
        elif value >= 25 and raised:
            raised = False
            told.append((second, "cleared"))
    return told


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300).map(float), st.one_of(st.none(), st.sampled_from([5.0, 19.0, 22.0, 30.0]))
        ),
        max_size=30,
        unique_by=lambda reading: reading[0],
    ),
    st.sampled_from([0, 1, 10, 60, 250]),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_what_must_hold_depends_on_the_readings_in_device_time_and_not_on_their_batches(
    readings: list[tuple[float, float | None]], hold_s: int, cuts: list[int]
) -> None:
    readings.sort()
    rules = Ruleset([rule(hold_s=hold_s)])
    conditions: set[str] = set()
    pending: dict[str, datetime] = {}
    told = []
    for start, end in pairwise([0, *sorted(cuts), len(readings)]):
        # as it comes back from the database for each batch
        standing = RuleState(conditions, pending)
        told += heard(rules, readings[start:end], standing)
        conditions, pending = standing.conditions, standing.pending
    assert told == held_by_the_book(readings, hold_s)


def test_a_source_that_falls_silent_is_raised_by_its_next_reading_only() -> None:
    rules, standing = Ruleset([rule(hold_s=60)]), RuleState()
    assert heard(rules, [(0, 10)], standing) == [(0, "held")]
    assert heard(rules, [(3600, None)], standing) == []
    assert heard(rules, [(3601, 10)], standing) == [(3601, "met")]


def test_a_rule_that_is_switched_off_ends_what_it_raised_and_forgets_what_it_held() -> None:
    off = Ruleset([rule(enabled=False)])
    standing = RuleState({"battery"})
    assert heard(off, [(0, None)], standing) == [(0, "cleared")]
    standing = RuleState((), {"battery": AT})
    assert heard(off, [(0, 10)], standing) == []
    assert standing.pending == {}


def test_a_rule_that_is_gone_leaves_nothing_behind() -> None:
    standing = RuleState({"battery", "old"}, {"older": AT})
    standing.forget_all_but(frozenset({"battery"}))
    assert (standing.conditions, standing.pending) == ({"battery"}, {})


def test_a_value_may_have_an_upper_and_a_lower_limit() -> None:
    both = Ruleset([rule(raise_below=10, clear_from=20, raise_above=80, clear_at_most=70)])
    stages = [both.findings(device(float(value)))[0].stage for value in (9, 10, 19, 20, 70, 71, 80, 81)]
    assert stages == ["met", "between", "between", "over", "over", "between", "between", "met"]


def test_smoke_that_is_too_much_is_met_whatever_the_state_says() -> None:
    [finding] = RULES.findings(SensorReading(ORIGIN, "reading", "SMOKE", 500, "NORMAL"))
    assert finding.met


def test_a_message_of_its_own_says_what_was_measured() -> None:
    rules = Ruleset([rule(message="charge me: {value} %")])
    assert rules.findings(device(7.5))[0].message == "charge me: 7.5 %"
    assert RULES.findings(device(7.5))[0].message == "Battery at 7.5 %"
    [smoke] = RULES.findings(SensorReading(ORIGIN, "reading", "SMOKE", None, "ALARM"))
    assert smoke.message == "Smoke: ALARM"


def test_a_sensor_type_of_its_own_has_thresholds_of_its_own() -> None:
    heat = {
        "name": "heat",
        "source": "sensor",
        "field": "value",
        "raise_above": 50,
        "alert": "EQUIPMENT_FAILURE",
    }
    override = RuleOverride(rule="heat", change={"raise_above": 30}, source_type="HUMIDITY")
    rules = Ruleset(parse_rules([heat]), [override, RuleOverride(rule="heat", change={"raise_above": 60})])
    for kind, value, met in [("HUMIDITY", 40, True), ("TEMPERATURE", 55, False), ("TEMPERATURE", 61, True)]:
        [finding] = rules.findings(SensorReading(ORIGIN, "reading", kind, value, None))
        assert finding.met is met


def test_an_override_that_cannot_work_is_left_out() -> None:
    close = RuleOverride(rule="battery", change={"raise_below": 50}, site_id=7)
    rules = Ruleset([rule()], [close], site_id=7)
    assert [fault.place for fault in rules.faults] == ["site 7"]
    assert not told(device(30), rules)[0].met


trees = st.dictionaries(
    st.sampled_from([*Rule.__struct_fields__, "other"]),
    st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.floats(), st.text(max_size=8), st.sampled_from([*BATTERY.values()])
        ),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
)


@given(trees)
def test_whatever_a_rule_is_made_of_it_works_or_is_misconfigured(tree: dict[str, Any]) -> None:
    try:
        made = Ruleset([Rule.parse({**BATTERY, **tree})])
    except Misconfigured:
        return
    for battery in (None, 0.0, 50.0):
        assert all(finding.message for finding in made.findings(device(battery)))
