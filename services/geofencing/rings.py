"""Rings of zones: users' corners, unrolled over the antimeridian and wrapped again. Pure.

A corner is (longitude, latitude) in degrees, with 9 decimals (a tenth of a millimetre). Therefore
wrapped and unrolled corners are the same to the bit. The same is true of corners that PostGIS
writes as GeoJSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from services.contracts.errors import Refused

Corner = tuple[float, float]
DIGITS = 9
FULL_TURN = 360.0
HALF_TURN = 180.0
LEAST_CORNERS = 3


def number(value: object, field: str) -> float:
    """Return a finite number. Raises `Refused`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{field} is {as_text(value)}; it must be a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise Refused(f"{field} is {as_text(value)}; it must be a finite number")
    return found


def as_text(value: object) -> str:
    """Return any value for an error text, in one short line."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_position(lat: object, lon: object, *, prefix: str = "") -> Corner:
    """Return (longitude, latitude), rounded.

    Raises:
        Refused: a value is wrong. The text names it, and says when the two look swapped.
    """
    north, east = number(lat, f"{prefix}lat"), number(lon, f"{prefix}lon")
    fits = abs(north) <= 90 and abs(east) <= HALF_TURN
    if not fits and abs(east) <= 90 and abs(north) <= HALF_TURN:
        raise Refused(
            f"{prefix}lat is {north!r}, lon is {east!r}; they seem to be swapped: GeoJSON, KML and"
            " corners take the longitude"
            " first, a circle on the command line the latitude"
        )

    if abs(north) > 90:
        raise Refused(f"{prefix}lat is {north!r}; it must be -90 to 90 degrees")
    if abs(east) > HALF_TURN:
        raise Refused(f"{prefix}lon is {east!r}; it must be -180 to 180 degrees (181 is written -179)")

    return round(east, DIGITS), round(north, DIGITS)


def ring_of(positions: object, *, field: str) -> list[Corner]:
    """Return the corners of a ring, closed or not, unrolled. Raises `Refused`.

    The result has no repeats and no closing corner.
    """
    if not isinstance(positions, list | tuple):
        raise Refused(f"{field} is {as_text(positions)}; it must be a list of [longitude, latitude] pairs")

    corners: list[Corner] = []
    for count, position in enumerate(positions, 1):
        corner = _corner(position, f"{field}, corner {count}: ")
        if not corners or corner != corners[-1]:
            corners.append(corner)

    if len(corners) > 1 and corners[0] == corners[-1]:
        corners.pop()
    if len(corners) < LEAST_CORNERS:
        raise Refused(f"{field} has {len(corners)} different corners; it must have 3 at least")

    return unroll(corners, field=field)


def unroll(corners: Sequence[Corner], *, field: str) -> list[Corner]:
    """Return the corners, each less than half a turn from the one before.

    Raises:
        Refused: the ring does not close so.
    """
    lons = [lon for lon, _ in corners]
    if max(lons) - min(lons) < HALF_TURN:
        # The usual case: no edge can go the other way round.
        return [corners[0], *((round(lon, DIGITS), lat) for lon, lat in corners[1:])]

    rolled = [corners[0]]
    for lon, lat in corners[1:]:
        rolled.append((_near(lon, rolled[-1][0], field), lat))

    if _near(rolled[0][0], rolled[-1][0], field) != rolled[0][0]:
        raise Refused(
            f"{field} goes round a pole; a zone cannot contain a pole: draw it in parts beside the pole"
        )

    return rolled


def turned(corners: Iterable[Corner], turn: float) -> list[Corner]:
    """Return the corners moved east by whole turns."""
    if not turn:
        return list(corners)
    return [(round(lon + turn, DIGITS), lat) for lon, lat in corners]


def turn_near(middle: float, other: float) -> float:
    """Return the turn, in degrees, that moves `middle` nearest to `other`."""
    return FULL_TURN * math.floor((other - middle) / FULL_TURN + 0.5)


def wrapped(corners: Sequence[Corner]) -> list[Corner]:
    """Return the corners between -180 and 180.

    A ring on one side of the antimeridian stays on its side.
    """
    west, east = min(lon for lon, _ in corners), max(lon for lon, _ in corners)
    turn = turn_near((west + east) / 2, 0.0)
    moved = turned(corners, turn)
    if west + turn >= -HALF_TURN and east + turn <= HALF_TURN:
        return moved
    return [
        (round(lon - math.copysign(FULL_TURN, lon), DIGITS) if abs(lon) > HALF_TURN else lon, lat)
        for lon, lat in moved
    ]


def from_least(corners: Sequence[Corner]) -> list[Corner]:
    """Return the same ring from its least corner on, so that two drawings of one ring are equal."""
    start = corners.index(min(corners))
    return [*corners[start:], *corners[:start]]


def _corner(position: object, prefix: str) -> Corner:
    if not isinstance(position, list | tuple) or len(position) not in (2, 3):
        raise Refused(f"{prefix}{as_text(position)}; each is [longitude, latitude], perhaps with an altitude")
    if len(position) == 3:
        number(position[2], f"{prefix}altitude")
    return check_position(position[1], position[0], prefix=prefix)


def _near(lon: float, before: float, field: str) -> float:
    found = round(lon + turn_near(lon, before), DIGITS)
    if abs(found - before) >= HALF_TURN:
        raise Refused(f"{field} has an edge of half the earth, which has two shortest paths: add a corner")
    return found
