"""Tests that the city whose verdicts are timed is the one that the figures describe."""

import random

from bench.measures import zones
from services.geofencing.geometry import ZoneIndex, haversine_m
from services.geofencing.rule.track import Judge
from tests.support.square_site import SETTINGS


def test_a_city_has_as_many_zones_as_were_asked_for_in_both_shapes() -> None:
    city = zones.zones(100, random.Random(1))
    assert sorted(zone.zone_id for zone in city) == list(range(1, 101))
    circles = sum(zone.radius_m is not None for zone in city)
    assert 30 < circles < 70
    corners = {len(zone.edges.lon0) for zone in city if zone.radius_m is None}
    assert corners == {4, 6, 12, 40, 200}


def test_the_same_seed_is_the_same_city() -> None:
    first, again = (zones.zones(20, random.Random(7)) for _ in range(2))
    assert [zone.area.wkt for zone in first] == [zone.area.wkt for zone in again]


def test_guards_are_of_their_own_ten_seconds_on_and_each_near_a_zone() -> None:
    earlier, later = (zones.tracks(50, 1_000, turn=turn, chance=random.Random(3)) for turn in (0, 1))
    assert len({guard.guard_id for guard, _ in earlier}) == 50
    for (guard, [first]), (same, [second]) in zip(earlier, later, strict=True):
        assert guard == same
        assert (second.recorded_at - first.recorded_at).total_seconds() == 10
        assert haversine_m(first.lat, first.lon, second.lat, second.lon) < 450
    index = ZoneIndex(zones.zones(1_000, random.Random(1)))
    assert all(index.near(fixes[0].lat, fixes[0].lon, 300) for _, fixes in earlier)


def test_each_batch_is_timed_after_the_caches_are_warm() -> None:
    judge = Judge(ZoneIndex(zones.zones(10, random.Random(1))), SETTINGS)
    used = zones.batch_s(judge, 10, seed=1)
    assert len(used) == zones.RUNS
    assert all(0 < seconds < 10 for seconds in used)
