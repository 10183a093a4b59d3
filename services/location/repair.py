"""A track judged again because fixes of it came late: what of its record has to change. Pure.

The record is read piece by piece, from the checkpoint before the earliest late fix on. When what is believed at a
later checkpoint is what was believed there before, nothing after it can differ until the next late fix: the record is
not looked at from there to the checkpoint before that one.

How much a late fix costs is bounded by the number of fixes between two checkpoints, whatever their density in time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from services.location.evidence import Evidence
from services.location.track import Belief, Guarded, Judge, Step, TrackFix, Transition

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHECKPOINT_INTERVAL_S = 900.0
CHECKPOINT_FIXES = 250
"""A checkpoint is made after so many fixes, however close in time they are."""
LOOK_AHEAD = 8
"""Late fixes within so many checkpoints of the next one are mended with one look at the record."""
Position = tuple[datetime, bytes]
"""A place in a track: (recorded_at, key)."""
BEGINNING: Position = (datetime.min.replace(tzinfo=UTC), b"\0" * 16)
END: Position = (datetime.max.replace(tzinfo=UTC), b"\xff" * 16)


class Checkpoint(NamedTuple):
    """What was believed after the fix of this position."""

    position: Position
    belief: Belief


class Implausible(NamedTuple):
    reason: str
    detail: dict[str, float]


class Recorded(NamedTuple):
    """A fix as it is on record; a late one is not yet (`verdict` is None)."""

    fix: TrackFix
    verdict: tuple[bool, bool] | None = None
    """in_geofence, geofence_violation."""
    implausible: Implausible | None = None

    @property
    def position(self) -> Position:
        return position_of(self.fix)


class RecordedTransition(NamedTuple):
    id: bytes
    superseded: bool
    position: Position
    """Of the fix that confirmed it."""
    zone_version: int | None
    evidence: Evidence


class Changes(NamedTuple):
    """What has to change for the record to say what the track says."""

    steps: list[Step]
    """Late fixes, and recorded ones whose verdict or plausibility is another now."""
    transitions: list[tuple[Transition, bytes]]
    """To be put on record (again), each with the key of its confirming fix."""
    superseded: list[bytes]
    """Ids of transitions that do not hold."""
    checkpoints: list[Checkpoint]
    """New ones, and those at which something else is believed now."""


class Mending:
    """The record of one guard, judged again: `go_on` with each further piece of it until it returns True.

    `belief` is what is believed at the end; None: what was believed at the end of the record before.
    """

    def __init__(
        self,
        judge: Judge,
        guard: Guarded,
        start: Checkpoint | None,
        late: Sequence[TrackFix],
        ahead: Sequence[Checkpoint] = (),
    ) -> None:
        """`ahead`: the checkpoints on record after `start`, in order."""
        self._judge = judge
        self._guard = guard
        self._late = sorted(late, key=position_of)
        self._ahead = ahead
        self._at = start.belief if start is not None else None
        self._periods = set() if start is None else {period_of(start.position[0])}
        self._reach = 1
        self.through = start.position if start is not None else BEGINNING
        self.changes = Changes([], [], [], [])
        self.belief: Belief | None = None

    @property
    def stretches(self) -> int:
        """Between how many pairs of neighbouring checkpoints there are late fixes: what the repair costs at least."""
        places = [checkpoint.position for checkpoint in self._ahead]
        return len({bisect_left(places, position_of(fix)) for fix in self._late})

    @property
    def after(self) -> Position:
        """The record is read from after this; without a checkpoint, from its beginning."""
        return self.through

    def go_on(
        self,
        recorded: Sequence[Recorded],
        checkpoints: Sequence[Checkpoint],
        transitions: Sequence[RecordedTransition],
        *,
        until: Position = END,
    ) -> bool:
        """With all that is on record after `after`, up to and with `until`; True when the rest needs no look."""
        late = [Recorded(fix) for fix in self._late if self.through < position_of(fix) <= until]
        piece = sorted([*recorded, *late], key=lambda item: item.position)
        kept = {checkpoint.position: checkpoint.belief for checkpoint in checkpoints}
        self._periods |= {period_of(position[0]) for position in kept}
        made: dict[bytes, tuple[Transition, bytes]] = {}
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
        # Where nobody looked, transitions stand as they are.
        self._compare(made, [found for found in transitions if _is_within(found.position, looked_at)])
        if not is_over and until == END:
            self.belief = self._at
        return is_over or until == END

    def look_until(self) -> Position:
        """Return up to where the record should be read next: to a checkpoint after the next late fixes, and each time
        twice as far."""
        late = [position_of(fix) for fix in self._late]
        following = next((position for position in late if position > self.through), self.through)
        beyond = [checkpoint.position for checkpoint in self._ahead if checkpoint.position > following]
        horizon = beyond[LOOK_AHEAD - 1] if len(beyond) >= LOOK_AHEAD else END
        last = max((position for position in late if position <= horizon), default=self.through)
        beyond = [position for position in beyond if position > max(last, self.through)]
        return beyond[self._reach - 1] if len(beyond) >= self._reach else END

    def _go_to_next(self) -> bool:
        """Go on from the checkpoint before the next late fix; False when there is none."""
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
        stretch: Sequence[Recorded],
        kept: dict[Position, Belief],
        made: dict[bytes, tuple[Transition, bytes]],
    ) -> None:
        """Judge up to a checkpoint, or up to where there should be one."""
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
        self, made: dict[bytes, tuple[Transition, bytes]], recorded: Iterable[RecordedTransition]
    ) -> None:
        known = {found.id: found for found in recorded}
        for identity, (transition, key) in made.items():
            found = known.get(identity)
            if found is None or found.superseded or not _says_the_same(found, transition):
                self.changes.transitions.append((transition, key))
        gone = [found.id for found in known.values() if not found.superseded and found.id not in made]
        self.changes.superseded.extend(gone)


def mend(
    judge: Judge,
    guard: Guarded,
    late: Sequence[TrackFix],
    recorded: Sequence[Recorded],
    checkpoints: Sequence[Checkpoint],
    transitions: Sequence[RecordedTransition],
) -> tuple[Belief | None, Changes]:
    """All at once: for a record that is at hand as a whole. The belief is None when that at the end stays the same."""
    first = min(position_of(fix) for fix in late)
    before = [checkpoint for checkpoint in checkpoints if checkpoint.position < first]
    start = max(before, key=lambda checkpoint: checkpoint.position, default=None)
    after = start.position if start is not None else BEGINNING
    ahead = sorted((item for item in checkpoints if item.position > after), key=lambda item: item.position)
    mending = Mending(judge, guard, start, late, ahead)
    mending.go_on(
        [item for item in recorded if item.position > after],
        ahead,
        [found for found in transitions if found.position > after],
    )
    return mending.belief, mending.changes


def position_of(fix: TrackFix) -> Position:
    return fix.recorded_at, fix.key


def implausible_of(step: Step) -> Implausible | None:
    return None if step.implausible is None else Implausible(step.implausible, step.detail)


def _says_the_same(found: RecordedTransition, transition: Transition) -> bool:
    return (found.zone_version, found.evidence) == (transition.zone_version, transition.evidence)


def period_of(at: datetime) -> int:
    """Checkpoints are made once in each of these."""
    return int((at - EPOCH).total_seconds() // CHECKPOINT_INTERVAL_S)


def _stretches(piece: Sequence[Recorded], kept: dict[Position, Belief]) -> Iterable[list[Recorded]]:
    """Cut after each checkpoint, where a period ends, and after so many fixes."""
    for _, of_period in groupby(piece, key=lambda item: period_of(item.fix.recorded_at)):
        stretch: list[Recorded] = []
        for item in of_period:
            stretch.append(item)
            if item.position in kept or len(stretch) >= CHECKPOINT_FIXES:
                yield stretch
                stretch = []
        if stretch:
            yield stretch


def _is_within(position: Position, ranges: Iterable[tuple[Position, Position]]) -> bool:
    return any(since < position <= until for since, until in ranges)
