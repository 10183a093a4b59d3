"""Which fixes are believed: examples in metres and seconds, at 45 m/s and jumps of 200 m at the most."""

import pytest

from services.location.plausibility import PLAUSIBLE, Plausibility, Seen, Suspects, assess, own_radius_m
from tests.yard import SETTINGS, seen

GATE = [seen(0, 0.0)]
STOOD = [seen(-10, 0.0), seen(0, 0.0)]
DROVE = [seen(-10, -200.0), seen(0, 0.0)]
"""At 20 m/s."""


def asked(
    fix: Seen,
    memory: list[Seen],
    suspects: Suspects | None = None,
    *,
    speed: float | None = None,
    mock: bool = False,
) -> Plausibility:
    return assess(fix, speed=speed, mock=mock, memory=memory, suspects=suspects, settings=SETTINGS)


@pytest.mark.parametrize(("claimed", "own_m"), [(None, 25.0), (3.0, 8.0), (8.0, 8.0), (40.0, 40.0)])
def test_a_fix_is_as_good_as_it_claims_but_never_better_than_the_floor(
    claimed: float | None, own_m: float
) -> None:
    assert own_radius_m(claimed, SETTINGS) == own_m


def test_the_first_fix_is_believed_wherever_it_is() -> None:
    assert asked(seen(0, 5_000_000.0), []) == PLAUSIBLE


def test_a_mock_position_is_none_and_changes_nothing() -> None:
    suspects = Suspects(2, 0, seen(5, 9_000.0))
    found = asked(seen(10, 0.0), GATE, suspects, mock=True)
    assert (found.reason, found.suspects) == ("mock", suspects)


def test_a_speed_that_no_guard_has_is_named_with_the_limit() -> None:
    assert asked(seen(10, 10.0), GATE, speed=45.0).reason is None
    found = asked(seen(10, 10.0), GATE, speed=45.1)
    assert (found.reason, found.detail) == ("speed", {"speed_mps": 45.1, "max_speed_mps": 45.0})


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
    memory: list[Seen], east_m: float, reason: str | None
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
        "from_lat": 0.0,
        "from_lon": 0.0,
    }
    assert found.suspects == Suspects(1, seen(10, 5000.0).at_us, seen(10, 5000.0))


def test_teleports_that_agree_over_half_a_minute_are_true_after_all() -> None:
    suspects, found = None, []
    for seconds in (10, 20, 30, 40):
        answer = asked(seen(seconds, 5000.0 + seconds), GATE, suspects)
        suspects = answer.suspects
        found.append((answer.reason, answer.relocated))
    # Three by 30 s, but only 20 s after the first.
    assert found == [("teleport", False)] * 3 + [(None, True)]
    assert suspects is None


def test_teleports_that_do_not_agree_begin_anew() -> None:
    first = asked(seen(10, 5000.0), GATE).suspects
    second = asked(seen(20, -5000.0), GATE, first).suspects
    assert second == Suspects(1, seen(20, 0.0).at_us, seen(20, -5000.0))


def test_time_that_went_by_with_teleports_brings_nobody_anywhere() -> None:
    suspects = asked(seen(100, 9000.0), GATE).suspects
    assert asked(seen(110, 1000.0), GATE).reason is None
    assert asked(seen(110, 1000.0), GATE, suspects).reason == "teleport"


def test_a_fix_that_follows_on_the_trusted_ones_clears_the_suspects() -> None:
    suspects = asked(seen(10, 5000.0), GATE).suspects
    assert asked(seen(20, 30.0), GATE, suspects) == PLAUSIBLE
    # So does one beyond the short cut of the usual case.
    assert asked(seen(20, 300.0), GATE, suspects) == PLAUSIBLE
