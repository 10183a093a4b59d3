"""Tests of zones and shifts.

A guard with shifts is watched by zones on shift only. A guard without any shift is always watched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ops.local.stack import Stack
from tests.support.guard_phones import OUTSIDE, FinishedPhones, GuardPhones, north
from tests.support.outside_clients import OutsideClients

HOUR, DAY, TOLERANCE_S = 3_600.0, 86_400.0, 300.0


class Duty(NamedTuple):
    """Shifts in seconds from now, and whether being outside is a violation."""

    name: str
    shifts: list[tuple[float, float]]
    violation: bool


DUTIES = [
    Duty("no shift on record", [], True),
    Duty("on shift", [(-HOUR, HOUR)], True),
    Duty("on the second of two", [(-DAY, -DAY + HOUR), (-HOUR, HOUR)], True),
    Duty("over for less than the tolerance", [(-HOUR, -60)], True),
    Duty("begins within the tolerance", [(60, HOUR)], True),
    Duty("on a shift that has nearly ended", [(-HOUR, 60)], True),
    Duty("over for an hour", [(-9 * HOUR, -HOUR)], False),
    Duty("over for ten minutes", [(-9 * HOUR, -600)], False),
    Duty("begins in two hours", [(2 * HOUR, 10 * HOUR)], False),
    Duty("between two", [(-9 * HOUR, -HOUR), (HOUR, 9 * HOUR)], False),
    Duty("the last one was three weeks ago", [(-21 * DAY, -21 * DAY + HOUR)], False),
    Duty("the first one is next month", [(30 * DAY, 30 * DAY + HOUR)], False),
]


@pytest.fixture(scope="module")
def heard(stack: Stack) -> Iterator[FinishedPhones]:
    """Send all guards outside, and then one more.

    The violation of that one shows that the others were judged.
    """
    with OutsideClients(stack) as outside:
        phones = GuardPhones(outside, "shifts")
        guards = {duty.name: phones.guard(duty.name) for duty in DUTIES}
        for duty in DUTIES:
            for starts_s, ends_s in duty.shifts:
                phones.shift(guards[duty.name], starts_s, ends_s)
        marker = phones.guard("marker")
        for _ in range(3):
            for guard in guards.values():
                phones.send(guard, OUTSIDE)
            phones.beat()
        for _ in range(2):
            phones.send(marker, OUTSIDE)
            phones.beat(0.2)
        phones.settle()
        phones.violates(marker)
        yield FinishedPhones(phones, guards)


@pytest.mark.parametrize("duty", DUTIES, ids=lambda duty: duty.name)
def test_a_guard_outside_violates_a_zone_only_when_on_duty(heard: FinishedPhones, duty: Duty) -> None:
    phones, guard = heard.phones, heard.guards[duty.name]
    # Given a guard with these shifts, when the guard is outside,
    if duty.violation:
        phones.violates(guard)
    phones.outside.until(lambda: phones.has_no_pending_alert(guard), 30)
    # then that is a violation on shift and none off shift, and the guard is shown either way.
    assert len(phones.violations(guard)) == duty.violation
    assert phones.shown_at(guard) == (OUTSIDE["lat"], OUTSIDE["lon"])


@pytest.mark.parametrize("phone_goes_on", [True, False], ids=["fixes go on", "phone is switched off"])
def test_a_violation_that_stands_is_over_when_the_shift_is(
    outside: OutsideClients, phone_goes_on: bool
) -> None:
    phones = GuardPhones(outside, "ends")
    guard = phones.guard("ends")
    # Given a guard outside, six seconds before the end of the shift,
    phones.shift(guard, -HOUR, 6 - TOLERANCE_S)
    for _ in range(2):
        phones.send(guard, OUTSIDE)
        phones.beat(0.3)
    phones.violates(guard)

    # when the shift ends,
    def cleared() -> bool:
        if phone_goes_on:
            phones.send(guard, OUTSIDE)
            phones.beat()
        return phones.violations(guard)[0][2] is not None

    outside.until(cleared, 20)
    # then the violation is over, in these words, and it is not raised again.
    [(note,)] = outside.rows(
        "SELECT note FROM alert_timeline JOIN mqtt_device_alert USING (alert_id)"
        " WHERE source_id = %s AND action = 'cleared'",
        guard,
    )
    assert "the shift has ended" in note
    for _ in range(3):
        phones.send(guard, OUTSIDE)
        phones.beat(0.3)
    marker = phones.guard("marker")
    for _ in range(2):
        phones.send(marker, OUTSIDE)
        phones.beat(0.2)
    phones.violates(marker)
    assert len(phones.violations(guard)) == 1
    assert phones.violations(guard)[0][2] is not None


def test_a_guard_who_is_outside_when_the_shift_begins_is_a_violation_then(outside: OutsideClients) -> None:
    phones = GuardPhones(outside, "begins")
    guard = phones.guard("begins")
    # Given a guard outside whose shift begins in four seconds,
    phones.shift(guard, 4 + TOLERANCE_S, HOUR)
    for _ in range(3):
        phones.send(guard, OUTSIDE)
        phones.beat(0.5)
    phones.settle()
    outside.until(lambda: phones.stored(guard) == 3)
    assert phones.violations(guard) == []

    # when it has begun and the guard is still outside,
    def violates() -> bool:
        phones.send(guard, OUTSIDE)
        phones.beat()
        return bool(phones.violations(guard))

    # then that is a violation.
    outside.until(violates, 30)


def test_who_came_back_off_shift_is_no_violation_on_the_next(outside: OutsideClients) -> None:
    phones = GuardPhones(outside, "back")
    guard = phones.guard("back")
    # Given a guard who was outside off shift and came back, when the shift begins,
    phones.shift(guard, 2 * HOUR, 3 * HOUR)
    way = [north(metres) for metres in (240, 240, 190, 145, 100)]
    for place in way:
        phones.send(guard, place)
        phones.beat()
    outside.until(lambda: phones.shown_at(guard) == (way[-1]["lat"], way[-1]["lon"]))
    [(kinds,)] = outside.rows("SELECT array_agg(kind) FROM zone_transition WHERE guard_id = %s", guard)
    assert {"violation_began", "violation_ended"} <= {*kinds}
    outside.execute("UPDATE guard_shift SET starts_at = now() - interval '1 hour' WHERE guard_id = %s", guard)
    for _ in range(2):
        phones.send(guard, way[-1])
        phones.beat(0.3)
    marker = phones.guard("marker")
    for _ in range(2):
        phones.send(marker, OUTSIDE)
        phones.beat(0.2)
    # then nothing is raised.
    phones.violates(marker)
    outside.until(lambda: phones.has_no_pending_alert(guard), 30)
    assert phones.violations(guard) == []
