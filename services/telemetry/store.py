"""SQL of telemetry: readings, the newest state of each source, refused messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, text

from services import rows
from services.admission import keep_rejected
from services.messages import RejectedMessage
from services.owed import OwedEvents
from services.paging import Order, beyond, check_limit
from services.providers import Database
from services.registry import Source
from services.telemetry.findings import Reading, Standing


class Shape(msgspec.Struct, frozen=True):
    """How one kind of reading is stored: its table, the column of its source, its own columns."""

    family: str
    table: str
    source_column: str
    columns: dict[str, str]

    def statement(self) -> Any:
        return rows.insert_statement(self.table, self.source_column, self.columns)


DEVICE = Shape(
    "device",
    "mqtt_device_telemetry",
    "device_id",
    {"battery": "real", "signal": "real", "temperature": "real", "connectivity": "text"},
)
SENSOR = Shape(
    "sensor",
    "mqtt_sensor_reading",
    "sensor_id",
    {"kind": "text", "type": "text", "value": "float8", "state": "text"},
)
SYSTEM = Shape(
    "system",
    "mqtt_system_health",
    "system_id",
    {"cpu": "real", "memory": "real", "disk": "real", "uptime": "float8"},
)

_statements = {shape.table: shape.statement() for shape in (DEVICE, SENSOR, SYSTEM)}

LOCK_STATES = text(
    "SELECT source_id, recorded_at, conditions, pending, silent_since FROM source_state"
    " WHERE source_id = ANY(:ids) ORDER BY source_id FOR UPDATE"
)
# A late reading changes history, never the newest state.
PUT_STATES = text(
    """
    INSERT INTO source_state AS s (source_id, tenant_id, family, recorded_at, received_at, reading, conditions, pending)
    SELECT source_id, tenant_id, :family, recorded_at, received_at, reading::jsonb, string_to_array(conditions, ','),
           pending::jsonb
    FROM unnest(CAST(:source_id AS text[]), CAST(:tenant_id AS int[]), CAST(:recorded_at AS timestamptz[]),
                CAST(:received_at AS timestamptz[]), CAST(:reading AS text[]), CAST(:conditions AS text[]),
                CAST(:pending AS text[]))
         AS t (source_id, tenant_id, recorded_at, received_at, reading, conditions, pending)
    ORDER BY source_id
    ON CONFLICT (source_id) DO UPDATE SET tenant_id = excluded.tenant_id, family = excluded.family,
        recorded_at = excluded.recorded_at, received_at = excluded.received_at, reading = excluded.reading,
        conditions = excluded.conditions, pending = excluded.pending, silent_since = NULL
    WHERE s.recorded_at <= excluded.recorded_at
    """
)


MAX_LISTED = 100_000
BY_SOURCE = Order((("source_id", "text"),))


class State(msgspec.Struct, frozen=True):
    """The newest known of a source."""

    source_id: str
    tenant_id: int
    recorded_at: datetime
    received_at: datetime
    reading: dict[str, Any]
    conditions: tuple[str, ...]
    pending: dict[str, datetime]


class Known(NamedTuple):
    """Device time of a source's newest state, what it came to, and since when the source has been silent."""

    recorded_at: datetime
    standing: Standing
    silent_since: datetime | None = None


class TelemetryStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.owed = OwedEvents(database, "telemetry")

    def transaction(self) -> Any:
        """One transaction of the road, for messages of all tenants."""
        return self._database.across()

    def insert(self, connection: Connection, shape: Shape, admitted: Sequence[tuple[Reading, Source]]) -> int:
        """Store readings, each message once; returns how many were new."""
        origins = [reading.origin for reading, _ in admitted]
        values = rows.common_values(
            shape.source_column, origins, [source.tenant_id for _, source in admitted]
        )
        for column in shape.columns:
            values[column] = [getattr(reading, column) for reading, _ in admitted]
        return rows.insert(connection, _statements[shape.table], shape.columns, values)

    def lock_states(self, connection: Connection, source_ids: Sequence[str]) -> dict[str, Known]:
        """The newest state of the known ones, locked until the transaction ends."""
        found = connection.execute(LOCK_STATES, {"ids": sorted(source_ids)})
        return {
            row.source_id: Known(
                row.recorded_at, Standing(row.conditions, _times(row.pending)), row.silent_since
            )
            for row in found
        }

    def put_states(self, connection: Connection, shape: Shape, states: Sequence[State]) -> None:
        if not states:
            return
        values: dict[str, list[Any]] = {
            "source_id": [state.source_id for state in states],
            "tenant_id": [state.tenant_id for state in states],
            "recorded_at": [state.recorded_at for state in states],
            "received_at": [state.received_at for state in states],
            "reading": [msgspec.json.encode(state.reading).decode() for state in states],
            "conditions": [",".join(state.conditions) for state in states],
            "pending": [
                msgspec.json.encode(state.pending).decode() if state.pending else None for state in states
            ],
        }
        connection.execute(PUT_STATES, {"family": shape.family, **rows.arrays({}, values)})

    def keep_rejected(self, messages: Sequence[RejectedMessage]) -> int:
        with self.transaction() as connection:
            return keep_rejected(connection, messages)

    def list_states(self, tenant_id: int, *, limit: int, after: object = None) -> list[dict[str, Any]]:
        """The newest state of each device, sensor and system of a tenant, from the place `after` on."""
        further, place = beyond(BY_SOURCE, after)
        query = text(
            "SELECT source_id, family, recorded_at, received_at, reading, conditions, silent_since FROM source_state"
            f" WHERE tenant_id = :tenant_id AND {further} {BY_SOURCE.clause} LIMIT :limit"
        )
        check_limit(limit, most=MAX_LISTED)
        with self._database.of(tenant_id) as connection:
            found = connection.execute(query, {"tenant_id": tenant_id, "limit": limit, **place})
            return [dict(row._mapping) for row in found]


def _times(pending: dict[str, str] | None) -> dict[str, datetime]:
    return msgspec.convert(pending or {}, dict[str, datetime])
