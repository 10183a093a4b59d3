"""Tests of the scatter of fixes round a straight line through time."""

import math

import pytest

from services.geofencing.rule.accuracy import scatter_m
from services.geofencing.rule.plausibility import RememberedFix
from tests.support.square_site import degrees, seen


def zigzag(metres: float, *, lat: float = 0.0, lon: float = 0.0) -> list[RememberedFix]:
    """Return fixes at `metres` east, west, west, east.

    No line through time comes nearer than the mean.
    """
    east = degrees(metres) / math.cos(math.radians(lat))
    return [
        RememberedFix(10_000_000 * n, lat, (lon + sign * east + 180) % 360 - 180, 8.0)
        for n, sign in enumerate((1, -1, -1, 1))
    ]


def test_fewer_than_four_fixes_say_nothing() -> None:
    assert scatter_m(zigzag(10.0)[:3]) is None


def test_fixes_of_one_time_say_nothing() -> None:
    assert scatter_m([RememberedFix(0, 0.0, degrees(m), 8.0) for m in (0, 50, 100, 150)]) is None


def test_whoever_stands_or_walks_straight_on_does_not_scatter() -> None:
    assert scatter_m([seen(10 * n, 50.0) for n in range(8)]) == pytest.approx(0.0, abs=1e-3)
    assert scatter_m([seen(10 * n, 14.0 * n, -9.0 * n) for n in range(8)]) == pytest.approx(0.0, abs=1e-3)


def test_ten_metres_to_both_sides_are_a_radius_of_fifteen() -> None:
    # 1.07 · sqrt(4 · 10² / (4 - 2))
    assert scatter_m(zigzag(10.0)) == pytest.approx(15.132, abs=1e-3)


@pytest.mark.parametrize(("lat", "lon"), [(60.0, 20.0), (-70.0, -100.0), (0.0, 180.0), (45.0, -180.0)])
def test_it_is_the_same_far_north_and_over_the_antimeridian(lat: float, lon: float) -> None:
    assert scatter_m(zigzag(10.0, lat=lat, lon=lon)) == pytest.approx(15.132, abs=1e-3)


def test_north_counts_like_east() -> None:
    north = [RememberedFix(fix.at_us, fix.lon, 0.0, 8.0) for fix in zigzag(10.0)]
    assert scatter_m(north) == pytest.approx(15.132, abs=1e-3)


def test_the_time_between_them_counts() -> None:
    # A fifth fix is 100 m further. After a step like the others no line fits. After a long pause
    # one nearly does.
    even = [seen(10 * n, m) for n, m in enumerate((0, 0, 0, 0, 100))]
    late = [*even[:4], seen(3000, 100.0)]
    found_even, found_late = scatter_m(even), scatter_m(late)
    assert found_even == pytest.approx(39.07, abs=0.01)
    assert found_late == pytest.approx(0.47, abs=0.01)
