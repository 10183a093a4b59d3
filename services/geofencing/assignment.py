"""Zones that apply to a guard at a time, and the required zones in force. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from services.geofencing.geometry import Geofence
from services.geofencing.schedule import covers


class ZoneSubject(NamedTuple):
    """The guard who is judged, and the guard's groups."""

    guard_id: str
    groups: frozenset[int] = frozenset()


def holds(zone: Geofence, at: datetime) -> bool:
    """Return True when this version of the zone is the version of that time."""
    return (zone.in_force_from is None or zone.in_force_from <= at) and (
        zone.in_force_to is None or at < zone.in_force_to
    )


def applies(zone: Geofence, guard: ZoneSubject) -> bool:
    """Return True when a version that holds is meant for the guard, in force or not."""
    if not zone.enabled:
        return False
    if zone.group_id is None and zone.guard_id is None:
        return True
    return zone.group_id in guard.groups or zone.guard_id == guard.guard_id


def in_force(zone: Geofence, at: datetime) -> bool:
    """Return True when the schedule of a zone that applies covers the time."""
    return zone.schedule is None or covers(zone.schedule, at, zone.time_zone)


class RequiredZones:
    """All versions of required zones, by the guards for whom they are meant.

    A guard's own zones are found without a look at those of others. Zones that hold for ever and
    for all come first: then every question is a look at the first of a list.
    """

    def __init__(self, zones: Iterable[Geofence]) -> None:
        self._of_all: list[Geofence] = []
        self._of_group: dict[int, list[Geofence]] = {}
        self._of_guard: dict[str, list[Geofence]] = {}
        for zone in sorted(zones, key=_restrictions):
            if zone.kind != "required" or not zone.enabled:
                continue
            if zone.group_id is None and zone.guard_id is None:
                self._of_all.append(zone)
            if zone.group_id is not None:
                self._of_group.setdefault(zone.group_id, []).append(zone)
            if zone.guard_id is not None:
                self._of_guard.setdefault(zone.guard_id, []).append(zone)

    def any_in_force(self, guard: ZoneSubject, at: datetime) -> bool:
        return any(holds(zone, at) and in_force(zone, at) for zone in self._of(guard))

    def _of(self, guard: ZoneSubject) -> Iterator[Geofence]:
        yield from self._of_all
        yield from self._of_guard.get(guard.guard_id, ())
        for group in guard.groups:
            yield from self._of_group.get(group, ())


def _restrictions(zone: Geofence) -> tuple[bool, bool, bool]:
    return (zone.schedule is not None, zone.in_force_to is not None, zone.in_force_from is not None)
