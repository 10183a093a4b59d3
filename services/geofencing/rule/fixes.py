"""The two forms of a fix on a track: as it is on record, and as the rule evaluated it. Pure.

`contracts.families.Fix` is the message of the field. It becomes a `TrackFix` once, where it is
judged. A `TrackFix` is also what a row of the table becomes, so a fix that is judged again gets the
same verdict.
"""

from __future__ import annotations

import struct
from datetime import datetime

import msgspec

from services.contracts.families import Fix
from services.geofencing.rule.plausibility import RememberedFix
from services.geofencing.rule.transitions import ZoneTransition


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


class EvaluatedFix(msgspec.Struct):
    """A fix as the rule evaluated it: first by itself, then by the zones near it.

    Attributes:
        fix: The fix.
        seen: What later fixes need of it.
        before: The plausible fix before it. None after a relocation.
        implausible: The reason why the fix was left out. Its flags are then those before it.
        detail: The figures of that reason.
        speed_doubted: True when the fix is believed, and the speed that it claims is not.
        error_radius_m: How far off the fix may be, in metres.
        in_geofence, violation: The flags after the fix.
        transitions: The transitions that it confirmed.
    """

    fix: TrackFix
    seen: RememberedFix
    before: RememberedFix | None = None
    implausible: str | None = None
    detail: dict[str, float] = {}
    speed_doubted: bool = False
    error_radius_m: float = 0.0
    in_geofence: bool = False
    violation: bool = False
    transitions: tuple[ZoneTransition, ...] = ()

    @property
    def zone_time(self) -> datetime:
        """Return the time that versions and schedules of zones are asked for."""
        fix = self.fix
        return fix.recorded_at if fix.recorded_at < fix.received_at else fix.received_at

    @property
    def speed_mps(self) -> float | None:
        """Return the speed that the fix claims, unless that is doubted."""
        return None if self.speed_doubted else self.fix.speed


def track_fix_of(fix: Fix) -> TrackFix:
    """Convert a fix to the form that the judge takes.

    Numbers are as the table keeps them: a fix that is judged again must get the same verdict.
    """
    origin = fix.origin
    return TrackFix(
        origin.key,
        origin.recorded_at,
        origin.received_at,
        fix.lat,
        fix.lon,
        _as_kept(fix.accuracy) if fix.accuracy is None or fix.accuracy >= 0 else None,
        _as_kept(fix.speed),
        fix.mock,
    )


def _as_kept(value: float | None) -> float | None:
    """Return the nearest float of four bytes.

    A number that is too great for four bytes stays as it is, and PostgreSQL refuses it.
    """
    if value is None:
        return None
    try:
        [kept] = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return value
    return float(kept)
