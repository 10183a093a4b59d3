"""One position of a recording, its fields checked: whatever is wrong is named with its place and the remedy. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.errors import Refused

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
"""What files call the fields."""
RANGES = {
    "lat": (-90.0, 90.0),
    "lon": (-180.0, 180.0),
    "accuracy": (0.0, math.inf),
    "speed": (0.0, math.inf),
    "heading": (0.0, 360.0),
}
REQUIRED = ("time", "lat", "lon")
SWITCH = {"true": True, "1": True, "false": False, "0": False, "": False}


class RecordedFix(msgspec.Struct, frozen=True, kw_only=True):
    """`track`: what the file calls whoever walked; empty when it names nobody."""

    track: str
    at: datetime
    lat: float
    lon: float
    accuracy: float | None = None
    speed: float | None = None
    heading: float | None = None
    mock: bool = False


class Recording(msgspec.Struct, frozen=True):
    """The fixes of a file in the order of their times. `skipped`: how many entries are right and no positions."""

    fixes: list[RecordedFix]
    skipped: int = 0

    @property
    def tracks(self) -> list[str]:
        return sorted({fix.track for fix in self.fixes})


def recording_of(found: Sequence[RecordedFix], *, skipped: int = 0) -> Recording:
    """What is written twice is one fix: it must not count as two that say the same. Raises `Refused` when there is
    nothing to replay."""
    if not found:
        raise Refused("the file has no positions; a recording needs at least one with a time")
    return Recording(sorted(dict.fromkeys(found), key=lambda fix: fix.at), skipped)


def fix_of(fields: Mapping[str, Any], where: str) -> RecordedFix:
    """The fix of these fields, by the names of `NAMES`' left side. Raises `Refused`."""
    for name in REQUIRED:
        if str(fields.get(name) or "").strip() == "" and fields.get(name) != 0:
            raise Refused(f"{where}: {name} is missing; every position needs {', '.join(REQUIRED)}")
    track = fields.get("track")
    return RecordedFix(
        track="" if track is None else str(track).strip()[:128],
        at=time_of(fields["time"], where),
        mock=_switch(fields.get("mock"), where),
        **{name: _number(fields.get(name), name, where) for name in RANGES},  # type: ignore[arg-type]
    )


def known_names(given: Sequence[str]) -> dict[str, str]:
    """Ours to the file's, of the fields that a file has; case and spaces around do not matter."""
    there = {name.strip().lower(): name for name in reversed(given)}
    return {
        ours: there[theirs] for ours, names in NAMES.items() for theirs in reversed(names) if theirs in there
    }


def time_of(value: object, where: str, *, field: str = "time") -> datetime:
    """An aware time. Raises `Refused`."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise Refused(f"{where}: {field} is {shown(value)}; write it as 2026-01-31T18:00:00+05:30") from error
    if found.tzinfo is None:
        raise Refused(f"{where}: {field} is {shown(value)}, without an offset; write +05:30 or Z after it")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise Refused(f"{where}: {field} is {shown(value)}, which is out of all time") from error


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def check_count(count: int, where: str) -> None:
    """Raises `Refused`."""
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
        return None  # phones write -1 for what they do not know
    if not (low <= number <= high and math.isfinite(number)):
        wanted = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
        raise Refused(f"{where}: {name} is {shown(value)}; it must be a number, {wanted}")
    return number


def _switch(value: object, where: str) -> bool:
    found = value if isinstance(value, bool) else SWITCH.get(str(value or "").strip().lower())
    if found is None:
        raise Refused(f"{where}: mock is {shown(value)}; it must be true or false")
    return found
