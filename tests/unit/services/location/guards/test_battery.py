"""Tests of batteries of guards' phones, by the rule: low below 20 %, over from 25 % on."""

import pytest

from services.contracts.events import AlertType, Severity
from services.contracts.families import Fix, Origin
from services.location.guards.battery import BatteryRule, battery_rule, conclude, is_low
from services.platform.config import load
from tests.support.square_site import at

RULE = BatteryRule(
    name="battery",
    source="device",
    field="battery",
    alert=AlertType.LOW_BATTERY,
    raise_below=20,
    clear_from=25,
)


def fixes(*batteries: float) -> list[Fix]:
    return [
        Fix(
            Origin("guard-1", bytes([n]) * 16, None, "t", at(n), at(n), False, (), None, "{}"),
            1.0,
            2.0,
            5.0,
            None,
            None,
            "gps",
            False,
            battery,
        )
        for n, battery in enumerate(batteries)
    ]


@pytest.mark.parametrize(
    ("batteries", "low", "message"),
    [
        ((3.0,), False, "Battery at 3 %"),
        ((0.0,), False, "Battery at 0 %"),
        ((19.9,), False, "Battery at 19.9 %"),
        ((20.0,), False, None),
        ((100.0, 50.0), False, None),
        ((10.0,), True, None),
        ((24.9,), True, None),
        ((25.0,), True, "Battery back at 25 %"),
        ((30.0, 3.0), False, "Battery at 3 %"),
        # A condition that began and ended within a batch says nothing about now.
        ((3.0, 30.0), False, None),
        ((30.0, 3.0), True, None),
        ((), True, None),
    ],
)
def test_a_battery_is_told_of_when_it_is_another_than_before(
    batteries: tuple[float, ...], low: bool, message: str | None
) -> None:
    after, condition = conclude(RULE, fixes(*batteries), low=low, tenant_id=7, site_id=5)
    assert (condition.message if condition else None) == message
    assert after == (low if message is None else not low)


def test_a_condition_says_who_and_where() -> None:
    _, found = conclude(RULE, fixes(50.0, 3.0), low=False, tenant_id=7, site_id=5)
    assert found is not None
    assert (found.tenant_id, found.source_id, found.site_id) == (7, "guard-1", 5)
    assert (found.alert_type, found.dedup_key) == (AlertType.LOW_BATTERY, "LOW_BATTERY:guard-1:battery")
    assert (found.at, found.lat, found.lon, found.detail) == (at(1), 1.0, 2.0, {"battery": 3.0})


def test_a_rule_without_a_second_threshold_is_over_at_the_first() -> None:
    rule = BatteryRule(
        name="b", source="device", field="battery", alert=AlertType.LOW_BATTERY, raise_below=20
    )
    assert [is_low(rule, battery, before=True) for battery in (19.0, 20.0)] == [True, False]


def test_the_rule_is_that_of_the_configuration() -> None:
    rule = battery_rule(load(environ={}).rules)
    assert rule is not None
    assert (rule.name, rule.raise_below, rule.clear_from) == ("battery", 20, 25)


@pytest.mark.parametrize("rules", [[], [{"name": "cpu", "source": "system", "field": "cpu"}]])
def test_without_a_rule_there_is_none(rules: list[dict[str, object]]) -> None:
    assert battery_rule(rules) is None


def test_a_rule_may_be_switched_off_and_may_have_words_and_a_severity_of_its_own() -> None:
    tree = {"name": "b", "source": "device", "field": "battery", "raise_below": 20, "alert": "LOW_BATTERY"}
    assert battery_rule([{**tree, "enabled": False}]) is None
    rule = battery_rule([{**tree, "severity": "HIGH", "message": "Charge: {value} %", "hold_s": 5}])
    assert rule is not None
    _, found = conclude(rule, fixes(3.0), low=False, tenant_id=1, site_id=None)
    assert found is not None
    assert (found.severity, found.message) == (Severity.HIGH, "Charge: 3 %")
