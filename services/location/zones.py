"""Zones, and whether a fix is in them. Pure.

A circle is judged by great-circle distance (haversine, mean earth radius of IUGG: 6,371,008.8 m); a polygon in
longitude and latitude, its distance from the fix on a plane scaled at the fix. Both are good to well under
a metre over the kilometres that a guarded site measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec
import shapely
from shapely import STRtree
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry

EARTH_RADIUS_M = 6_371_008.8
METRES_A_DEGREE = math.pi * EARTH_RADIUS_M / 180
FEW = 8


class Zone(msgspec.Struct, frozen=True):
    """A circle (`radius_m` round `area`'s point) or a polygon; `kind` is required or forbidden."""

    zone_id: int
    kind: str
    area: BaseGeometry
    radius_m: float | None = None


class Verdict(msgspec.Struct, frozen=True):
    """`in_geofence`: inside a zone that applies. `violation`: surely outside all required ones, or surely
    inside a forbidden one. `unsure`: the accuracy circle crosses the edge that would decide."""

    in_geofence: bool
    violation: bool
    unsure: bool = False


NO_ZONES = Verdict(in_geofence=False, violation=False)


def haversine_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance in metres; degrees in."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_phi = (phi2 - phi1) / 2
    half_lambda = math.radians(lon2 - lon1) / 2
    chord = math.sin(half_phi) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


class ZoneIndex:
    """All zones of a tenant, found by place: the cost of a verdict does not grow with their number."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        self._zones: Sequence[Zone] = list(zones)
        self._has_required = any(zone.kind == "required" for zone in self._zones)
        self._tree: STRtree | None = None
        if len(self._zones) > FEW:
            self._tree = STRtree([_bounds(zone) for zone in self._zones])
        for zone in self._zones:
            shapely.prepare(zone.area)

    def verdict(self, *, lat: float, lon: float, accuracy_m: float) -> Verdict:
        """Judge one fix. `accuracy_m` is the radius of its error circle, 0 when unknown."""
        if not self._zones:
            return NO_ZONES
        inside_any = near_required = in_required = in_forbidden = near_forbidden = False
        for zone in self._near(lat, lon, accuracy_m):
            edge_m = _distance_m(zone, lat, lon)
            inside_any |= edge_m <= 0
            if zone.kind == "required":
                in_required |= edge_m <= 0
                near_required |= edge_m <= accuracy_m
            else:
                in_forbidden |= edge_m <= -accuracy_m
                near_forbidden |= edge_m <= accuracy_m
        outside = self._has_required and not near_required
        unsure = (self._has_required and near_required and not in_required) or (
            near_forbidden and not in_forbidden
        )
        return Verdict(in_geofence=inside_any, violation=outside or in_forbidden, unsure=unsure)

    def _near(self, lat: float, lon: float, accuracy_m: float) -> Iterable[Zone]:
        if self._tree is None:
            return self._zones
        margin_lat, margin_lon = _degrees(accuracy_m, lat)
        around = box(lon - margin_lon, lat - margin_lat, lon + margin_lon, lat + margin_lat)
        return [self._zones[index] for index in self._tree.query(around)]


def _distance_m(zone: Zone, lat: float, lon: float) -> float:
    """Metres from the zone's edge: negative inside, positive outside."""
    if zone.radius_m is not None:
        return haversine_m(zone.area.y, zone.area.x, lat, lon) - zone.radius_m
    point = Point(lon, lat)
    edge_m = _plane_distance_m(zone.area.boundary, point)
    return -edge_m if zone.area.covers(point) else edge_m


def _plane_distance_m(edge: BaseGeometry, point: Point) -> float:
    scale = math.cos(math.radians(point.y))
    flat = shapely.transform(edge, lambda coords: (coords - [point.x, point.y]) * [scale, 1.0])
    return float(flat.distance(Point(0, 0))) * METRES_A_DEGREE


def _bounds(zone: Zone) -> BaseGeometry:
    if zone.radius_m is None:
        return box(*zone.area.bounds)
    margin_lat, margin_lon = _degrees(zone.radius_m, zone.area.y)
    lon, lat = zone.area.x, zone.area.y
    return box(lon - margin_lon, lat - margin_lat, lon + margin_lon, lat + margin_lat)


def _degrees(metres: float, lat: float) -> tuple[float, float]:
    """(degrees of latitude, degrees of longitude) that cover so many metres at a latitude."""
    of_lat = metres / METRES_A_DEGREE * 1.001
    return of_lat, min(360.0, of_lat / max(math.cos(math.radians(lat)), 1e-6))
