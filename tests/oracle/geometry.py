"""Distances as docs/zones.md has them, edge by edge, without an index or a library of shapes.

A shape is a circle (`centre`, `radius_m`) or a list of polygons. Each polygon is a shell and its
holes. Each of these is a ring of (longitude, latitude). The last point of a ring may be equal to
its first.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import asin, cos, hypot, inf, pi, radians, sin, sqrt

RADIUS_M = 6_371_008.8
NORTH_M = RADIUS_M * pi / 180
"""Metres of a degree of latitude."""
Ring = list[tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    polygons: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = ()
    centre: tuple[float, float] | None = None
    radius_m: float = 0.0


def haversine_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    half = sin(radians(other_lat - lat) / 2) ** 2
    half += cos(radians(lat)) * cos(radians(other_lat)) * sin(radians(other_lon - lon) / 2) ** 2
    return 2 * RADIUS_M * asin(sqrt(min(half, 1.0)))


def around(degrees: float) -> float:
    """Return the same turn, the short way: from -180 up to 180."""
    while degrees > 180:
        degrees -= 360
    while degrees < -180:
        degrees += 360
    return degrees


def distance_m(shape: Shape, lat: float, lon: float) -> float:
    """Return the distance from the edge in metres, negative inside."""
    if shape.centre is not None:
        return haversine_m(lat, lon, shape.centre[1], shape.centre[0]) - shape.radius_m
    east, least, inside = NORTH_M * cos(radians(lat)), inf, False
    for rings in shape.polygons:
        crossings = 0
        for ring in _placed(rings, lon):
            plane = [(east * (x - lon), NORTH_M * (y - lat)) for x, y in ring]
            start = plane[-1]
            for end in plane:
                square = _to_segment_squared(start, end)
                if square < least:
                    least = square
                if (start[1] > 0) != (end[1] > 0):
                    crossings += _crosses(start, end)
                start = end
        inside = inside or crossings % 2 == 1
    return -sqrt(least) if inside else sqrt(least)


@lru_cache(maxsize=4096)
def depth_m(shape: Shape) -> float:
    """Return twice the area over the perimeter, on the plane at the middle of the shape's extent."""
    if shape.centre is not None:
        return shape.radius_m
    latitudes = [y for rings in shape.polygons for ring in rings for _, y in ring]
    middle = (min(latitudes) + max(latitudes)) / 2
    east = NORTH_M * cos(radians(middle))
    area = perimeter = 0.0
    for rings in shape.polygons:
        for nth, ring in enumerate(rings):
            unrolled = _unrolled(ring)
            # The origin is the ring's own first point. Far from the origin, the products would lose
            # their differences.
            plane = [(east * (x - unrolled[0][0]), NORTH_M * (y - unrolled[0][1])) for x, y in unrolled]
            pairs = list(zip(plane, plane[1:] + plane[:1], strict=True))
            own = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
            area += own if nth == 0 else -own
            perimeter += sum(hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairs)
    return 2 * area / perimeter


@lru_cache(maxsize=4096)
def _unrolled(ring: tuple[tuple[float, float], ...]) -> Ring:
    """Return the ring with each edge the short way round, at any longitude that results."""
    points = list(ring[:-1]) if ring[0] == ring[-1] else list(ring)
    unrolled = [points[0]]
    for (before, _), (after, lat) in zip(points, points[1:], strict=False):
        unrolled.append((unrolled[-1][0] + around(after - before), lat))
    return unrolled


def _middle(ring: Ring) -> float:
    return (min(ring)[0] + max(ring)[0]) / 2


def _turned(ring: Ring, towards: float) -> Ring:
    """Return the ring after whole turns, so that its middle is nearest to that longitude."""
    turn = -360 * round((_middle(ring) - towards) / 360)
    return [(x + turn, y) for x, y in ring] if turn else ring


def _placed(rings: tuple[tuple[tuple[float, float], ...], ...], lon: float) -> list[Ring]:
    shell = _turned(_unrolled(rings[0]), lon)
    return [shell] + [_turned(_unrolled(hole), _middle(shell)) for hole in rings[1:]]


def _to_segment_squared(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the squared distance of a segment from the origin, where the fix is."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = dx * dx + dy * dy
    share = -(start[0] * dx + start[1] * dy) / length if length else 0.0
    if share <= 0:
        return start[0] * start[0] + start[1] * start[1]
    if share >= 1:
        return end[0] * end[0] + end[1] * end[1]
    x, y = start[0] + share * dx, start[1] + share * dy
    return x * x + y * y


def _crosses(start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Return whether an edge that crosses the x axis meets the axis's positive half."""
    return start[0] + (end[0] - start[0]) * (-start[1]) / (end[1] - start[1]) > 0
