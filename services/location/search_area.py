"""The shape within which guards are looked for: GeoJSON, checked before the database sees it. Pure."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import shapely
from shapely.geometry import MultiPolygon, Polygon

from services.errors import Refused

MAX_VERTICES = 10_000
MAX_RADIUS_M = 1_000_000.0
OPPOSITE_DEG = 1e-6


class SearchArea(msgspec.Struct, frozen=True):
    """`wkb`: polygons, or the centre of a circle of `radius_m`."""

    wkb: bytes
    radius_m: float | None


def parse(shape: object) -> SearchArea:
    """A GeoJSON Polygon or MultiPolygon, or a Point with `radius_m`. Raises `Refused` that names the field."""
    if not isinstance(shape, dict):
        raise Refused('shape must be a GeoJSON object, such as {"type": "Polygon", "coordinates": [...]}')
    kind, coordinates = shape.get("type"), shape.get("coordinates")
    if kind == "Point":
        lon, lat = _place(coordinates, "shape.coordinates")
        return SearchArea(shapely.to_wkb(shapely.Point(lon, lat)), _radius(shape.get("radius_m")))
    if kind == "Polygon":
        return _checked([coordinates])
    if kind == "MultiPolygon":
        return _checked(_list(coordinates, "shape.coordinates"))
    raise Refused(f"shape.type must be Polygon, MultiPolygon, or Point with radius_m, not {kind!r}")


def check_place(lat: object, lon: object) -> tuple[float, float]:
    """A latitude and longitude. Raises `Refused` that names which is wrong."""
    return _number(lat, "lat", 90.0), _number(lon, "lon", 180.0)


def _checked(polygons: list[Any]) -> SearchArea:
    made = []
    vertices = 0
    for number, rings in enumerate(polygons):
        where = f"shape.coordinates[{number}]"
        parts = [[_place(place, where) for place in _list(ring, where)] for ring in _list(rings, where)]
        vertices += sum(map(len, parts))
        if vertices > MAX_VERTICES:
            raise Refused(f"shape has more than {MAX_VERTICES:,} vertices; simplify it")
        if not parts or any(len(ring) < 4 or ring[0] != ring[-1] for ring in parts):
            raise Refused(f"{where}: each ring needs at least four places, the last the same as the first")
        if any(_are_opposite(start, end) for ring in parts for start, end in pairwise(ring)):
            raise Refused(f"{where}: an edge joins opposite points of the earth; put a place between them")
        made.append(Polygon(parts[0], parts[1:]))
    area = made[0] if len(made) == 1 else MultiPolygon(made)
    if not made or not area.is_valid:
        reason = shapely.is_valid_reason(area) if made else "it has no polygon"
        raise Refused(f"shape.coordinates do not make a polygon: {reason}")
    return SearchArea(shapely.to_wkb(area), None)


def _are_opposite(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether no shortest way between two places exists, because they are antipodes (longitude, latitude)."""
    if abs(one[1] + other[1]) > OPPOSITE_DEG:
        return False
    apart = abs(one[0] - other[0]) % 360
    return abs(apart - 180) < OPPOSITE_DEG or abs(abs(one[1]) - 90) < OPPOSITE_DEG


def _radius(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_RADIUS_M:
        raise Refused(f"shape.radius_m must be a number of metres above 0, at most {MAX_RADIUS_M:,.0f}")
    return float(value)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise Refused(f"{what} must be a list")
    return list(value)


def _place(value: object, what: str) -> tuple[float, float]:
    pair = _list(value, what)
    if len(pair) < 2:
        raise Refused(f"{what}: a place is [longitude, latitude]")
    return _number(pair[0], f"{what} longitude", 180.0), _number(pair[1], f"{what} latitude", 90.0)


def _number(value: object, what: str, most: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or abs(value) > most
    ):
        raise Refused(f"{what} must be a number from {-most:g} to {most:g}")
    return float(value)
