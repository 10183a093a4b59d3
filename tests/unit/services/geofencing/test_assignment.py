"""Tests of the zones that apply to a guard at a time."""

from datetime import timedelta

import pytest

from services.geofencing.assignment import RequiredZones, ZoneSubject, applies, holds, in_force
from services.geofencing.geometry import Geofence
from services.geofencing.schedule import parse
from tests.support.square_site import GUARD, NOON, at, circle

PATROL = ZoneSubject("guard-2", frozenset({7}))
NIGHTS = parse({"weekly": [{"days": ["mon"], "from": "18:00", "to": "06:00"}]})


@pytest.mark.parametrize(("seconds", "held"), [(-1, False), (0, True), (59, True), (60, False)])
def test_a_version_holds_from_its_beginning_until_just_before_its_end(seconds: float, held: bool) -> None:
    assert holds(circle(in_force_from=at(0), in_force_to=at(60)), at(seconds)) is held


def test_a_version_without_bounds_holds_always() -> None:
    assert holds(circle(), NOON - timedelta(days=9999))
    assert holds(circle(), NOON + timedelta(days=9999))


@pytest.mark.parametrize(
    ("zone", "of_guard_1", "of_patrol"),
    [
        (circle(), True, True),
        (circle(guard_id="guard-1"), True, False),
        (circle(group_id=7), False, True),
        (circle(group_id=7, guard_id="guard-1"), True, True),
        (circle(group_id=8, guard_id="guard-3"), False, False),
        (circle(enabled=False), False, False),
    ],
    ids=["all", "one guard", "a group", "a group and one guard besides", "others", "disabled"],
)
def test_a_zone_applies_to_all_or_to_whom_it_names(zone: Geofence, of_guard_1: bool, of_patrol: bool) -> None:
    assert applies(zone, GUARD) is of_guard_1
    assert applies(zone, PATROL) is of_patrol


def test_a_schedule_is_by_the_clock_of_the_zone() -> None:
    # Noon in London is 17:30 in Kolkata, and half an hour before six.
    assert not in_force(circle(schedule=NIGHTS, time_zone="Asia/Kolkata"), NOON)
    assert in_force(circle(schedule=NIGHTS, time_zone="Asia/Kolkata"), NOON + timedelta(minutes=30))
    assert not in_force(circle(schedule=NIGHTS, time_zone="UTC"), NOON + timedelta(minutes=30))
    assert in_force(circle(), NOON)


@pytest.mark.parametrize(
    ("zone", "of_guard_1", "of_patrol"),
    [
        (circle(), True, True),
        (circle(kind="forbidden"), False, False),
        (circle(enabled=False), False, False),
        (circle(guard_id="guard-1"), True, False),
        (circle(group_id=7), False, True),
        (circle(schedule=NIGHTS), False, False),
        (circle(in_force_to=NOON), False, False),
        (circle(in_force_from=NOON), True, True),
    ],
)
def test_whether_a_guard_must_be_anywhere(zone: Geofence, of_guard_1: bool, of_patrol: bool) -> None:
    required = RequiredZones([zone])
    assert required.any_in_force(GUARD, NOON) is of_guard_1
    assert required.any_in_force(PATROL, NOON) is of_patrol


def test_one_zone_in_force_is_enough() -> None:
    required = RequiredZones(
        [circle(schedule=NIGHTS), circle(zone_id=2, group_id=7), circle(zone_id=3, in_force_to=NOON)]
    )
    assert required.any_in_force(PATROL, NOON)
    assert not required.any_in_force(GUARD, NOON)
    assert required.any_in_force(GUARD, NOON - timedelta(seconds=1))
