"""Conditions of a guard for the alerts service: violations and speeding, and their ends. Pure.

Only the net effect of a batch is reported: a condition that begins and ends within one batch says
nothing about now. When a change comes too late to be reported at once, a timer reports it, if it
still stands by then (`StandingTransition`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from services.contracts.events import AlertType, Condition, ZoneMove
from services.geofencing.rule.track import Belief, EvaluatedFix, TrackFix, ZoneTransition
from services.geofencing.rule.transitions import TransitionEvidence
from services.ingestion.effects import Effects

PROMPT_S = 300.0
"""Longest time in seconds from the making of a fix until it is received.

A fix that came later says nothing about now by itself.
"""
JUST_AFTER = timedelta(microseconds=1)
SHIFT_OVER = "is no longer on shift: the shift has ended"


class GuardIdentity(NamedTuple):
    """The guard, with tenant and site.

    `replayed`: an old fix that comes in its order is reported as if it were of now. It counts in no
    figure.
    """

    tenant_id: int
    guard_id: str
    site_id: int | None
    replayed: bool = False


class ReportedConditions(NamedTuple):
    """Conditions whose beginning was reported to the alerts service, and whose end was not yet.

    `repeat_at` is the time at which the violation was last reported.
    """

    violation: bool = False
    repeat_at: datetime | None = None
    speeding: frozenset[int] = frozenset()


class ConditionPlace(NamedTuple):
    """Place and time at which a condition is said to be met or over, with the fix that says so."""

    at: datetime
    key: bytes
    lat: float
    lon: float
    accuracy: float | None


class StandingTransition(NamedTuple):
    """A transition as it is on record."""

    transition_id: bytes
    kind: str
    zone_id: int | None
    zone_version: int | None
    evidence: TransitionEvidence


class NearestZone(NamedTuple):
    """The zone that a guard should be in and is nearest to."""

    zone_id: int
    zone_version: int
    name: str
    distance_m: float


FindsNearest = Callable[[float, float, datetime], NearestZone | None]


class HasTimes(Protocol):
    """Times of a fix, or of a guard's last position: by the device's clock and by the server's."""

    @property
    def recorded_at(self) -> datetime: ...
    @property
    def received_at(self) -> datetime: ...


class ConditionReporter:
    """Reporter of one guard's conditions. It adds them to the effects of a batch.

    `nearest` finds the zone that the guard should be in, from (lat, lon, time). Evidence names a
    zone only when its edge was near.
    """

    def __init__(
        self, who: GuardIdentity, told: ReportedConditions, nearest: FindsNearest, effects: Effects
    ) -> None:
        self.who = who
        self.told = told
        self.effects = effects
        self._nearest = nearest
        self._buffered: Collection[bytes] = ()

    def after(
        self,
        steps: Sequence[EvaluatedFix],
        belief: Belief,
        *,
        repeat_interval_s: float,
        on_shift: bool = True,
        buffered: Collection[bytes] = (),
    ) -> None:
        """Conclude from fixes that came in their order. Only prompt fixes are reported at once.

        Args:
            steps: The verdicts on the fixes.
            belief: What is held true after them.
            repeat_interval_s: Device time after which an open violation is reported again.
            on_shift: False for a guard whose shifts are kept, and who was on no shift at the last
                fix.
            buffered: Keys of fixes that the device says it kept. They are not prompt, whatever
                their times say.
        """
        self._buffered = buffered
        if not steps or not self.is_prompt(steps[-1]):
            return
        if not on_shift:
            self.shift_over(_place(steps[-1].fix))
            return
        if belief.violation:
            self._violating(steps, belief, timedelta(seconds=repeat_interval_s))
        elif self.told.violation and (found := _last(steps, "violation_ended")) is not None:
            self._clear_violation(_place(found[0].fix))

        speeding = speeding_of(belief)
        for zone_id in sorted(speeding - self.told.speeding):
            found = _last(steps, "speeding_began", zone_id)
            if found is not None and self.is_prompt(found[0]):
                self._speeds(_place(found[0].fix), standing_transition_of(found[1]), zone_id)

        for zone_id in sorted(self.told.speeding - speeding):
            if (found := _last(steps, "speeding_ended", zone_id)) is not None:
                self._clear_speeding(_place(found[0].fix), zone_id)

    def settled(
        self,
        belief: Belief,
        place: ConditionPlace,
        standing: Sequence[StandingTransition],
        *,
        prompt: bool,
        on_shift: bool = True,
    ) -> None:
        """Report what stands and was not reported yet.

        Late fixes alone begin nothing: the newest fix must be prompt and not speak against the
        condition. A condition is dated just after that fix, so an end that the same fix reported
        does not end it.

        Args:
            belief: What is held true now.
            place: Place of the newest fix.
            standing: The newest beginnings of the conditions that may have to be reported.
            prompt: True when the newest fix was prompt.
            on_shift: False for a guard off shift: conditions that were reported end.
        """
        place = place._replace(at=place.at + JUST_AFTER)
        if not on_shift:
            self.shift_over(place)
            return

        began = {
            (found.kind, found.zone_id if found.kind == "speeding_began" else None): found
            for found in standing
        }

        if belief.violation and not self.told.violation and prompt and not returning(belief):
            self._begin_violation(place, began.get(("violation_began", None)))
        elif self.told.violation and not belief.violation:
            self._clear_violation(place)

        speeding = speeding_of(belief)
        for zone_id in sorted(speeding - self.told.speeding if prompt else ()):
            self._speeds(place, began.get(("speeding_began", zone_id)), zone_id)

        for zone_id in sorted(self.told.speeding - speeding):
            self._clear_speeding(place, zone_id)

    def shift_over(self, place: ConditionPlace) -> None:
        """End all conditions that were reported, wherever the guard is.

        Zones are not watched off shift.
        """
        if self.told.violation:
            self._clear_violation(place, SHIFT_OVER)
        for zone_id in sorted(self.told.speeding):
            self._clear_speeding(place, zone_id, SHIFT_OVER)

    def is_prompt(self, step: EvaluatedFix) -> bool:
        """Return True when a fix says something about now. `after` has to be called first."""
        return self.who.replayed or (is_prompt(step.fix) and step.fix.key not in self._buffered)

    def _violating(self, steps: Sequence[EvaluatedFix], belief: Belief, interval: timedelta) -> None:
        """Report a violation when it begins, and again after each `interval` of device time.

        A beginning that came too late is reported as of the newest fix, if that fix is prompt and
        is not evidence against the violation.
        """
        if not self.told.violation:
            found = _last(steps, "violation_began")
            if found is None:
                return

            step, transition = found
            if not self.is_prompt(step):
                step = next(step for step in reversed(steps) if step.implausible is None)
                if not self.is_prompt(step) or returning(belief):
                    return

            self._begin_violation(_place(step.fix), standing_transition_of(transition))
            steps = steps[steps.index(step) + 1 :]

        for step in steps:
            at = step.fix.recorded_at
            due = self.told.repeat_at is None or at - self.told.repeat_at >= interval
            if due and step.violation and step.implausible is None:
                self.told = self.told._replace(repeat_at=at)
                self.effects.met.append(self._still_violating(_place(step.fix)))

    def _still_violating(self, place: ConditionPlace) -> Condition:
        """Return the condition of a repeat. It says where the guard is now.

        Its words become the headline of the alert.
        """
        nearest = self._nearest(place.lat, place.lon, place.at)
        if nearest is None or nearest.distance_m <= 0:
            return self._violation(place, "has not come back", {})
        words = f"is still outside {nearest.name} by {nearest.distance_m:.0f} m"
        return self._violation(place, words, detail_of(None, nearest))

    def _begin_violation(self, place: ConditionPlace, standing: StandingTransition | None) -> None:
        self.told = self.told._replace(violation=True, repeat_at=place.at)
        self.effects.violations_begun += not self.who.replayed
        nearest = None
        if standing is None or standing.evidence.zone_kind != "forbidden":
            nearest = self._nearest(place.lat, place.lon, place.at)
        self.effects.met.append(
            self._violation(place, headline(standing, nearest), detail_of(standing, nearest))
        )

    def _clear_violation(
        self, place: ConditionPlace, words: str = "is inside the required zones again"
    ) -> None:
        self.told = self.told._replace(violation=False, repeat_at=None)
        self.effects.cleared.append(self._violation(place, words, {}))

    def _speeds(self, place: ConditionPlace, standing: StandingTransition | None, zone_id: int) -> None:
        self.told = self.told._replace(speeding=self.told.speeding | {zone_id})
        key = speeding_key(self.who.guard_id, zone_id)
        self.effects.met.append(self._condition(place, key, headline(standing), detail_of(standing)))

    def _clear_speeding(
        self, place: ConditionPlace, zone_id: int, words: str = "keeps the speed limit, or has left the zone"
    ) -> None:
        self.told = self.told._replace(speeding=self.told.speeding - {zone_id})
        key = speeding_key(self.who.guard_id, zone_id)
        self.effects.cleared.append(self._condition(place, key, words, {}))

    def _violation(self, place: ConditionPlace, words: str, detail: dict[str, Any]) -> Condition:
        return self._condition(place, violation_key(self.who.guard_id), words, detail)

    def _condition(
        self, place: ConditionPlace, dedup_key: str, words: str, detail: dict[str, Any]
    ) -> Condition:
        return Condition(
            tenant_id=self.who.tenant_id,
            source_id=self.who.guard_id,
            alert_type=AlertType.GEOFENCE_VIOLATION,
            dedup_key=dedup_key,
            at=place.at,
            key=hashlib.blake2b(
                f"{place.at.isoformat()}\0{dedup_key}".encode() + place.key, digest_size=16
            ).digest(),
            message=f"{self.who.guard_id} {words}",
            lat=place.lat,
            lon=place.lon,
            detail={"accuracy_m": place.accuracy, **detail},
            site_id=self.who.site_id,
        )


def is_prompt(fix: HasTimes) -> bool:
    return (fix.received_at - fix.recorded_at).total_seconds() <= PROMPT_S


def returning(belief: Belief) -> bool:
    """Return True when there is evidence that a violation is over, though not enough."""
    reasons = [held.gathered for held in belief.zones.values() if held.forbids]
    if belief.within.without:
        reasons.append(belief.within.gathered)
    return bool(reasons) and None not in reasons


def all_reported(told: ReportedConditions, belief: Belief) -> bool:
    """Return True when nothing is left for the timer to report."""
    return told.violation == belief.violation and told.speeding == speeding_of(belief)


def all_ends_reported(told: ReportedConditions, belief: Belief) -> bool:
    """Return True when no condition that was reported is over."""
    return (belief.violation or not told.violation) and told.speeding <= speeding_of(belief)


def speeding_of(belief: Belief) -> frozenset[int]:
    """Return the zones in which the guard is believed to be speeding."""
    return frozenset(zone_id for zone_id, held in belief.zones.items() if held.speeding)


def violation_key(guard_id: str) -> str:
    return f"{AlertType.GEOFENCE_VIOLATION}:{guard_id}"


def speeding_key(guard_id: str, zone_id: int) -> str:
    return f"{AlertType.GEOFENCE_VIOLATION}:{guard_id}:speed:{zone_id}"


def headline(standing: StandingTransition | None, nearest: NearestZone | None = None) -> str:
    """Return the headline of a condition, in words that follow the guard's name."""
    if standing is not None and standing.kind == "speeding_began":
        return _speeding(standing.evidence)
    if standing is not None and standing.evidence.zone_kind == "forbidden":
        return f"is in the forbidden zone {standing.evidence.zone_name}"
    if nearest is None:
        return "is outside all required zones"
    return f"is outside {nearest.name} by {max(nearest.distance_m, 0.0):.0f} m"


def _speeding(evidence: TransitionEvidence) -> str:
    speed_mps, limit_mps = evidence.fixes[-1].speed_mps, evidence.speed_limit_mps
    drives = "exceeds the speed limit" if speed_mps is None else f"drives {speed_mps:.1f} m/s"
    return f"{drives} in {evidence.zone_name}" + ("" if limit_mps is None else f" (limit {limit_mps:g})")


def detail_of(standing: StandingTransition | None, nearest: NearestZone | None = None) -> dict[str, Any]:
    """Return the detail of a condition: the facts of its headline, for machines."""
    detail: dict[str, Any] = {}
    if standing is not None:
        last = standing.evidence.fixes[-1]
        detail |= {
            "transition_id": transition_name(standing.transition_id),
            "zone_id": standing.zone_id,
            "zone_version": standing.zone_version,
            "zone_name": standing.evidence.zone_name,
            "distance_m": last.distance_m,
            "error_radius_m": last.error_radius_m,
        }

    if nearest is not None:
        zone_id, version, name, distance_m = nearest
        detail |= {
            "zone_id": zone_id,
            "zone_version": version,
            "zone_name": name,
            "distance_m": round(distance_m, 1),
        }

    return detail


def standing_transition_of(transition: ZoneTransition) -> StandingTransition:
    return StandingTransition(
        transition.id, transition.kind, transition.zone_id, transition.zone_version, transition.evidence
    )


def transition_name(identity: bytes) -> str:
    """Return the id of a transition as users and programs write it: a UUID."""
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def moves_of(who: GuardIdentity, steps: Iterable[EvaluatedFix]) -> dict[str, list[ZoneMove]]:
    """Return the entries and exits, by the name of their event."""
    moves: dict[str, list[ZoneMove]] = {}
    for step in steps:
        for transition in step.transitions:
            if transition.kind in ("entered", "exited"):
                moves.setdefault(f"zone_{transition.kind}", []).append(_move(who, step, transition))
    return moves


def _move(who: GuardIdentity, step: EvaluatedFix, transition: ZoneTransition) -> ZoneMove:
    assert transition.zone_id is not None, "a guard enters a zone"
    return ZoneMove(
        who.tenant_id,
        who.guard_id,
        transition_name(transition.id),
        transition.zone_id,
        transition.zone_version or 0,
        transition.evidence.zone_name,
        transition.at,
        transition.confirmed_at,
        step.fix.lat,
        step.fix.lon,
        who.site_id,
    )


def _last(
    steps: Sequence[EvaluatedFix], kind: str, zone_id: int | None = None
) -> tuple[EvaluatedFix, ZoneTransition] | None:
    for step in reversed(steps):
        for transition in step.transitions:
            if transition.kind == kind and (zone_id is None or transition.zone_id == zone_id):
                return step, transition
    return None


def _place(fix: TrackFix) -> ConditionPlace:
    return ConditionPlace(fix.recorded_at, fix.key, fix.lat, fix.lon, fix.accuracy)
