"""Tests of the oracle itself, with results that were worked out by hand from docs/zones.md."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import cos, pi, radians

import pytest

from tests.oracle.geometry import RADIUS_M, Shape, depth_m, distance_m
from tests.oracle.hours import covers
from tests.oracle.verdicts import Oracle
from tests.oracle.words import Fix, Needed, Row, Zone
from tests.oracle.worlds import DEFAULTS

DEGREE_M = RADIUS_M * pi / 180
START = datetime(2026, 5, 4, 12, tzinfo=UTC)
PLAIN = Needed(DEFAULTS.confirm_fixes, DEFAULTS.confirm_s)
YARD = Zone(7, 1, "required", Shape(centre=(13.0, 52.0), radius_m=100), PLAIN, PLAIN)
BOX = ((179.0, -1.0), (-179.0, -1.0), (-179.0, 1.0), (179.0, 1.0), (179.0, -1.0))
HOLE = ((-179.9, -0.1), (179.9, -0.1), (179.9, 0.1), (-179.9, 0.1))


def test_a_ring_over_the_antimeridian_is_two_degrees_wide_and_has_a_hole() -> None:
    shape = Shape(polygons=((BOX, HOLE),))
    assert distance_m(shape, 0.0, 179.5) == pytest.approx(-0.4 * DEGREE_M)
    assert distance_m(shape, 0.0, -179.5) == pytest.approx(-0.4 * DEGREE_M)
    assert distance_m(shape, 0.0, 180.0) == pytest.approx(0.1 * DEGREE_M)
    assert distance_m(shape, 0.0, 178.0) == pytest.approx(DEGREE_M)
    assert distance_m(shape, 0.0, -178.0) == pytest.approx(DEGREE_M)


def test_east_is_shorter_far_from_the_equator() -> None:
    box = ((10.0, 79.0), (11.0, 79.0), (11.0, 81.0), (10.0, 81.0), (10.0, 79.0))
    assert distance_m(Shape(polygons=((box,),)), 80.0, 12.0) == pytest.approx(DEGREE_M * cos(radians(80)))


def test_depth_of_a_square_is_half_its_side_and_a_hole_makes_it_less() -> None:
    side = 0.001
    square = ((0.0, -side / 2), (side, -side / 2), (side, side / 2), (0.0, side / 2), (0.0, -side / 2))
    assert depth_m(Shape(polygons=((square,),))) == pytest.approx(side * DEGREE_M / 2)
    hole = tuple((x / 2 + side / 4, y / 2) for x, y in square)
    # Three quarters of the area over one and a half times the perimeter.
    assert depth_m(Shape(polygons=((square, hole),))) == pytest.approx(side * DEGREE_M / 4)
    assert depth_m(YARD.shape) == 100


@pytest.mark.parametrize(
    ("at", "covered"),
    [
        ("2026-03-28T23:30+01:00", True),
        ("2026-03-29T01:59+01:00", True),
        # 02:30 does not exist. The clock goes from 02:00 to 03:00, and the window ends there.
        ("2026-03-29T03:00+02:00", False),
        ("2026-10-25T02:29+02:00", True),
        # 02:30 comes twice, and the second one ends the window.
        ("2026-10-25T02:45+02:00", True),
        ("2026-10-25T02:29+01:00", True),
        ("2026-10-25T02:30+01:00", False),
        # The exception replaces the windows that start on its date, not the one of the
        # evening before.
        ("2026-12-25T01:00+01:00", True),
        ("2026-12-25T23:00+01:00", False),
        ("2026-12-25T09:00+01:00", True),
        ("2026-12-25T10:00+01:00", False),
        ("2026-12-26T01:00+01:00", False),
    ],
)
def test_a_night_watch_through_the_changes_of_the_clock(at: str, covered: bool) -> None:
    every = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    document = {
        "weekly": [{"days": every, "from": "22:00", "to": "02:30"}],
        "exceptions": [{"date": "2026-12-25", "windows": [{"from": "08:00", "to": "10:00"}]}],
    }
    assert covers(document, datetime.fromisoformat(at), "Europe/Berlin") == covered


def walk(
    *north_m: float, accuracy: float = 5.0, pause_s: float = 200.0, speed: float | None = None
) -> list[Fix]:
    """Return fixes at these distances north of the middle of the yard.

    Their times are so far apart that the fixes have no scatter.
    """
    moments = [START + timedelta(seconds=pause_s * n) for n in range(len(north_m))]
    return [
        Fix(bytes([n]) * 16, at, at, 52.0 + metres / DEGREE_M, 13.0, accuracy, speed)
        for n, (at, metres) in enumerate(zip(moments, north_m, strict=True))
    ]


def told(
    zones: list[Zone], fixes: list[Fix]
) -> tuple[list[Row], list[tuple[int, str, int | None, datetime]]]:
    rows = Oracle(zones, DEFAULTS, "guard-1", frozenset()).judge(fixes)
    return rows, [(n, c.kind, c.zone_id, c.at) for n, row in enumerate(rows) for c in row.changes]


def test_out_of_the_yard_and_back_again() -> None:
    # 103 m is 3 m outside: less than the error of 5 m, no evidence. 108 and 125 m weigh 1.6 and 4
    # (the cap): less than 6, but two sure ones over more than 60 s are enough. Back: two fixes on
    # the near side of the edge.
    fixes = walk(0, 0, 103, 108, 125, 99, 40)
    rows, changes = told([YARD], fixes)
    at = [fix.recorded_at for fix in fixes]
    assert changes == [
        (1, "entered", 7, at[0]),
        (4, "exited", 7, at[3]),
        (4, "violation_began", 7, at[3]),
        (6, "entered", 7, at[5]),
        (6, "violation_ended", 7, at[5]),
    ]
    assert [row.in_geofence for row in rows] == [True, True, True, True, False, True, True]
    assert [row.violation for row in rows] == [False] * 4 + [True, True, False]


def test_quick_fixes_have_to_weigh_enough() -> None:
    # Second by second: 110 m (2.0² = 4) and 113 m (2.6² = 6.8) weigh 10.8 of 16, 112 m (2.4² = 5.8)
    # is enough.
    fixes = walk(0, 0, 0, 110, 113, 112)
    quick = [
        replace(f, recorded_at=START + timedelta(seconds=130 * min(n, 3) + max(n - 3, 0)))
        for n, f in enumerate(fixes)
    ]
    _, changes = told([YARD], quick)
    assert [change[:2] for change in changes] == [(1, "entered"), (5, "exited"), (5, "violation_began")]
    interrupted = walk(0, 0, 108, 100 - 1e-3, 108)
    assert [change[:2] for change in told([YARD], interrupted)[1]] == [(1, "entered")]


def test_who_was_never_inside_is_without_all_the_same() -> None:
    _, changes = told([YARD], walk(500, 500))
    assert changes == [(1, "violation_began", None, START)], "too far from the yard for its own numbers"


def test_a_small_forbidden_zone_can_be_entered_with_a_poor_fix() -> None:
    # The radius is 10 m: half of the depth, 5 m, counts, not the 30 m that the fixes may be off.
    well = replace(YARD, kind="forbidden", shape=Shape(centre=(13.0, 52.0), radius_m=10))
    _, changes = told([well], walk(1, 1, 1, accuracy=30.0))
    assert changes == [(1, "entered", 7, START), (1, "violation_began", 7, START)]


def test_three_of_one_mind_over_half_a_minute_are_believed_after_all() -> None:
    far = [0.0, 0.0, 50_000, 50_000, 50_001, 50_001]
    fixes = walk(*far, pause_s=20.0)
    rows, changes = told([], [replace(f, mock=n == 1) for n, f in enumerate(fixes)])
    assert [row.implausible for row in rows] == [None, "mock", "teleport", "teleport", None, None]
    assert not changes


def test_faster_than_the_zone_allows() -> None:
    road = replace(YARD, kind="speed", limit_mps=5.0)
    fixes = [replace(f, speed=v) for f, v in zip(walk(0, 0, 0, 0, 200, 200), (1, 9, 9, 9, 9, 9), strict=True)]
    _, changes = told([road], fixes)
    at = [fix.recorded_at for fix in fixes]
    assert changes == [
        (1, "entered", 7, at[0]),
        (2, "speeding_began", 7, at[1]),
        (5, "exited", 7, at[4]),
        (5, "speeding_ended", 7, at[5]),
    ]


def test_a_speed_in_another_unit_is_doubted_and_the_place_is_not() -> None:
    # 65 m in 20 s and twice 5 m of error: at most 7.5 m/s is believed, and 70 m/s never. The
    # distance gives 2.75 m/s.
    road = replace(YARD, kind="speed", limit_mps=5.0)
    on_foot = walk(0, 65, 0, 65, pause_s=20.0)
    for claimed, begins in ((7.4, True), (7.6, False), (71.0, False)):
        rows, changes = told([road], [replace(f, speed=claimed) for f in on_foot])
        assert [row.implausible for row in rows] == [None] * 4
        assert ((2, "speeding_began", 7, START + timedelta(seconds=20)) in changes) == begins


def test_a_fix_at_exactly_0_0_is_no_fix() -> None:
    first, *rest = walk(0, 0, 0)
    rows, changes = told([YARD], [replace(first, lat=0.0, lon=0.0), *rest])
    assert [row.implausible for row in rows] == ["no_fix", None, None]
    assert changes == [(2, "entered", 7, rest[0].recorded_at)]


def test_a_negative_accuracy_is_no_accuracy() -> None:
    # Without a claim a fix may be off by 25 m. 120 m is no evidence of being outside 100 m, 126
    # m is.
    for north_m, outside in ((120, False), (126, True)):
        _, changes = told([YARD], walk(0, 0, north_m, north_m, accuracy=-1.0))
        assert ("exited" in [change[1] for change in changes]) == outside


def test_a_zone_that_is_taken_away_is_left() -> None:
    fixes = walk(0, 0, 0)
    gone = replace(YARD, kind="forbidden", holds_to=fixes[2].recorded_at)
    _, changes = told([gone], fixes)
    assert changes[2:] == [
        (2, "exited", 7, fixes[2].recorded_at),
        (2, "violation_ended", 7, fixes[2].recorded_at),
    ]
