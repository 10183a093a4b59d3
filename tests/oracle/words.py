"""The words of docs/zones.md, for the oracle alone: fixes, zones, settings, and results of a track."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.oracle.geometry import Shape


@dataclass(frozen=True)
class Fix:
    key: bytes
    recorded_at: datetime
    received_at: datetime
    lat: float
    lon: float
    accuracy: float | None = None
    speed: float | None = None
    mock: bool = False


@dataclass(frozen=True)
class Needed:
    """The conditions that confirm a change in one direction."""

    fixes: int
    seconds: float
    hold_s: float = 0.0


@dataclass(frozen=True)
class Zone:
    """One version of a zone."""

    zone_id: int
    version: int
    kind: str
    shape: Shape
    enter: Needed
    exit: Needed
    limit_mps: float | None = None
    group_id: int | None = None
    guard_id: str | None = None
    schedule: dict[str, Any] | None = None
    time_zone: str = "UTC"
    enabled: bool = True
    holds_from: datetime | None = None
    holds_to: datetime | None = None


@dataclass(frozen=True)
class Rules:
    """The settings of the section `location`."""

    accuracy_default_m: float
    accuracy_floor_m: float
    scatter_fixes: int
    scatter_window_s: float
    max_speed_mps: float
    max_jump_m: float
    relocate_fixes: int
    relocate_s: float
    confirm_fixes: int
    confirm_weight: float
    confirm_s: float
    margin_cap_radii: float


@dataclass(frozen=True)
class Change:
    """A transition."""

    kind: str
    zone_id: int | None
    version: int | None
    at: datetime
    confirmed_at: datetime


@dataclass(frozen=True)
class Row:
    implausible: str | None
    in_geofence: bool
    violation: bool
    error_radius_m: float | None
    changes: tuple[Change, ...] = ()


@dataclass
class Gathered:
    """Evidence for one change: the fixes and their weights.

    For the required belief, `by` is the zone whose numbers count.
    """

    fixes: list[Fix] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    by: Zone | None = None

    def add(self, fix: Fix, weight: float) -> None:
        self.fixes.append(fix)
        self.weights.append(weight)

    def drop(self) -> None:
        self.fixes, self.weights, self.by = [], [], None


@dataclass
class Presence:
    """The belief about one zone that applies."""

    zone: Zone
    inside: bool = False
    evidence: Gathered = field(default_factory=Gathered)
    speeding: bool = False
    pace: Gathered = field(default_factory=Gathered)
