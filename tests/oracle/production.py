"""The production judge, called with the oracle's types."""

from dataclasses import asdict
from functools import lru_cache

import msgspec
from shapely.geometry import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from services.contracts.zone_parameters import Confirmation
from services.geofencing import geometry, schedule
from services.geofencing.rule.track import EvaluatedFix, Judge, TrackFix
from services.platform import config
from tests.oracle.geometry import Shape
from tests.oracle.words import Change, Fix, Needed, Row, Rules, Zone


@lru_cache(maxsize=1)
def configured() -> config.LocationSettings:
    return config.load(environ={}).location


def judge_of(versions: list[Zone], rules: Rules) -> Judge:
    return Judge(geometry.ZoneIndex(zone_of(z) for z in versions), settings_of(rules))


def settings_of(rules: Rules) -> config.LocationSettings:
    return msgspec.structs.replace(configured(), **asdict(rules))


def zone_of(zone: Zone) -> geometry.Geofence:
    return geometry.Geofence(
        zone_id=zone.zone_id,
        version=zone.version,
        kind=zone.kind,
        area=area_of(zone.shape),
        radius_m=zone.shape.radius_m if zone.shape.centre else None,
        time_zone=zone.time_zone,
        group_id=zone.group_id,
        guard_id=zone.guard_id,
        speed_limit_mps=zone.limit_mps,
        schedule=None if zone.schedule is None else schedule.parse(zone.schedule),
        enter=_confirmation(zone.enter),
        exit=_confirmation(zone.exit),
        enabled=zone.enabled,
        in_force_from=zone.holds_from,
        in_force_to=zone.holds_to,
    )


def area_of(shape: Shape) -> BaseGeometry:
    if shape.centre is not None:
        return Point(shape.centre)
    polygons = [Polygon(rings[0], rings[1:]) for rings in shape.polygons]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def _confirmation(needed: Needed) -> Confirmation:
    return Confirmation(needed.fixes, needed.seconds, needed.hold_s)


def fix_of(fix: Fix) -> TrackFix:
    return TrackFix(
        key=fix.key,
        recorded_at=fix.recorded_at,
        received_at=fix.received_at,
        lat=fix.lat,
        lon=fix.lon,
        accuracy=fix.accuracy,
        speed=fix.speed,
        mock=fix.mock,
    )


def row_of(step: EvaluatedFix) -> Row:
    changes = tuple(Change(t.kind, t.zone_id, t.zone_version, t.at, t.confirmed_at) for t in step.transitions)
    radius = step.error_radius_m if step.implausible is None else None
    return Row(step.implausible, step.in_geofence, step.violation, radius, changes)
