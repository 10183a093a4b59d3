"""Judge of a guard's track, fix by fix. The rule is docs/zones.md. Pure.

The belief so far and the fixes after it come in. The belief now and the transitions of each fix
come out. `judge(a + b)` is `judge(a)` and then `judge(b)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from services.geofencing.assignment import Guarded, RequiredZones, applies, holds
from services.geofencing.geometry import Zone, ZoneIndex, distance_m
from services.geofencing.rule.accuracy import scatters_m
from services.geofencing.rule.evaluator import BELIEVED_WITHIN, Fix, Held, Verdict, Within
from services.geofencing.rule.plausibility import Plausibility, Seen, Suspects, assess, doubted, own_radius_m
from services.geofencing.rule.transitions import Transition
from services.platform.config import Location

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
Near = Sequence[tuple[Zone, float]]

__all__ = ["Belief", "Guarded", "Judge", "Step", "TrackFix", "Transition"]


class TrackFix(msgspec.Struct, frozen=True, gc=False):
    """One position. Its numbers are as the table keeps them.

    A fix that is judged again must get the same verdict.
    """

    key: bytes
    recorded_at: datetime
    received_at: datetime
    lat: float
    lon: float
    accuracy: float | None = None
    speed: float | None = None
    mock: bool = False


class Step(msgspec.Struct, frozen=True):
    """Verdict on one fix.

    `implausible` is the reason why the fix was left out. Its flags are then those before it.
    """

    fix: TrackFix
    implausible: str | None
    detail: dict[str, float]
    in_geofence: bool
    violation: bool
    error_radius_m: float
    transitions: tuple[Transition, ...] = ()
    speed_doubted: bool = False
    """True when the fix is believed, and the speed that it claims is not."""


class Belief(msgspec.Struct, array_like=True):
    """Belief after the last fix. Two equal beliefs judge all later fixes alike."""

    last_at: datetime | None = None
    last_key: bytes = b""
    violation: bool = False
    in_geofence: bool = False
    memory: tuple[Seen, ...] = ()
    """Plausible fixes that the scatter of the next fix may need.

    The next fix must be reachable from the last of them.
    """
    suspects: Suspects | None = None
    zones: dict[int, Held] = {}
    within: Within = Within()


class Sighted(NamedTuple):
    """A fix after the part of the rule that does not depend on zones."""

    fix: TrackFix
    seen: Seen
    memory: tuple[Seen, ...]
    """The fix and the plausible fixes before it, which say how far off it may be.

    Empty for an implausible fix.
    """
    plausibility: Plausibility
    before: Seen | None
    """The plausible fix before it. None after a relocation."""
    speed_doubted: bool = False


class Judge:
    """Judge of tracks by one tenant's zones. It keeps nothing: the beliefs hold all memory."""

    def __init__(self, zones: ZoneIndex, settings: Location) -> None:
        self._zones = zones
        self._settings = settings
        self._required = RequiredZones(zones.zones)
        self._reach_radii = max(settings.margin_cap_radii, 1.0)

    def judge(
        self, guard: Guarded, belief: Belief | None, fixes: Sequence[TrackFix]
    ) -> tuple[Belief, list[Step]]:
        """Judge fixes in the order of a track, all after the belief's last one."""
        return self.judge_many([(guard, belief, fixes)])[0]

    def judge_many(
        self, tracks: Sequence[tuple[Guarded, Belief | None, Sequence[TrackFix]]]
    ) -> list[tuple[Belief, list[Step]]]:
        """Judge the fixes of several guards, with one look into the index."""
        sighted: list[list[Sighted]] = []
        beliefs: list[Belief] = []
        for _, before, fixes in tracks:
            belief = _copy(before)
            sighted.append([self._sight(belief, fix) for fix in fixes])
            beliefs.append(belief)
        measured = iter(self._measure([item for items in sighted for item in items]))
        return [
            (belief, [self._step(guard, belief, item, *next(measured)) for item in items])
            for (guard, _, _), belief, items in zip(tracks, beliefs, sighted, strict=True)
        ]

    def _sight(self, belief: Belief, fix: TrackFix) -> Sighted:
        """Apply sections 1 and 2 of the rule: is a fix believed, and how far off may it be."""
        _check_order(belief, fix)
        settings = self._settings
        belief.last_at, belief.last_key = fix.recorded_at, fix.key
        seen = Seen(_us(fix.recorded_at), fix.lat, fix.lon, own_radius_m(fix.accuracy, settings))
        trusted = belief.memory[-1] if belief.memory else None
        plausibility = assess(
            seen,
            mock=fix.mock,
            memory=belief.memory,
            suspects=belief.suspects,
            settings=settings,
        )
        belief.suspects = plausibility.suspects
        if plausibility.reason is not None:
            return Sighted(fix, seen, (), plausibility, None)
        if plausibility.relocated:
            belief.memory, trusted = (), None
        belief.memory = self._remembered(belief.memory, seen)
        doubt = fix.speed is not None and doubted(fix.speed, seen, trusted, settings)
        return Sighted(fix, seen, belief.memory, plausibility, trusted, doubt)

    def _remembered(self, memory: tuple[Seen, ...], seen: Seen) -> tuple[Seen, ...]:
        oldest_us = seen.at_us - self._settings.scatter_window_s * 1_000_000
        kept = memory[-self._settings.scatter_fixes + 1 :]
        if kept and kept[0].at_us < oldest_us:
            kept = tuple(item for item in kept if item.at_us >= oldest_us)
        return (*kept, seen)

    def _measure(self, sighted: Sequence[Sighted]) -> Iterator[tuple[float, Near]]:
        """Return the error radius of each fix in metres, and the zones near it."""
        scatters = scatters_m([item.memory for item in sighted])
        errors_m = [
            max(item.seen.own_m, scatter or 0.0) for item, scatter in zip(sighted, scatters, strict=True)
        ]
        near = self._zones.near_many(
            [item.seen.lat for item in sighted],
            [item.seen.lon for item in sighted],
            [error_m * self._reach_radii for error_m in errors_m],
        )
        return zip(errors_m, near, strict=True)

    def _step(self, guard: Guarded, belief: Belief, item: Sighted, error_m: float, near: Near) -> Step:
        transitions: tuple[Transition, ...] = ()
        reason, detail = item.plausibility.reason, item.plausibility.detail
        if reason is None:
            transitions = self._conclude(guard, belief, item, error_m, near)
        return Step(
            item.fix,
            reason,
            detail,
            belief.in_geofence,
            belief.violation,
            error_m,
            transitions,
            item.speed_doubted,
        )

    def _conclude(
        self, guard: Guarded, belief: Belief, item: Sighted, error_m: float, near: Near
    ) -> tuple[Transition, ...]:
        """Apply sections 3 to 5 of the rule."""
        raw = item.fix
        at = raw.recorded_at if raw.recorded_at < raw.received_at else raw.received_at
        if _stays(guard, belief, near, at):
            belief.in_geofence = True
            return ()
        speed = None if item.speed_doubted else raw.speed
        fix = Fix(raw.key, item.seen, raw.accuracy, speed, error_m, at, item.before)
        verdict = Verdict(guard, fix, belief.zones, self._settings)
        for zone, d in self._concerned(guard, belief, fix, near):
            verdict.zone(zone, d)
        verdict.gone()
        required = verdict.required_near or self._required.any_in_force(guard, at)
        belief.within = verdict.within(belief.within, required=required)
        belief.violation = verdict.violation(before=belief.violation, within=belief.within)
        belief.in_geofence = verdict.in_geofence
        belief.zones = verdict.held
        return tuple(verdict.transitions)

    def _concerned(self, guard: Guarded, belief: Belief, fix: Fix, near: Near) -> list[tuple[Zone, float]]:
        """Return the zones that apply and are near, or that something is held of, by zone id."""
        found = [(zone, d) for zone, d in near if holds(zone, fix.at) and applies(zone, guard)]
        if belief.zones:
            there = {zone.zone_id for zone, _ in found}
            for zone_id in belief.zones.keys() - there:
                zone = self._zones.holding(zone_id, fix.at)
                if zone is not None and applies(zone, guard):
                    found.append((zone, distance_m(zone, fix.seen.lat, fix.seen.lon)))
        if len(found) > 1:
            found.sort(key=lambda pair: pair[0].zone_id)
        return found


def _stays(guard: Guarded, belief: Belief, near: Near, at: datetime) -> bool:
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
        and held == Held(inside=True, version=zone.version)
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
