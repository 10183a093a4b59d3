"""Plausibility of fixes: no fixes, mock positions, teleports, and teleports that are true. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.geofencing.geometry import METRES_A_DEGREE, haversine_m
from services.platform.config import LocationSettings


class RememberedFix(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fix as it is remembered. `own_m` is its claimed accuracy, or what stands for it."""

    at_us: int
    lat: float
    lon: float
    own_m: float


class TeleportSuspects(msgspec.Struct, frozen=True, array_like=True):
    """Teleports that agree with each other."""

    count: int
    first_at_us: int
    last: RememberedFix


class Plausibility(NamedTuple):
    """Assessment of a fix. `reason` is None for a plausible fix.

    `relocated` is True for a fix that came true after teleports.
    """

    reason: str | None
    detail: dict[str, float]
    suspects: TeleportSuspects | None
    relocated: bool = False


PLAUSIBLE = Plausibility(None, {}, None)
SUDDEN_S = 60.0
"""Longest time in seconds over which a jump is judged.

Over a longer time, nobody can say how a guard moved meanwhile.
"""
DOUBT = 2.0
"""A claimed speed is doubted above this many times the greatest that the positions allow."""


def own_radius_m(accuracy: float | None, settings: LocationSettings) -> float:
    """Return the claimed accuracy in metres, but not less than the floor.

    The default stands for an accuracy that is missing or negative, which means unknown.
    """
    claimed = settings.accuracy_default_m if accuracy is None or accuracy < 0 else accuracy
    return max(claimed, settings.accuracy_floor_m)


def least_distance_m(a: RememberedFix, b: RememberedFix) -> float:
    """Return how far the two must be apart, in metres, allowing for both error radii.

    The distance is negative when the two may be one place.
    """
    return haversine_m(a.lat, a.lon, b.lat, b.lon) - a.own_m - b.own_m


def doubted(
    speed: float, fix: RememberedFix, before: RememberedFix | None, settings: LocationSettings
) -> bool:
    """Return True when a claimed speed cannot be right.

    It is too fast for a guard, or the positions contradict it by far. Devices send speeds in other
    units. A claim that is too low is not doubted: a guard who stops at a light claims so rightly.
    `before` is the plausible fix before.
    """
    if speed > settings.max_speed_mps:
        return True
    if before is None:
        return False
    seconds = (fix.at_us - before.at_us) / 1_000_000
    spare_m = speed * seconds - DOUBT * (before.own_m + fix.own_m)
    if spare_m <= 0 or seconds > SUDDEN_S:
        return False
    return spare_m > DOUBT * haversine_m(before.lat, before.lon, fix.lat, fix.lon)


def reachable(a: RememberedFix, b: RememberedFix, *, seconds: float, max_speed_mps: float) -> bool:
    return least_distance_m(a, b) <= max_speed_mps * max(seconds, 1.0)


def too_sudden(
    before: RememberedFix, trusted: RememberedFix, fix: RememberedFix, *, seconds: float, max_jump_m: float
) -> bool:
    """Return True for a jump off the course of the two fixes before."""
    if seconds > SUDDEN_S:
        return False
    way_m = least_distance_m(trusted, fix)
    if way_m <= max_jump_m:
        return False
    pace_s = max((trusted.at_us - before.at_us) / 1_000_000, 1.0)
    pace_mps = haversine_m(before.lat, before.lon, trusted.lat, trusted.lon) / pace_s
    return way_m > pace_mps * max(seconds, 1.0) + max_jump_m


def assess(
    fix: RememberedFix,
    *,
    mock: bool,
    memory: Sequence[RememberedFix],
    suspects: TeleportSuspects | None,
    settings: LocationSettings,
) -> Plausibility:
    """Assess a fix against the last plausible ones (`memory`), and the teleports since."""
    limit = settings.max_speed_mps
    if fix.lat == 0.0 and fix.lon == 0.0:
        return Plausibility("no_fix", {}, suspects)
    if mock:
        return Plausibility("mock", {}, suspects)
    if not memory or _follows(fix, memory, suspects, settings):
        return PLAUSIBLE

    if suspects is not None and reachable(
        suspects.last, fix, seconds=(fix.at_us - suspects.last.at_us) / 1_000_000, max_speed_mps=limit
    ):
        together = TeleportSuspects(suspects.count + 1, suspects.first_at_us, fix)
    else:
        together = TeleportSuspects(1, fix.at_us, fix)

    seconds = (fix.at_us - together.first_at_us) / 1_000_000
    if together.count >= settings.relocate_fixes and seconds >= settings.relocate_s:
        return Plausibility(None, {}, None, relocated=True)

    return Plausibility("teleport", _jump(memory[-1], fix, limit), together)


def _follows(
    fix: RememberedFix,
    memory: Sequence[RememberedFix],
    suspects: TeleportSuspects | None,
    settings: LocationSettings,
) -> bool:
    """Return True when the fix can follow the last plausible one.

    A guard gets nowhere in the time that went by with teleports: time is counted from the last of
    them.
    """
    trusted = memory[-1]
    since_us = trusted.at_us if suspects is None else suspects.last.at_us
    seconds = (fix.at_us - since_us) / 1_000_000

    near_m = _at_most_m(trusted, fix) - trusted.own_m - fix.own_m
    if near_m <= settings.max_speed_mps and near_m <= settings.max_jump_m:
        return True
    if not reachable(trusted, fix, seconds=seconds, max_speed_mps=settings.max_speed_mps):
        return False

    return len(memory) < 2 or not too_sudden(  # noqa: PLR2004 - two make a pace
        memory[-2], trusted, fix, seconds=seconds, max_jump_m=settings.max_jump_m
    )


def _at_most_m(a: RememberedFix, b: RememberedFix) -> float:
    """Return the way along a meridian and the equator in metres.

    No distance on the sphere is longer. This is cheap, for the usual case.
    """
    return (abs(a.lat - b.lat) + abs(a.lon - b.lon)) * METRES_A_DEGREE


def _jump(trusted: RememberedFix, fix: RememberedFix, limit: float) -> dict[str, float]:
    return {
        "distance_m": round(haversine_m(trusted.lat, trusted.lon, fix.lat, fix.lon), 1),
        "seconds": (fix.at_us - trusted.at_us) / 1_000_000,
        "max_speed_mps": limit,
        "from_lat": trusted.lat,
        "from_lon": trusted.lon,
    }
