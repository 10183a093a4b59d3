"""One belief with the evidence that is gathered against it: what confirms a change, and what is kept of it. Pure.

The same small machine holds whether a guard is in a zone, within the required ones, and speeding (docs/zones.md).
"""

from __future__ import annotations

import msgspec

FIRST_AND_LAST = 10
"""So many fixes of an evidence are kept: the first, and the last of the others."""


class Sign(msgspec.Struct, frozen=True, array_like=True):
    """A fix as evidence: what was measured, and what that was taken for."""

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


class Needed(msgspec.Struct, frozen=True, array_like=True):
    """What confirms: so many fixes with such a sum of weights, or two over so many seconds; never before the hold."""

    fixes: int
    seconds: float
    hold_s: float
    weight: float = 0.0
    zone_id: int | None = None
    """Whose confirmation this is, where it was chosen when the first evidence was gathered."""
    zone_version: int | None = None


class Gathered(msgspec.Struct, frozen=True, array_like=True):
    """Evidence towards the other side, without a contrary fix since the first."""

    signs: tuple[Sign, ...]
    count: int
    weight: float
    needed: Needed | None = None
    """Kept where the first evidence decides it; otherwise it is asked for at each fix."""

    @property
    def first(self) -> Sign:
        return self.signs[0]

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        return (self.signs[-1].at_us - self.signs[0].at_us) / 1_000_000

    def with_(self, sign: Sign) -> Gathered:
        signs = self.signs if len(self.signs) < FIRST_AND_LAST else (self.signs[0], *self.signs[2:])
        return Gathered((*signs, sign), self.count + 1, self.weight + sign.weight, self.needed)


class Change(msgspec.Struct, frozen=True):
    """A belief changed: by which rule, and by what evidence."""

    rule: str
    signs: tuple[Sign, ...]
    count: int = 1
    weight: float = 0.0
    seconds: float = 0.0
    needed: Needed | None = None

    @property
    def first(self) -> Sign:
        return self.signs[0]

    @property
    def last(self) -> Sign:
        """The fix that was enough."""
        return self.signs[-1]


def gather(before: Gathered | None, sign: Sign, *, needed: Needed | None = None) -> Gathered:
    """`needed` is kept only with the first evidence."""
    return before.with_(sign) if before is not None else Gathered((sign,), 1, sign.weight, needed)


def confirmed(gathered: Gathered, needed: Needed) -> Change | None:
    """The change that the evidence is enough for, or None while it is not."""
    seconds = gathered.seconds
    if seconds < needed.hold_s:
        return None
    if gathered.count >= needed.fixes and gathered.weight >= needed.weight:
        rule = "fixes"
    elif gathered.count >= 2 and seconds >= needed.seconds:  # noqa: PLR2004 - one fix has no duration
        rule = "seconds"
    else:
        return None
    return Change(rule, gathered.signs, gathered.count, gathered.weight, seconds, needed)
