"""Moves recorded times to the present. Pure.

All times of a recording are moved by the same amount. The time between two fixes shows the speed of
the guard, so it must stay the same. The speed of the replay changes when fixes are sent, but never
their recorded times. No fix is ahead of the clock when it is sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from services.contracts.errors import Refused

DAY, WEEK = timedelta(days=1), timedelta(days=7)
SPARE = timedelta(hours=1)
"""Margin below the greatest age that the gateway accepts, because sending may be slow."""


class TimeShift(NamedTuple):
    """Move of recorded times.

    `by` is added to each recorded time. `keeps` says what stays: `nothing` of the clock, the `time
    of day`, or the `weekday` too.
    """

    by: timedelta
    keeps: str


def move_to_now(
    first: datetime, last: datetime, *, now: datetime, speed: float, oldest_s: float, keep_hours: bool
) -> TimeShift:
    """Return the move after which the last fix is recorded at the moment when it is sent.

    With `keep_hours`, the times are whole days or weeks earlier. Schedules of zones depend on the
    clock, so the hours of the recording must stay. The weekday stays too, where the gateway still
    accepts times so old.

    Args:
        first: the first time of the recording.
        last: the last time of the recording.
        now: the present time.
        speed: how many times faster than recorded it is played.
        oldest_s: the greatest age that the gateway accepts, in seconds.
        keep_hours: keep the time of day.

    Raises:
        Refused: the recording is longer than `oldest_s`.
    """
    latest = now + (last - first) / speed - last
    oldest = now - timedelta(seconds=oldest_s) + SPARE
    if not keep_hours:
        return TimeShift(_checked(latest, first, last, oldest, oldest_s), "nothing")
    weeks = latest // WEEK * WEEK
    if first + weeks >= oldest:
        return TimeShift(weeks, "weekday")
    return TimeShift(_checked(latest // DAY * DAY, first, last, oldest, oldest_s), "time of day")


def _checked(by: timedelta, first: datetime, last: datetime, oldest: datetime, oldest_s: float) -> timedelta:
    if first + by < oldest:
        raise Refused(
            f"the recording lasts {_days(last - first)}; times more than {_days(timedelta(seconds=oldest_s))} old are"
            " not believed (gateway.max_clock_age_s), less a day where zones have schedules: replay a part of it"
        )
    return by


def _days(length: timedelta) -> str:
    return f"{length / DAY:.1f} days"
