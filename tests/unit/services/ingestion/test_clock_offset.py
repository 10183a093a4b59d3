"""Tests of the measured clock offset.

A steady offset is corrected. Late data is not mistaken for an offset.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestion import clock_offset
from services.ingestion.clock_offset import RIGHT, CorrectedTime, SourceClock

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run(messages: Iterable[tuple[float, float]], clock: SourceClock = RIGHT) -> list[CorrectedTime]:
    """Take messages, given as (device time, receipt) in seconds after noon."""
    found: list[CorrectedTime] = []
    before = None
    for device_s, receipt_s in messages:
        timed = clock_offset.take(clock, after(device_s), after(receipt_s), before=before)
        found.append(timed)
        clock, before = timed.clock, (timed.at, after(receipt_s))
    return found


@pytest.mark.parametrize("offset_s", [-4000, -360, -20, 16, 240, 299])
def test_a_steady_offset_is_corrected_by_the_fourth_message(offset_s: float) -> None:
    found = run((t + offset_s - 0.2, t) for t in range(8))
    for t, timed in list(enumerate(found))[3:]:
        assert timed.corrected
        assert abs((timed.at - after(t)).total_seconds()) <= 1


@pytest.mark.parametrize("lag_s", [0, 1, 14])
def test_a_right_clock_is_left_alone_and_costs_nothing(lag_s: float) -> None:
    for t, timed in enumerate(run((t - lag_s, t) for t in range(50))):
        assert (timed.at, timed.corrected, timed.clock) == (after(t - lag_s), False, RIGHT)


@pytest.mark.parametrize("step_s", [0.5, 1, 10, 60])
def test_a_memory_that_is_emptied_at_once_is_late_and_no_offset(step_s: float) -> None:
    """1,400 messages that were kept for a while arrive within three seconds."""
    found = run((n * step_s - 1400 * step_s - 600, n * 0.002) for n in range(1400))
    assert not any(timed.corrected for timed in found)


def test_a_memory_that_is_emptied_slowly_after_a_gap_is_late_and_no_offset() -> None:
    live = [(t, t) for t in range(10)]
    kept = [(10 + t, 600 + t) for t in range(30)]
    assert not any(timed.corrected for timed in run([*live, *kept]))


def test_a_clock_that_was_set_wrong_over_night_is_an_offset() -> None:
    live = [(t, t) for t in range(10)]
    wrong = [(28_800 - 360 + t, 28_800 + t) for t in range(10)]
    assert run([*live, *wrong])[-1].corrected


def test_no_message_is_from_the_future() -> None:
    [timed] = run([(240, 0)])
    assert timed.corrected
    assert timed.at == NOON


def test_a_clock_that_is_set_right_is_believed_at_once() -> None:
    found = run([*((t + 240, t) for t in range(5)), (5, 5)])
    assert (found[-1].at, found[-1].corrected) == (after(5), False)


def test_what_a_slow_device_kept_is_corrected_and_still_late() -> None:
    slow = [(t - 360, t) for t in range(10)]
    timed = run([*slow, (-3600 - 360, 10)])[-1]
    assert timed.corrected
    assert abs((timed.at - after(-3600)).total_seconds()) <= 1


def test_a_message_that_says_it_was_kept_teaches_nothing() -> None:
    clock = RIGHT
    for t in range(10):
        timed = clock_offset.take(clock, after(t - 500), after(t), buffered=True)
        clock = timed.clock
    assert (timed.corrected, clock) == (False, RIGHT)


def test_delays_of_some_seconds_do_not_hide_an_offset() -> None:
    delays = [0, 3, 1, 4, 0, 2, 5, 1, 0, 3]
    found = run((20 * t - 900 - delay, 20 * t) for t, delay in enumerate(delays))
    assert found[-1].corrected
    assert found[-1].clock.spread_s > 0


@given(st.lists(st.tuples(st.floats(-10_000, 10_000), st.floats(0, 10_000)), max_size=30))
def test_a_corrected_time_is_never_after_receipt(messages: list[tuple[float, float]]) -> None:
    ordered = sorted(messages, key=lambda message: message[1])
    for (_, receipt_s), timed in zip(ordered, run(ordered), strict=True):
        assert not timed.corrected or timed.at <= after(receipt_s)


@given(st.lists(st.tuples(st.floats(-10_000, 10_000), st.floats(0, 10_000)), max_size=10))
def test_what_is_stored_comes_back(messages: list[tuple[float, float]]) -> None:
    for timed in run(sorted(messages, key=lambda message: message[1])):
        assert clock_offset.decode(clock_offset.encode(timed.clock)) == timed.clock
