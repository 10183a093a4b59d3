"""One position of a recording, with its fields checked. Pure.

Every error names its place and the remedy.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.contracts.errors import Refused

MAX_FIXES = 1_000_000
NAMES = {
    "track": ("guard", "guard_id", "track", "tid"),
    "time": ("time", "timestamp", "recorded_at"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "longitude"),
    "accuracy": ("accuracy", "accuracy_m", "acc"),
    "speed": ("speed", "speed_mps"),
    "heading": ("heading", "heading_deg", "course", "bearing"),
    "mock": ("mock",),
}
"""Names that files use for the fields."""
RANGES = {
    "lat": (-90.0, 90.0),
    "lon": (-180.0, 180.0),
    "accuracy": (0.0, math.inf),
    "speed": (0.0, math.inf),
    "heading": (0.0, 360.0),
}
REQUIRED = ("time", "lat", "lon")
OPTIONAL = ("accuracy", "speed", "heading", "mock")
SWITCH = {"true": True, "1": True, "false": False, "0": False, "": False}


class RecordedFix(msgspec.Struct, frozen=True, kw_only=True):
    """A position of a recording.

    `track` is the file's name for the person who walked. It is empty when the file gives no name.
    """

    track: str
    at: datetime
    lat: float
    lon: float
    accuracy: float | None = None
    speed: float | None = None
    heading: float | None = None
    mock: bool = False


class Recording(msgspec.Struct, frozen=True):
    """The fixes of a file, in the order of their times.

    Attributes:
        fixes: the points that can be used.
        skipped: number of valid entries that are not positions.
        points: number of points in the file.
        unusable: number of points that are left out, by the reason.
        left_out: number of points that lost an optional field that cannot be read, by the field.
    """

    fixes: list[RecordedFix]
    skipped: int = 0
    points: int = 0
    unusable: Mapping[str, int] = {}
    left_out: Mapping[str, int] = {}

    def losses(self) -> list[str]:
        """Return lines on the points that are skipped or lost a field.

        None when all points are whole.
        """
        said = []
        if self.unusable:
            reasons = ", ".join(
                reason if len(self.unusable) == 1 else f"{count:,} {reason}"
                for reason, count in sorted(self.unusable.items())
            )
            said.append(f"{sum(self.unusable.values()):,} of {self.points:,} points skipped: {reasons}")

        said += [
            f"{name} cannot be read and is left out of {n:,} points" for name, n in self.left_out.items()
        ]
        return said

    @property
    def tracks(self) -> list[str]:
        return sorted({fix.track for fix in self.fixes})


class UnusablePoint(Refused):
    """A point that cannot be replayed.

    `field` is the field that is wrong. `reason` is short, so that equal reasons can be counted.
    """

    def __init__(self, message: str, *, field: str, reason: str) -> None:
        super().__init__(message)
        self.field = field
        self.reason = reason


class PointCollector:
    """Collector of the points of a file.

    It counts points that cannot be used, and leaves them out.
    """

    def __init__(self) -> None:
        self.found: list[RecordedFix] = []
        self.skipped = 0
        self._unusable: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._first: str | None = None

    def __len__(self) -> int:
        return len(self.found) + self._unusable.total()

    def take(self, fields: Mapping[str, Any], where: str) -> None:
        """Keep the point of these fields, without optional fields that cannot be read."""
        check_count(len(self) + 1, where)
        while True:
            try:
                self.found.append(fix_of(fields, where))
            except UnusablePoint as error:
                if error.field in OPTIONAL:
                    self._left_out[error.field] += 1
                    fields = {name: value for name, value in fields.items() if name != error.field}
                    continue
                self.refuse(error)
            return

    def refuse(self, error: UnusablePoint) -> None:
        """Count a point that cannot be used."""
        self._unusable[error.reason] += 1
        self._first = self._first or str(error)

    def recording(self) -> Recording:
        """Return the collected points. A point that is in the file twice is one fix.

        Raises:
            Refused: no point can be used.
        """
        if not self.found and self._first:
            more = f"; none of the {len(self):,} points can be used" if len(self) > 1 else ""
            raise Refused(f"{self._first}{more}")
        if not self.found:
            raise Refused("the file has no positions; a recording needs at least one with a time")
        fixes = sorted(dict.fromkeys(self.found), key=lambda fix: fix.at)
        return Recording(fixes, self.skipped, len(self), dict(self._unusable), dict(self._left_out))


def fix_of(fields: Mapping[str, Any], where: str) -> RecordedFix:
    """Return the fix of these fields, which have the keys of `NAMES`. Raises `UnusablePoint`."""
    for name in REQUIRED:
        if str(fields.get(name) or "").strip() == "" and fields.get(name) != 0:
            raise UnusablePoint(
                f"{where}: {name} is missing; every position needs {', '.join(REQUIRED)}",
                field=name,
                reason=f"no {name}",
            )

    track = fields.get("track")
    return RecordedFix(
        track="" if track is None else str(track).strip()[:128],
        at=time_of(fields["time"], where),
        mock=_switch(fields.get("mock"), where),
        **{name: _number(fields.get(name), name, where) for name in RANGES},  # type: ignore[arg-type]
    )


def known_names(given: Sequence[str]) -> dict[str, str]:
    """Return Vigil's name to the file's name for the fields that a file has.

    Case and surrounding spaces do not matter.
    """
    there = {name.strip().lower(): name for name in reversed(given)}
    return {
        ours: there[theirs] for ours, names in NAMES.items() for theirs in reversed(names) if theirs in there
    }


def time_of(value: object, where: str, *, field: str = "time") -> datetime:
    """Return an aware time in UTC. Raises `UnusablePoint`."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        said = f"{where}: {field} is {short_text(value)}; write it as 2026-01-31T18:00:00+05:30"
        raise UnusablePoint(said, field=field, reason=f"{field} is not readable") from error

    if found.tzinfo is None:
        said = f"{where}: {field} is {short_text(value)}, without an offset; write +05:30 or Z after it"
        raise UnusablePoint(said, field=field, reason=f"{field} has no offset")

    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        said = f"{where}: {field} is {short_text(value)}, which is out of all time"
        raise UnusablePoint(said, field=field, reason=f"{field} is not readable") from error


def short_text(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def check_count(count: int, where: str) -> None:
    """Raise `Refused` when there are too many points."""
    if count > MAX_FIXES:
        raise Refused(f"{where}: the file has more than {MAX_FIXES:,} positions; split it")


def _number(value: object, name: str, where: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None

    low, high = RANGES[name]
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan

    if name not in REQUIRED and -math.inf < number < 0:
        return None  # phones write -1 for an unknown value
    if not (low <= number <= high and math.isfinite(number)):
        wanted = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
        said = f"{where}: {name} is {short_text(value)}; it must be a number, {wanted}"
        raise UnusablePoint(said, field=name, reason=f"{name} is not {wanted}")

    return number


def _switch(value: object, where: str) -> bool:
    found = value if isinstance(value, bool) else SWITCH.get(str(value or "").strip().lower())
    if found is None:
        said = f"{where}: mock is {short_text(value)}; it must be true or false"
        raise UnusablePoint(said, field="mock", reason="mock is not true or false")
    return found
