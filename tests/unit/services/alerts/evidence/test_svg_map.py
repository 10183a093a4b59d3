"""Tests that the map is to scale, that north is up, and that it crosses the date line."""

import math

import pytest

from services.alerts.evidence.svg_map import MapPlane, MapPoint, MapView, nice_metres


def test_metres_east_and_north_of_the_origin() -> None:
    plane = MapPlane(60.0, 10.0)
    assert plane.metres(60.0, 10.0) == (0.0, 0.0)
    east, north = plane.metres(60.01, 10.01)
    assert (round(east), round(north)) == (556, 1112)


def test_the_shorter_way_across_the_date_line() -> None:
    east, _ = MapPlane(0.0, 179.999).metres(0.0, -179.999)
    assert round(east) == 222


def test_north_is_up_and_one_scale_holds_both_ways() -> None:
    view = MapView(MapPoint(100.0, 100.0), 0.5)
    middle, upper, right = (view.place(MapPoint(*p)) for p in ((100, 100), (100, 140), (140, 100)))
    assert upper.y < middle.y
    assert right.x > middle.x
    assert math.dist(middle, upper) == math.dist(middle, right) == 20


@pytest.mark.parametrize(
    ("most", "nice"), [(99, 50), (100, 100), (199, 100), (20, 20), (49.9, 20), (1234567, 1e6)]
)
def test_the_scale_is_a_round_number(most: float, nice: float) -> None:
    assert nice_metres(most) == nice
