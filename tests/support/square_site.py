"""A site at the equator, for tests of the rule of zones.

Tests give metres east and north of the gate, and seconds since noon. The settings are written out
here: an example of the rule stays the same when an installation's defaults change.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from shapely.geometry import Point, box

from services.contracts.zone_parameters import Confirmation
from services.geofencing.geometry import METRES_A_DEGREE, Geofence, ZoneIndex
from services.geofencing.rule.plausibility import RememberedFix
from services.geofencing.rule.track import Belief, EvaluatedFix, Judge, TrackFix, ZoneSubject
from services.platform.config import LocationSettings

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SETTINGS = LocationSettings(
    accuracy_default_m=25,
    accuracy_floor_m=8,
    scatter_fixes=8,
    scatter_window_s=120,
    max_speed_mps=45,
    max_jump_m=200,
    relocate_fixes=3,
    relocate_s=30,
    confirm_fixes=2,
    confirm_weight=8,
    confirm_s=90,
    margin_cap_radii=4,
    repeat_interval_s=30,
    settle_s=10,
    silence_limit_s=300,
    device_silence_limit_s=0,
    sensor_silence_limit_s=0,
    system_silence_limit_s=0,
)
USUAL = Confirmation(2, 90.0)
GUARD = ZoneSubject("guard-1")


def degrees(metres: float) -> float:
    return metres / METRES_A_DEGREE


def latitude(east_m: float, north_m: float) -> float:
    """Return the latitude of a fix.

    At the gate itself it is not quite 0: a fix at exactly 0, 0 is not a fix.
    """
    return degrees(north_m) if east_m or north_m else 1e-12


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def key(seconds: float) -> bytes:
    return round(at(seconds).timestamp() * 1000).to_bytes(16, "big")


def fix(
    seconds: float,
    east_m: float,
    north_m: float = 0.0,
    *,
    accuracy: float | None = 8.0,
    speed: float | None = None,
    mock: bool = False,
    late_s: float = 0.0,
) -> TrackFix:
    """Return a fix that claims to be good to 8 m, and is received at once."""
    return TrackFix(
        key(seconds),
        at(seconds),
        at(seconds + late_s),
        latitude(east_m, north_m),
        degrees(east_m),
        accuracy,
        speed,
        mock,
    )


def walk(*east_m: float, start_s: float = 0.0, every_s: float = 10.0, **more: Any) -> list[TrackFix]:
    """Return a fix each ten seconds, along the equator."""
    return [fix(start_s + every_s * n, east, **more) for n, east in enumerate(east_m)]


def seen(seconds: float, east_m: float, north_m: float = 0.0, *, own_m: float = 8.0) -> RememberedFix:
    return RememberedFix(
        round(at(seconds).timestamp() * 1_000_000), latitude(east_m, north_m), degrees(east_m), own_m
    )


def circle(radius_m: float = 100.0, *, east_m: float = 0.0, **changes: Any) -> Geofence:
    """Return a required zone round the gate."""
    return _zone(area=Point(degrees(east_m), 0.0), radius_m=radius_m, **changes)


def block(west_m: float, south_m: float, east_m: float, north_m: float, **changes: Any) -> Geofence:
    return _zone(area=box(*map(degrees, (west_m, south_m, east_m, north_m))), **changes)


def _zone(**changes: Any) -> Geofence:
    usual = {"zone_id": 1, "kind": "required", "name": "Yard", "enter": USUAL, "exit": USUAL}
    return Geofence(**{**usual, **changes})


def judge(*zones: Geofence) -> Judge:
    return Judge(ZoneIndex(zones), SETTINGS)


def judged_fixes(
    zones: Iterable[Geofence],
    fixes: Iterable[TrackFix],
    belief: Belief | None = None,
    guard: ZoneSubject = GUARD,
) -> tuple[Belief, list[EvaluatedFix]]:
    return judge(*zones).judge(guard, belief, list(fixes))


def transition_rows(steps: Iterable[EvaluatedFix]) -> list[tuple[str, int | None, float, float]]:
    """Return (kind, zone, `at`, `confirmed_at`) of each transition.

    The times are in seconds since noon.
    """
    return [
        (
            found.kind,
            found.zone_id,
            (found.at - NOON).total_seconds(),
            (found.confirmed_at - NOON).total_seconds(),
        )
        for step in steps
        for found in step.transitions
    ]
