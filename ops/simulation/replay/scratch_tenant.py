"""The tenant that recordings are played into.

It is marked as such. Its zones and guards are removed for each replay.

Findings about its guards' fixes are published at once, whatever the age of the fixes
(`Source.replayed`). Positions, transitions and alerts of earlier replays go by retention, like
those of any tenant. The guards of earlier replays are disabled, and their alerts are resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from services.alerts.escalation_worker import EscalationPolicies
from services.alerts.grouping import AlertGrouping
from services.alerts.lifecycle import AlertAction
from services.alerts.store import AlertStore, PersonAction
from services.contracts.errors import Conflict, NotFound, Refused
from services.platform.config import Config
from services.platform.database import Database

FIRST_ID = 900_001
NAME = "Replays"
LAST_ID = 2**31 - 1
LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('vigil replay ' || CAST(:tenant_id AS text), 0))")
SCRATCH = text(
    "SELECT tenant_id FROM tenant WHERE settings @> '{\"replay\": true}' ORDER BY tenant_id LIMIT 1"
)
TENANT = text("SELECT settings @> '{\"replay\": true}' AS scratch FROM tenant WHERE tenant_id = :tenant_id")
FREE = text("SELECT greatest(:first, coalesce(max(tenant_id) + 1, 0)) FROM tenant WHERE tenant_id < :last")
MAKE = text(
    "INSERT INTO tenant (tenant_id, name, settings) VALUES (:tenant_id, :name, '{\"replay\": true}')"
    " ON CONFLICT DO NOTHING"
)
# A replay's times are in the past, so no zone version of an earlier replay may be in force then.
EMPTY = (
    "DELETE FROM zone_version WHERE tenant_id = :tenant_id",
    "DELETE FROM zone WHERE tenant_id = :tenant_id",
    "DELETE FROM guard_group WHERE tenant_id = :tenant_id",
    "UPDATE guard SET enabled = false WHERE tenant_id = :tenant_id AND enabled",
)
OPEN_ALERTS = text(
    "SELECT alert_id::text FROM mqtt_device_alert WHERE tenant_id = :tenant_id"
    " AND status NOT IN ('RESOLVED', 'FALSE_ALARM') ORDER BY alert_id"
)
EARLIER = PersonAction(AlertAction.RESOLVE, by="vigil replay", note="of an earlier replay")
GUARDS = text(
    "SELECT guard_id, ARRAY(SELECT group_id FROM guard_group_member m WHERE m.tenant_id = g.tenant_id"
    " AND m.guard_id = g.guard_id) AS groups FROM guard g WHERE tenant_id = :tenant_id AND guard_id = ANY(:ids)"
)
ZONES = text(
    "SELECT zone_id, name, group_id, guard_id, schedule IS NOT NULL AS scheduled FROM zone"
    " WHERE tenant_id = :tenant_id AND enabled ORDER BY zone_id"
)
ADD_GUARD = text("INSERT INTO guard (guard_id, tenant_id, name) VALUES (:guard_id, :tenant_id, :name)")
ADD_GROUP = text("INSERT INTO guard_group (tenant_id, name) VALUES (:tenant_id, :name) RETURNING group_id")
ADD_MEMBER = text(
    "INSERT INTO guard_group_member (tenant_id, group_id, guard_id) VALUES (:tenant_id, :group_id, :guard_id)"
)
COPY_SITES = text(
    """
    INSERT INTO site (tenant_id, name, time_zone, location)
    SELECT :tenant_id, name, time_zone, location FROM site
    WHERE tenant_id = :of AND site_id IN (SELECT site_id FROM zone WHERE tenant_id = :of AND enabled)
    ON CONFLICT (tenant_id, name) DO UPDATE SET time_zone = excluded.time_zone, location = excluded.location
    """
)
COPY_ZONE = text(
    """
    INSERT INTO zone (tenant_id, name, site_id, kind, area, radius_m, group_id, speed_limit_mps, schedule, confirmation,
                      changed_by, in_force_from)
    SELECT :tenant_id, z.name, s.site_id, z.kind, z.area, z.radius_m, :group_id, z.speed_limit_mps, z.schedule,
           z.confirmation, :by, '-infinity'
    FROM zone z LEFT JOIN site o ON o.site_id = z.site_id
         LEFT JOIN site s ON s.tenant_id = :tenant_id AND s.name = o.name
    WHERE z.zone_id = :zone_id
    """
)


class ReplaySetup(NamedTuple):
    """Setup of a replay: ids of its guards by their tracks, and its zones."""

    tenant_id: int
    guards: dict[str, str]
    zones: int
    scheduled: bool


class ScratchTenant:
    """Tenant for replays, with the owner's rights.

    Methods raise `Refused`, `NotFound`, `Conflict` and `Unavailable`.
    """

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._alerts = AlertStore(
            database,
            ladder=EscalationPolicies.from_config(config).ladder,
            storms=AlertGrouping(config.alerts.storm),
        )

    def find(self, tenant_id: int | None) -> int:
        """Return the tenant of that number, and make it when there is none.

        Without a number, return the first tenant for replays, or a new one.
        """
        with self._database.across() as connection:
            found = tenant_id or connection.execute(SCRATCH).scalar_one_or_none()
            found = found or connection.execute(FREE, {"first": FIRST_ID, "last": LAST_ID}).scalar_one()
            connection.execute(MAKE, {"tenant_id": found, "name": f"{NAME} {found}"})
            if not connection.execute(TENANT, {"tenant_id": found}).scalar_one():
                raise Refused(
                    f"tenant {found} is in use; a replay goes into a tenant of its own: leave --into out,"
                    " or name a number that is free"
                )

        return int(found)

    @contextmanager
    def held(self, tenant_id: int) -> Iterator[None]:
        """Keep other replays from emptying the tenant during this replay."""
        connection = self._database.session()
        try:
            if not connection.execute(LOCK, {"tenant_id": tenant_id}).scalar_one():
                raise Conflict(
                    f"another replay goes into tenant {tenant_id}; wait for it, or use --into with another number"
                )
            yield
        finally:
            connection.invalidate()  # the lock belongs to the connection, which must not go back to the pool
            connection.close()

    def resolve_earlier(self, tenant_id: int) -> None:
        """Resolve alerts of earlier replays.

        Nobody takes these alerts, so they would be followed for ever.
        """
        with self._database.of(tenant_id) as connection:
            found = list(connection.execute(OPEN_ALERTS, {"tenant_id": tenant_id}).scalars())
        for alert_id in found:
            self._alerts.act(EARLIER, tenant_id=tenant_id, alert_id=alert_id, now=datetime.now(UTC))

    def lay_out(
        self, tenant_id: int, tracks: Sequence[str], *, zones_of: int, guard_id: str | None, run: str
    ) -> ReplaySetup:
        """Make guards for these tracks, and copy the zones of another tenant that apply to them.

        A track stands for the guard that it names, or for `guard_id`. When the track names no guard
        of that tenant, only the zones for everybody apply.
        """
        guards = {track: f"replay-{run}-{number}" for number, track in enumerate(tracks, 1)}
        with self._database.across() as connection:
            for statement in EMPTY:
                connection.execute(text(statement), {"tenant_id": tenant_id})

            stands_for = self._stands_for(connection, tracks, zones_of, guard_id)
            for track, its_id in guards.items():
                name = stands_for[track].guard_id if track in stands_for else track
                connection.execute(
                    ADD_GUARD, {"guard_id": its_id, "tenant_id": tenant_id, "name": name or its_id}
                )

            connection.execute(COPY_SITES, {"tenant_id": tenant_id, "of": zones_of})
            zones = connection.execute(ZONES, {"tenant_id": zones_of}).all()
            copied = [zone for zone in zones if self._copy(connection, zone, tenant_id, guards, stands_for)]

        return ReplaySetup(tenant_id, guards, len(copied), any(zone.scheduled for zone in copied))

    def _stands_for(
        self, connection: Connection, tracks: Iterable[str], zones_of: int, guard_id: str | None
    ) -> dict[str, Any]:
        """Return the guard's row by track, without tracks that name no guard."""
        names = {track: guard_id or _as_guard(track) for track in tracks}
        rows = connection.execute(GUARDS, {"tenant_id": zones_of, "ids": sorted(set(names.values()))})
        known = {row.guard_id: row for row in rows}
        if guard_id is not None and guard_id not in known:
            raise NotFound(f"no guard {guard_id} of tenant {zones_of}; `vigil guard list` lists them")
        return {track: known[name] for track, name in names.items() if name in known}

    def _copy(
        self,
        connection: Connection,
        zone: Any,
        tenant_id: int,
        guards: Mapping[str, str],
        stands_for: Mapping[str, Any],
    ) -> bool:
        """Copy a zone, and return whether it was copied.

        A zone for some guards gets a new group of the guards that stand for them. When there are
        none, the zone is not copied.
        """
        values = {"tenant_id": tenant_id, "zone_id": zone.zone_id, "group_id": None, "by": "vigil replay"}
        if zone.group_id is not None or zone.guard_id is not None:
            mine = [
                guards[track]
                for track, row in stands_for.items()
                if zone.group_id in row.groups or zone.guard_id == row.guard_id
            ]
            if not mine:
                return False

            group = {"tenant_id": tenant_id, "name": f"those of {zone.name}"}
            values["group_id"] = connection.execute(ADD_GROUP, group).scalar_one()

            for its_id in mine:
                connection.execute(ADD_MEMBER, {**values, "guard_id": its_id})

        connection.execute(COPY_ZONE, values)
        return True


def _as_guard(track: str) -> str:
    """Return an id as ids are kept: a guard's number becomes `guard-<number>`."""
    return f"guard-{track}" if track.isascii() and track.isdigit() else track
