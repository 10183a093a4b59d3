import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Misconfigured
from services.telemetry.rules import Rule, RuleOverride, check_override, faults_of, in_force, parse_rules

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


@pytest.mark.parametrize(
    ("changes", "setting", "remedy"),
    [
        ({"name": "Battery!"}, "name", "lower-case letters"),
        ({"source": "guard"}, "source", "device, sensor, system"),
        ({"source": []}, "source", "device, sensor, system"),
        ({"alert": "FLOOD"}, "alert", "LOW_BATTERY"),
        ({"severity": "URGENT"}, "severity", "CRITICAL"),
        ({"raise_under": 5}, "raise_under", "raise_below"),
        ({"field": "cpu"}, "field", "battery, signal, temperature"),
        ({"type": "SMOKE"}, "type", "for sensors"),
        ({"field": None}, "field", "give a field"),
        ({"raise_below": None, "clear_from": None}, "field", "give a field"),
        ({"field": None, "raise_below": None, "clear_from": None}, "raise_below", "give one of them"),
        ({"raise_below": "much"}, "raise_below", "number|float"),
        ({"raise_below": math.nan}, "raise_below", "number from 0 to 100"),
        ({"raise_below": 200, "clear_from": None}, "raise_below", "0 to 100"),
        ({"clear_from": 15}, "clear_from", "at least 20"),
        ({"raise_below": None, "raise_above": 80}, "clear_from", "give it too"),
        ({"raise_above": 80, "clear_at_most": 90}, "clear_at_most", "at most 80"),
        ({"raise_above": 10}, "clear_from", "at most 10"),
        ({"states": ["ALARM"]}, "states", "OFFLINE, ONLINE, POOR"),
        ({"clear_states": ["ONLINE"]}, "clear_states", "give states too"),
        ({"states": ["POOR"], "clear_states": ["poor"]}, "clear_states", "either raises or clears"),
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


# -- overrides

PLACES = [(None, None), (None, "device"), (7, None), (7, "device"), (8, None)]
"""Overrides from the weakest to the strongest for site 7. The last one is of another site."""


@given(st.lists(st.sampled_from(PLACES), unique=True), st.randoms(use_true_random=False))
def test_the_closest_override_wins_whatever_their_order(places: list[Any], chance: Any) -> None:
    chance.shuffle(places)
    overrides = [
        RuleOverride(
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
        RuleOverride(rule="battery", change={"severity": "HIGH", "hold_s": 60}),
        RuleOverride(rule="battery", change={"hold_s": None}, site_id=7),
    ]
    merged, _ = in_force(rule(hold_s=5), overrides, site_id=7)
    assert (merged.severity, merged.hold_s) == ("HIGH", 0)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (RuleOverride(rule="nothing", change={"hold_s": 1}), "there is no rule 'nothing'; there are battery"),
        (RuleOverride(rule="battery", change={}), "empty"),
        (RuleOverride(rule="battery", change={"alert": "PANIC"}), "alert cannot be changed"),
        (RuleOverride(rule="battery", change={"name": "x"}), "name cannot be changed"),
        (RuleOverride(rule="battery", change={"raise_below": math.inf}), "number"),
        (
            RuleOverride(rule="battery", change={"hold_s": 1}, source_type="SMOKE"),
            "'SMOKE' is not for this rule",
        ),
    ],
)
def test_an_override_of_nothing_is_refused(override: RuleOverride, problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem):
        check_override([rule()], override)


def test_overrides_are_judged_where_they_come_together() -> None:
    wide = RuleOverride(rule="battery", change={"clear_from": 60})
    close = RuleOverride(rule="battery", change={"raise_below": 50}, site_id=7)
    assert faults_of([rule()], [wide, close], "battery") == set()
    [fault] = faults_of([rule()], [close], "battery")
    assert "clear_from" in fault.problem
    assert fault.place == "site 7"
