"""Repair of a track whose fixes came late: the changes that its record needs. Pure.

The record is read piece by piece, from the checkpoint before the earliest late fix on. When the
belief at a later checkpoint is the same as before, nothing after it can differ until the next late
fix. The record is not read from there to the checkpoint before that fix.

The number of fixes between two checkpoints bounds the cost of a late fix, whatever the density of
fixes in time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from services.geofencing.rule.track import Belief, EvaluatedFix, Judge, TrackFix, ZoneSubject, ZoneTransition
from services.geofencing.rule.transitions import TransitionEvidence

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHECKPOINT_INTERVAL_S = 900.0
CHECKPOINT_FIXES = 250
"""Number of fixes after which a checkpoint is made, however close in time they are."""
LOOK_AHEAD = 8
"""Late fixes within this many checkpoints of the next late fix are mended together.

They need one look at the record.
"""
Position = tuple[datetime, bytes]
"""A place in a track: (recorded_at, key)."""
BEGINNING: Position = (datetime.min.replace(tzinfo=UTC), b"\0" * 16)
END: Position = (datetime.max.replace(tzinfo=UTC), b"\xff" * 16)


class Checkpoint(NamedTuple):
    """Belief after the fix of this position."""

    position: Position
    belief: Belief


class ImplausibleRecord(NamedTuple):
    reason: str
    detail: dict[str, float]


class FixOnRecord(NamedTuple):
    """A fix as it is on record. A late fix is not on record yet: its `verdict` is None."""

    fix: TrackFix
    verdict: tuple[bool, bool] | None = None
    """(in_geofence, geofence_violation)."""
    implausible: ImplausibleRecord | None = None

    @property
    def position(self) -> Position:
        return position_of(self.fix)


class TransitionOnRecord(NamedTuple):
    id: bytes
    superseded: bool
    position: Position
    """Position of the fix that confirmed it."""
    zone_version: int | None
    evidence: TransitionEvidence


class RecordChanges(NamedTuple):
    """Changes that make the record agree with the track."""

    steps: list[EvaluatedFix]
    """Late fixes, and recorded ones whose verdict or plausibility has changed."""
    transitions: list[tuple[ZoneTransition, bytes]]
    """Transitions to put on record (again), each with the key of its confirming fix."""
    superseded: list[bytes]
    """Ids of transitions that do not hold."""
    checkpoints: list[Checkpoint]
    """New checkpoints, and those at which the belief has changed."""


class LateFixRepair:
    """Repair of one guard's record. Call `go_on` with each further piece until it returns True.

    `belief` is what is believed at the end. None: the belief at the end has not changed.
    """

    def __init__(
        self,
        judge: Judge,
        guard: ZoneSubject,
        start: Checkpoint | None,
        late: Sequence[TrackFix],
        ahead: Sequence[Checkpoint] = (),
    ) -> None:
        """Begin at `start`. `ahead` are the checkpoints on record after `start`, in order."""
        self._judge = judge
        self._guard = guard
        self._late = sorted(late, key=position_of)
        self._ahead = ahead
        self._at = start.belief if start is not None else None
        self._periods = set() if start is None else {period_of(start.position[0])}
        self._reach = 1
        self.through = start.position if start is not None else BEGINNING
        self.changes = RecordChanges([], [], [], [])
        self.belief: Belief | None = None

    @property
    def stretches(self) -> int:
        """Return the number of pairs of neighbouring checkpoints with late fixes between them.

        It is the least cost of the repair.
        """
        places = [checkpoint.position for checkpoint in self._ahead]
        return len({bisect_left(places, position_of(fix)) for fix in self._late})

    @property
    def after(self) -> Position:
        """Return the position from which the record is read, without the fix at that position.

        Without a checkpoint, the record is read from its beginning.
        """
        return self.through

    def go_on(
        self,
        recorded: Sequence[FixOnRecord],
        checkpoints: Sequence[Checkpoint],
        transitions: Sequence[TransitionOnRecord],
        *,
        until: Position = END,
    ) -> bool:
        """Judge all that is on record after `after`, up to and with `until`.

        Returns:
            True when the rest of the record needs no look.
        """
        late = [FixOnRecord(fix) for fix in self._late if self.through < position_of(fix) <= until]
        piece = sorted([*recorded, *late], key=lambda item: item.position)
        kept = {checkpoint.position: checkpoint.belief for checkpoint in checkpoints}
        self._periods |= {period_of(position[0]) for position in kept}
        made: dict[bytes, tuple[ZoneTransition, bytes]] = {}
        looked_at: list[tuple[Position, Position]] = []
        is_over, self._reach = False, 2 * self._reach

        for stretch in _stretches(piece, kept):
            if stretch[-1].position <= self.through:
                continue  # nothing differs here
            since = self.through
            self._stretch(stretch, kept, made)
            looked_at.append((since, self.through))
            if kept.get(self.through) == self._at:
                is_over = not self._go_to_next()
                if is_over:
                    break
        else:
            looked_at.append((self.through, until))
            self.through = max(self.through, until)

        # Transitions stand as they are where the record was not looked at.
        self._compare(made, [found for found in transitions if _is_within(found.position, looked_at)])
        if not is_over and until == END:
            self.belief = self._at

        return is_over or until == END

    def read_until(self) -> Position:
        """Return the position up to which the record should be read next.

        It is the position of a checkpoint after the next late fixes. Each time it is twice as far.
        """
        late = [position_of(fix) for fix in self._late]
        following = next((position for position in late if position > self.through), self.through)
        beyond = [checkpoint.position for checkpoint in self._ahead if checkpoint.position > following]
        horizon = beyond[LOOK_AHEAD - 1] if len(beyond) >= LOOK_AHEAD else END
        last = max((position for position in late if position <= horizon), default=self.through)
        beyond = [position for position in beyond if position > max(last, self.through)]
        return beyond[self._reach - 1] if len(beyond) >= self._reach else END

    def _go_to_next(self) -> bool:
        """Go on from the checkpoint before the next late fix. Return False when there is none."""
        following = next((fix for fix in self._late if position_of(fix) > self.through), None)
        if following is None:
            return False
        for checkpoint in self._ahead:
            if self.through < checkpoint.position < position_of(following):
                self.through, self._at = checkpoint.position, checkpoint.belief
        self._reach = 1
        return True

    def _stretch(
        self,
        stretch: Sequence[FixOnRecord],
        kept: dict[Position, Belief],
        made: dict[bytes, tuple[ZoneTransition, bytes]],
    ) -> None:
        """Judge a stretch: up to a checkpoint, or up to where there should be one."""
        self._at, steps = self._judge.judge(self._guard, self._at, [item.fix for item in stretch])
        for item, step in zip(stretch, steps, strict=True):
            made |= {transition.id: (transition, step.fix.key) for transition in step.transitions}
            if item.verdict != (step.in_geofence, step.violation) or item.implausible != implausible_of(step):
                self.changes.steps.append(step)

        self.through = stretch[-1].position
        period = period_of(self.through[0])
        is_long = len(stretch) >= CHECKPOINT_FIXES and self.through not in kept
        if kept.get(self.through, self._at) != self._at or period not in self._periods or is_long:
            self._periods.add(period)
            self.changes.checkpoints.append(Checkpoint(self.through, self._at))

    def _compare(
        self, made: dict[bytes, tuple[ZoneTransition, bytes]], recorded: Iterable[TransitionOnRecord]
    ) -> None:
        known = {found.id: found for found in recorded}
        for identity, (transition, key) in made.items():
            found = known.get(identity)
            if found is None or found.superseded or not _says_the_same(found, transition):
                self.changes.transitions.append((transition, key))
        gone = [found.id for found in known.values() if not found.superseded and found.id not in made]
        self.changes.superseded.extend(gone)


def repair(
    judge: Judge,
    guard: ZoneSubject,
    late: Sequence[TrackFix],
    recorded: Sequence[FixOnRecord],
    checkpoints: Sequence[Checkpoint],
    transitions: Sequence[TransitionOnRecord],
) -> tuple[Belief | None, RecordChanges]:
    """Judge a record again that is at hand as a whole.

    Returns:
        The belief at the end, or None when it stays the same, and the changes.
    """
    first = min(position_of(fix) for fix in late)
    before = [checkpoint for checkpoint in checkpoints if checkpoint.position < first]
    start = max(before, key=lambda checkpoint: checkpoint.position, default=None)
    after = start.position if start is not None else BEGINNING
    ahead = sorted((item for item in checkpoints if item.position > after), key=lambda item: item.position)
    mending = LateFixRepair(judge, guard, start, late, ahead)
    mending.go_on(
        [item for item in recorded if item.position > after],
        ahead,
        [found for found in transitions if found.position > after],
    )

    return mending.belief, mending.changes


def position_of(fix: TrackFix) -> Position:
    return fix.recorded_at, fix.key


def implausible_of(step: EvaluatedFix) -> ImplausibleRecord | None:
    return None if step.implausible is None else ImplausibleRecord(step.implausible, step.detail)


def _says_the_same(found: TransitionOnRecord, transition: ZoneTransition) -> bool:
    return (found.zone_version, found.evidence) == (transition.zone_version, transition.evidence)


def period_of(at: datetime) -> int:
    """Return the number of the period of a time. A checkpoint is made once in each period."""
    return int((at - EPOCH).total_seconds() // CHECKPOINT_INTERVAL_S)


def _stretches(piece: Sequence[FixOnRecord], kept: dict[Position, Belief]) -> Iterable[list[FixOnRecord]]:
    """Cut after each checkpoint, where a period ends, and after `CHECKPOINT_FIXES` fixes."""
    for _, of_period in groupby(piece, key=lambda item: period_of(item.fix.recorded_at)):
        stretch: list[FixOnRecord] = []
        for item in of_period:
            stretch.append(item)
            if item.position in kept or len(stretch) >= CHECKPOINT_FIXES:
                yield stretch
                stretch = []
        if stretch:
            yield stretch


def _is_within(position: Position, ranges: Iterable[tuple[Position, Position]]) -> bool:
    return any(since < position <= until for since, until in ranges)
