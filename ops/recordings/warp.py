"""How recorded times are moved to now. Pure.

All of a recording is moved by one and the same time: what lies between two fixes says how fast somebody went, and must
stay as it was. How fast it is played changes when fixes are sent, never when they say they were recorded. None is ever
ahead of the clock when it is sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from services.errors import Refused

DAY, WEEK = timedelta(days=1), timedelta(days=7)
SPARE = timedelta(hours=1)
"""Less than the gateway believes at the most: sending may take longer than it should."""


class Move(NamedTuple):
    """`by`: added to each recorded time. `keeps`: `nothing` of the clock, the `time of day`, or the `weekday` too."""

    by: timedelta
    keeps: str


def move_to_now(
    first: datetime, last: datetime, *, now: datetime, speed: float, oldest_s: float, keep_hours: bool
) -> Move:
    """So that the last fix is recorded when it is sent; with `keep_hours`, some days or weeks earlier at the most.

    Schedules of zones go by the clock: for them the hours of the recording must stay, and the weekday where the
    gateway still believes a time so old (`oldest_s`). Raises `Refused` for a recording that is longer than that.
    """
    latest = now + (last - first) / speed - last
    oldest = now - timedelta(seconds=oldest_s) + SPARE
    if not keep_hours:
        return Move(_checked(latest, first, last, oldest, oldest_s), "nothing")
    weeks = latest // WEEK * WEEK
    if first + weeks >= oldest:
        return Move(weeks, "weekday")
    return Move(_checked(latest // DAY * DAY, first, last, oldest, oldest_s), "time of day")


def _checked(by: timedelta, first: datetime, last: datetime, oldest: datetime, oldest_s: float) -> timedelta:
    if first + by < oldest:
        raise Refused(
            f"the recording lasts {_days(last - first)}; times more than {_days(timedelta(seconds=oldest_s))} old are"
            " not believed (gateway.max_clock_age_s), less a day where zones have schedules: replay a part of it"
        )
    return by


def _days(length: timedelta) -> str:
    return f"{length / DAY:.1f} days"
