"""Tests of the order of one source's readings: only times of one clock are compared."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.telemetry.late_data import MessageTimes, in_order, is_older

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def moment(device_s: float | None, receipt_s: float) -> MessageTimes:
    """Return a moment in seconds after noon. Without a device time it has the receipt's time."""
    received_at = NOON + timedelta(seconds=receipt_s)
    if device_s is None:
        return MessageTimes(received_at, received_at, timed=False)
    return MessageTimes(NOON + timedelta(seconds=device_s), received_at)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((-60, 1), (-10, 0)),  # device times decide, not the order of receipt
        ((-10, 0), (-10, 1)),  # within one second, the receipt decides
        ((None, 0), (None, 1)),
        ((None, 0), (-20, 1)),  # a clock 20 s slow after a message without time
        ((-20, 0), (None, 1)),
        ((-3600, 0), (None, 1)),
        ((10, 0), (1, 2)),  # a clock 10 s fast that was set right
        ((15, 0), (0.5, 1)),
        ((0, 0), (-1, 1)),  # clamped to receipt, then set right
        ((-600, 5), (0.2, 0)),  # a kept reading is older than a live reading of a clock 0.2 s fast
        ((-16, 5), (0, 0)),
    ],
)
def test_which_of_two_readings_is_older(
    first: tuple[float | None, float], second: tuple[float | None, float]
) -> None:
    assert is_older(moment(*first), moment(*second))
    assert not is_older(moment(*second), moment(*first))


def test_a_time_ahead_of_receipt_is_the_time_of_receipt() -> None:
    assert moment(10, 0).at == NOON
    assert moment(-10, 0).at == NOON - timedelta(seconds=10)


def test_a_batch_with_device_times_is_sorted_by_them_and_any_other_by_receipt() -> None:
    timed = [(moment(-1, 0), "b"), (moment(-60, 1), "a")]
    assert [name for _, name in in_order(timed)] == ["a", "b"]
    mixed = [(moment(None, 2), "c"), *timed]
    assert [name for _, name in in_order(mixed)] == ["b", "a", "c"]


times = st.tuples(st.one_of(st.none(), st.floats(-1000, 15)), st.floats(0, 100))


@given(times, times)
def test_of_two_readings_at_most_one_is_older(
    first: tuple[float | None, float], second: tuple[float | None, float]
) -> None:
    one, other = moment(*first), moment(*second)
    assert not (is_older(one, other) and is_older(other, one))
    assert (one[:2] == other[:2]) or is_older(one, other) or is_older(other, one)


@given(st.permutations([moment(None, 1), moment(-5, 2), moment(3, 3), moment(-400, 4)]))
def test_the_order_of_a_batch_does_not_depend_on_how_it_was_put_together(moments: list[MessageTimes]) -> None:
    ordered = in_order((moment, None) for moment in moments)
    assert [moment.received_at for moment, _ in ordered] == sorted(moment.received_at for moment in moments)
