"""Zones, distances of fixes from them, and an index of the zones near a place. Pure.

Distances are those of docs/zones.md. From a circle, the distance is by the haversine formula (mean
earth radius of IUGG: 6,371,008.8 m). From polygons, it is on the plane that touches at the fix.
Both are good to well under a metre over the kilometres that a guarded site measures. Everything is
computed for many pairs of fix and zone at once: a batch costs little more than a fix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from services.contracts.zone_parameters import Confirmation
from services.geofencing.schedule import Schedule

EARTH_RADIUS_M = 6_371_008.8
METRES_A_DEGREE = math.pi * EARTH_RADIUS_M / 180
TURN = 360.0
SPARE = 1.0001
"""Factor for boxes, which are larger than they must be: rounding may cost work, never a zone."""
DIGITS = 6
"""Digits to which distances in metres are rounded: to a micrometre.

The order of a computation changes the last bits, and must decide nothing.
"""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


class Edges(msgspec.Struct, frozen=True):
    """Edges of polygons in degrees, unrolled: (lon0, lat0) to (lon1, lat1).

    `middle` is the middle of the edge's own polygon.
    """

    lon0: Any
    lat0: Any
    lon1: Any
    lat1: Any
    middle: Any


class Geofence(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One version of a zone: a circle (`radius_m` round `area`'s point), a polygon or several.

    `kind` is required, forbidden or speed. `enter` and `exit` are resolved: the zone's own wishes
    go before the settings. Times that are None are without bound.
    """

    zone_id: int
    kind: str
    area: BaseGeometry
    radius_m: float | None = None
    version: int = 1
    name: str = ""
    site_id: int | None = None
    time_zone: str = "UTC"
    group_id: int | None = None
    guard_id: str | None = None
    speed_limit_mps: float | None = None
    schedule: Schedule | None = None
    enter: Confirmation
    exit: Confirmation
    enabled: bool = True
    in_force_from: datetime | None = None
    in_force_to: datetime | None = None

    def holds_at(self, at: datetime) -> bool:
        """Return True when this version is the zone's at that time."""
        return (self.in_force_from is None or self.in_force_from <= at) and (
            self.in_force_to is None or at < self.in_force_to
        )

    @cached_property
    def edges(self) -> Edges:
        """Return the edges of a polygon or several."""
        return _edges_of(self.area)

    @cached_property
    def depth_m(self) -> float:
        """Return 2 · area / perimeter: a circle's radius, half the side of a square."""
        return self.radius_m if self.radius_m is not None else _depth_m(self.area)

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Return west, south, east and north in degrees.

        West is -180 to 180. East may be beyond.
        """
        if self.radius_m is not None:
            point: Any = self.area
            return _box_round(point.y, point.x, self.radius_m)
        edges = self.edges
        lats, lons = np.concatenate([edges.lat0, edges.lat1]), np.concatenate([edges.lon0, edges.lon1])
        west, east = float(lons.min()), float(lons.max())
        turns = TURN * math.floor((west + 180) / TURN)
        return west - turns, float(lats.min()), east - turns, float(lats.max())


class ZoneIndex:
    """Index by place of all versions of a tenant's zones that may be needed.

    The cost of a verdict does not grow with their number.
    """

    def __init__(self, zones: Iterable[Geofence]) -> None:
        self.zones: Sequence[Geofence] = list(zones)
        self._versions: dict[int, list[Geofence]] = {}
        for zone in self.zones:
            self._versions.setdefault(zone.zone_id, []).append(zone)

        boxes = [(n, box) for n, zone in enumerate(self.zones) for box in _turned(zone.box)]
        self._zone_of_box: Ints = np.array([n for n, _ in boxes], dtype=np.intp)
        corners = np.array([box for _, box in boxes], dtype=float).reshape(-1, 4)
        self._tree = STRtree(shapely.box(*corners.T)) if len(boxes) else None
        self._is_circle = np.array([zone.radius_m is not None for zone in self.zones], dtype=bool)
        self._circles = np.array([_circle(zone) for zone in self.zones], dtype=float).reshape(-1, 3)
        self._edges = _EdgesOfZones([zone if zone.radius_m is None else None for zone in self.zones])

    def holding(self, zone_id: int, at: datetime) -> Geofence | None:
        """Return the version of a zone that holds at a time."""
        return next((zone for zone in self._versions.get(zone_id, ()) if zone.holds_at(at)), None)

    def near(self, lat: float, lon: float, reach_m: float) -> list[tuple[Geofence, float]]:
        """Return the zones near a place, all versions, each with its distance in metres.

        The edge of such a zone is within reach, or the zone contains the place.
        """
        return self.near_many([lat], [lon], [reach_m])[0]

    def near_many(
        self, lats: Sequence[float], lons: Sequence[float], reaches_m: Sequence[float]
    ) -> list[list[tuple[Geofence, float]]]:
        """Return for each of many places what `near` returns."""
        found: list[list[tuple[Geofence, float]]] = [[] for _ in lats]
        if self._tree is None or not found:
            return found

        lat, lon = np.asarray(lats, dtype=float), np.asarray(lons, dtype=float)
        reach = np.asarray(reaches_m, dtype=float)

        fixes, zones = self._pairs(lat, lon, reach)
        if not len(fixes):
            return found

        distances = self._distances(zones, lat[fixes], lon[fixes])
        within = distances <= reach[fixes]
        for fix, zone, distance in zip(
            fixes[within].tolist(), zones[within].tolist(), distances[within].tolist(), strict=True
        ):
            found[fix].append((self.zones[zone], distance))

        return found

    def _pairs(self, lat: Floats, lon: Floats, reach: Floats) -> tuple[Ints, Ints]:
        """Return (number of the place, number of the zone) wherever boxes meet, each pair once."""
        assert self._tree is not None
        west, south, east, north = _boxes_round(lat, lon, reach)
        fixes = np.arange(len(lat))

        over = np.flatnonzero((west < -180) | (east > 180))
        if len(over):
            turned = np.where(west[over] < -180, TURN, -TURN)
            fixes = np.concatenate([fixes, over])
            west, east = (
                np.concatenate([west, west[over] + turned]),
                np.concatenate([east, east[over] + turned]),
            )
            south, north = np.concatenate([south, south[over]]), np.concatenate([north, north[over]])

        asked, boxes = self._tree.query(shapely.box(west, south, east, north))
        pairs = fixes[asked] * len(self.zones) + self._zone_of_box[boxes]

        if len(over) or len(self._zone_of_box) > len(self.zones):
            pairs = np.unique(pairs)

        return pairs // len(self.zones), pairs % len(self.zones)

    def _distances(self, zones: Ints, lat: Floats, lon: Floats) -> Floats:
        found = np.empty(len(zones))
        circle = self._is_circle[zones]
        if circle.any():
            centre_lat, centre_lon, radius = self._circles[zones[circle]].T
            found[circle] = _haversine(centre_lat, centre_lon, lat[circle], lon[circle]) - radius
        if not circle.all():
            rest = ~circle
            found[rest] = self._edges.distances(zones[rest], lat[rest], lon[rest])
        return np.round(found, DIGITS)


class _EdgesOfZones:
    """Edges of many zones, one after the other."""

    def __init__(self, zones: Sequence[Geofence | None]) -> None:
        parts = [zone.edges if zone is not None else None for zone in zones]
        self._counts: Ints = np.array([len(p.lon0) if p is not None else 0 for p in parts], dtype=np.intp)
        self._starts: Ints = np.concatenate([[0], np.cumsum(self._counts)[:-1]]).astype(np.intp)
        there = [part for part in parts if part is not None]
        names = Edges.__struct_fields__
        self._all = [
            np.concatenate([getattr(part, name) for part in there]) if there else np.empty(0)
            for name in names
        ]

    def distances(self, zones: Ints, lat: Floats, lon: Floats) -> Floats:
        """Return the signed distances in metres, each place from its zone."""
        counts = self._counts[zones]
        ends = np.cumsum(counts)
        starts = ends - counts
        edge = np.arange(ends[-1]) - np.repeat(starts - self._starts[zones], counts)
        at = np.repeat(np.arange(len(zones)), counts)
        lon0, lat0, lon1, lat1, middle = (values[edge] for values in self._all)
        turn = lon[at] - TURN * np.round((lon[at] - middle) / TURN)
        scale = np.cos(np.radians(lat))[at]
        x0, y0, x1, y1 = (lon0 - turn) * scale, lat0 - lat[at], (lon1 - turn) * scale, lat1 - lat[at]
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy

        with np.errstate(divide="ignore", invalid="ignore"):
            along = np.clip(np.nan_to_num(-(x0 * dx + y0 * dy) / length), 0.0, 1.0)
            crossing_x = x0 - y0 * dx / dy

        nearest = (x0 + along * dx) ** 2 + (y0 + along * dy) ** 2
        crosses = ((y0 > 0) != (y1 > 0)) & (crossing_x > 0)
        away = np.sqrt(np.minimum.reduceat(nearest, starts)) * METRES_A_DEGREE
        inside = np.add.reduceat(crosses.astype(np.intp), starts) % 2 == 1

        return np.where(inside, -away, away)


def distance_m(zone: Geofence, lat: float, lon: float) -> float:
    """Return the metres from the zone's edge: negative inside, positive outside."""
    if zone.radius_m is not None:
        point: Any = zone.area
        return round(haversine_m(point.y, point.x, lat, lon) - zone.radius_m, DIGITS)
    alone = _EdgesOfZones([zone])
    return round(
        float(alone.distances(np.zeros(1, dtype=np.intp), np.array([lat]), np.array([lon]))[0]), DIGITS
    )


def depth_m(zone: Geofence) -> float:
    """Return how deep inside the zone one can be, in metres, by the measure of docs/zones.md."""
    return zone.depth_m


def haversine_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance in metres. The arguments are in degrees."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_phi = (phi2 - phi1) / 2
    half_lambda = math.radians(lon2 - lon1) / 2
    chord = math.sin(half_phi) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


def _haversine(lat1: Floats, lon1: Floats, lat2: Floats, lon2: Floats) -> Floats:
    phi1, phi2 = np.radians(lat1), np.radians(lat2)
    half_lambda = np.radians(lon2 - lon1) / 2
    chord = np.sin((phi2 - phi1) / 2) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin(half_lambda) ** 2
    found: Floats = 2 * EARTH_RADIUS_M * np.arcsin(np.minimum(1.0, np.sqrt(chord)))
    return found


def _circle(zone: Geofence) -> tuple[float, float, float]:
    if zone.radius_m is None:
        return (0.0, 0.0, 0.0)
    point: Any = zone.area
    return (point.y, point.x, zone.radius_m)


def _edges_of(area: BaseGeometry) -> Edges:
    rings = [(ring, middle) for part in shapely.get_parts(area) for ring, middle in _rings(part)]
    lon0, lat0 = np.concatenate([ring[:-1] for ring, _ in rings]).T
    lon1, lat1 = np.concatenate([ring[1:] for ring, _ in rings]).T
    middles = np.concatenate([np.full(len(ring) - 1, middle) for ring, middle in rings])
    return Edges(lon0, lat0, lon1, lat1, middles)


def _rings(polygon: Any) -> Iterator[tuple[Floats, float]]:
    """Yield shell and holes as (lon, lat), unrolled, each with the middle of the shell.

    Holes are turned to their shell.
    """
    shell = _unrolled(shapely.get_coordinates(polygon.exterior))
    middle = _middle(shell)
    yield shell, middle
    for interior in polygon.interiors:
        hole = _unrolled(shapely.get_coordinates(interior))
        hole[:, 0] += TURN * round((middle - _middle(hole)) / TURN)
        yield hole, middle


def _unrolled(ring: Floats) -> Floats:
    """Unroll a ring: every edge goes the short way round."""
    steps = np.diff(ring[:, 0])
    turns = np.concatenate([[0.0], np.cumsum(-TURN * np.round(steps / TURN))])
    return np.column_stack([ring[:, 0] + turns, ring[:, 1]])


def _middle(ring: Floats) -> float:
    return float(ring[:, 0].min() + ring[:, 0].max()) / 2


def _depth_m(area: BaseGeometry) -> float:
    """Return the depth in metres, on the plane that touches at the middle of the extent."""
    shells_and_holes = [list(_rings(part)) for part in shapely.get_parts(area)]
    lats = np.concatenate([ring[:, 1] for rings in shells_and_holes for ring, _ in rings])
    scale = math.cos(math.radians(float(lats.min() + lats.max()) / 2))

    surface = perimeter = 0.0
    for rings in shells_and_holes:
        for number, (ring, middle) in enumerate(rings):
            x, y = (ring[:, 0] - middle) * scale, ring[:, 1]
            part = abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2
            surface += -part if number else part
            perimeter += float(np.hypot(np.diff(x), np.diff(y)).sum())

    return 2 * surface / perimeter * METRES_A_DEGREE if perimeter else 0.0


def _box_round(lat: float, lon: float, reach_m: float) -> tuple[float, float, float, float]:
    west, south, east, north = _boxes_round(np.array([lat]), np.array([lon]), np.array([reach_m]))
    return float(west[0]), float(south[0]), float(east[0]), float(north[0])


def _boxes_round(lat: Floats, lon: Floats, reach_m: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return boxes that hold all within reach, on the sphere and on the plane at the place.

    On the sphere, meridians touch a circle of angular radius δ at asin(sin δ / cos φ). All
    meridians pass through a circle that holds a pole.
    """
    lon = (lon + 180) % TURN - 180
    reach = reach_m / METRES_A_DEGREE * SPARE
    cosine = np.cos(np.radians(lat))
    with np.errstate(divide="ignore", invalid="ignore"):
        sphere = np.degrees(np.arcsin(np.minimum(1.0, np.sin(np.radians(np.minimum(reach, 90.0))) / cosine)))
        across = np.maximum(sphere, reach / cosine) * SPARE
    across = np.where(np.abs(lat) + reach >= 90, 180.0, np.minimum(np.nan_to_num(across, nan=180.0), 180.0))
    return lon - across, lat - reach, lon + across, lat + reach


def _turned(box: tuple[float, float, float, float]) -> Iterator[tuple[float, float, float, float]]:
    """Yield the box wherever places from -180 to 180 may meet it."""
    west, south, east, north = box
    yield box
    if east > 180:
        yield west - TURN, south, east - TURN, north
    if west < -180:
        yield west + TURN, south, east + TURN, north
