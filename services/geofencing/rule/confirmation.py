"""A belief and the evidence gathered against it, up to the change that it confirms. Pure.

The same small machine holds whether a guard is in a zone, within the required ones, and speeding
(docs/zones.md).
"""

from __future__ import annotations

import msgspec

from services.contracts.zone_parameters import Confirmation
from services.geofencing.geometry import Geofence

FIRST_AND_LAST = 10
"""Number of fixes that are kept of an evidence: the first, and the last of the others."""


class FixEvidence(msgspec.Struct, frozen=True, array_like=True):
    """A fix as evidence: the measured values, and what they were taken for."""

    key: bytes
    at_us: int
    lat: float
    lon: float
    accuracy: float | None
    error_radius_m: float
    distance_m: float | None
    """None: beyond the reach that was looked at."""
    weight: float = 0.0
    speed_mps: float | None = None


class NeededEvidence(msgspec.Struct, frozen=True, array_like=True):
    """Evidence that confirms a change.

    Either `fixes` fixes with a sum of weights of `weight`, or two fixes over `seconds`. Nothing is
    confirmed before `hold_s`.
    """

    fixes: int
    seconds: float
    hold_s: float
    weight: float = 0.0
    zone_id: int | None = None
    """Zone of this confirmation, when it was chosen as the first evidence was gathered."""
    zone_version: int | None = None


def needed_of(confirmation: Confirmation, *, weight: float, zone: Geofence | None = None) -> NeededEvidence:
    """Return what confirms a change: the parameters of a zone, and the sum of weights.

    `zone` is given when its confirmation was chosen as the first evidence was gathered.
    """
    return NeededEvidence(
        confirmation.fixes,
        confirmation.seconds,
        confirmation.hold_s,
        weight,
        None if zone is None else zone.zone_id,
        None if zone is None else zone.version,
    )


class GatheredEvidence(msgspec.Struct, frozen=True, array_like=True):
    """Evidence for the other side, without a contrary fix since the first."""

    signs: tuple[FixEvidence, ...]
    count: int
    weight: float
    needed: NeededEvidence | None = None
    """Kept when the first evidence decides it. Otherwise it is asked for at each fix."""

    @property
    def first(self) -> FixEvidence:
        return self.signs[0]

    @property
    def seconds(self) -> float:
        """Return the seconds from the first sign to the last."""
        return (self.signs[-1].at_us - self.signs[0].at_us) / 1_000_000

    def with_(self, sign: FixEvidence) -> GatheredEvidence:
        signs = self.signs if len(self.signs) < FIRST_AND_LAST else (self.signs[0], *self.signs[2:])
        return GatheredEvidence((*signs, sign), self.count + 1, self.weight + sign.weight, self.needed)


class BeliefChange(msgspec.Struct, frozen=True):
    """A changed belief, with the rule and the evidence that changed it."""

    rule: str
    signs: tuple[FixEvidence, ...]
    count: int = 1
    weight: float = 0.0
    seconds: float = 0.0
    needed: NeededEvidence | None = None

    @property
    def first(self) -> FixEvidence:
        return self.signs[0]

    @property
    def last(self) -> FixEvidence:
        """Return the fix that was enough."""
        return self.signs[-1]


def gather(
    before: GatheredEvidence | None, sign: FixEvidence, *, needed: NeededEvidence | None = None
) -> GatheredEvidence:
    """Add a sign to the evidence. `needed` is kept only with the first sign."""
    return before.with_(sign) if before is not None else GatheredEvidence((sign,), 1, sign.weight, needed)


def confirmed(gathered: GatheredEvidence, needed: NeededEvidence) -> BeliefChange | None:
    """Return the change that the evidence confirms, or None while it is not enough."""
    seconds = gathered.seconds
    if seconds < needed.hold_s:
        return None

    if gathered.count >= needed.fixes and gathered.weight >= needed.weight:
        rule = "fixes"
    elif gathered.count >= 2 and seconds >= needed.seconds:  # noqa: PLR2004 - one fix has no duration
        rule = "seconds"
    else:
        return None

    return BeliefChange(rule, gathered.signs, gathered.count, gathered.weight, seconds, needed)
