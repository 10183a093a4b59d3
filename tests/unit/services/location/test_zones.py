import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from services.location.zones import METRES_A_DEGREE, Zone, ZoneIndex, haversine_m

LAT, LON = 12.9716, 77.5946
CIRCLE = Zone(1, "required", Point(LON, LAT), 500.0)
SQUARE = Zone(2, "required", Polygon([(77.60, 12.97), (77.61, 12.97), (77.61, 12.98), (77.60, 12.98)]))


def north_of(metres: float) -> float:
    return LAT + metres / METRES_A_DEGREE


def test_haversine_agrees_with_a_known_distance() -> None:
    # Paris to London, as published with the IUGG mean radius.
    assert haversine_m(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343_556, rel=0.001)


@pytest.mark.parametrize(
    ("metres", "accuracy", "inside", "violation", "unsure"),
    [
        (0, 10, True, False, False),
        (499, 10, True, False, False),
        (505, 10, False, False, True),
        (515, 10, False, True, False),
        (5000, 10, False, True, False),
        (5000, 6000, False, False, True),
    ],
)
def test_outside_is_only_said_when_the_error_circle_is_outside(
    metres: float, accuracy: float, inside: bool, violation: bool, unsure: bool
) -> None:
    verdict = ZoneIndex([CIRCLE]).verdict(lat=north_of(metres), lon=LON, accuracy_m=accuracy)
    assert (verdict.in_geofence, verdict.violation, verdict.unsure) == (inside, violation, unsure)


def test_without_zones_there_is_no_violation() -> None:
    verdict = ZoneIndex([]).verdict(lat=0, lon=0, accuracy_m=0)
    assert not verdict.violation
    assert not verdict.in_geofence


def test_inside_any_required_zone_is_enough() -> None:
    index = ZoneIndex([CIRCLE, SQUARE])
    assert index.verdict(lat=12.975, lon=77.605, accuracy_m=5).in_geofence
    assert index.verdict(lat=12.99, lon=77.605, accuracy_m=5).violation


def test_a_forbidden_zone_is_violated_from_surely_inside_only() -> None:
    index = ZoneIndex([Zone(3, "forbidden", Point(LON, LAT), 100.0)])
    assert index.verdict(lat=LAT, lon=LON, accuracy_m=10).violation
    assert not index.verdict(lat=north_of(95), lon=LON, accuracy_m=10).violation
    assert not index.verdict(lat=north_of(500), lon=LON, accuracy_m=10).violation


@settings(max_examples=200)
@given(st.floats(12.90, 13.05), st.floats(77.50, 77.70), st.floats(0, 200), st.integers(0, 2**32))
def test_many_zones_say_the_same_as_each_of_them_alone(
    lat: float, lon: float, accuracy: float, seed: int
) -> None:
    chance = random.Random(seed)
    zones = [
        Zone(
            n,
            "required",
            Point(chance.uniform(77.5, 77.7), chance.uniform(12.9, 13.05)),
            chance.uniform(50, 3000),
        )
        for n in range(30)
    ]
    verdict = ZoneIndex(zones).verdict(lat=lat, lon=lon, accuracy_m=accuracy)
    edges = [haversine_m(lat, lon, zone.area.y, zone.area.x) - (zone.radius_m or 0) for zone in zones]
    assert verdict.in_geofence == (min(edges) <= 0)
    if not math.isclose(min(edges), accuracy, abs_tol=0.5):
        assert verdict.violation == (min(edges) > accuracy)
