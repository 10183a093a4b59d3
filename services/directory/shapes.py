"""Zones as people enter them: checked here, with the field and the remedy in the message. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from services.errors import Refused

MAX_RADIUS_M = 100_000
MAX_VERTICES = 10_000


def circle(*, lat: float, lon: float, radius_m: float) -> BaseGeometry:
    """The centre of a circle. Raises `Refused`."""
    _check_position(lat, lon)
    if not 1 <= radius_m <= MAX_RADIUS_M:
        raise Refused(f"radius_m is {radius_m:g}; it must be 1 to {MAX_RADIUS_M} metres")
    return Point(lon, lat)


def polygon(vertices: Sequence[Sequence[float]]) -> BaseGeometry:
    """A polygon from [longitude, latitude] pairs, closed or not. Raises `Refused`."""
    if not 3 <= len(vertices) <= MAX_VERTICES:
        raise Refused(f"vertices has {len(vertices)} points; a polygon has 3 to {MAX_VERTICES}")
    for vertex in vertices:
        if len(vertex) != 2:
            raise Refused(f"vertices holds {vertex!r}; each vertex is [longitude, latitude]")
        _check_position(vertex[1], vertex[0])
    shape = Polygon(vertices)
    if not shape.is_valid or shape.area == 0:
        raise Refused(
            f"vertices do not make a polygon: {explain_validity(shape)}; draw its edge without crossings"
        )
    return shape


def _check_position(lat: float, lon: float) -> None:
    if not (math.isfinite(lat) and -90 <= lat <= 90):
        raise Refused(f"lat is {lat!r}; it must be -90 to 90 degrees")
    if not (math.isfinite(lon) and -180 <= lon <= 180):
        raise Refused(f"lon is {lon!r}; it must be -180 to 180 degrees")
