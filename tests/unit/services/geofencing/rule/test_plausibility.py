"""Tests of the fixes that are believed.

The examples are in metres and seconds, at 45 m/s and jumps of 200 m at the most.
"""

import pytest

from services.geofencing.rule.plausibility import (
    PLAUSIBLE,
    Plausibility,
    RememberedFix,
    TeleportSuspects,
    assess,
    doubted,
    own_radius_m,
)
from tests.support.square_site import SETTINGS, seen

GATE = [seen(0, 0.0)]
STOOD = [seen(-10, 0.0), seen(0, 0.0)]
DROVE = [seen(-10, -200.0), seen(0, 0.0)]
"""At 20 m/s."""


def asked(
    fix: RememberedFix,
    memory: list[RememberedFix],
    suspects: TeleportSuspects | None = None,
    *,
    mock: bool = False,
) -> Plausibility:
    return assess(fix, mock=mock, memory=memory, suspects=suspects, settings=SETTINGS)


@pytest.mark.parametrize(
    ("claimed", "own_m"),
    [(None, 25.0), (3.0, 8.0), (8.0, 8.0), (40.0, 40.0), (-1.0, 25.0), (-0.1, 25.0), (0.0, 8.0)],
)
def test_a_fix_is_as_good_as_it_claims_but_never_better_than_the_floor(
    claimed: float | None, own_m: float
) -> None:
    assert own_radius_m(claimed, SETTINGS) == own_m


def test_the_first_fix_is_believed_wherever_it_is() -> None:
    assert asked(seen(0, 5_000_000.0), []) == PLAUSIBLE


def test_a_mock_position_is_none_and_changes_nothing() -> None:
    suspects = TeleportSuspects(2, 0, seen(5, 9_000.0))
    found = asked(seen(10, 0.0), GATE, suspects, mock=True)
    assert (found.reason, found.suspects) == ("mock", suspects)


@pytest.mark.parametrize("memory", [[], GATE], ids=["first", "later"])
def test_a_fix_at_exactly_0_0_is_no_fix_and_changes_nothing(memory: list[RememberedFix]) -> None:
    suspects = TeleportSuspects(2, 0, seen(5, 9_000.0))
    found = asked(RememberedFix(10_000_000, -0.0, 0.0, 8.0), memory, suspects)
    assert (found.reason, found.suspects) == ("no_fix", suspects)


@pytest.mark.parametrize(("lat", "lon"), [(0.0, 9.5), (51.5, 0.0), (1e-6, 0.0)])
def test_the_equator_and_the_meridian_of_greenwich_are_places(lat: float, lon: float) -> None:
    assert asked(RememberedFix(0, lat, lon, 8.0), []) == PLAUSIBLE


@pytest.mark.parametrize(
    ("claimed", "seconds", "east_m", "expected"),
    [
        (45.1, 0, 0.0, True),
        (45.0, 0, 0.0, False),
        (5.04, 10, 14.0, False),
        # Twice the 14 m and both radii of 8 m, in ten seconds: 6 m/s.
        (5.99, 10, 14.0, False),
        (6.01, 10, 14.0, True),
        (18.0, 10, 73.9, True),
        (18.0, 10, 74.1, False),
        (40.0, 10, 13.0, True),
        # A guard who stops reports 0 m/s rightly. After more than a minute nobody knows how the
        # guard moved.
        (0.0, 10, 200.0, False),
        (40.0, 61, 13.0, False),
        (40.0, 60, 13.0, True),
    ],
)
def test_a_claimed_speed_is_doubted_when_the_positions_contradict_it_by_far(
    claimed: float, seconds: float, east_m: float, expected: bool
) -> None:
    assert doubted(claimed, seen(seconds, east_m), GATE[0], SETTINGS) is expected


def test_a_first_fix_contradicts_no_speed_but_one_that_no_guard_has() -> None:
    assert not doubted(40.0, seen(0, 0.0), None, SETTINGS)
    assert doubted(60.0, seen(0, 0.0), None, SETTINGS)


@pytest.mark.parametrize(("east_m", "reason"), [(465.0, None), (467.0, "teleport")])
def test_in_ten_seconds_nobody_comes_further_than_450_m_and_both_radii(
    east_m: float, reason: str | None
) -> None:
    assert asked(seen(10, east_m), GATE).reason == reason


@pytest.mark.parametrize(("east_m", "reason"), [(60.0, None), (62.0, "teleport")])
def test_two_fixes_of_one_moment_are_a_second_apart(east_m: float, reason: str | None) -> None:
    assert asked(seen(0, east_m), GATE).reason == reason


@pytest.mark.parametrize(
    ("memory", "east_m", "reason"),
    [
        (STOOD, 215.0, None),
        (STOOD, 217.0, "teleport"),
        (DROVE, 415.0, None),
        (DROVE, 417.0, "teleport"),
    ],
    ids=["stood, near", "stood, far", "drove, near", "drove, far"],
)
def test_within_a_minute_nobody_leaps_200_m_off_their_way(
    memory: list[RememberedFix], east_m: float, reason: str | None
) -> None:
    assert asked(seen(10, east_m), memory).reason == reason


def test_of_what_took_longer_than_a_minute_nobody_can_say() -> None:
    assert asked(seen(60, 1000.0), STOOD).reason == "teleport"
    assert asked(seen(61, 1000.0), STOOD).reason is None


def test_a_teleport_says_from_where_how_far_and_in_what_time() -> None:
    found = asked(seen(10, 5000.0), GATE)
    assert found.detail == {
        "distance_m": 5000.0,
        "seconds": 10.0,
        "max_speed_mps": 45.0,
        "from_lat": pytest.approx(0.0, abs=1e-9),
        "from_lon": 0.0,
    }
    assert found.suspects == TeleportSuspects(1, seen(10, 5000.0).at_us, seen(10, 5000.0))


def test_teleports_that_agree_over_half_a_minute_are_true_after_all() -> None:
    suspects, found = None, []
    for seconds in (10, 20, 30, 40):
        answer = asked(seen(seconds, 5000.0 + seconds), GATE, suspects)
        suspects = answer.suspects
        found.append((answer.reason, answer.relocated))
    # Three fixes by 30 s, but only 20 s after the first.
    assert found == [("teleport", False)] * 3 + [(None, True)]
    assert suspects is None


def test_teleports_that_do_not_agree_begin_anew() -> None:
    first = asked(seen(10, 5000.0), GATE).suspects
    second = asked(seen(20, -5000.0), GATE, first).suspects
    assert second == TeleportSuspects(1, seen(20, 0.0).at_us, seen(20, -5000.0))


def test_time_that_went_by_with_teleports_brings_nobody_anywhere() -> None:
    suspects = asked(seen(100, 9000.0), GATE).suspects
    assert asked(seen(110, 1000.0), GATE).reason is None
    assert asked(seen(110, 1000.0), GATE, suspects).reason == "teleport"


def test_a_fix_that_follows_on_the_trusted_ones_clears_the_suspects() -> None:
    suspects = asked(seen(10, 5000.0), GATE).suspects
    assert asked(seen(20, 30.0), GATE, suspects) == PLAUSIBLE
    # A jump beyond the short cut of the usual case does so too.
    assert asked(seen(20, 300.0), GATE, suspects) == PLAUSIBLE
