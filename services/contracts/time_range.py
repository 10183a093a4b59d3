"""Times that a caller gives: parsed, and checked against a longest period. Pure."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

from services.contracts.errors import Refused


class Period(NamedTuple):
    """A period of time; `until` is not part of it."""

    since: datetime
    until: datetime


def as_time(moment: object, *, what: str) -> datetime:
    """Return an aware time from a datetime or RFC 3339 text. Raises `Refused` that names `what`."""
    try:
        time = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    except ValueError as error:
        raise Refused(f"{what} is {str(moment)[:50]!r}; write it as 2026-01-31T18:00:00+05:30") from error
    if time.tzinfo is None:
        raise Refused(f"{what} needs an offset, such as 2026-01-31T18:00:00+05:30")
    return time


def as_day(day: object, *, what: str) -> date:
    """Return a calendar day from a date or `2026-01-31`. Raises `Refused` that names `what`."""
    try:
        if isinstance(day, date) and not isinstance(day, datetime):
            return day
        return date.fromisoformat(str(day))
    except ValueError as error:
        raise Refused(f"{what} is {str(day)[:50]!r}; write it as 2026-01-31") from error


def as_period(since: object, until: object, *, longest: timedelta) -> Period:
    """Return two times in their order, not further apart than `longest`.

    Raises:
        Refused: A time is not valid, or the period is empty or too long; the message names the
            field.
    """
    period = Period(as_time(since, what="since"), as_time(until, what="until"))
    if period.until <= period.since:
        raise Refused(f"until ({period.until.isoformat()}) must be after since ({period.since.isoformat()})")
    if period.until - period.since > longest:
        raise Refused(
            f"from since to until is more than {longest.days} days; ask for one part after the other"
        )
    return period
