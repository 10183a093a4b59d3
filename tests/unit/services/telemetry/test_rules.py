import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.environment import PROJECT
from services import config
from services.errors import Misconfigured
from services.messages import AlertType, DeviceReading, HealthReading, Origin, SensorReading
from services.telemetry.rules import (
    Finding,
    Override,
    Rule,
    Ruleset,
    Standing,
    check_override,
    faults_of,
    in_force,
    parse_rules,
)

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
    rules: Ruleset, readings: Sequence[tuple[float, float | None]], standing: Standing
) -> list[tuple[float, str]]:
    """(second, what was told) of battery readings at these seconds."""
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
    rules, standing = Ruleset([rule(raise_below=low, clear_from=high)]), Standing()
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
    """What is to be told, worked out from the whole history of known values at once."""
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
        standing = Standing(conditions, pending)  # as it comes back from the database for each batch
        told += heard(rules, readings[start:end], standing)
        conditions, pending = standing.conditions, standing.pending
    assert told == held_by_the_book(readings, hold_s)


def test_a_source_that_falls_silent_is_raised_by_its_next_reading_only() -> None:
    rules, standing = Ruleset([rule(hold_s=60)]), Standing()
    assert heard(rules, [(0, 10)], standing) == [(0, "held")]
    assert heard(rules, [(3600, None)], standing) == []
    assert heard(rules, [(3601, 10)], standing) == [(3601, "met")]


def test_a_rule_that_is_switched_off_ends_what_it_raised_and_forgets_what_it_held() -> None:
    off = Ruleset([rule(enabled=False)])
    standing = Standing({"battery"})
    assert heard(off, [(0, None)], standing) == [(0, "cleared")]
    standing = Standing((), {"battery": AT})
    assert heard(off, [(0, 10)], standing) == []
    assert standing.pending == {}


def test_a_rule_that_is_gone_leaves_nothing_behind() -> None:
    standing = Standing({"battery", "old"}, {"older": AT})
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


@pytest.mark.parametrize(
    ("changes", "setting", "remedy"),
    [
        ({"name": "Battery!"}, "name", "small letters"),
        ({"source": "guard"}, "source", "device, sensor, system"),
        ({"source": []}, "source", "device, sensor, system"),
        ({"alert": "FLOOD"}, "alert", "LOW_BATTERY"),
        ({"severity": "URGENT"}, "severity", "CRITICAL"),
        ({"raise_under": 5}, "raise_under", "raise_below"),
        ({"field": "cpu"}, "field", "battery, signal, temperature"),
        ({"type": "SMOKE"}, "type", "for sensors"),
        ({"field": None}, "field", "give both"),
        ({"raise_below": None, "clear_from": None}, "field", "give both"),
        ({"field": None, "raise_below": None, "clear_from": None}, "raise_below", "give one of them"),
        ({"raise_below": "much"}, "raise_below", "number|float"),
        ({"raise_below": math.nan}, "raise_below", "number from 0 to 100"),
        ({"raise_below": 200, "clear_from": None}, "raise_below", "0 to 100"),
        ({"clear_from": 15}, "clear_from", "at least 20"),
        ({"raise_below": None, "raise_above": 80}, "clear_from", "give it too"),
        ({"raise_above": 80, "clear_at_most": 90}, "clear_at_most", "at most 80"),
        ({"raise_above": 10}, "clear_from", "at most 10"),
        ({"states": ["ALARM"]}, "states", "OFFLINE, ONLINE, POOR"),
        ({"clear_states": ["ONLINE"]}, "clear_states", "give them too"),
        ({"states": ["POOR"], "clear_states": ["poor"]}, "clear_states", "only one"),
        ({"hold_s": -1}, "hold_s", "from 0"),
        ({"hold_s": "5 minutes"}, "hold_s", "float"),
        ({"message": "{value.__class__}"}, "message", "no other braces"),
        ({"message": "a\nb"}, "message", "printable"),
    ],
)
def test_a_rule_that_cannot_work_is_named_with_its_setting_and_the_remedy(
    changes: dict[str, Any], setting: str, remedy: str
) -> None:
    with pytest.raises(Misconfigured, match=f"{setting} .*({remedy})") as caught:
        rule(**changes)
    assert str(changes.get("name", "battery")) in str(caught.value)


def test_a_system_has_no_states_and_a_name_is_given_once() -> None:
    with pytest.raises(Misconfigured, match="no states"):
        Rule.parse({"name": "x", "source": "system", "states": ["ALARM"], "alert": "FIRE"})
    with pytest.raises(Misconfigured, match="given twice"):
        parse_rules([BATTERY, BATTERY])
    for strange in ({}, [5], "battery", [{"source": "device"}]):
        with pytest.raises(Misconfigured):
            parse_rules(strange)


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


# -- overrides

PLACES = [(None, None), (None, "device"), (7, None), (7, "device"), (8, None)]
"""From the weakest to the strongest for site 7; the last one is of another site."""


@given(st.lists(st.sampled_from(PLACES), unique=True), st.randoms(use_true_random=False))
def test_the_closest_override_wins_whatever_their_order(places: list[Any], chance: Any) -> None:
    chance.shuffle(places)
    overrides = [
        Override(
            rule="battery",
            change={"raise_below": PLACES.index((site, kind)) + 1},
            site_id=site,
            source_type=kind,
        )
        for site, kind in places
    ]
    merged, faults = in_force(rule(), overrides, site_id=7)
    expected = max((PLACES.index(place) + 1 for place in places if place[0] != 8), default=20)
    assert (merged.raise_below, faults) == (expected, [])


def test_what_a_closer_override_does_not_name_stays_from_the_wider_one() -> None:
    overrides = [
        Override(rule="battery", change={"severity": "HIGH", "hold_s": 60}),
        Override(rule="battery", change={"hold_s": None}, site_id=7),
    ]
    merged, _ = in_force(rule(hold_s=5), overrides, site_id=7)
    assert (merged.severity, merged.hold_s) == ("HIGH", 0)


def test_a_sensor_type_of_its_own_has_thresholds_of_its_own() -> None:
    heat = {
        "name": "heat",
        "source": "sensor",
        "field": "value",
        "raise_above": 50,
        "alert": "EQUIPMENT_FAILURE",
    }
    override = Override(rule="heat", change={"raise_above": 30}, source_type="HUMIDITY")
    rules = Ruleset(parse_rules([heat]), [override, Override(rule="heat", change={"raise_above": 60})])
    for kind, value, met in [("HUMIDITY", 40, True), ("TEMPERATURE", 55, False), ("TEMPERATURE", 61, True)]:
        [finding] = rules.findings(SensorReading(ORIGIN, "reading", kind, value, None))
        assert finding.met is met


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (Override(rule="nothing", change={"hold_s": 1}), "there is no rule 'nothing'; there are battery"),
        (Override(rule="battery", change={}), "empty"),
        (Override(rule="battery", change={"alert": "PANIC"}), "alert cannot be changed"),
        (Override(rule="battery", change={"name": "x"}), "name cannot be changed"),
        (Override(rule="battery", change={"raise_below": math.inf}), "number"),
        (Override(rule="battery", change={"hold_s": 1}, source_type="SMOKE"), "'SMOKE' is not for this rule"),
    ],
)
def test_an_override_of_nothing_is_refused(override: Override, problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem):
        check_override([rule()], override)


def test_overrides_are_judged_where_they_come_together_and_a_broken_one_is_left_out() -> None:
    wide = Override(rule="battery", change={"clear_from": 60})
    close = Override(rule="battery", change={"raise_below": 50}, site_id=7)
    assert faults_of([rule()], [wide, close], "battery") == set()
    [fault] = faults_of([rule()], [close], "battery")
    assert "clear_from" in fault.problem
    assert fault.place == "site 7"
    rules = Ruleset([rule()], [close], site_id=7)
    assert rules.faults == [fault]
    assert not told(device(30), rules)[0].met
