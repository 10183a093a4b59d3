"""Tests of the next run of a timer."""

import pytest

from services.messaging.timer_pace import NOTHING_DUE, TimerPace

NEVER = float("-inf")
PACE = TimerPace(1.0, 5.0)


def test_a_timer_that_found_work_runs_at_its_interval() -> None:
    assert PACE.next_s(ran_s=100, active_s=NEVER, free_s=None) == 101


def test_a_timer_that_knows_of_nothing_rests() -> None:
    assert PACE.next_s(ran_s=100, active_s=NEVER, free_s=NOTHING_DUE) == 105


@pytest.mark.parametrize(("free_s", "next_s"), [(3.5, 103.5), (0.0, 101), (60, 105)])
def test_what_is_due_earlier_ends_the_rest_in_time(free_s: float, next_s: float) -> None:
    assert PACE.next_s(ran_s=100, active_s=NEVER, free_s=free_s) == next_s


def test_what_was_handled_since_the_run_began_keeps_the_timer_awake() -> None:
    assert PACE.next_s(ran_s=100, active_s=100.2, free_s=NOTHING_DUE) == 101
    assert PACE.next_s(ran_s=100, active_s=99.8, free_s=NOTHING_DUE) == 105


def test_a_timer_stays_awake_for_as_long_as_it_says() -> None:
    pace = TimerPace(1.0, 5.0, awake_s=10.0)
    assert pace.next_s(ran_s=100, active_s=90, free_s=NOTHING_DUE) == 101
    assert pace.next_s(ran_s=101, active_s=90, free_s=NOTHING_DUE) == 106


def test_a_rest_is_no_shorter_than_the_interval() -> None:
    with pytest.raises(ValueError, match="interval"):
        TimerPace(1.0, 0.5)
