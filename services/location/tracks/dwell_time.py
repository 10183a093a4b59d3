"""Time of guards in zones, day by day, in each zone's time zone, from their transitions. Pure.

Belief is counted: from the first fix that showed an entry to the first that showed the exit, as
docs/zones.md says. A stay without an exit counts until the guard's last fix: after that nobody
knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec


class ZoneCrossing(NamedTuple):
    """Entry of one guard into a zone, or exit.

    The crossings of a guard and zone come in the order of time.
    """

    guard_id: str
    zone_id: int
    at: datetime
    entered: bool


class ZoneStay(NamedTuple):
    """Stay in a zone, from entry to exit. `open` is True when there was no exit."""

    guard_id: str
    zone_id: int
    begin: datetime
    end: datetime
    open: bool


class DwellDay(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of one local day that a guard was believed in a zone.

    `open` is True when the guard has not left the zone since.
    """

    guard_id: str
    zone_id: int
    day: date
    seconds: float
    stays: int
    open: bool


def stays(
    crossings: Iterable[ZoneCrossing], last_fixes: dict[str, datetime], *, since: datetime, until: datetime
) -> Iterator[ZoneStay]:
    """Yield the stays between two times, cut to them.

    A stay that began before `since` begins there.
    """
    inside: dict[tuple[str, int], datetime] = {}
    for crossing in crossings:
        key = crossing.guard_id, crossing.zone_id
        if crossing.entered:
            inside.setdefault(key, crossing.at)
        elif (begin := inside.pop(key, None)) is not None:
            yield from _cut(ZoneStay(*key, begin, crossing.at, False), since, until)

    for (guard_id, zone_id), begin in inside.items():
        end = last_fixes.get(guard_id, begin)
        yield from _cut(ZoneStay(guard_id, zone_id, begin, max(begin, end), True), since, until)


def _cut(stay: ZoneStay, since: datetime, until: datetime) -> Iterator[ZoneStay]:
    begin, end = max(stay.begin, since), min(stay.end, until)
    if begin < end:
        yield stay._replace(begin=begin, end=end)


def by_day(found: Iterable[ZoneStay], time_zones: dict[int, str]) -> list[DwellDay]:
    """Divide each stay's seconds among the local days that it touches.

    A day may have 23 or 25 hours.
    """
    seconds: dict[tuple[str, int, date], float] = defaultdict(float)
    count: dict[tuple[str, int, date], int] = defaultdict(int)

    still: set[tuple[str, int, date]] = set()
    for stay in found:
        zone = ZoneInfo(time_zones.get(stay.zone_id, "UTC"))
        for day, begin, end in _days(stay.begin, stay.end, zone):
            key = stay.guard_id, stay.zone_id, day
            seconds[key] += (end - begin).total_seconds()
            count[key] += 1
            if stay.open:
                still.add(key)

    return [
        DwellDay(
            guard_id=key[0],
            zone_id=key[1],
            day=key[2],
            seconds=round(seconds[key], 3),
            stays=count[key],
            open=key in still,
        )
        for key in sorted(seconds, key=lambda key: (key[2], key[0], key[1]))
    ]


def _days(begin: datetime, end: datetime, zone: ZoneInfo) -> Iterator[tuple[date, datetime, datetime]]:
    """Yield the parts of a stretch by local day."""
    day = begin.astimezone(zone).date()
    while begin < end:
        midnight = day_bounds(day, zone)[1]
        part = min(end, midnight)
        if begin < part:
            yield day, begin, part
        begin, day = max(begin, part), day + timedelta(days=1)


def day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the beginning and the end of a local day.

    A midnight that a change of clocks leaves out is the moment of the change.
    """
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1)))
    return begin.astimezone(UTC), end.astimezone(UTC)
