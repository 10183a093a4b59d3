"""Trial of edited zones on the tracks on record. It only reads; nobody but the caller sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text

from services.contracts.errors import NotFound, Refused
from services.contracts.time_range import Period, as_period, as_time
from services.geofencing.geometry import Geofence, ZoneIndex
from services.geofencing.rule.track import Judge, TrackFix, ZoneSubject
from services.geofencing.rule.what_if import GuardChanges, GuardTrial, as_if_always, edited_zones
from services.ingestion import bulk_insert
from services.location.zone_cache import zone_of
from services.platform import config
from services.platform.database import Database

LONGEST = timedelta(days=31)
A_WEEK = timedelta(days=7)
LEAD_IN = timedelta(hours=1)
"""Time before the period that is judged too, for what was believed when the period began."""
MAX_FIXES = 50_000
"""Most fixes that are judged while a caller waits, in the process that also takes fixes in.

`vigil zone try` takes as many as there are.
"""
PAGE = 500
ZONES = text(
    """
    SELECT zone_id, version, kind, name, site_id, time_zone, group_id, guard_id, ST_AsBinary(area) AS area, radius_m,
           speed_limit_mps, schedule, confirmation, enabled, NULL AS in_force_from, NULL AS in_force_to
    FROM zone_version WHERE tenant_id = :tenant_id AND in_force_to IS NULL ORDER BY zone_id
    """
)
GUARDS = text(
    """
    SELECT l.guard_id, count(*) AS count, ARRAY(SELECT group_id FROM guard_group_member m
           WHERE m.tenant_id = :tenant_id AND m.guard_id = l.guard_id) AS groups
    FROM mqtt_guard_location l
    WHERE tenant_id = :tenant_id AND recorded_at >= :since AND recorded_at < :until
          AND (CAST(:guard_id AS text) IS NULL OR guard_id = :guard_id)
    GROUP BY guard_id ORDER BY guard_id
    """
)
KNOWN = text("SELECT 1 FROM guard WHERE tenant_id = :tenant_id AND guard_id = :guard_id")
FIXES = text(
    """
    SELECT message_key, recorded_at, received_at, lat, lon, accuracy::float8 AS accuracy, speed::float8 AS speed, mock
    FROM mqtt_guard_location
    WHERE tenant_id = :tenant_id AND guard_id = :guard_id AND recorded_at >= :since AND recorded_at < :until
          AND (recorded_at, message_key) > (:since, CAST(:key AS uuid))
    ORDER BY recorded_at, message_key LIMIT :limit
    """
)
BEFORE_ALL = bytes(16)
Said = Callable[[int, int], None]
"""Callback with the number of fixes that have been judged, and the number of all fixes."""


class EditedZone(msgspec.Struct, frozen=True, kw_only=True):
    """A zone of the edit. `outcome` is `new`, `changed` or `unchanged`."""

    name: str
    outcome: str
    zone_id: int | None = None


class WhatIfResult(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that the edit would have made.

    `guards` are those for whom something would have been different.
    """

    since: datetime
    until: datetime
    zones: list[EditedZone]
    fixes: int
    guards_judged: int
    guards: list[GuardChanges]


class WhatIfTrials:
    """Trials for one tenant at a time, in the role that sees only that tenant.

    Raises `Refused`, `NotFound`.
    """

    def __init__(self, database: Database, settings: config.LocationSettings) -> None:
        self._database = database
        self._settings = settings

    def try_zones(
        self,
        edits: Sequence[Mapping[str, Any]],
        *,
        tenant_id: int,
        since: object,
        until: object,
        guard_id: str | None = None,
        max_fixes: int = MAX_FIXES,
        say: Said = lambda *_: None,
    ) -> WhatIfResult:
        """Judge the tracks of a period by today's zones and by the edited zones, and compare.

        Args:
            edits: Edits, as `list_zone_edits` of the directory returns them.
            tenant_id: The tenant.
            since, until: The period.
            guard_id: The only guard to judge. None: all guards.
            max_fixes: The period must not have more fixes.
            say: Called often, so that others may run meanwhile.
        """
        period = as_period(since, until, longest=LONGEST)
        today = self._zones(tenant_id)
        edited = edited_zones(today, [self._edit(number, edit) for number, edit in enumerate(edits, 1)])
        sides = [
            (Judge(ZoneIndex(zones), self._settings), {z.zone_id: z for z in zones})
            for zones in (today, edited)
        ]

        guards = self._guards(period, tenant_id, guard_id)
        total = _check_count(sum(row["count"] for row in guards), max_fixes)

        found, judged = [], 0
        for row in guards:
            trial = GuardTrial(
                ZoneSubject(row["guard_id"], frozenset(row["groups"])), sides[0], sides[1], since=period.since
            )
            for fixes in self._track(row["guard_id"], period, tenant_id):
                trial.take(fixes)
                judged += len(fixes)
                say(min(judged, total), total)
            found.append(trial.difference())

        return WhatIfResult(
            since=period.since,
            until=period.until,
            zones=[
                EditedZone(name=edit["name"], outcome=edit["outcome"], zone_id=edit["zone_id"])
                for edit in edits
            ],
            fixes=sum(item.fixes for item in found),
            guards_judged=len(found),
            guards=[item for item in found if item.differs],
        )

    def _zones(self, tenant_id: int) -> list[Geofence]:
        with self._database.of(tenant_id) as connection:
            found = connection.execute(ZONES, {"tenant_id": tenant_id}).all()
        return [zone_of(row, self._settings) for row in found]

    def _edit(self, number: int, edit: Mapping[str, Any]) -> Geofence:
        """Return the zone of an edit. A new zone has no id yet: it gets one that no zone has."""
        fields = dict(edit["zone"])
        fields |= {
            "area": bytes.fromhex(fields["area"]),
            "zone_id": edit["zone_id"] or -number,
            "in_force_from": None,
            "in_force_to": None,
        }
        return as_if_always(zone_of(SimpleNamespace(**fields), self._settings))

    def _guards(self, period: Period, tenant_id: int, guard_id: str | None) -> Sequence[RowMapping]:
        values = {"tenant_id": tenant_id, "guard_id": guard_id, **period._asdict()}
        with self._database.of(tenant_id) as connection:
            if guard_id is not None and connection.execute(KNOWN, values).first() is None:
                raise NotFound(f"no guard {guard_id} of tenant {tenant_id}; `vigil guard list` lists them")
            return connection.execute(GUARDS, values).mappings().all()

    def _track(self, guard_id: str, period: Period, tenant_id: int) -> Iterator[list[TrackFix]]:
        values = {"tenant_id": tenant_id, "guard_id": guard_id, "until": period.until, "limit": PAGE}
        at, key = period.since - LEAD_IN, BEFORE_ALL

        while True:
            with self._database.of(tenant_id) as connection:
                found = connection.execute(FIXES, {**values, "since": at, "key": key.hex()}).all()
            if not found:
                return
            fixes = [TrackFix(bulk_insert.bytes_of(row.message_key), *row[1:]) for row in found]
            at, key = fixes[-1].recorded_at, fixes[-1].key
            yield fixes


def the_last_week(since: object, until: object, *, now: datetime) -> tuple[object, object]:
    """Return the period that is asked for, with missing ends filled in. Raises `Refused`.

    It ends now, and begins a week before its end.
    """
    end = now if until is None else as_time(until, what="until")
    return (end - A_WEEK if since is None else since), end


def _check_count(count: int, most: int) -> int:
    if count > most:
        raise Refused(
            f"there are {count:,} fixes in the period, and {most:,} at the most are judged while you wait:"
            " name a guard or a shorter period, or use `vigil zone try`"
        )
    return count
