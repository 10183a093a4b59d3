import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.location.tracks.simplify import StoredTrackPoint, thin

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def point(second: float, lat: float = 12.0, lon: float = 77.0, **more: object) -> StoredTrackPoint:
    at = START + timedelta(seconds=second)
    return StoredTrackPoint(recorded_at=at, received_at=at, lat=lat, lon=lon, **more)  # type: ignore[arg-type]


def straight(count: int) -> list[StoredTrackPoint]:
    return [point(10 * n, lon=77.0 + n * 1e-4) for n in range(count)]


def seconds(points: list[StoredTrackPoint]) -> list[float]:
    return [(p.recorded_at - START).total_seconds() for p in points]


def test_a_short_track_is_as_it_was() -> None:
    track = straight(5)
    assert thin(track, max_points=5) == track
    assert thin([], max_points=2) == []


def test_a_corner_stays_and_what_lies_on_a_line_goes() -> None:
    along = [point(10 * n, lon=77.0 + n * 1e-4) for n in range(50)]
    up = [point(500 + 10 * n, lat=12.0 + n * 1e-4, lon=77.0 + 49e-4) for n in range(1, 50)]
    assert seconds(thin([*along, *up], max_points=3)) == [0, 490, 990]


def test_a_corner_across_the_antimeridian_is_no_turn_round_the_globe() -> None:
    lons = [179.9998, 179.9999, 180.0, -179.9999, -179.9998]
    track = [point(10 * n, lat=0.0, lon=lon) for n, lon in enumerate(lons)]
    track[1] = point(10, lat=0.00005, lon=179.9999)
    assert seconds(thin(track, max_points=3)) == [0, 10, 40]


def test_changes_gaps_and_transitions_stay_though_they_are_no_corners() -> None:
    track = straight(200)
    track[50] = point(500, lon=77.005, geofence_violation=True)
    track[80] = point(800, lon=77.008, transition=True)
    late = [point(2000 + 300 + 10 * n, lon=77.02 + n * 1e-4) for n in range(100)]
    kept = seconds(thin([*track, *late], max_points=10))
    assert {0, 500, 510, 800, 1990, 2300, 3290} <= set(kept)
    assert len(kept) == 10


def test_when_changes_alone_are_too_many_the_ends_stay_and_the_bound_holds() -> None:
    track = [point(10 * n, lon=77.0 + n * 1e-4, geofence_violation=bool(n % 2)) for n in range(300)]
    kept = seconds(thin(track, max_points=20))
    assert (len(kept), kept[0], kept[-1]) == (20, 0, 2990)


def test_what_is_implausible_is_kept_before_corners_and_makes_none() -> None:
    track = straight(100)
    track[40] = point(400, lat=50.0, lon=10.0, implausible="teleport")
    assert seconds(thin(track, max_points=3)) == [0, 400, 990]
    track[70] = point(700, lat=12.0001, lon=77.007)
    assert {0, 400, 700, 990} < set(seconds(thin(track, max_points=6)))


def test_a_bound_below_two_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match="max_points must be at least 2"):
        thin(straight(3), max_points=1)


@given(st.integers(0, 300), st.integers(2, 50), st.integers(0, 1000))
def test_whatever_the_track_the_bound_holds_and_order_and_ends_stay(count: int, most: int, seed: int) -> None:
    chance = random.Random(seed)
    track = [
        point(
            n * 600 + chance.choice((1, 10, 500)),
            12 + chance.gauss(0, 1e-3),
            77 + chance.gauss(0, 1e-3),
            geofence_violation=chance.random() < 0.2,
            implausible=chance.choice((None, None, None, "speed")),
        )
        for n in range(count)
    ]
    kept = thin(track, max_points=most)
    assert len(kept) == min(count, most)
    assert kept == sorted(kept, key=lambda p: p.recorded_at)
    if count:
        assert (kept[0], kept[-1]) == (track[0], track[-1])
