"""Shape within which guards are searched: GeoJSON, checked before the database sees it. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from services.contracts.errors import Refused
from services.geofencing.work_limits import check_counts, check_edges

MAX_REACH_DEGREES = 80.0
"""Greatest distance of a corner from the middle of all corners, in degrees.

The inside of a larger shape is not one thing on a sphere. Two corners opposite each other have no
edge.
"""
NOUN = "a shape"
MAX_RADIUS_M = 1_000_000.0


class SearchArea(msgspec.Struct, frozen=True):
    """Shape as the database takes it. `wkb`: polygons, or the centre of a circle of `radius_m`."""

    wkb: bytes
    radius_m: float | None


def parse(shape: object) -> SearchArea:
    """Parse a GeoJSON Polygon or MultiPolygon, or a Point with `radius_m`.

    Raises `Refused`, which names the field.
    """
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
    """Return a latitude and longitude. Raises `Refused`, which names the wrong one."""
    return _number(lat, "lat", 90.0), _number(lon, "lon", 180.0)


def _checked(polygons: list[Any]) -> SearchArea:
    listed = [ring for rings in polygons if isinstance(rings, list | tuple) for ring in rings]
    places = sum(len(ring) for ring in listed if isinstance(ring, list | tuple))
    check_counts(corners=places, rings=len(listed), field="shape", noun=NOUN)

    drawn = [_rings(rings, f"shape.coordinates[{number}]") for number, rings in enumerate(polygons)]
    if not drawn:
        raise Refused("shape.coordinates do not make a polygon: it has no polygon")

    every = [ring[:-1] for rings in drawn for ring in rings]
    _check_reach([place for ring in every for place in ring])
    check_edges(every, field="shape", noun=NOUN)

    made = [Polygon(rings[0], rings[1:]) for rings in drawn]
    area = made[0] if len(made) == 1 else MultiPolygon(made)
    if not area.is_valid:
        raise Refused(f"shape.coordinates do not make a polygon: {shapely.is_valid_reason(area)}")

    return SearchArea(shapely.to_wkb(area), None)


def _rings(rings: object, where: str) -> list[list[tuple[float, float]]]:
    parts = [[_place(place, where) for place in _list(ring, where)] for ring in _list(rings, where)]
    if not parts or any(len(ring) < 4 or ring[0] != ring[-1] for ring in parts):
        raise Refused(f"{where}: each ring needs at least four places, the last the same as the first")
    return parts


def _check_reach(places: list[tuple[float, float]]) -> None:
    """Raise `Refused` when a place is too far from the middle of all places."""
    lons, lats = np.radians(np.asarray(places)).T
    points = np.column_stack([np.cos(lats) * np.cos(lons), np.cos(lats) * np.sin(lons), np.sin(lats)])
    middle = points.mean(axis=0)
    length = float(np.linalg.norm(middle))

    nearest = float((points @ middle).min()) / length if length > 0 else -1.0
    if nearest < math.cos(math.radians(MAX_REACH_DEGREES)):
        raise Refused(
            f"shape reaches more than {MAX_REACH_DEGREES:g} degrees (8,900 km) from its middle, which is the limit:"
            " ask for the parts that matter, or leave the shape out (GET /positions lists all guards)"
        )


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
