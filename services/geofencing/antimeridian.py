"""Areas over the antimeridian: joined, cut, unrolled, and in a canonical order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from services.contracts.errors import Refused
from services.geofencing import rings
from services.geofencing.rings import DIGITS, FULL_TURN, HALF_TURN, LEAST_CORNERS, Corner

OVERLAP = "{} has parts that overlap; draw them so that they do not, or as one"
STRAIGHT = 2e-9
"""Largest distance in degrees between a corner that a cut made and the edge that was cut."""


def unrolled(area: BaseGeometry) -> BaseGeometry:
    """Return polygons with corners between -180 and 180 unrolled.

    All parts are then on one plane, perhaps past 180.
    """
    parts = [_rolled_out(part) for part in parts_of(area)]
    moved = [turned_near(part, parts[0]) for part in parts]
    return moved[0] if len(moved) == 1 else MultiPolygon(moved)


def turned_near(part: Polygon, other: Polygon) -> Polygon:
    """Return the part, turned by whole turns until it is nearest to the other."""
    turn = rings.turn_near(_middle(part), _middle(other))
    return _mapped(part, lambda corners: rings.turned(corners, turn)) if turn else part


def put_together(parts: Sequence[Polygon], *, field: str) -> list[Polygon]:
    """Join parts that meet at the antimeridian, without the corners that the cut made.

    Raises:
        Refused: parts overlap.
    """
    meeting = [part for part in parts if _seams(part)]
    ends = {part.bounds[2] for part in meeting} & {part.bounds[0] for part in meeting}

    seams = {end for end in ends if _is_seam(end)}
    if not seams:
        return list(parts)

    for seam in seams:
        for side in (0, 2):
            _check_apart([part for part in meeting if part.bounds[side] == seam], field)

    # Parts of one side do not overlap, so edges cross at the seam only. A union is as small as its
    # parts.
    whole = shapely.union_all(meeting)
    if abs(whole.area - sum(part.area for part in meeting)) > 1e-9 * whole.area:
        raise Refused(OVERLAP.format(field))

    joined = [_mapped(part, lambda corners: _without_cuts(corners, seams)) for part in parts_of(whole)]
    return [part for part in parts if not _seams(part)] + joined


def _check_apart(parts: Sequence[Polygon], field: str) -> None:
    """Check that no parts overlap. The check ends at the first overlap. Raises `Refused`."""
    if len(parts) > 1 and not MultiPolygon(parts).is_valid:
        raise Refused(OVERLAP.format(field))


def cut(area: BaseGeometry) -> BaseGeometry:
    """Return the area with corners between -180 and 180 and no edge over the antimeridian.

    This is the form of RFC 7946.
    """
    pieces = [piece for part in parts_of(unrolled(area)) for piece in _pieces(part)]
    return pieces[0] if len(pieces) == 1 else MultiPolygon(pieces)


def canonical(area: BaseGeometry) -> BaseGeometry:
    """Return the same area with its corners between -180 and 180 and in a canonical order.

    The edge is counterclockwise, and the least corner comes first.
    """
    parts = sorted(
        (_ordered(turned_near(part, _AT_ZERO)) for part in parts_of(area)),
        key=lambda part: part.exterior.coords[0],
    )
    made = [_mapped(part, rings.wrapped) for part in parts]
    return made[0] if len(made) == 1 else MultiPolygon(made)


def parts_of(area: BaseGeometry) -> list[Polygon]:
    return [
        part for part in getattr(area, "geoms", [area]) if isinstance(part, Polygon) and not part.is_empty
    ]


_AT_ZERO = box(-1, -1, 1, 1)


def _ordered(part: Polygon) -> Polygon:
    oriented = shapely.orient_polygons(part)
    begun = _mapped(oriented, rings.from_least)
    holes = sorted((list(hole.coords) for hole in begun.interiors), key=lambda hole: hole[0])
    return Polygon(begun.exterior.coords, holes)


def _rolled_out(part: Polygon) -> Polygon:
    west, _, east, _ = part.bounds
    if east - west < HALF_TURN:
        return part
    rolled = _mapped(part, lambda corners: rings.unroll(corners, field="area"))
    shell = Polygon(rolled.exterior)
    holes = [turned_near(Polygon(hole), shell).exterior.coords for hole in rolled.interiors]
    return Polygon(shell.exterior.coords, holes)


def _pieces(part: Polygon) -> Iterator[Polygon]:
    """Yield the part, cut at each antimeridian that it crosses."""
    west, south, east, north = part.bounds
    turn = FULL_TURN * ((west + HALF_TURN) // FULL_TURN)
    while turn - HALF_TURN < east:
        strip = box(turn - HALF_TURN, south - 1, turn + HALF_TURN, north + 1)
        inside = part if strip.contains(part) else shapely.intersection(part, strip)
        yield from (_turned_back(piece, turn) for piece in parts_of(inside))
        turn += FULL_TURN


def _turned_back(piece: Polygon, turn: float) -> Polygon:
    return _ordered(_mapped(piece, lambda corners: rings.turned(_rounded(corners), -turn)))


def _seams(part: Polygon) -> set[float]:
    """Return the antimeridians (180, -180, 540 ...) at which the part ends."""
    west, _, east, _ = part.bounds
    return {edge for edge in (west, east) if _is_seam(edge)}


def _is_seam(lon: float) -> bool:
    return (lon - HALF_TURN) % FULL_TURN == 0


def _without_cuts(corners: Sequence[Corner], seams: set[float]) -> list[Corner]:
    """Return the corners without those that a cut made.

    Such a corner is on a seam, on the straight line between its neighbours on both sides.
    """
    around = zip((corners[-1], *corners[:-1]), corners, (*corners[1:], corners[0]), strict=True)
    kept = [b for a, b, c in around if not (b[0] in seams and _on_the_way(a, b, c))]
    return kept if len(kept) >= LEAST_CORNERS else list(corners)


def _on_the_way(before: Corner, here: Corner, after: Corner) -> bool:
    if not min(before[0], after[0]) < here[0] < max(before[0], after[0]):
        return False
    share = (here[0] - before[0]) / (after[0] - before[0])
    return abs(before[1] + share * (after[1] - before[1]) - here[1]) <= STRAIGHT


def _mapped(part: Polygon, change: Callable[[list[Corner]], list[Corner]]) -> Polygon:
    """Return the polygon with each ring changed.

    `change` gets a ring without its closing corner.
    """
    holes = [np.asarray(change(_corners(hole))) for hole in part.interiors]
    return Polygon(np.asarray(change(_corners(part.exterior))), holes)


def _corners(ring: BaseGeometry) -> list[Corner]:
    return [(lon, lat) for lon, lat in shapely.get_coordinates(ring)[:-1].tolist()]


def _rounded(corners: Sequence[Corner]) -> list[Corner]:
    return [(round(lon, DIGITS), round(lat, DIGITS)) for lon, lat in corners]


def _middle(part: Polygon) -> float:
    west, _, east, _ = part.bounds
    return float(west + east) / 2
