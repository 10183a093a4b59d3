"""Transitions, and the evidence that is kept with them in `zone_transition`. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec

from services.contracts.zone_parameters import PARAMETERS
from services.geofencing.geometry import Geofence
from services.geofencing.rule.confirmation import BeliefChange, FixEvidence, NeededEvidence

OF_THEIR_OWN = ("fixes", "seconds", "hold_s")
"""Parameters that have a field of their own in the evidence, from before the others."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EvidenceFix(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fix as evidence, and what it was taken for.

    `distance_m` is the distance from the edge of the zone, negative inside. It is left out when the
    fix is beyond all reach.
    """

    key: str
    at: datetime
    lat: float
    lon: float
    error_radius_m: float
    accuracy: float | None = None
    distance_m: float | None = None
    weight: float = 0.0
    speed_mps: float | None = None


class TransitionEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Evidence of a transition, for machines.

    `fixes` are the first and the last of `count` fixes. The figures that were needed stand beside
    the figures that there were.

    `rule` is `fixes` or `seconds` (what confirmed), `schedule` (the zone came into or out of
    force), `no_longer_applies`, or `left` (of speeding: the zone was left).
    """

    rule: str
    fixes: tuple[EvidenceFix, ...]
    count: int
    zone_name: str = ""
    zone_kind: str = ""
    weight: float = 0.0
    weight_needed: float = 0.0
    fixes_needed: int = 0
    seconds: float = 0.0
    seconds_needed: float = 0.0
    hold_s: float = 0.0
    speed_limit_mps: float | None = None
    further_needed: dict[str, float] = {}
    """Further parameters of the zone that were needed, by their field."""

    def asked(self, field: str) -> float:
        """Return the value of a parameter that was needed; 0 when nothing was."""
        return float(self.further_needed.get(field, getattr(self, field, 0.0)))


class ZoneTransition(msgspec.Struct, frozen=True):
    """A change that a track shows. `id` is the same whenever, and however often, it is judged."""

    id: bytes
    kind: str
    zone_id: int | None
    zone_version: int | None
    at: datetime
    confirmed_at: datetime
    evidence: TransitionEvidence


def transition(
    guard_id: str,
    kind: str,
    change: BeliefChange,
    *,
    zone_id: int | None,
    zone_version: int | None,
    zone: Geofence | None,
) -> ZoneTransition:
    """Make the transition of a change. `zone` is its version of the zone, where that is at hand."""
    about = f"{guard_id}\n{kind}\n{zone_id}\n".encode()
    identity = hashlib.blake2b(about + change.first.key + change.last.key, digest_size=16).digest()
    return ZoneTransition(
        identity,
        kind,
        zone_id,
        zone_version,
        time_of(change.first),
        time_of(change.last),
        _evidence(change, zone),
    )


def time_of(sign: FixEvidence) -> datetime:
    return EPOCH + timedelta(microseconds=sign.at_us)


def _evidence(change: BeliefChange, zone: Geofence | None) -> TransitionEvidence:
    needed = change.needed
    return TransitionEvidence(
        rule=change.rule,
        fixes=tuple(_shown(sign) for sign in change.signs),
        count=change.count,
        zone_name=zone.name if zone is not None else "",
        zone_kind=zone.kind if zone is not None else "",
        weight=round(change.weight, 2),
        weight_needed=needed.weight if needed is not None else 0.0,
        fixes_needed=needed.fixes if needed is not None else 0,
        seconds=change.seconds,
        seconds_needed=needed.seconds if needed is not None else 0.0,
        hold_s=needed.hold_s if needed is not None else 0.0,
        speed_limit_mps=zone.speed_limit_mps if zone is not None else None,
        further_needed=_further(needed),
    )


def _further(needed: NeededEvidence | None) -> dict[str, float]:
    """Return the parameters that were needed and have no field of their own in the evidence."""
    fields = (parameter.field for parameter in PARAMETERS if parameter.field not in OF_THEIR_OWN)
    return {field: value for field in fields if needed is not None and (value := getattr(needed, field))}


def _shown(sign: FixEvidence) -> EvidenceFix:
    return EvidenceFix(
        key=sign.key.hex(),
        at=time_of(sign),
        lat=sign.lat,
        lon=sign.lon,
        error_radius_m=round(sign.error_radius_m, 1),
        accuracy=sign.accuracy,
        distance_m=None if sign.distance_m is None else round(sign.distance_m, 1),
        weight=round(sign.weight, 2),
        speed_mps=None if sign.speed_mps is None else round(sign.speed_mps, 1),
    )
