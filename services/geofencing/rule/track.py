"""Judge of a guard's track, fix by fix. The rule is docs/zones.md. Pure.

The belief so far and the fixes after it come in. The belief now and the transitions of each fix
come out. `judge(a + b)` is `judge(a)` and then `judge(b)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from services.geofencing.assignment import RequiredZones, ZoneSubject, applies, holds
from services.geofencing.geometry import Geofence, ZoneIndex, distance_m
from services.geofencing.rule.accuracy import scatters_m
from services.geofencing.rule.evaluator import BELIEVED_WITHIN, FixVerdict, RequiredZonesBelief, ZoneBelief
from services.geofencing.rule.fixes import EvaluatedFix, TrackFix
from services.geofencing.rule.plausibility import (
    RememberedFix,
    TeleportSuspects,
    assess,
    doubted,
    own_radius_m,
)
from services.geofencing.rule.transitions import ZoneTransition
from services.platform.config import LocationSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
Near = Sequence[tuple[Geofence, float]]

__all__ = ["Belief", "ZoneSubject", "Judge", "EvaluatedFix", "TrackFix", "ZoneTransition"]


class Belief(msgspec.Struct, array_like=True):
    """Belief after the last fix. Two equal beliefs judge all later fixes alike."""

    last_at: datetime | None = None
    last_key: bytes = b""
    violation: bool = False
    in_geofence: bool = False
    memory: tuple[RememberedFix, ...] = ()
    """Plausible fixes that the scatter of the next fix may need.

    The next fix must be reachable from the last of them.
    """
    suspects: TeleportSuspects | None = None
    zones: dict[int, ZoneBelief] = {}
    within: RequiredZonesBelief = RequiredZonesBelief()


class Judge:
    """Judge of tracks by one tenant's zones. It keeps nothing: the beliefs hold all memory."""

    def __init__(self, zones: ZoneIndex, settings: LocationSettings) -> None:
        self._zones = zones
        self._settings = settings
        self._required = RequiredZones(zones.zones)
        self._reach_radii = max(settings.margin_cap_radii, 1.0)

    def judge(
        self, guard: ZoneSubject, belief: Belief | None, fixes: Sequence[TrackFix]
    ) -> tuple[Belief, list[EvaluatedFix]]:
        """Judge fixes in the order of a track, all after the belief's last one."""
        return self.judge_many([(guard, belief, fixes)])[0]

    def judge_many(
        self, tracks: Sequence[tuple[ZoneSubject, Belief | None, Sequence[TrackFix]]]
    ) -> list[tuple[Belief, list[EvaluatedFix]]]:
        """Judge the fixes of several guards, with one look into the index."""
        found: list[tuple[Belief, list[EvaluatedFix]]] = []
        memories: list[tuple[RememberedFix, ...]] = []
        for _, before, fixes in tracks:
            belief = _copy(before)
            found.append((belief, [self._sight(belief, fix, memories) for fix in fixes]))

        measured = iter(self._measure([step for _, steps in found for step in steps], memories))
        for (guard, _, _), (belief, steps) in zip(tracks, found, strict=True):
            for step in steps:
                step.error_radius_m, near = next(measured)
                if step.implausible is None:
                    step.transitions = self._conclude(guard, belief, step, near)
                step.in_geofence, step.violation = belief.in_geofence, belief.violation

        return found

    def _sight(
        self, belief: Belief, fix: TrackFix, memories: list[tuple[RememberedFix, ...]]
    ) -> EvaluatedFix:
        """Apply sections 1 and 2 of the rule: is a fix believed, and how far off may it be.

        The plausible fixes that say how far off it may be are added to `memories`, the fix itself
        last. An implausible fix adds an empty memory.
        """
        _check_order(belief, fix)
        settings = self._settings
        belief.last_at, belief.last_key = fix.recorded_at, fix.key
        seen = RememberedFix(_us(fix.recorded_at), fix.lat, fix.lon, own_radius_m(fix.accuracy, settings))
        trusted = belief.memory[-1] if belief.memory else None

        reason, detail, belief.suspects, relocated = assess(
            seen,
            mock=fix.mock,
            memory=belief.memory,
            suspects=belief.suspects,
            settings=settings,
        )
        if reason is not None:
            memories.append(())
            return EvaluatedFix(fix, seen, None, reason, detail)

        if relocated:
            belief.memory, trusted = (), None

        belief.memory = self._remembered(belief.memory, seen)
        memories.append(belief.memory)
        doubt = fix.speed is not None and doubted(fix.speed, seen, trusted, settings)

        return EvaluatedFix(fix, seen, trusted, None, detail, doubt)

    def _remembered(
        self, memory: tuple[RememberedFix, ...], seen: RememberedFix
    ) -> tuple[RememberedFix, ...]:
        oldest_us = seen.at_us - self._settings.scatter_window_s * 1_000_000
        kept = memory[-self._settings.scatter_fixes + 1 :]
        if kept and kept[0].at_us < oldest_us:
            kept = tuple(item for item in kept if item.at_us >= oldest_us)
        return (*kept, seen)

    def _measure(
        self, steps: Sequence[EvaluatedFix], memories: Sequence[Sequence[RememberedFix]]
    ) -> Iterator[tuple[float, Near]]:
        """Return the error radius of each fix in metres, and the zones near it."""
        errors_m = [
            max(step.seen.own_m, scatter or 0.0)
            for step, scatter in zip(steps, scatters_m(memories), strict=True)
        ]

        near = self._zones.near_many(
            [step.seen.lat for step in steps],
            [step.seen.lon for step in steps],
            [error_m * self._reach_radii for error_m in errors_m],
        )
        return zip(errors_m, near, strict=True)

    def _conclude(
        self, guard: ZoneSubject, belief: Belief, step: EvaluatedFix, near: Near
    ) -> tuple[ZoneTransition, ...]:
        """Apply sections 3 to 5 of the rule."""
        at = step.zone_time
        if _stays(guard, belief, near, at):
            belief.in_geofence = True
            return ()

        verdict = FixVerdict(guard, step, belief.zones, self._settings)
        for zone, d in self._concerned(guard, belief, step.fix, at, near):
            verdict.zone(zone, d)

        verdict.gone()
        required = verdict.required_near or self._required.any_in_force(guard, at)
        belief.within = verdict.within(belief.within, required=required)
        belief.violation = verdict.violation(before=belief.violation, within=belief.within)
        belief.in_geofence = verdict.in_geofence
        belief.zones = verdict.held

        return tuple(verdict.transitions)

    def _concerned(
        self, guard: ZoneSubject, belief: Belief, fix: TrackFix, at: datetime, near: Near
    ) -> list[tuple[Geofence, float]]:
        """Return the zones that apply and are near, or that something is held of, by zone id."""
        found = [(zone, d) for zone, d in near if holds(zone, at) and applies(zone, guard)]
        if belief.zones:
            there = {zone.zone_id for zone, _ in found}
            for zone_id in belief.zones.keys() - there:
                zone = self._zones.holding(zone_id, at)
                if zone is not None and applies(zone, guard):
                    found.append((zone, distance_m(zone, fix.lat, fix.lon)))

        if len(found) > 1:
            found.sort(key=lambda pair: pair[0].zone_id)

        return found


def _stays(guard: ZoneSubject, belief: Belief, near: Near, at: datetime) -> bool:
    """Return True in the usual case, in which the rest of the rule can change nothing.

    The guard is within the one zone where the guard must be and is believed to be. Nothing is
    gathered against that, and no other zone is near.
    """
    if len(near) != 1 or len(belief.zones) != 1 or belief.violation or belief.within != BELIEVED_WITHIN:
        return False

    zone, d = near[0]
    held = belief.zones.get(zone.zone_id)
    return (
        d <= 0
        and zone.kind == "required"
        and zone.schedule is None
        and held is not None
        and held == ZoneBelief(inside=True, version=zone.version)
        and holds(zone, at)
        and applies(zone, guard)
    )


def _copy(belief: Belief | None) -> Belief:
    """Copy a belief. When a step fails, the belief of the caller must stay as it was."""
    if belief is None:
        return Belief()

    return Belief(
        belief.last_at,
        belief.last_key,
        belief.violation,
        belief.in_geofence,
        belief.memory,
        belief.suspects,
        belief.zones,
        belief.within,
    )


def _check_order(belief: Belief, fix: TrackFix) -> None:
    last = belief.last_at
    if last is not None and (fix.recorded_at, fix.key) <= (last, belief.last_key):
        raise ValueError(
            f"the fix {fix.key.hex()} of {fix.recorded_at} is not after {belief.last_key.hex()} of {last}: "
            "judge the track again from a checkpoint before it"
        )


def _us(at: datetime) -> int:
    """Return whole microseconds since 1970, so that differences are exact."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
