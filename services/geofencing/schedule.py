"""Schedules of zones: windows of the week and exceptions by date, in a site's time zone. Pure.

    {"weekly": [{"days": ["mon", "tue"], "from": "22:00", "to": "06:00"}],
     "exceptions": [{"date": "2026-12-25", "windows": []}]}

A window whose `to` is not after its `from` ends the next day. The end is not part of the window. An
exception replaces all windows that begin on its date. Wall times are those of the site. A wall time
that does not exist (clocks go forward) becomes the first one that does. Of a wall time that comes
twice (clocks go back), the first begins a window and the second ends it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from services.contracts.errors import Refused

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
SECOND = timedelta(seconds=1)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MAX_WINDOWS = 200
MAX_EXCEPTIONS = 1000
EXAMPLE = '{"days": ["mon"], "from": "22:00", "to": "06:00"}'


class ScheduleWindow(msgspec.Struct, frozen=True):
    """A window in minutes after local midnight of the day on which it begins.

    `end` may be beyond 1,440.
    """

    start: int
    end: int


class Schedule(msgspec.Struct, frozen=True):
    """Windows by weekday (Monday is 0), and by date where there is an exception."""

    weekly: tuple[tuple[ScheduleWindow, ...], ...]
    exceptions: dict[date, tuple[ScheduleWindow, ...]]

    @property
    def is_never(self) -> bool:
        """Return whether there is no window at all."""
        return not any(self.weekly) and not any(self.exceptions.values())

    def windows_on(self, day: date) -> tuple[ScheduleWindow, ...]:
        """Return the windows that begin on a local date."""
        found = self.exceptions.get(day)
        return self.weekly[day.weekday()] if found is None else found


def parse(document: object) -> Schedule:
    """Return the schedule of a JSON document.

    Raises:
        Refused: The document is not valid; the message names the field and the remedy.
    """
    fields = _object(document, "schedule", {"weekly", "exceptions"})
    weekly: list[list[ScheduleWindow]] = [[] for _ in DAYS]

    for number, entry in enumerate(_list(fields.get("weekly", []), "schedule.weekly", most=MAX_WINDOWS)):
        where = f"schedule.weekly[{number}]"
        window = _object(entry, where, {"days", "from", "to"})
        for day in _days(window.get("days"), f"{where}.days"):
            weekly[day].append(_window(window, where))

    exceptions: dict[date, tuple[ScheduleWindow, ...]] = {}
    entries = _list(fields.get("exceptions", []), "schedule.exceptions", most=MAX_EXCEPTIONS)
    for number, entry in enumerate(entries):
        where = f"schedule.exceptions[{number}]"
        exception = _object(entry, where, {"date", "windows"})

        day_of_exception = _date(exception.get("date"), f"{where}.date")
        if day_of_exception in exceptions:
            raise Refused(
                f"{where}.date is {day_of_exception}, which has an exception already; give each date once"
            )

        windows = _list(exception.get("windows"), f"{where}.windows", most=MAX_WINDOWS)
        exceptions[day_of_exception] = tuple(
            _window(_object(w, f"{where}.windows[{n}]", {"from", "to"}), f"{where}.windows[{n}]")
            for n, w in enumerate(windows)
        )

    return Schedule(tuple(map(tuple, weekly)), exceptions)


def covers(schedule: Schedule, at: datetime, time_zone: str) -> bool:
    """Return whether a window holds the moment.

    A window of two days ago may hold it, because clocks may go back in a window that is a day long.
    """
    today = at.astimezone(_zone(time_zone)).date()
    return any(
        _moment(day, window.start, time_zone, fold=0) <= at < _moment(day, window.end, time_zone, fold=1)
        for day in _days_before(today)
        for window in schedule.windows_on(day)
    )


def _days_before(day: date) -> list[date]:
    return [day - timedelta(days=n) for n in range(3) if day.toordinal() > n]


@lru_cache(maxsize=10_000)
def _moment(day: date, minutes: int, time_zone: str, *, fold: int) -> datetime:
    """Return the time (UTC) at which a site's clocks show so many minutes after midnight."""
    zone = _zone(time_zone)
    days, rest = divmod(minutes, 1440)
    wall = datetime.combine(day + timedelta(days=days), time(rest // 60, rest % 60), zone).replace(fold=fold)
    moment = wall.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None, fold=0):
        return moment
    return _end_of_gap(wall)


def _end_of_gap(wall: datetime) -> datetime:
    """Return the first moment after a wall time that does not exist.

    By fold 1, the wall time counts with the offset after the gap, which gives a moment before the
    gap (PEP 495). By fold 0 it gives a moment after the gap. The clocks change between the two.
    """
    zone, after = wall.tzinfo, wall.replace(fold=1).utcoffset()
    low, high = (wall.replace(fold=fold).astimezone(UTC) for fold in (1, 0))
    while high - low > SECOND:
        middle = low + (high - low) // SECOND // 2 * SECOND
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=1000)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _object(value: object, where: str, names: set[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Refused(f"{where} must be an object, such as {EXAMPLE}")
    if unknown := sorted(map(str, set(value) - names)):
        raise Refused(f"{where} has a field {unknown[0][:50]!r}; it may have {', '.join(sorted(names))}")
    return value


def _list(value: object, where: str, *, most: int) -> list[object]:
    if not isinstance(value, list) or len(value) > most:
        raise Refused(f"{where} must be a list of at most {most}")
    return value


def _days(value: object, where: str) -> list[int]:
    if (
        not isinstance(value, list)
        or not value
        or any(day not in DAYS for day in value)
        or len(set(value)) < len(value)
    ):
        raise Refused(f"{where} must be a list of some of {', '.join(DAYS)}, each once")
    return [DAYS.index(day) for day in value]


def _window(fields: dict[str, object], where: str) -> ScheduleWindow:
    start, end = (_minutes(fields.get(name), f"{where}.{name}") for name in ("from", "to"))
    if start == 1440:
        raise Refused(f"{where}.from is 24:00; a window begins at 23:59 at the latest")
    return ScheduleWindow(start, end if end > start else end + 1440)


def _minutes(value: object, where: str) -> int:
    if not isinstance(value, str) or not CLOCK.fullmatch(value):
        raise Refused(f"{where} must be a time of the day from 00:00 to 24:00, such as 22:00")
    hours, _, minutes = value.partition(":")
    return int(hours) * 60 + int(minutes)


def _date(value: object, where: str) -> date:
    if isinstance(value, str) and DATE.fullmatch(value):
        with suppress(ValueError):  # there is no such day: refused like all other texts
            return date.fromisoformat(value)
    raise Refused(f"{where} must be a date, such as 2026-12-25")
