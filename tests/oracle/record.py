"""A guard's record in memory, as the location service keeps it.

Fixes come in any order, late and again.

The production's own `repair` repairs late fixes. Checkpoints are as rare as in production.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from services.geofencing.rule.late_fixes import (
    Checkpoint,
    FixOnRecord,
    ImplausibleRecord,
    Position,
    RecordChanges,
    TransitionOnRecord,
    implausible_of,
    period_of,
    position_of,
    repair,
)
from services.geofencing.rule.track import Belief, EvaluatedFix, Judge, TrackFix, ZoneSubject, ZoneTransition
from tests.oracle.production import fix_of
from tests.oracle.words import Change, Fix, Row


@dataclass
class Kept:
    """A transition in the record."""

    transition: ZoneTransition
    position: Position
    superseded: bool = False


class Record:
    def __init__(self, guard_id: str, groups: frozenset[int]) -> None:
        self.guard = ZoneSubject(guard_id, groups)
        self.belief: bytes | None = None
        self.frontier: Position | None = None
        self.fixes: dict[Position, FixOnRecord] = {}
        self.transitions: dict[bytes, Kept] = {}
        self.checkpoints: dict[Position, bytes] = {}

    def take(self, judge: Judge, batch: Sequence[Fix]) -> tuple[ZoneSubject, Belief | None, list[TrackFix]]:
        """Repair the late fixes.

        Return the fixes that remain to be judged, and the belief to start from.
        """
        places = {position_of(fix): fix for fix in map(fix_of, batch)}
        new = sorted(place for place in places if place not in self.fixes)
        late = [places[p] for p in new if self.frontier is not None and p < self.frontier]
        if late:
            belief, changes = self._mended(judge, late)
            self._change(changes)
            if belief is not None:
                self.belief = msgspec.msgpack.encode(belief)
        held = None if self.belief is None else msgspec.msgpack.decode(self.belief, type=Belief)
        return self.guard, held, [places[p] for p in new[len(late) :]]

    def keep(self, belief: Belief, steps: Sequence[EvaluatedFix]) -> None:
        if not steps:
            return
        for step in steps:
            self._write(step)
            for transition in step.transitions:
                self.transitions[transition.id] = Kept(transition, position_of(step.fix))
        last = position_of(steps[-1].fix)
        if self.frontier is None or self.belief is None:
            self.checkpoints[last] = msgspec.msgpack.encode(belief)
        elif period_of(self.frontier[0]) != period_of(last[0]):
            self.checkpoints[self.frontier] = self.belief
        self.belief, self.frontier = msgspec.msgpack.encode(belief), last

    def rows(self) -> list[Row]:
        """Return the rows in the order of the track.

        The transitions of one fix are sorted by kind and zone.
        """
        changes: dict[Position, list[Change]] = {}
        for kept in self.transitions.values():
            if not kept.superseded:
                t = kept.transition
                change = Change(t.kind, t.zone_id, t.zone_version, t.at, t.confirmed_at)
                changes.setdefault(kept.position, []).append(change)
        return [self._row(self.fixes[place], changes.get(place, [])) for place in sorted(self.fixes)]

    def _row(self, recorded: FixOnRecord, changes: list[Change]) -> Row:
        assert recorded.verdict is not None
        reason = recorded.implausible.reason if recorded.implausible else None
        return Row(reason, *recorded.verdict, None, unordered(changes))

    def _mended(self, judge: Judge, late: Sequence[TrackFix]) -> tuple[Belief | None, RecordChanges]:
        checkpoints = [
            Checkpoint(place, msgspec.msgpack.decode(belief, type=Belief))
            for place, belief in sorted(self.checkpoints.items())
        ]
        transitions = [
            TransitionOnRecord(
                k.transition.id, k.superseded, k.position, k.transition.zone_version, k.transition.evidence
            )
            for k in self.transitions.values()
        ]
        recorded = [self.fixes[place] for place in sorted(self.fixes)]
        return repair(judge, self.guard, late, recorded, checkpoints, transitions)

    def _change(self, changes: RecordChanges) -> None:
        places = {place[1]: place for place in self.fixes}
        for step in changes.steps:
            self._write(step)
            places[step.fix.key] = position_of(step.fix)
        for transition, key in changes.transitions:
            self.transitions[transition.id] = Kept(transition, places[key])
        for identity in changes.superseded:
            self.transitions[identity].superseded = True
        for checkpoint in changes.checkpoints:
            self.checkpoints[checkpoint.position] = msgspec.msgpack.encode(checkpoint.belief)

    def _write(self, step: EvaluatedFix) -> None:
        implausible: ImplausibleRecord | None = implausible_of(step)
        self.fixes[position_of(step.fix)] = FixOnRecord(
            step.fix, (step.in_geofence, step.violation), implausible
        )


def unordered(changes: Sequence[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda c: (c.kind, c.zone_id or 0, c.at)))


def deliver(judge: Judge, records: Sequence[Record], batches: Sequence[Sequence[Fix]]) -> None:
    """Judge one batch of every guard together."""
    tracks = [record.take(judge, batch) for record, batch in zip(records, batches, strict=True)]
    for record, (belief, steps) in zip(records, judge.judge_many(tracks), strict=True):
        record.keep(belief, steps)
