"""Tests of the move of recorded times to the present."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulation.recordings.time_shift import TimeShift, move_to_now
from services.contracts.errors import Refused

NOW = datetime(2026, 11, 26, 4, tzinfo=UTC)
WEEK_S = 7 * 86_400.0
LAST = datetime(2025, 11, 4, 6, tzinfo=UTC)


def move(hours: float = 8, *, last: datetime = LAST, speed: float = 60, keep: bool = False) -> TimeShift:
    first = last - timedelta(hours=hours)
    return move_to_now(first, last, now=NOW, speed=speed, oldest_s=WEEK_S, keep_hours=keep)


def test_the_last_fix_is_recorded_when_it_is_sent() -> None:
    assert move(speed=60).by == NOW + timedelta(minutes=8) - LAST
    assert move(speed=1).by == NOW + timedelta(hours=8) - LAST


def test_where_schedules_go_by_the_clock_the_weekday_stays_or_at_least_the_hour() -> None:
    weeks = move(keep=True)
    assert (weeks.keeps, weeks.by % timedelta(days=7)) == ("weekday", timedelta(0))
    assert NOW - timedelta(days=7) < LAST + weeks.by <= NOW + timedelta(minutes=8)
    # It ended six and a half days ago by the clock of the week: a shift of a day began too
    # long ago.
    days = move(24, last=NOW - timedelta(days=370, hours=12), keep=True)
    assert (days.keeps, days.by % timedelta(days=1)) == ("time of day", timedelta(0))
    assert days.by % timedelta(days=7)


def test_a_recording_longer_than_what_is_believed_is_refused_with_the_setting() -> None:
    assert move(24 * 6.9).keeps == "nothing"
    with pytest.raises(Refused, match="lasts 7.1 days.*gateway.max_clock_age_s"):
        move(24 * 7.1)
    with pytest.raises(Refused, match="lasts 6.9 days"):
        move(24 * 6.9, keep=True, last=NOW - timedelta(hours=20))


@given(
    st.floats(0, 24 * 5),
    st.floats(1, 1000),
    st.booleans(),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    st.floats(0, 1),
)
def test_no_fix_is_ahead_of_the_clock_when_it_is_sent_and_none_too_old(
    hours: float, speed: float, keep: bool, ended: datetime, part: float
) -> None:
    last = ended.replace(tzinfo=UTC)
    by = move(hours, last=last, speed=speed, keep=keep).by
    first = last - timedelta(hours=hours)
    recorded = first + part * (last - first)
    sent = NOW + (recorded - first) / speed
    assert recorded + by <= sent + timedelta(microseconds=10)
    assert recorded + by > NOW - timedelta(seconds=WEEK_S)
