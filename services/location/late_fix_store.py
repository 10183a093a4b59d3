"""Recorded tracks, read and mended where fixes came late: `repair`, for several guards at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from services.geofencing.rule.late_fixes import (
    Checkpoint,
    FixOnRecord,
    ImplausibleRecord,
    LateFixRepair,
    Position,
    TransitionOnRecord,
    position_of,
)
from services.geofencing.rule.track import EvaluatedFix, Judge, TrackFix, ZoneSubject
from services.ingestion import bulk_insert
from services.ingestion.source_registry import Source
from services.location import sql
from services.location.store import LocationStore, belief_of, evidence_of


class LateFixes(NamedTuple):
    """Fixes of one guard that came late, all before the newest that was judged."""

    source: Source
    judge: Judge
    fixes: Sequence[TrackFix]


class TrackRepair(NamedTuple):
    """A track that is being repaired."""

    source: Source
    mending: LateFixRepair
    ahead: list[Checkpoint]
    """Checkpoints on record after the earliest late fix."""


class LateFixStore:
    def __init__(self, store: LocationStore) -> None:
        self._store = store

    def begin(self, connection: Connection, tracks: Sequence[LateFixes]) -> list[TrackRepair]:
        """Return the work for each track: it is judged again from a checkpoint on."""
        first = {track.source.source_id: min(map(position_of, track.fixes)) for track in tracks}
        kept = self._checkpoints(connection, first)

        work = []
        for source, judge, fixes in tracks:
            mine = kept.get(source.source_id, [])
            before = [checkpoint for checkpoint in mine if checkpoint.position < first[source.source_id]]
            guard = ZoneSubject(source.source_id, source.groups)
            ahead = mine[len(before) :]
            mending = LateFixRepair(judge, guard, before[-1] if before else None, fixes, ahead)
            work.append(TrackRepair(source, mending, ahead))

        return work

    def judge_again(self, connection: Connection, work: Sequence[TrackRepair]) -> None:
        """Judge recorded tracks again, piece by piece, until the rest needs no look.

        Each piece that is read is twice as long as the one before.
        """
        while work:
            work = self._go_on(connection, work)

    def repair(
        self,
        connection: Connection,
        source: Source,
        mending: LateFixRepair,
        *,
        new: set[bytes],
        now: datetime,
    ) -> None:
        """Write what has changed. Fixes whose keys are `new` are not on record yet."""
        changes = mending.changes
        known = [step for step in changes.steps if step.fix.key not in new]
        self._mend_fixes(connection, source, known)
        self._store.put_implausible(
            connection, [(source, step) for step in changes.steps if step.implausible is not None]
        )

        if plausible := [step.fix.key for step in known if step.implausible is None]:
            connection.execute(sql.DROP_IMPLAUSIBLE, {"ids": bulk_insert.array("uuid", plausible)})

        self._store.put_transitions(
            connection, [(source, transition, key) for transition, key in changes.transitions], late=True
        )
        if changes.superseded:
            values = {"ids": bulk_insert.array("uuid", changes.superseded), "now": now}
            connection.execute(sql.SUPERSEDE, values)

        self._store.put_checkpoints(connection, [(source, checkpoint) for checkpoint in changes.checkpoints])

    def _go_on(self, connection: Connection, work: Sequence[TrackRepair]) -> list[TrackRepair]:
        """Judge a further piece of each track. Return the tracks that have to go on."""
        until = {item.source.source_id: item.mending.read_until() for item in work}
        pieces = bulk_insert.arrays(sql.PIECES, _pieces(work, until))
        recorded = self._recorded(connection, pieces)
        transitions = self._transitions(connection, pieces)

        further = []
        for item in work:
            guard_id = item.source.source_id
            through = item.mending.through
            ahead = [found for found in item.ahead if through < found.position <= until[guard_id]]
            if not item.mending.go_on(
                recorded.get(guard_id, []), ahead, transitions.get(guard_id, []), until=until[guard_id]
            ):
                further.append(item)

        return further

    def _checkpoints(self, connection: Connection, first: dict[str, Position]) -> dict[str, list[Checkpoint]]:
        values = {
            "guard_id": bulk_insert.array("text", first),
            "recorded_at": bulk_insert.array("timestamptz", [at for at, _ in first.values()]),
            "message_key": bulk_insert.array("uuid", [key for _, key in first.values()]),
        }
        found: dict[str, list[Checkpoint]] = {}
        for row in connection.execute(sql.SELECT_CHECKPOINTS, values):
            position = (row.recorded_at, bulk_insert.bytes_of(row.message_key))
            found.setdefault(row.guard_id, []).append(Checkpoint(position, belief_of(row.belief)))

        return found

    def _recorded(self, connection: Connection, pieces: dict[str, str]) -> dict[str, list[FixOnRecord]]:
        found: dict[str, list[FixOnRecord]] = {}
        for row in connection.execute(sql.RECORDED, pieces):
            found.setdefault(row.guard_id, []).append(_recorded(row))
        return found

    def _transitions(
        self, connection: Connection, pieces: dict[str, str]
    ) -> dict[str, list[TransitionOnRecord]]:
        found: dict[str, list[TransitionOnRecord]] = {}
        for row in connection.execute(sql.RECORDED_TRANSITIONS, pieces):
            position = (row.confirmed_at, bulk_insert.bytes_of(row.confirmed_key))
            found.setdefault(row.guard_id, []).append(
                TransitionOnRecord(
                    bulk_insert.bytes_of(row.transition_id),
                    row.superseded,
                    position,
                    row.zone_version,
                    evidence_of(row.evidence),
                )
            )

        return found

    def _mend_fixes(self, connection: Connection, source: Source, steps: Sequence[EvaluatedFix]) -> None:
        if not steps:
            return

        values: dict[str, list[Any]] = {
            "tenant_id": [source.tenant_id] * len(steps),
            "guard_id": [source.source_id] * len(steps),
            "recorded_at": [step.fix.recorded_at for step in steps],
            "message_key": [step.fix.key for step in steps],
            "in_geofence": [step.in_geofence for step in steps],
            "geofence_violation": [step.violation for step in steps],
        }
        connection.execute(sql.MEND_FIXES, bulk_insert.arrays(sql.COLUMNS | {"guard_id": "text"}, values))


def _pieces(work: Sequence[TrackRepair], until: dict[str, Position]) -> dict[str, list[Any]]:
    after = [item.mending.after for item in work]
    to = [until[item.source.source_id] for item in work]
    return {
        "tenant_id": [item.source.tenant_id for item in work],
        "guard_id": [item.source.source_id for item in work],
        "from_at": [at for at, _ in after],
        "from_key": [key for _, key in after],
        "to_at": [at for at, _ in to],
        "to_key": [key for _, key in to],
    }


def _recorded(row: Any) -> FixOnRecord:
    fix = TrackFix(
        bulk_insert.bytes_of(row.message_key),
        row.recorded_at,
        row.received_at,
        row.lat,
        row.lon,
        row.accuracy,
        row.speed,
        row.mock,
    )

    implausible = None if row.reason is None else ImplausibleRecord(row.reason, row.detail)
    return FixOnRecord(fix, (row.in_geofence, row.geofence_violation), implausible)
