"""Shapes of zones as users enter them, checked. Pure.

An error names the field and the remedy. An edge goes the short way round. Halves that were cut at
180 degrees (RFC 7946, 3.1.9) are joined. All corners of the result are between -180 and 180, in one
order for any drawing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from services.contracts.errors import Refused
from services.geofencing import antimeridian, rings
from services.geofencing.rings import Corner, as_text
from services.geofencing.work_limits import check_counts, check_edges

MIN_RADIUS_M = 1
MAX_RADIUS_M = 100_000
MAX_EXTENT_M = 1_000_000
MIN_AREA_M2 = 1.0
NOUN = "a zone"
MAX_CROSSINGS = 200
"""Limit of crossings of the antimeridian. A file has a cut at each."""
DEEPEST = 8
METRES_A_DEGREE = math.pi * 6_371_008.8 / 180
WGS_84 = re.compile(r"(?:urn:ogc:def:crs:)?(?:EPSG:{1,2}[\d.]*:?4326|OGC:(?:1\.3)?:?CRS84)", re.IGNORECASE)
WHERE = re.compile(r"^(?P<what>[^\[]*)\[(?P<lon>\S+) (?P<lat>\S+)\]$")
CROSSED = ("its edge crosses itself", "draw it without crossings")
REASONS = {
    "Self-intersection": CROSSED,
    "Ring Self-intersection": ("its edge touches itself", "draw it so that no corner is used twice"),
    "Hole lies outside shell": ("a hole lies outside of it", "draw holes inside"),
    "Nested holes": ("a hole lies in another", "draw holes beside each other"),
    "Holes are nested": ("a hole lies in another", "draw holes beside each other"),
    "Interior is disconnected": ("its holes cut it in pieces", "draw the pieces as parts"),
}
OVERLAP = ("two parts overlap or share an edge", "draw them apart, or as one")
"""Fault and remedy of several parts that are each valid."""


class Shape(NamedTuple):
    """Area of a zone: one or more polygons, or the centre of a circle of `radius_m`."""

    area: BaseGeometry
    radius_m: float | None = None


class ShapeSize(NamedTuple):
    """Size of a shape, on the plane that touches at its middle.

    `depth_m` is that of docs/zones.md.
    """

    area_m2: float
    extent_m: float
    depth_m: float
    vertices: int
    parts: int


def circle(*, lat: object, lon: object, radius_m: object) -> BaseGeometry:
    """Return the centre of a circle. Raises `Refused`."""
    centre = rings.check_position(lat, lon)
    radius = rings.number(radius_m, "radius_m")
    if not MIN_RADIUS_M <= radius <= MAX_RADIUS_M:
        raise Refused(f"radius_m is {radius:g}; it must be {MIN_RADIUS_M} to {MAX_RADIUS_M} metres")
    return Point(*centre)


def polygon(vertices: object) -> BaseGeometry:
    """Return a polygon from [longitude, latitude] pairs, closed or not. Raises `Refused`."""
    return polygons([[vertices]], field="vertices")


def shape_of(geometry: object, *, radius_m: object = None) -> Shape:
    """Return the shape of a GeoJSON geometry. Raises `Refused`.

    A Point needs `radius_m`. No other geometry may have it.
    """
    if not isinstance(geometry, dict):
        raise Refused(f"area is {as_text(geometry)}; it must be a GeoJSON geometry such as a Polygon")

    check_crs(geometry)
    if geometry.get("type") == "Point":
        position = geometry.get("coordinates")
        if not isinstance(position, list | tuple) or len(position) not in (2, 3):
            raise Refused("area.coordinates of a Point must be [longitude, latitude]")
        if radius_m is None:
            raise Refused(
                "radius_m is missing; a Point is the centre of a circle and wants its radius in metres"
            )
        area = circle(lat=position[1], lon=position[0], radius_m=radius_m)
        return Shape(area, rings.number(radius_m, "radius_m"))

    if radius_m is not None:
        raise Refused("radius_m is only for a Point, the centre of a circle; leave it out for polygons")

    return Shape(polygons(_parts(geometry, 0), field="area"))


def polygons(parts: Sequence[object], *, field: str) -> BaseGeometry:
    """Return one or more polygons from lists of rings. Raises `Refused`.

    The first ring of each list is the edge, and the others are holes.
    """
    if not parts:
        raise Refused(f"{field} is empty; it must have a polygon of 3 corners at least")

    listed = list(_rings_in(parts))
    corners = sum(len(ring) - (len(ring) > 1 and ring[0] == ring[-1]) for ring in listed)
    check_counts(corners=corners, rings=len(listed), field=field, noun=NOUN)
    names = [field if len(parts) == 1 else f"{field}, part {number}" for number in range(1, len(parts) + 1)]
    drawn = [_drawn(part, name) for part, name in zip(parts, names, strict=True)]
    first = _middle(drawn[0][0])
    drawn = [_near(part, first) for part in drawn]

    # Check before any polygon is built: the next steps take time by the pairs of edges, and by the
    # extent in turns.
    every = [ring for part in drawn for ring in part]
    _check_extent(_bounds(every), field)
    check_edges(every, field=field, noun=NOUN)

    made = [_polygon(part, name) for part, name in zip(drawn, names, strict=True)]
    whole = antimeridian.put_together(made, field=field)
    area = antimeridian.canonical(whole[0] if len(whole) == 1 else MultiPolygon(whole))
    flat = antimeridian.unrolled(area)
    _check_valid(flat, field)
    _check_crossings(flat, field)
    _check_extent(flat.bounds, field)

    return area


def positions_in(geometry: object) -> int:
    """Return the number of positions in a GeoJSON geometry of any type and depth."""
    waiting: list[object] = [geometry]
    count = 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += [node.get("coordinates"), node.get("geometries")]
        elif isinstance(node, list | tuple) and node:
            if isinstance(node[0], list | tuple | dict):
                waiting += node
            else:
                count += 1

    return count


def measure(shape: Shape) -> ShapeSize:
    """Return the size of a shape."""
    if shape.radius_m is not None:
        radius = shape.radius_m
        return ShapeSize(math.pi * radius**2, 2 * radius, radius, 1, 1)

    flat = _flat(antimeridian.unrolled(shape.area))
    west, south, east, north = flat.bounds
    return ShapeSize(
        flat.area,
        math.hypot(east - west, north - south),
        2 * flat.area / flat.length,
        int(shapely.get_num_coordinates(flat)) - int(shapely.get_num_geometries(flat)),
        int(shapely.get_num_geometries(flat)),
    )


def check_crs(node: object) -> None:
    """Check the coordinate system that GeoJSON from before 2016 may name. Raises `Refused`.

    Only WGS 84 is accepted.
    """
    crs = node.get("crs") if isinstance(node, dict) else None
    if crs is None:
        return

    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not WGS_84.fullmatch(name.strip()):
        raise Refused(
            f"crs is {as_text(name)}; coordinates must be WGS 84 (EPSG:4326) longitude and latitude: convert them, for"
            " instance by `ogr2ogr -t_srs EPSG:4326 out.geojson in.geojson`"
        )


def _parts(geometry: dict[str, object], depth: int) -> list[object]:
    """Return the polygons of a geometry, each a list of rings."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        if depth >= DEEPEST or not isinstance(members, list | tuple):
            raise Refused("area.geometries must be a list of polygons, not nested deeply")
        return [part for member in members for part in _parts(_member(member), depth + 1)]

    if kind not in ("Polygon", "MultiPolygon"):
        raise Refused(
            f"area.type is {as_text(kind)}; a zone is a Polygon, a MultiPolygon, or a Point with radius_m"
        )
    if not isinstance(coordinates, list | tuple):
        raise Refused(f"area.coordinates is {as_text(coordinates)}; it must be a list of rings")

    return [coordinates] if kind == "Polygon" else list(coordinates)


def _member(member: object) -> dict[str, object]:
    if not isinstance(member, dict):
        raise Refused(f"area.geometries holds {as_text(member)}; each must be a Polygon or MultiPolygon")
    check_crs(member)
    return member


def _rings_in(parts: Sequence[object]) -> Iterator[Sequence[object]]:
    """Yield the lists that should be rings."""
    for part in parts:
        if isinstance(part, list | tuple):
            yield from (ring for ring in part if isinstance(ring, list | tuple))


def _drawn(part: object, field: str) -> list[list[Corner]]:
    """Return the rings of one polygon, unrolled: its edge, then its holes near it."""
    if not isinstance(part, list | tuple) or not part:
        raise Refused(f"{field} is empty; it must have a ring of 3 corners at least")
    shell = rings.ring_of(part[0], field=field)
    holes = [rings.ring_of(ring, field=f"{field}, hole {number}") for number, ring in enumerate(part[1:], 1)]
    middle = _middle(shell)
    return [shell, *(rings.turned(hole, rings.turn_near(_middle(hole), middle)) for hole in holes)]


def _near(part: list[list[Corner]], middle: float) -> list[list[Corner]]:
    """Return the polygon, turned by whole turns until it is nearest to `middle`."""
    turn = rings.turn_near(_middle(part[0]), middle)
    return [rings.turned(ring, turn) for ring in part] if turn else part


def _polygon(drawn: list[list[Corner]], field: str) -> Polygon:
    """Return one polygon with its holes, valid in itself."""
    shell, *holes = map(np.asarray, drawn)
    made = Polygon(shell, holes)
    _check_valid(made, field)
    area_m2 = _flat(made).area
    if area_m2 < MIN_AREA_M2:
        raise Refused(f"{field} covers {area_m2:.2g} square metres; it must cover {MIN_AREA_M2:g} at least")
    return made


def _check_valid(made: BaseGeometry, field: str) -> None:
    if made.convex_hull.area == 0:
        raise Refused(f"{field} covers no area: its corners lie on one line; draw a polygon")
    if made.is_valid:
        return

    found = WHERE.match(said := explain_validity(made))
    reason = found["what"].strip() if found else said
    what, remedy = REASONS.get(reason, (reason.lower(), CROSSED[1]))

    if isinstance(made, MultiPolygon):
        what, remedy = OVERLAP

    where = ""
    if found:
        [(lon, lat)] = rings.wrapped([(float(found["lon"]), float(found["lat"]))])
        where = f" near lat {lat:.6f}, lon {lon:.6f}"

    raise Refused(f"{field} is not a valid polygon: {what}{where}; {remedy}")


def _check_crossings(flat: BaseGeometry, field: str) -> None:
    """Check that a file would not have too many pieces of the shape. Raises `Refused`."""
    sides = np.floor((shapely.get_coordinates(flat)[:, 0] + rings.HALF_TURN) / rings.FULL_TURN)
    crossings = int(np.count_nonzero(np.diff(sides)))
    if crossings > MAX_CROSSINGS:
        raise Refused(
            f"{field} crosses the antimeridian {crossings} times; a zone crosses it {MAX_CROSSINGS} times at the most:"
            " simplify it, or make several zones of it"
        )


def _bounds(drawn: Sequence[Sequence[Corner]]) -> tuple[float, float, float, float]:
    corners = np.concatenate([np.asarray(ring) for ring in drawn])
    (west, south), (east, north) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return west, south, east, north


def _check_extent(bounds: tuple[float, float, float, float], field: str) -> None:
    west, south, east, north = bounds
    across = (east - west) * _scale(south, north)
    extent_m = METRES_A_DEGREE * math.hypot(across, north - south)
    if extent_m > MAX_EXTENT_M:
        raise Refused(
            f"{field} measures {extent_m / 1000:,.0f} km from corner to corner; a zone measures"
            f" {MAX_EXTENT_M // 1000:,} km at the most: correct a misplaced corner, or make several zones of it"
        )


def _flat(unrolled: BaseGeometry) -> BaseGeometry:
    """Return the shape in metres, on the plane that touches at the middle of the extent."""
    west, south, east, north = unrolled.bounds
    scale = _scale(south, north)
    centre = [(west + east) / 2, (south + north) / 2]
    return shapely.transform(unrolled, lambda c: (c - centre) * [scale * METRES_A_DEGREE, METRES_A_DEGREE])


def _scale(south: float, north: float) -> float:
    """Return the length of a degree of longitude at the middle latitude, in degrees of latitude."""
    return max(math.cos(math.radians((south + north) / 2)), 1e-9)


def _middle(corners: Sequence[Corner]) -> float:
    lons = [lon for lon, _ in corners]
    return (min(lons) + max(lons)) / 2
