"""Places in the notations that devices use: fields, GeoJSON, text, lists. Pure.

The order of numbers is latitude first, also in text ("12.97,77.59") and in lists ([12.97, 77.59]).
Only GeoJSON has the longitude first, and only an object with a GeoJSON `type` is read as GeoJSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.mqtt.decoding.values import number_of

NAMES = (("lat", "lon"), ("latitude", "longitude"), ("lat", "lng"), ("lat", "long"))
HOLDERS = ("location", "gps", "position", "coords", "geolocation", "geo")
"""Fields that hold a place, in the order in which they are read."""
FIELDS = (
    *HOLDERS,
    *dict.fromkeys(name for pair in NAMES for name in pair),
    "type",
    "geometry",
    "coordinates",
    "accuracy",
)
"""Fields of a payload that may give its place."""
LONGEST_SHOWN = 200
LONGEST_READ = 100
_ZERO = 1e-6
_MAX_NESTED = 3

Point = tuple[float, float]
Reading = Point | Literal["no_fix"] | None
"""A place; or no fix (0,0, or both null); or None when nothing can be read."""


class FoundPlace(NamedTuple):
    """Place that a payload gives.

    `user_text` is the unreadable value, as text. `flags` names the faults.
    """

    point: Point | None
    flags: tuple[str, ...] = ()
    shown: str = ""


def find(tree: Mapping[str, Any]) -> FoundPlace:
    """Return the first readable place in a payload's object."""
    unread: list[object] = []
    no_fix = False
    for value in _candidates(tree):
        reading = read(value)
        if isinstance(reading, tuple):
            return FoundPlace(reading)
        if reading == "no_fix":
            no_fix = True
        else:
            unread.append(value)

    if unread:
        return FoundPlace(None, ("location",), user_text(unread[0]))

    return FoundPlace(None, ("no_fix",)) if no_fix else FoundPlace(None)


def read(value: object, *, nested: int = 0) -> Reading:
    """Return the place that one value gives."""
    if isinstance(value, Mapping):
        return _of_object(value, nested)
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, list | tuple) and len(value) in (2, 3):
        return _point(value[0], value[1])
    return None


def holds_place(value: object, *, nested: int = 0) -> bool:
    """Return True when a decoded payload may hold a place anywhere. A missing fix is no place."""
    if isinstance(value, Mapping):
        if isinstance(_of_object(value, _MAX_NESTED), tuple) or any(
            isinstance(read(value[name]), tuple)
            for name in (*HOLDERS, "coordinates")
            if value.get(name) is not None
        ):
            return True
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return False

    return nested < _MAX_NESTED and any(holds_place(part, nested=nested + 1) for part in inner)


def is_no_fix(lat: float, lon: float) -> bool:
    """Return True when a position is 0,0: the mark of a receiver without a fix."""
    return abs(lat) < _ZERO and abs(lon) < _ZERO


def user_text(value: object) -> str:
    """Return a value as text for users, at most `LONGEST_SHOWN` characters."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return " ".join(text[: 5 * LONGEST_SHOWN].split())[:LONGEST_SHOWN]


def _candidates(tree: Mapping[str, Any]) -> list[object]:
    found: list[object] = [tree[name] for name in HOLDERS if tree.get(name) is not None]
    if tree.get("type") in ("Feature", "Point"):
        found.append({name: tree[name] for name in ("type", "geometry", "coordinates") if name in tree})
    for pair in NAMES:
        if all(name in tree for name in pair):
            found.append({name: tree[name] for name in pair})
    return found


def _of_object(value: Mapping[str, Any], nested: int) -> Reading:
    if value.get("type") == "Feature":
        geometry = value.get("geometry")
        return (
            read(geometry, nested=nested + 1)
            if isinstance(geometry, Mapping) and nested < _MAX_NESTED
            else None
        )

    if value.get("type") == "Point":
        coordinates = value.get("coordinates")
        if isinstance(coordinates, list) and len(coordinates) >= 2:
            return _point(coordinates[1], coordinates[0])
        return None

    lower = {str(name).lower(): item for name, item in value.items()}
    for lat, lon in NAMES:
        if lat in lower and lon in lower:
            return _point(lower[lat], lower[lon])

    if nested < _MAX_NESTED:
        for name in HOLDERS:
            if isinstance(lower.get(name), Mapping):
                return read(lower[name], nested=nested + 1)

    return None


def _of_text(text: str) -> Reading:
    if len(text) > LONGEST_READ:
        return None
    words = text.strip().removeprefix("geo:").partition("?")[0]
    separator = next((sign for sign in ";," if sign in words), None)
    parts = words.split(separator)
    return _point(parts[0], parts[1]) if len(parts) in (2, 3) else None


def _point(lat: object, lon: object) -> Reading:
    if lat in (None, "") and lon in (None, ""):
        return "no_fix"
    y, x = number_of(lat), number_of(lon)
    if y is None or x is None or not (-90 <= y <= 90 and -180 <= x <= 180):
        return None
    return "no_fix" if is_no_fix(y, x) else (y, x)
