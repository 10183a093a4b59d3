"""SQL of telemetry: readings, the newest state of each source, refused messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, text

from services.contracts.events import Condition, RejectedMessage
from services.contracts.families import TELEMETRY, BatchedFamily, Reading
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.ingestion import bulk_insert, clock_offset
from services.ingestion.admission import keep_rejected
from services.ingestion.clock_offset import RIGHT, SourceClock
from services.ingestion.effects import Effects
from services.ingestion.source_registry import Source
from services.ingestion.transactional_outbox import TransactionalOutbox
from services.platform.database import Database
from services.platform.prepared_statements import PreparedStatement
from services.telemetry.late_data import MessageTimes
from services.telemetry.rule_engine import RuleState
from services.telemetry.source_states import KnownSource

log = structlog.get_logger(__name__)


_statements = {
    row.table: bulk_insert.insert_statement(row.table, row.source_column, row.columns) for row in TELEMETRY
}

# Sources without a row are locked before all rows, so that two workers with a source's first
# readings take turns.
LOCK_NEWCOMERS = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('vigil source ' || id, 0))"
    " FROM unnest(CAST(:ids AS text[])) AS id"
)
LOCK_STATES = PreparedStatement(
    "SELECT source_id, recorded_at, received_at, clock_suspect, judged_at, conditions, pending, rule_times, clock,"
    " silent_since FROM source_state WHERE source_id = ANY(CAST(:ids AS text[])) ORDER BY source_id FOR UPDATE"
)
STATE = {
    "source_id": "text",
    "tenant_id": "int",
    "recorded_at": "timestamptz",
    "received_at": "timestamptz",
    "clock_suspect": "bool",
    "reading": "text",
    "conditions": "text",
    "pending": "text",
    "rule_times": "text",
    "judged_at": "timestamptz or null",
    "clock": "text",
}
KEPT = ("conditions", "pending", "rule_times", "judged_at", "clock")
"""Columns of a state that late readings may change."""
_AS = {
    "reading": "reading::jsonb",
    "conditions": "string_to_array(conditions, ',')",
    "pending": "pending::jsonb",
    "rule_times": "rule_times::jsonb",
    "clock": "decode(clock, 'hex')",
}


def _unnested(names: Iterable[str]) -> str:
    kinds = {name: STATE[name].removesuffix(" or null") for name in names}
    columns = ", ".join(_AS.get(name, name) for name in kinds)
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in kinds.items())
    return f"SELECT {columns} FROM unnest({arrays}) AS t ({', '.join(kinds)})"  # noqa: S608 - names of our own


PUT_STATES = PreparedStatement(
    f"""
    INSERT INTO source_state ({", ".join(STATE)}, family)
    SELECT t.*, CAST(:family AS text) FROM ({_unnested(STATE)} ORDER BY source_id) AS t ({", ".join(STATE)})
    ON CONFLICT (source_id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in [*STATE, "family"] if name != "source_id")},
        silent_since = NULL
    """  # noqa: S608 - names of our own
)
# Late readings do not change the newest state. They do not end OFFLINE either.
KEEP_STATES = PreparedStatement(
    f"""
    UPDATE source_state s SET {", ".join(f"{name} = t.{name}" for name in KEPT)}
    FROM ({_unnested(["source_id", *KEPT])}) AS t (source_id, {", ".join(KEPT)}) WHERE s.source_id = t.source_id
    """  # noqa: S608 - names of our own
)


TENANTS = text("SELECT tenant_id FROM tenant WHERE tenant_id = ANY(CAST(:ids AS int[]))")

MAX_LISTED = 100_000
BY_SOURCE = ListOrder((("source_id", "text"),))


class SourceAfterBatch(NamedTuple):
    """State of a source after a batch.

    `newest` is its newest reading. None: the batch was late, and the newest reading stays.
    """

    source_id: str
    tenant_id: int
    newest: Reading | None
    judged_at: datetime
    standing: RuleState
    clock: SourceClock


class TelemetryStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.owed = TransactionalOutbox(database, "telemetry")

    def transaction(self) -> Any:
        """Open one transaction of the pipeline, for messages of all tenants."""
        return self._database.across()

    def insert(
        self, connection: Connection, row: BatchedFamily, admitted: Sequence[tuple[Reading, Source]]
    ) -> int:
        """Store readings, each message once. Return the number of new ones."""
        origins = [reading.origin for reading, _ in admitted]
        values = bulk_insert.common_values(
            row.source_column, origins, [source.tenant_id for _, source in admitted]
        )
        for column in row.columns:
            values[column] = [getattr(reading, column) for reading, _ in admitted]
        return bulk_insert.insert(connection, _statements[row.table], row.columns, values)

    def lock_states(
        self, connection: Connection, source_ids: Iterable[str], newcomers: Iterable[str] = ()
    ) -> dict[str, KnownSource]:
        """Lock the states of sources until the transaction ends, and return those that exist.

        `newcomers` seem to have no state. They are locked by name, before all rows.
        """
        if new := sorted(newcomers):
            connection.execute(LOCK_NEWCOMERS, {"ids": bulk_insert.array("text", new)})
        found = LOCK_STATES.run(connection, {"ids": bulk_insert.array("text", sorted(source_ids))})
        return {row.source_id: _known_of(row) for row in found.all()}

    def put_states(
        self, connection: Connection, row: BatchedFamily, states: Sequence[SourceAfterBatch]
    ) -> None:
        """Write states whose rows are locked."""
        moved = [state for state in states if state.newest is not None]
        if moved:
            values = _standings(moved) | _newest(row, [s.newest for s in moved if s.newest is not None])
            PUT_STATES.run(connection, {"family": row.name, **bulk_insert.arrays(STATE, values)})
        if len(moved) < len(states):
            values = _standings([state for state in states if state.newest is None])
            del values["tenant_id"]
            KEEP_STATES.run(connection, bulk_insert.arrays(STATE, values))

    def keep_rejected(self, messages: Sequence[RejectedMessage]) -> int:
        with self.transaction() as connection:
            return keep_rejected(connection, messages)

    def keep_refused(self, messages: Sequence[RejectedMessage], met: Sequence[Condition]) -> Effects:
        """Keep refused messages, and put their conditions into the outbox.

        Conditions of tenants that do not exist are left out.
        """
        effects = Effects()
        with self.transaction() as connection:
            keep_rejected(connection, messages)
            if not met:
                return effects

            ids = bulk_insert.array("int", {condition.tenant_id for condition in met})
            there = set(connection.execute(TENANTS, {"ids": ids}).scalars())
            if absent := {condition.tenant_id for condition in met} - there:
                log.error("refused_alert_dropped", tenant_ids=sorted(absent))

            effects.met = [condition for condition in met if condition.tenant_id in there]
            self.owed.store_events(connection, effects)
            return effects

    def list_states(
        self, tenant_id: int, *, limit: int = 10_000, after: object = None
    ) -> list[dict[str, Any]]:
        """List the newest reading of each source of a tenant, and its conditions.

        The list begins after the place `after`.
        """
        further, place = beyond(BY_SOURCE, after)
        query = text(
            "SELECT source_id, family, recorded_at, received_at, reading, conditions, silent_since, clock"
            f" FROM source_state WHERE tenant_id = :tenant_id AND {further} {BY_SOURCE.clause} LIMIT :limit"
        )
        check_limit(limit, most=MAX_LISTED)
        with self._database.of(tenant_id) as connection:
            found = connection.execute(query, {"tenant_id": tenant_id, "limit": limit, **place})
            return [_listed(dict(row._mapping)) for row in found]


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    clock = clock_offset.decode(row.pop("clock"))
    known = clock.offset_s is not None
    return {**row, "clock_offset_s": clock.offset_s, "clock_spread_s": clock.spread_s if known else None}


def _known_of(row: Any) -> KnownSource:
    """Return the state in a row of `LOCK_STATES`. Most rows have nothing in the last columns."""
    _, recorded_at, received_at, suspect, judged_at, conditions, pending, rule_times, clock, silent_since = (
        row
    )
    moment = MessageTimes(recorded_at, received_at, not suspect)
    standing = RuleState(conditions, _times(pending), _times(rule_times))
    at = moment.at
    judged_at = at if judged_at is None else max(judged_at, at)
    return KnownSource(moment, judged_at, standing, clock_offset.decode(clock), silent_since)


def _standings(states: Sequence[SourceAfterBatch]) -> dict[str, list[Any]]:
    return {
        "source_id": [state.source_id for state in states],
        "tenant_id": [state.tenant_id for state in states],
        "conditions": [
            ",".join(sorted(raised)) if (raised := state.standing.conditions) else "" for state in states
        ],
        "pending": [_json(state.standing.pending) for state in states],
        "rule_times": [_json(state.standing.rule_times) for state in states],
        "judged_at": [_judged_at(state) for state in states],
        "clock": [None if state.clock is RIGHT else _hex(state.clock) for state in states],
    }


def _newest(row: BatchedFamily, readings: Sequence[Reading]) -> dict[str, list[Any]]:
    origins = [reading.origin for reading in readings]
    names = tuple(row.columns)
    shown = [{name: getattr(reading, name) for name in names} for reading in readings]
    return {
        "recorded_at": [origin.recorded_at for origin in origins],
        "received_at": [origin.received_at for origin in origins],
        "clock_suspect": [origin.clock_suspect for origin in origins],
        "reading": [msgspec.json.encode(reading).decode() for reading in shown],
    }


def _judged_at(state: SourceAfterBatch) -> datetime | None:
    if state.newest is None:
        return state.judged_at
    origin = state.newest.origin
    at = min(origin.recorded_at, origin.received_at)
    return state.judged_at if state.judged_at > at else None


def _hex(clock: SourceClock) -> str | None:
    kept = clock_offset.encode(clock)
    return None if kept is None else kept.hex()


def _json(times: Mapping[str, datetime]) -> str | None:
    return msgspec.json.encode(times).decode() if times else None


def _times(stored: dict[str, str] | None) -> dict[str, datetime] | None:
    return msgspec.convert(stored, dict[str, datetime]) if stored else None
