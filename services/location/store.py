"""SQL of location: fixes, the newest state of each guard, zones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import shapely
from sqlalchemy import Connection, text

from services import rows
from services.admission import keep_rejected
from services.location.zones import Verdict, Zone
from services.messages import Fix, RejectedMessage
from services.owed import OwedEvents
from services.paging import Order, beyond, check_limit
from services.providers import Database
from services.registry import Source

COLUMNS = {
    "lat": "float8",
    "lon": "float8",
    "accuracy": "real",
    "speed": "real",
    "heading": "real",
    "source": "text",
    "mock": "bool",
    "in_geofence": "bool",
    "geofence_violation": "bool",
}
INSERT_FIXES = rows.insert_statement(
    "mqtt_guard_location",
    "guard_id",
    COLUMNS,
    computed={"location": "ST_SetSRID(ST_MakePoint(lon, lat), 4326)::geography"},
)
LOCK_STATES = text(
    "SELECT guard_id, recorded_at, geofence_violation FROM guard_state"
    " WHERE guard_id = ANY(:ids) ORDER BY guard_id FOR UPDATE"
)
# A late fix repairs history; it never moves the marker.
PUT_STATES = text(
    """
    INSERT INTO guard_state AS s (guard_id, tenant_id, recorded_at, received_at, location, lat, lon, accuracy, speed,
                                  heading, in_geofence, geofence_violation)
    SELECT guard_id, tenant_id, recorded_at, received_at, ST_SetSRID(ST_MakePoint(lon, lat), 4326)::geography,
           lat, lon, accuracy, speed, heading, in_geofence, geofence_violation
    FROM unnest(CAST(:guard_id AS text[]), CAST(:tenant_id AS int[]), CAST(:recorded_at AS timestamptz[]),
                CAST(:received_at AS timestamptz[]), CAST(:lat AS float8[]), CAST(:lon AS float8[]),
                CAST(:accuracy AS real[]), CAST(:speed AS real[]), CAST(:heading AS real[]),
                CAST(:in_geofence AS bool[]), CAST(:geofence_violation AS bool[]))
         AS t (guard_id, tenant_id, recorded_at, received_at, lat, lon, accuracy, speed, heading, in_geofence,
               geofence_violation)
    ORDER BY guard_id
    ON CONFLICT (guard_id) DO UPDATE SET tenant_id = excluded.tenant_id, recorded_at = excluded.recorded_at,
        received_at = excluded.received_at, location = excluded.location, lat = excluded.lat, lon = excluded.lon,
        accuracy = excluded.accuracy, speed = excluded.speed, heading = excluded.heading,
        in_geofence = excluded.in_geofence, geofence_violation = excluded.geofence_violation
    WHERE s.recorded_at <= excluded.recorded_at
    """
)
SELECT_ZONES = text(
    "SELECT zone_id, kind, ST_AsBinary(area) AS area, radius_m FROM zone"
    " WHERE tenant_id = :tenant_id AND enabled ORDER BY zone_id"
)
SELECT_POSITIONS = text(
    """
    SELECT guard_id, lat, lon, accuracy, speed, heading, recorded_at, received_at, in_geofence, geofence_violation
    FROM guard_state WHERE tenant_id = :tenant_id AND (CAST(:after_0 AS text) IS NULL OR guard_id > :after_0)
    ORDER BY guard_id LIMIT :limit
    """
)
BY_GUARD = Order((("guard_id", "text"),))


class Judged(NamedTuple):
    """A fix, whose it is, and what the zones say of it."""

    fix: Fix
    source: Source
    verdict: Verdict


MAX_LISTED = 100_000


class GuardState(NamedTuple):
    recorded_at: datetime
    violation: bool


class LocationStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.owed = OwedEvents(database, "location")

    def transaction(self) -> Any:
        """One transaction of the road, for messages of all tenants."""
        return self._database.across()

    def lock_states(self, connection: Connection, guard_ids: Sequence[str]) -> dict[str, GuardState]:
        """The newest state of the known ones, locked until the transaction ends."""
        found = connection.execute(LOCK_STATES, {"ids": sorted(guard_ids)})
        return {row.guard_id: GuardState(row.recorded_at, row.geofence_violation) for row in found}

    def insert(self, connection: Connection, judged: Sequence[Judged]) -> int:
        """Store fixes, each message once; returns how many were new."""
        values = rows.common_values(
            "guard_id", [item.fix.origin for item in judged], [item.source.tenant_id for item in judged]
        )
        for column in ("lat", "lon", "accuracy", "speed", "heading", "source", "mock"):
            values[column] = [getattr(item.fix, column) for item in judged]
        values["in_geofence"] = [item.verdict.in_geofence for item in judged]
        values["geofence_violation"] = [item.verdict.violation for item in judged]
        return rows.insert(connection, INSERT_FIXES, COLUMNS, values)

    def put_states(self, connection: Connection, newest: Sequence[Judged]) -> None:
        if not newest:
            return
        values: dict[str, list[Any]] = {
            "guard_id": [item.fix.origin.source_id for item in newest],
            "tenant_id": [item.source.tenant_id for item in newest],
            "recorded_at": [item.fix.origin.recorded_at for item in newest],
            "received_at": [item.fix.origin.received_at for item in newest],
            "in_geofence": [item.verdict.in_geofence for item in newest],
            "geofence_violation": [item.verdict.violation for item in newest],
        }
        for column in ("lat", "lon", "accuracy", "speed", "heading"):
            values[column] = [getattr(item.fix, column) for item in newest]
        connection.execute(PUT_STATES, rows.arrays(COLUMNS, values))

    def keep_rejected(self, messages: Sequence[RejectedMessage]) -> int:
        with self.transaction() as connection:
            return keep_rejected(connection, messages)

    def zones(self, tenant_id: int) -> list[Zone]:
        with self.transaction() as connection:
            found = connection.execute(SELECT_ZONES, {"tenant_id": tenant_id})
            return [
                Zone(row.zone_id, row.kind, shapely.from_wkb(bytes(row.area)), row.radius_m) for row in found
            ]

    def list_positions(self, tenant_id: int, *, limit: int, after: object = None) -> list[dict[str, Any]]:
        """Raises `Refused`."""
        check_limit(limit, most=MAX_LISTED)
        _, place = beyond(BY_GUARD, after)
        values = {"tenant_id": tenant_id, "limit": limit, "after_0": place.get("after_0")}
        with self._database.of(tenant_id) as connection:
            found = connection.execute(SELECT_POSITIONS, values)
            return [dict(row._mapping) for row in found]
