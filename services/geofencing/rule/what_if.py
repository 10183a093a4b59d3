"""Trial of zones on tracks: each is judged by the zones of today and by the edited ones. Pure.

Two transitions are one when they are of one kind and zone and begin within `SAME` of each other. An
edge that was moved a little is reached a little earlier or later, and nobody would call that
another exit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from services.geofencing.geometry import Geofence
from services.geofencing.rule.explanation import ExplainedTransition, explain
from services.geofencing.rule.track import Belief, Judge, TrackFix, ZoneSubject, ZoneTransition

SAME = timedelta(minutes=5)
MAX_TOLD = 100
"""Most transitions of a guard that are listed, of each sort. All are counted."""
BEGAN, ENDED = "violation_began", "violation_ended"


class OneSidedTransition(msgspec.Struct, frozen=True, kw_only=True):
    """A transition of only one of the judgements. `why` explains it in plain words."""

    kind: str
    zone_id: int | None
    zone: str
    at: datetime
    confirmed_at: datetime
    why: str


class ShiftedTransition(msgspec.Struct, frozen=True, kw_only=True):
    """A transition of both judgements, at different times."""

    kind: str
    zone_id: int | None
    zone: str
    at_today: datetime
    at_edited: datetime


class ViolationTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Number of violations in the period, and the seconds that they lasted together."""

    count: int = 0
    seconds: float = 0.0


class GuardChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Changes by the edit for one guard.

    The lists hold the first transitions of each sort. The counts say how many there are.
    """

    guard_id: str
    fixes: int
    violations_today: ViolationTotals
    violations_edited: ViolationTotals
    gained_count: int
    lost_count: int
    shifted_count: int
    gained: list[OneSidedTransition]
    lost: list[OneSidedTransition]
    shifted: list[ShiftedTransition]

    @property
    def differs(self) -> bool:
        return bool(self.gained_count or self.lost_count or self.shifted_count)


class TrialSide:
    """One of the two judgements of a track."""

    def __init__(self, judge: Judge, names: Mapping[int, Geofence]) -> None:
        self._judge = judge
        self._names = names
        self._belief: Belief | None = None
        self.found: list[ZoneTransition] = []

    def take(self, guard: ZoneSubject, fixes: Sequence[TrackFix]) -> None:
        self._belief, steps = self._judge.judge(guard, self._belief, fixes)
        self.found += [transition for step in steps for transition in step.transitions]

    def violations(self, since: datetime, until: datetime) -> ViolationTotals:
        """Return the violations that lasted into the period.

        A violation that is open at the end of the period counts up to there.
        """
        count, seconds, began = 0, 0.0, None
        for transition in [*self.found, None]:
            if transition is not None and transition.kind == BEGAN:
                began = transition.at
            elif began is not None and (transition is None or transition.kind == ENDED):
                ended = until if transition is None else transition.at
                if ended > since:
                    count += 1
                    seconds += (ended - max(began, since)).total_seconds()
                began = None

        return ViolationTotals(count=count, seconds=seconds)

    def moment(self, guard_id: str, found: ZoneTransition) -> OneSidedTransition:
        zone = self._names.get(found.zone_id or 0)
        name = found.evidence.zone_name or (zone.name if zone is not None else "")
        told = ExplainedTransition(
            guard_id=guard_id,
            kind=found.kind,
            zone_name=name,
            zone_version=found.zone_version,
            at=found.at,
            confirmed_at=found.confirmed_at,
            evidence=found.evidence,
        )

        return OneSidedTransition(
            kind=found.kind,
            zone_id=found.zone_id,
            zone=name,
            at=found.at,
            confirmed_at=found.confirmed_at,
            why=explain(told, time_zone=zone.time_zone if zone is not None else "UTC"),
        )


class GuardTrial:
    """Trial of one guard's track by two judges.

    Call `take` with the fixes in their order, piece by piece, and then `difference`. Transitions
    before `since` are judged, for what was believed then, and not listed.
    """

    def __init__(
        self,
        guard: ZoneSubject,
        today: tuple[Judge, Mapping[int, Geofence]],
        edited: tuple[Judge, Mapping[int, Geofence]],
        *,
        since: datetime,
    ) -> None:
        self._guard = guard
        self._today = TrialSide(*today)
        self._edited = TrialSide(*edited)
        self._since = since
        self._last = since
        self._count = 0

    def take(self, fixes: Sequence[TrackFix]) -> None:
        for side in (self._today, self._edited):
            side.take(self._guard, fixes)
        self._count += sum(1 for fix in fixes if fix.recorded_at >= self._since)
        if fixes:
            self._last = fixes[-1].recorded_at

    def difference(self) -> GuardChanges:
        before, after = (self._told(side) for side in (self._today, self._edited))
        lost, gained, shifted = _matched(before, after)
        name = self._guard.guard_id

        return GuardChanges(
            guard_id=name,
            fixes=self._count,
            violations_today=self._today.violations(self._since, self._last),
            violations_edited=self._edited.violations(self._since, self._last),
            gained_count=len(gained),
            lost_count=len(lost),
            shifted_count=len(shifted),
            gained=[self._edited.moment(name, found) for found in gained[:MAX_TOLD]],
            lost=[self._today.moment(name, found) for found in lost[:MAX_TOLD]],
            shifted=[_shifted(*pair) for pair in shifted[:MAX_TOLD]],
        )

    def _told(self, side: TrialSide) -> list[ZoneTransition]:
        return [found for found in side.found if found.at >= self._since]


def edited_zones(today: Iterable[Geofence], edits: Iterable[Geofence]) -> list[Geofence]:
    """Return the zones, with the edits in the place of the zones that they change."""
    return list({zone.zone_id: zone for zone in (*today, *edits)}.values())


def as_if_always(zone: Geofence) -> Geofence:
    """Return the version of now, as if there had never been another."""
    return msgspec.structs.replace(zone, in_force_from=None, in_force_to=None)


def _matched(
    before: Sequence[ZoneTransition], after: Sequence[ZoneTransition]
) -> tuple[list[ZoneTransition], list[ZoneTransition], list[tuple[ZoneTransition, ZoneTransition]]]:
    """Match the transitions of two judgements.

    Transitions at the same time are matched before all others.

    Returns:
        The transitions of `before` alone, those of `after` alone, and the pairs that are one at
        different times.
    """
    lost: list[ZoneTransition] = []
    gained: list[ZoneTransition] = []
    shifted: list[tuple[ZoneTransition, ZoneTransition]] = []
    for about in {_about(found): None for found in (*before, *after)}:
        ours = [found for found in before if _about(found) == about]
        theirs = [found for found in after if _about(found) == about]
        both = {found.at for found in ours} & {found.at for found in theirs}
        ours = [found for found in ours if found.at not in both]
        theirs = [found for found in theirs if found.at not in both]

        for found in ours:
            other = next((item for item in theirs if abs(item.at - found.at) <= SAME), None)
            if other is None:
                lost.append(found)
            else:
                theirs.remove(other)
                shifted.append((found, other))

        gained += theirs

    return (
        sorted(lost, key=_order),
        sorted(gained, key=_order),
        sorted(shifted, key=lambda pair: _order(pair[0])),
    )


def _order(found: ZoneTransition) -> tuple[datetime, str]:
    return found.at, found.kind


def _about(found: ZoneTransition) -> tuple[str, int | None]:
    """Return the kind and the zone. A violation is the guard's, no matter which zone it names."""
    return found.kind, None if found.kind in (BEGAN, ENDED) else found.zone_id


def _shifted(today: ZoneTransition, edited: ZoneTransition) -> ShiftedTransition:
    return ShiftedTransition(
        kind=edited.kind,
        zone_id=edited.zone_id,
        zone=edited.evidence.zone_name or today.evidence.zone_name,
        at_today=today.at,
        at_edited=edited.at,
    )
