"""Fixes, states of guards, and what is on record of their tracks, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from services import rows
from services.admission import keep_rejected
from services.location import statements as sql
from services.location.conditions import Told
from services.location.evidence import Evidence
from services.location.repair import Checkpoint, Position
from services.location.track import Belief, Step, TrackFix, Transition
from services.messages import Fix, RejectedMessage
from services.owed import OwedEvents
from services.providers import Database
from services.registry import Source

MAX_LISTED = 100_000
_belief_decoder = msgspec.msgpack.Decoder(Belief)


class Arrived(NamedTuple):
    """A fix, whose it is, and the same as the judge wants it."""

    fix: Fix
    source: Source
    track: TrackFix


class GuardState(NamedTuple):
    """What is held true of a guard: `frontier` is the newest fix that was judged."""

    belief: Belief | None = None
    frontier: Position | None = None
    told: Told = Told()
    settles_at: datetime | None = None


class GuardOutcome(NamedTuple):
    """A guard's state after a batch. `marker` is the fix that it is shown at from now on; None: where it was."""

    source: Source
    belief: Belief
    told: Told
    settles_at: datetime | None
    marker: Arrived | None


class LocationStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.owed = OwedEvents(database, "location")

    def transaction(self) -> AbstractContextManager[Connection]:
        """One transaction of the road, for messages of all tenants."""
        return self._database.across()

    def lock(
        self, connection: Connection, guard_ids: Iterable[str], newcomers: Iterable[str]
    ) -> dict[str, GuardState]:
        """The states of those that have one, locked until the transaction ends. `newcomers` seem to have none."""
        if new := sorted(newcomers):
            connection.execute(sql.LOCK_NEWCOMERS, {"ids": rows.array("text", new)})
        found = connection.execute(sql.LOCK_STATES, {"ids": rows.array("text", sorted(guard_ids))})
        return {row.guard_id: _state_of(row) for row in found.all()}

    def newest_recorded(
        self, connection: Connection, first: dict[str, tuple[int, datetime]]
    ) -> dict[str, Position]:
        """Where tracks end that go on after a time, of guards without a judged state (by guard: tenant, time)."""
        if not first:
            return {}
        values = {
            "guard_id": rows.array("text", first),
            "tenant_id": rows.array("int", [tenant_id for tenant_id, _ in first.values()]),
            "recorded_at": rows.array("timestamptz", [at for _, at in first.values()]),
        }
        found = connection.execute(sql.NEWEST_RECORDED, values)
        return {row.guard_id: (row.recorded_at, rows.bytes_of(row.message_key)) for row in found}

    def insert(
        self, connection: Connection, arrived: Sequence[Arrived], verdicts: dict[bytes, tuple[bool, bool]]
    ) -> None:
        """Store new fixes, each with its verdict (by key: in_geofence, geofence_violation)."""
        if not arrived:
            return
        origins = [item.fix.origin for item in arrived]
        values = rows.common_values("guard_id", origins, [item.source.tenant_id for item in arrived])
        for column in ("lat", "lon", "heading", "source", "mock"):
            values[column] = [getattr(item.fix, column) for item in arrived]
        for column in ("accuracy", "speed"):
            values[column] = [getattr(item.track, column) for item in arrived]
        values["in_geofence"] = [verdicts[origin.key][0] for origin in origins]
        values["geofence_violation"] = [verdicts[origin.key][1] for origin in origins]
        connection.execute(sql.INSERT_FIXES, rows.arrays(sql.COLUMNS, values))

    def put_states(self, connection: Connection, outcomes: Sequence[GuardOutcome]) -> None:
        moved = [outcome for outcome in outcomes if outcome.marker is not None]
        if moved:
            values = _states(moved) | _markers([o.marker for o in moved if o.marker is not None])
            connection.execute(sql.PUT_STATES, rows.arrays(sql.STATE | sql.MARKER, values))
        if len(moved) < len(outcomes):
            values = _states([outcome for outcome in outcomes if outcome.marker is None])
            connection.execute(sql.KEEP_STATES, rows.arrays(sql.STATE, values))

    def put_checkpoints(
        self, connection: Connection, checkpoints: Sequence[tuple[Source, Checkpoint]]
    ) -> None:
        if not checkpoints:
            return
        values: dict[str, list[Any]] = {
            "tenant_id": [source.tenant_id for source, _ in checkpoints],
            "guard_id": [source.source_id for source, _ in checkpoints],
            "recorded_at": [checkpoint.position[0] for _, checkpoint in checkpoints],
            "message_key": [checkpoint.position[1] for _, checkpoint in checkpoints],
            "belief": [msgspec.msgpack.encode(checkpoint.belief) for _, checkpoint in checkpoints],
        }
        connection.execute(sql.PUT_CHECKPOINTS, rows.arrays(sql.CHECKPOINTS, values))

    def put_transitions(
        self, connection: Connection, found: Sequence[tuple[Source, Transition, bytes]], *, late: bool
    ) -> None:
        """Each with the key of its confirming fix."""
        if not found:
            return
        values: dict[str, list[Any]] = {
            "transition_id": [transition.id for _, transition, _ in found],
            "tenant_id": [source.tenant_id for source, _, _ in found],
            "guard_id": [source.source_id for source, _, _ in found],
            "confirmed_key": [key for _, _, key in found],
            "late": [late] * len(found),
            "evidence": [msgspec.json.encode(transition.evidence).decode() for _, transition, _ in found],
        }
        for column in ("kind", "zone_id", "zone_version", "at", "confirmed_at"):
            values[column] = [getattr(transition, column) for _, transition, _ in found]
        connection.execute(sql.PUT_TRANSITIONS, rows.arrays(sql.TRANSITIONS, values))

    def put_implausible(self, connection: Connection, found: Sequence[tuple[Source, Step]]) -> None:
        if not found:
            return
        values: dict[str, list[Any]] = {
            "message_key": [step.fix.key for _, step in found],
            "tenant_id": [source.tenant_id for source, _ in found],
            "guard_id": [source.source_id for source, _ in found],
            "recorded_at": [step.fix.recorded_at for _, step in found],
            "reason": [step.implausible for _, step in found],
            "detail": [msgspec.json.encode(step.detail).decode() for _, step in found],
        }
        connection.execute(sql.PUT_IMPLAUSIBLE, rows.arrays(sql.IMPLAUSIBLE, values))

    def keep_rejected(self, messages: Sequence[RejectedMessage]) -> int:
        with self.transaction() as connection:
            return keep_rejected(connection, messages)


def belief_of(stored: Any) -> Belief:
    return _belief_decoder.decode(bytes(stored))


def told_of(row: Any) -> Told:
    return Told(row.violation_told, row.repeat_told_at, frozenset(row.speeding_told))


def evidence_of(document: Any) -> Evidence:
    return msgspec.convert(document, Evidence)


def _state_of(row: Any) -> GuardState:
    belief = None if row.belief is None else belief_of(row.belief)
    frontier = None if row.judged_at is None else (row.judged_at, bytes(row.judged_key))
    return GuardState(belief, frontier, told_of(row), row.settles_at)


def _states(outcomes: Sequence[GuardOutcome]) -> dict[str, list[Any]]:
    return {
        "guard_id": [outcome.source.source_id for outcome in outcomes],
        "tenant_id": [outcome.source.tenant_id for outcome in outcomes],
        "in_geofence": [outcome.belief.in_geofence for outcome in outcomes],
        "geofence_violation": [outcome.belief.violation for outcome in outcomes],
        "belief": [msgspec.msgpack.encode(outcome.belief) for outcome in outcomes],
        "judged_at": [outcome.belief.last_at for outcome in outcomes],
        "judged_key": [outcome.belief.last_key for outcome in outcomes],
        "violation_told": [outcome.told.violation for outcome in outcomes],
        "repeat_told_at": [outcome.told.repeat_at for outcome in outcomes],
        "speeding_told": [rows.array("int", sorted(outcome.told.speeding)) for outcome in outcomes],
        "settles_at": [outcome.settles_at for outcome in outcomes],
    }


def _markers(arrived: Sequence[Arrived]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {
        "recorded_at": [item.track.recorded_at for item in arrived],
        "received_at": [item.track.received_at for item in arrived],
    }
    for column in ("lat", "lon", "accuracy", "speed"):
        values[column] = [getattr(item.track, column) for item in arrived]
    values["heading"] = [item.fix.heading for item in arrived]
    return values
