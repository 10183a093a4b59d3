"""Tests of the distance of a fix from a zone, and of the zones that are near.

The results are compared with those of a slow way that leaves nothing out.
"""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, Polygon, box

from services.geofencing.geometry import (
    METRES_A_DEGREE,
    Confirmation,
    Geofence,
    ZoneIndex,
    depth_m,
    distance_m,
    haversine_m,
)

USUAL = Confirmation(2, 60.0)


def zone(area: Any, **changes: Any) -> Geofence:
    base = {"zone_id": 1, "kind": "required", "area": area, "enter": USUAL, "exit": USUAL}
    return Geofence(**{**base, **changes})


def circle(lat: float, lon: float, radius_m: float, **changes: Any) -> Geofence:
    return zone(Point(lon, lat), radius_m=radius_m, **changes)


def degrees(metres: float) -> float:
    return metres / METRES_A_DEGREE


def test_a_circle_is_measured_on_the_sphere() -> None:
    assert distance_m(circle(10, 20, 500), 10, 20) == -500
    north = distance_m(circle(10, 20, 500), 10 + degrees(700), 20)
    assert north == pytest.approx(200, abs=1e-3)
    assert distance_m(circle(0, 179.999, 100), 0, -179.999) == pytest.approx(222.39 - 100, abs=0.01)


def test_a_square_is_measured_from_its_nearest_edge() -> None:
    side = degrees(100)
    square = zone(box(-side, -side, side, side))
    assert distance_m(square, 0, 0) == pytest.approx(-100, abs=1e-3)
    assert distance_m(square, 0, degrees(70)) == pytest.approx(-30, abs=1e-3)
    assert distance_m(square, degrees(130), degrees(140)) == pytest.approx(50, abs=1e-3)


def test_a_hole_is_outside_and_its_edge_counts() -> None:
    shell, hole = box(0, 0, 0.01, 0.01), box(0.004, 0.004, 0.006, 0.006)
    holed = zone(Polygon(shell.exterior, [hole.exterior]))
    assert distance_m(holed, 0.005, 0.005) == pytest.approx(0.001 * METRES_A_DEGREE, abs=0.01)
    assert distance_m(holed, 0.0035, 0.005) == pytest.approx(-0.0005 * METRES_A_DEGREE, abs=0.01)


def test_of_several_polygons_the_nearest_counts() -> None:
    several = zone(MultiPolygon([box(0, 0, 1, 1), box(2, 0, 3, 1)]))
    assert distance_m(several, 0.5, 1.25) == pytest.approx(
        0.25 * METRES_A_DEGREE * math.cos(math.radians(0.5)), rel=1e-6
    )
    assert distance_m(several, 0.5, 2.5) < 0


def test_an_edge_goes_the_short_way_over_the_antimeridian() -> None:
    across = zone(Polygon([(179.9, -0.1), (-179.9, -0.1), (-179.9, 0.1), (179.9, 0.1)]))
    for lon in (180, -180, 179.95, -179.95):
        assert distance_m(across, 0, lon) < 0
    assert distance_m(across, 0, 179.8) == pytest.approx(0.1 * METRES_A_DEGREE, rel=1e-6)
    assert distance_m(across, 0, 0) > 1_000_000
    index = ZoneIndex([across])
    assert [len(index.near(0, lon, 1)) for lon in (179.95, -179.95, 180, -180, 0)] == [1, 1, 1, 1, 0]


def test_depth_is_the_radius_of_a_circle_and_half_the_side_of_a_square() -> None:
    assert depth_m(circle(50, 8, 30)) == 30
    side = degrees(100) / math.cos(math.radians(60))
    assert depth_m(zone(box(8, 60, 8 + side, 60 + degrees(100)))) == pytest.approx(50, rel=1e-4)


def test_the_version_that_holds_is_found_by_time() -> None:
    change = datetime(2026, 3, 1, tzinfo=UTC)
    old = circle(0, 0, 10, version=1, in_force_to=change)
    new = circle(0, 0, 20, version=2, in_force_from=change)
    index = ZoneIndex([old, new])
    assert index.holding(1, datetime(2026, 2, 1, tzinfo=UTC)) is old
    assert index.holding(1, change) is new
    assert index.holding(2, change) is None


LATS = st.one_of(st.floats(-89.99, 89.99), st.sampled_from([0.0, 89.99, -89.99]))
LONS = st.one_of(st.floats(-180, 180), st.sampled_from([180.0, -180.0, 179.9999, -179.9999]))


@st.composite
def zones_near(draw: st.DrawFn, lat: float, lon: float) -> Geofence:
    """Draw a zone that may or may not reach the place."""
    at = max(-89.0, min(89.0, lat + draw(st.floats(-0.02, 0.02))))
    off = lon + draw(st.floats(-0.02, 0.02)) / max(0.05, math.cos(math.radians(at)))
    off = (off + 180) % 360 - 180
    if draw(st.booleans()):
        return circle(at, off, draw(st.floats(1, 3000)))
    corners = draw(st.integers(3, 9))
    size = draw(st.floats(0.0005, 0.02))
    wide = size / math.cos(math.radians(at))
    ring = [
        (
            (off + wide * math.cos(2 * math.pi * n / corners) + 180) % 360 - 180,
            at + size * math.sin(2 * math.pi * n / corners),
        )
        for n in range(corners)
    ]
    return zone(Polygon(ring))


@settings(max_examples=300, deadline=None)
@given(st.data(), LATS, LONS, st.floats(0, 5000))
def test_near_leaves_nothing_out_and_says_the_same_distance(
    data: st.DataObject, lat: float, lon: float, reach: float
) -> None:
    zones = [data.draw(zones_near(lat, lon)) for _ in range(data.draw(st.integers(1, 4)))]
    numbered = [z if z.zone_id == n else zone_copy(z, n) for n, z in enumerate(zones, 1)]
    slow = {z.zone_id: distance_m(z, lat, lon) for z in numbered}
    found = {z.zone_id: d for z, d in ZoneIndex(numbered).near(lat, lon, reach)}
    assert {n for n, d in slow.items() if d <= reach - 1e-6} <= set(found)
    assert {n for n, d in slow.items() if d > reach + 1e-6}.isdisjoint(found)
    for number, d in found.items():
        assert d == pytest.approx(slow[number], abs=2e-6)


def zone_copy(given_zone: Geofence, number: int) -> Geofence:
    return zone(given_zone.area, radius_m=given_zone.radius_m, zone_id=number)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.floats(-60, 60), LONS, st.integers(0, 8))
def test_where_a_ring_begins_and_whole_turns_change_nothing(
    data: st.DataObject, lat: float, lon: float, first: int
) -> None:
    ring = [(lon + 0.01 * math.cos(n), lat + 0.01 * math.sin(n)) for n in range(6)]
    turned = [ring[(n + first) % 6] for n in range(6)]
    off = data.draw(st.sampled_from([-360, 360]))
    plain = distance_m(zone(Polygon(ring)), lat, lon)
    assert distance_m(zone(Polygon(turned)), lat, lon) == pytest.approx(plain, abs=1e-3)
    assert distance_m(zone(Polygon([(x + off, y) for x, y in ring])), lat, lon) == pytest.approx(
        plain, abs=1e-3
    )


def test_near_a_pole_a_circle_is_found_from_every_side() -> None:
    index = ZoneIndex([circle(89.999, 0, 500)])
    for lon in range(-180, 180, 30):
        slow = distance_m(circle(89.999, 0, 500), 89.998, lon)
        assert bool(index.near(89.998, lon, 0)) is (slow <= 0)
    assert index.near(89.999, 180, 0)


def test_many_places_at_once_are_as_each_alone() -> None:
    zones = [circle(n / 100, n / 100, 900, zone_id=n + 1) for n in range(50)]
    zones += [
        zone(shapely.affinity.translate(box(0, 0, 0.01, 0.02), n / 90, n / 90), zone_id=n + 100)
        for n in range(50)
    ]
    index = ZoneIndex(zones)
    lats, lons = [n / 77 for n in range(40)], [n / 79 for n in range(40)]
    together = index.near_many(lats, lons, [200.0] * 40)
    assert any(together)
    for lat, lon, found in zip(lats, lons, together, strict=True):
        assert sorted((z.zone_id, d) for z, d in found) == sorted(
            (z.zone_id, d) for z, d in index.near(lat, lon, 200.0)
        )


def test_no_zones_are_no_error() -> None:
    assert ZoneIndex([]).near(0, 0, 10) == []
    assert ZoneIndex([circle(0, 0, 5)]).near_many([], [], []) == []


def test_haversine_of_a_quarter_of_the_earth() -> None:
    assert haversine_m(0, 0, 0, 90) == pytest.approx(math.pi / 2 * 6_371_008.8)
