"""Store of fixes, states of guards, and recorded tracks, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from services.contracts.events import RejectedMessage
from services.contracts.families import GUARD, Fix, Origin
from services.geofencing.rule.late_fixes import Checkpoint, Position
from services.geofencing.rule.track import Belief, EvaluatedFix, TrackFix, ZoneTransition
from services.geofencing.rule.transitions import TransitionEvidence
from services.ingestion import bulk_insert
from services.ingestion.admission import keep_rejected
from services.ingestion.clock_offset import RIGHT, SourceClock
from services.ingestion.clock_offset import decode as decode_clock
from services.ingestion.clock_offset import encode as encode_clock
from services.ingestion.source_registry import Source
from services.ingestion.transactional_outbox import TransactionalOutbox
from services.location import sql
from services.location.conditions import ReportedConditions
from services.location.guards.device_clocks import Heard
from services.location.guards.two_devices import QUIET, RememberedJumps
from services.platform.database import Database

AS_JUDGED = ("accuracy", "speed")
"""Fields that are stored as the judge takes them."""
AS_SENT = tuple(name for name in GUARD.fields if name not in AS_JUDGED)
MAX_LISTED = 100_000
NOTHING = ReportedConditions()
SPEED_DOUBTED = "speed_doubted"
"""Quality mark of a fix that is believed, while its claimed speed is not."""
Admitted = tuple[Fix, Source]
"""A fix that the registry admitted, with its guard."""
_belief_decoder = msgspec.msgpack.Decoder(Belief)


class GuardState(NamedTuple):
    """State of a guard, from which the judge goes on.

    `frontier` is the newest fix that was judged. `heard` has the times of the newest fix that was
    believed.
    """

    belief: Belief | None = None
    frontier: Position | None = None
    told: ReportedConditions = ReportedConditions()
    settles_at: datetime | None = None
    clock: SourceClock = RIGHT
    heard: Heard | None = None
    battery_low: bool = False
    jumping: RememberedJumps = QUIET


class GuardOutcome(NamedTuple):
    """State of a guard after a batch.

    `marker` is the fix at which the guard is shown from now on, with its `heading`. None: the guard
    stays where it was.
    """

    source: Source
    belief: Belief
    told: ReportedConditions
    settles_at: datetime | None
    marker: TrackFix | None
    clock: SourceClock = RIGHT
    battery_low: bool = False
    jumping: RememberedJumps = QUIET
    heading: float | None = None


class LocationStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.owed = TransactionalOutbox(database, "location")

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open one transaction of the pipeline, for messages of all tenants."""
        return self._database.across()

    def lock(
        self, connection: Connection, guard_ids: Iterable[str], newcomers: Iterable[str]
    ) -> dict[str, GuardState]:
        """Lock the states of guards until the transaction ends, and return those that exist.

        `newcomers` are guards that seem to have no state.
        """
        if new := sorted(newcomers):
            connection.execute(sql.LOCK_NEWCOMERS, {"ids": bulk_insert.array("text", new)})
        found = sql.LOCK_STATES.run(connection, {"ids": bulk_insert.array("text", sorted(guard_ids))})
        return {guard_id: _state_of(*state) for guard_id, *state in found.all()}

    def newest_recorded(
        self, connection: Connection, first: dict[str, tuple[int, datetime]]
    ) -> dict[str, Position]:
        """Return where the tracks of guards without a judged state end, if they go on after a time.

        `first` has the tenant and the time by guard.
        """
        if not first:
            return {}
        values = {
            "guard_id": bulk_insert.array("text", first),
            "tenant_id": bulk_insert.array("int", [tenant_id for tenant_id, _ in first.values()]),
            "recorded_at": bulk_insert.array("timestamptz", [at for _, at in first.values()]),
        }
        found = connection.execute(sql.NEWEST_RECORDED, values)
        return {row.guard_id: (row.recorded_at, bulk_insert.bytes_of(row.message_key)) for row in found}

    def off_shift(
        self, connection: Connection, asked: Sequence[tuple[Source, datetime]], *, tolerance_s: float
    ) -> set[str]:
        """Return the guards whose shifts are kept, and who are on none at the time asked for."""
        if not asked:
            return set()
        values = {
            "guard_id": bulk_insert.array("text", [source.source_id for source, _ in asked]),
            "tenant_id": bulk_insert.array("int", [source.tenant_id for source, _ in asked]),
            "at": bulk_insert.array("timestamptz", [at for _, at in asked]),
            "tolerance_s": tolerance_s,
        }
        return set(sql.OFF_SHIFT.run(connection, values).scalars())

    def insert(
        self,
        connection: Connection,
        new: Sequence[Admitted],
        verdicts: Mapping[bytes, EvaluatedFix],
    ) -> None:
        """Store new fixes, each with its verdict, by key."""
        if not new:
            return

        steps = [verdicts[fix.origin.key] for fix, _ in new]
        origins = [
            _doubted(fix.origin) if step.speed_doubted else fix.origin
            for (fix, _), step in zip(new, steps, strict=True)
        ]

        values = bulk_insert.common_values("guard_id", origins, [source.tenant_id for _, source in new])
        for column in AS_SENT:
            values[column] = [getattr(fix, column) for fix, _ in new]

        for column in AS_JUDGED:
            values[column] = [getattr(step.fix, column) for step in steps]

        values["in_geofence"] = [step.in_geofence for step in steps]
        values["geofence_violation"] = [step.violation for step in steps]
        sql.INSERT_FIXES.run(connection, bulk_insert.arrays(sql.COLUMNS, values))

    def put_states(self, connection: Connection, outcomes: Sequence[GuardOutcome]) -> None:
        moved = [outcome for outcome in outcomes if outcome.marker is not None]
        if moved:
            values = _states(moved) | _markers(moved)
            sql.PUT_STATES.run(connection, bulk_insert.arrays(sql.STATE | sql.MARKER, values))
        if len(moved) < len(outcomes):
            values = _states([outcome for outcome in outcomes if outcome.marker is None])
            sql.KEEP_STATES.run(connection, bulk_insert.arrays(sql.STATE, values))

    def put_clocks(self, connection: Connection, clocks: Mapping[str, SourceClock]) -> None:
        """Store what is known of guards' clocks.

        The guards have a state, and no new fix on record.
        """
        if not clocks:
            return
        values = {
            "guard_id": bulk_insert.array("text", clocks),
            "clock": bulk_insert.array("bytea", [_stored_clock(clock) for clock in clocks.values()]),
        }
        connection.execute(sql.PUT_CLOCKS, values)

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
        connection.execute(sql.PUT_CHECKPOINTS, bulk_insert.arrays(sql.CHECKPOINTS, values))

    def put_transitions(
        self, connection: Connection, found: Sequence[tuple[Source, ZoneTransition, bytes]], *, late: bool
    ) -> None:
        """Store transitions, each with the key of its confirming fix."""
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

        connection.execute(sql.PUT_TRANSITIONS, bulk_insert.arrays(sql.TRANSITIONS, values))

    def put_implausible(self, connection: Connection, found: Sequence[tuple[Source, EvaluatedFix]]) -> None:
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
        connection.execute(sql.PUT_IMPLAUSIBLE, bulk_insert.arrays(sql.IMPLAUSIBLE, values))

    def keep_rejected(self, messages: Sequence[RejectedMessage]) -> int:
        with self.transaction() as connection:
            return keep_rejected(connection, messages)


def belief_of(stored: Any) -> Belief:
    return _belief_decoder.decode(bytes(stored))


def reported_conditions_of(row: Any) -> ReportedConditions:
    return _told(row.violation_told, row.repeat_told_at, row.speeding_told)


def _told(violation: bool, repeat_at: datetime | None, speeding: Sequence[int]) -> ReportedConditions:
    # For nearly all guards, nothing was reported.
    return (
        ReportedConditions(violation, repeat_at, frozenset(speeding))
        if violation or repeat_at or speeding
        else NOTHING
    )


def evidence_of(document: Any) -> TransitionEvidence:
    return msgspec.convert(document, TransitionEvidence)


def _state_of(
    belief: Any,
    judged_at: datetime | None,
    judged_key: Any,
    violation_told: bool,
    repeat_told_at: datetime | None,
    speeding_told: Sequence[int],
    settles_at: datetime | None,
    clock: Any,
    battery_low: bool,
    jumps: float,
    jumps_told: bool,
    recorded_at: datetime,
    received_at: datetime,
) -> GuardState:
    """Return the state that a row of `LOCK_STATES` holds. The parameters are its columns."""
    return GuardState(
        None if belief is None else belief_of(belief),
        None if judged_at is None else (judged_at, bytes(judged_key)),
        _told(violation_told, repeat_told_at, speeding_told),
        settles_at,
        RIGHT if clock is None else decode_clock(clock),
        (recorded_at, received_at),
        battery_low,
        RememberedJumps(jumps, jumps_told) if jumps or jumps_told else QUIET,
    )


def _stored_clock(clock: SourceClock) -> bytes:
    """Return a clock as it is stored: empty when nothing speaks against it (null in the table)."""
    return encode_clock(clock) or b""


def _doubted(origin: Origin) -> Origin:
    return msgspec.structs.replace(origin, quality=(*origin.quality, SPEED_DOUBTED))


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
        "speeding_told": [bulk_insert.array("int", sorted(outcome.told.speeding)) for outcome in outcomes],
        "settles_at": [outcome.settles_at for outcome in outcomes],
        "clock": [_stored_clock(outcome.clock) for outcome in outcomes],
        "battery_low": [outcome.battery_low for outcome in outcomes],
        "jumps": [outcome.jumping.jumps for outcome in outcomes],
        "jumps_told": [outcome.jumping.told for outcome in outcomes],
    }


def _markers(outcomes: Sequence[GuardOutcome]) -> dict[str, list[Any]]:
    markers = [outcome.marker for outcome in outcomes if outcome.marker is not None]
    values: dict[str, list[Any]] = {
        column: [getattr(fix, column) for fix in markers]
        for column in ("recorded_at", "received_at", "lat", "lon", "accuracy", "speed")
    }
    values["heading"] = [outcome.heading for outcome in outcomes]
    return values
