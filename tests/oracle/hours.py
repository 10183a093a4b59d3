"""A slow check of whether a schedule covers a moment.

It tries the windows of the days around, and searches each wall time.

The document: {"weekly": [{"days", "from", "to"}], "exceptions": [{"date", "windows":
[{"from", "to"}]}]}.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def covers(document: dict[str, Any], at: datetime, time_zone: str) -> bool:
    today = at.astimezone(ZoneInfo(time_zone)).date()
    return any(
        start <= at < end
        for back in (2, 1, 0, -1)
        for start, end in _windows(document, today - timedelta(days=back), time_zone)
    )


def _windows(document: dict[str, Any], day: date, time_zone: str) -> list[tuple[datetime, datetime]]:
    """Return the windows that start on this local date."""
    windows = [w for w in document.get("weekly", []) if DAYS[day.weekday()] in w["days"]]
    for exception in document.get("exceptions", []):
        if exception["date"] == day.isoformat():
            windows = exception["windows"]
    spans = []
    for window in windows:
        start, end = _minutes(window["from"]), _minutes(window["to"])
        if end <= start:
            end += 24 * 60
        spans.append((_instant(day, start, time_zone, 0), _instant(day, end, time_zone, -1)))
    return spans


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=100_000)
def _instant(day: date, minutes: int, time_zone: str, which: int) -> datetime:
    """Return the first (0) or the last (-1) moment at which the wall clock shows that time.

    When the clock never shows it, return the first moment after it.
    """
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    zone = ZoneInfo(time_zone)
    about = wall.replace(tzinfo=UTC)
    offsets = {(about + timedelta(hours=h)).astimezone(zone).utcoffset() for h in range(-30, 31)}
    moments = sorted((wall - offset).replace(tzinfo=UTC) for offset in offsets if offset is not None)
    shown = [m for m in moments if m.astimezone(zone).replace(tzinfo=None) == wall]
    if shown:
        return shown[which]
    moment = moments[0] - timedelta(hours=3)
    while moment.astimezone(zone).replace(tzinfo=None) < wall:
        moment += timedelta(minutes=1)
    return moment
