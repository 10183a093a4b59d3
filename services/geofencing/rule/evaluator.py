"""Changes by one plausible fix: zones entered and left, violation, speeding. Pure.

These are sections 3 to 5 of docs/zones.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from services.contracts.zone_parameters import Confirmation, usual
from services.geofencing.assignment import ZoneSubject, in_force
from services.geofencing.geometry import Geofence, depth_m
from services.geofencing.rule.confirmation import (
    BeliefChange,
    FixEvidence,
    GatheredEvidence,
    NeededEvidence,
    confirmed,
    gather,
    needed_of,
)
from services.geofencing.rule.fixes import EvaluatedFix
from services.geofencing.rule.plausibility import least_distance_m
from services.geofencing.rule.transitions import ZoneTransition, transition
from services.platform.config import LocationSettings


class ZoneBelief(msgspec.Struct, frozen=True, array_like=True):
    """Belief about one zone.

    Nothing is held of a zone that the guard is outside of, without evidence.
    """

    inside: bool = False
    gathered: GatheredEvidence | None = None
    version: int = 0
    forbids: bool = False
    """True when the zone is forbidden and in force, and the guard is believed inside."""
    speeding: bool = False
    speed_gathered: GatheredEvidence | None = None


class RequiredZonesBelief(msgspec.Struct, frozen=True, array_like=True):
    """Belief about the required zones. `without` is True when the guard is not within them."""

    without: bool = False
    gathered: GatheredEvidence | None = None


class TransitionCause(NamedTuple):
    """A change, and the zone that it is about.

    `zone` is None when no version of it applies any more.
    """

    change: BeliefChange
    zone_id: int | None
    zone_version: int | None
    zone: Geofence | None


NOTHING = ZoneBelief()
BELIEVED_WITHIN = RequiredZonesBelief()


class FixVerdict:
    """Verdict on one fix.

    Call `zone` for its zones, by zone id. Then call the other methods, in the order of the rule.
    """

    def __init__(
        self, guard: ZoneSubject, step: EvaluatedFix, held: dict[int, ZoneBelief], settings: LocationSettings
    ) -> None:
        self._guard_id = guard.guard_id
        self._step = step
        self._at = step.zone_time
        self._settings = settings
        self._before = held
        self._passed: set[int] = set()
        self.held: dict[int, ZoneBelief] = {}
        self.in_geofence = False
        self._nearest: Geofence | None = None
        self._nearest_m = math.inf
        self._of_zones: list[ZoneTransition] = []
        self._of_violation: list[ZoneTransition] = []
        self._of_speeding: list[ZoneTransition] = []
        self._required: TransitionCause | None = None
        self._causes: dict[bool, list[TransitionCause]] = {True: [], False: []}

    @property
    def required_near(self) -> bool:
        """Return True when a required zone in force was among the zones of the fix."""
        return self._nearest is not None

    @property
    def transitions(self) -> tuple[ZoneTransition, ...]:
        return (*_by_zone(self._of_zones), *self._of_violation, *_by_zone(self._of_speeding))

    def zone(self, zone: Geofence, d: float) -> None:
        """Judge a zone that applies. `d` is the distance from its edge in metres."""
        before = self._before.get(zone.zone_id, NOTHING)
        if before is not NOTHING:
            self._passed.add(zone.zone_id)

        force = zone.schedule is None or in_force(zone, self._at)
        inside, gathered, change = self._side(zone, d, before)

        if force:
            self.in_geofence = self.in_geofence or inside or d <= 0
            if d < self._nearest_m and zone.kind == "required":
                self._nearest, self._nearest_m = zone, d
        if before is NOTHING and not inside and gathered is None:
            return

        forbids = force and inside and zone.kind == "forbidden"
        if forbids != before.forbids:
            change = change or BeliefChange("schedule", (self._sign(d),))
            self._causes[forbids].append(TransitionCause(change, zone.zone_id, zone.version, zone))

        speeding, speed_gathered = before.speeding, before.speed_gathered
        if speeding or speed_gathered is not None or zone.kind == "speed":
            there = force and inside and zone.kind == "speed"
            speeding, speed_gathered = (
                self._speed(zone, d, before) if there else self._no_speed(zone, d, before)
            )

        if inside or gathered is not None:
            now = ZoneBelief(inside, gathered, zone.version, forbids, speeding, speed_gathered)
            self.held[zone.zone_id] = now

    def gone(self) -> None:
        """End what is held of zones that no longer apply."""
        if len(self._passed) == len(self._before):
            return

        for zone_id, before in sorted(self._before.items()):
            if not before.inside or zone_id in self._passed:
                continue

            cause = TransitionCause(
                BeliefChange("no_longer_applies", (self._sign(None),)), zone_id, before.version, None
            )
            self._of_zones.append(self._transition("exited", cause))

            if before.forbids:
                self._causes[False].append(cause)
            if before.speeding:
                self._of_speeding.append(self._transition("speeding_ended", cause))

    def within(self, before: RequiredZonesBelief, *, required: bool) -> RequiredZonesBelief:
        """Judge if the guard is within the required zones in force, if there are any."""
        if not required:
            if before.without:
                self._required = TransitionCause(
                    BeliefChange("schedule", (self._sign(None),)), None, None, None
                )
            return BELIEVED_WITHIN

        d, e = self._nearest_m, self._step.error_radius_m
        toward, contrary = (d <= 0, d >= e) if before.without else (d >= e, d <= 0)
        if not toward:
            return RequiredZonesBelief(before.without) if contrary and before.gathered is not None else before

        near = self._nearest if d < self._settings.margin_cap_radii * e else None
        needed = None if before.gathered else self._needed_within(near, alarming=not before.without)
        gathered = gather(before.gathered, self._sign(d, e), needed=needed)
        assert gathered.needed is not None, "the first evidence decides what is needed"

        change = confirmed(gathered, gathered.needed)
        if change is None:
            return RequiredZonesBelief(before.without, gathered)

        zone_id, version = gathered.needed.zone_id, gathered.needed.zone_version
        zone = self._nearest if self._nearest is not None and self._nearest.zone_id == zone_id else None
        self._required = TransitionCause(change, zone_id, version, zone)

        return RequiredZonesBelief(not before.without)

    def violation(self, *, before: bool, within: RequiredZonesBelief) -> bool:
        """Return True when there is a violation now.

        The transition of its beginning or end has the first cause.
        """
        now = within.without or any(held.forbids for held in self.held.values())
        if now != before:
            causes = sorted(self._causes[now], key=lambda cause: cause.zone_id or 0)
            cause = causes[0] if self._required is None or within.without != now else self._required
            kind = "violation_began" if now else "violation_ended"
            self._of_violation.append(self._transition(kind, cause))
        return now

    def _side(
        self, zone: Geofence, d: float, before: ZoneBelief
    ) -> tuple[bool, GatheredEvidence | None, BeliefChange | None]:
        """Judge if the guard is inside or outside a zone, by the table of section 3."""
        inside, gathered, e = before.inside, before.gathered, self._step.error_radius_m
        if zone.kind == "required":
            alarming = inside
            toward, contrary = (d >= e, d <= 0) if inside else (d <= 0, d >= e)
        else:
            alarming = not inside
            e = min(e, depth_m(zone) / 2)
            toward, contrary = (d >= 0, d <= -e) if inside else (d <= -e, d >= 0)

        if not toward:
            return inside, None if contrary else gathered, None

        gathered = gather(gathered, self._sign(d, e))
        change = confirmed(gathered, self._needed(zone.exit if inside else zone.enter, alarming=alarming))
        if change is None:
            return inside, gathered, None

        kind = "exited" if inside else "entered"
        self._of_zones.append(
            self._transition(kind, TransitionCause(change, zone.zone_id, zone.version, zone))
        )

        return not inside, None, change

    def _speed(self, zone: Geofence, d: float, before: ZoneBelief) -> tuple[bool, GatheredEvidence | None]:
        """Judge speeding in a speed zone in force, by the evidence of section 5."""
        v = self._velocity()
        speeding, gathered = before.speeding, before.speed_gathered

        if v is None or zone.speed_limit_mps is None:
            return speeding, gathered
        if (v > zone.speed_limit_mps) == speeding:
            return speeding, None

        sign = self._sign(d, speed_mps=v)
        gathered = gather(gathered, sign)

        change = confirmed(gathered, self._needed(zone.exit if speeding else zone.enter, alarming=False))
        if change is None:
            return speeding, gathered

        kind = "speeding_ended" if speeding else "speeding_began"
        self._of_speeding.append(
            self._transition(kind, TransitionCause(change, zone.zone_id, zone.version, zone))
        )

        return not speeding, None

    def _no_speed(self, zone: Geofence, d: float, before: ZoneBelief) -> tuple[bool, GatheredEvidence | None]:
        """End speeding: a guard who is not in a speed zone in force does not speed in it."""
        if before.speeding:
            change = BeliefChange("left", (self._sign(d),))
            cause = TransitionCause(change, zone.zone_id, zone.version, zone)
            self._of_speeding.append(self._transition("speeding_ended", cause))
        return False, None

    def _velocity(self) -> float | None:
        """Return the claimed speed in m/s.

        Without a claim, return the speed that it must have been from the plausible fix before.
        """
        seen, before, claimed = self._step.seen, self._step.before, self._step.speed_mps
        if claimed is not None:
            return claimed
        if before is None or before.at_us == seen.at_us:
            return None
        seconds = (seen.at_us - before.at_us) / 1_000_000
        return max(least_distance_m(before, seen), 0.0) / seconds

    def _needed(
        self, confirmation: Confirmation, *, alarming: bool, chosen: Geofence | None = None
    ) -> NeededEvidence:
        weight = self._settings.confirm_weight * confirmation.fixes if alarming else 0.0
        return needed_of(confirmation, weight=weight, zone=chosen)

    def _needed_within(self, zone: Geofence | None, *, alarming: bool) -> NeededEvidence:
        if zone is None:
            return self._needed(usual(self._settings), alarming=alarming)
        return self._needed(zone.exit if alarming else zone.enter, alarming=alarming, chosen=zone)

    def _sign(
        self, d: float | None, e: float | None = None, *, speed_mps: float | None = None
    ) -> FixEvidence:
        """Return this fix as evidence.

        The fix has a weight only when `e` is given: the distance is measured in `e`.
        """
        step, cap, weight = self._step, self._settings.margin_cap_radii, 0.0
        if e is not None and d is not None:
            weight = (min(abs(d) / e, cap) if e > 0 else cap) ** 2
        fix, at_us = step.fix, step.seen.at_us
        shown = None if d is None or math.isinf(d) else d
        error_m = step.error_radius_m if e is None else e
        return FixEvidence(fix.key, at_us, fix.lat, fix.lon, fix.accuracy, error_m, shown, weight, speed_mps)

    def _transition(self, kind: str, cause: TransitionCause) -> ZoneTransition:
        change, zone_id, version, zone = cause
        return transition(self._guard_id, kind, change, zone_id=zone_id, zone_version=version, zone=zone)


def _by_zone(found: list[ZoneTransition]) -> list[ZoneTransition]:
    return found if len(found) < 2 else sorted(found, key=lambda item: item.zone_id or 0)  # noqa: PLR2004
