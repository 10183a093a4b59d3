"""An oracle's world in a real database, with its guards.

It also reads the rows that the services wrote for the guards' tracks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, text

from services.contracts import families
from services.contracts.families import Origin
from tests.oracle.geometry import Shape
from tests.oracle.record import unordered
from tests.oracle.words import Change, Fix, Needed, Row, Zone
from tests.oracle.worlds import GROUPS, Guard

VERSION = text(
    """
    INSERT INTO zone_version (
        zone_id, version, tenant_id, in_force_from, in_force_to, name, kind, time_zone, group_id, guard_id, area,
        radius_m, speed_limit_mps, schedule, confirmation, enabled, changed_by
    ) VALUES (
        :zone_id, :version, 1, coalesce(CAST(:holds_from AS timestamptz), '-infinity'), :holds_to, 'z' || :zone_id,
        :kind, :time_zone, :group_id, :guard_id, :area,
        :radius_m, :limit_mps, CAST(:schedule AS jsonb), CAST(:confirmation AS jsonb), :enabled, ''
    )
    """
)


def install(connection: Connection, zones: Iterable[Zone], guards: Iterable[Guard]) -> None:
    """Write all versions as they are.

    Needs the owner's rights.

    Rows that triggers write would apply from now on.
    """
    for group in GROUPS:
        connection.execute(
            text(
                "INSERT INTO guard_group (group_id, tenant_id, name) OVERRIDING SYSTEM VALUE VALUES (:g, 1, 'g' || :g)"
            ),
            {"g": group},
        )
    for guard in guards:
        connection.execute(
            text("INSERT INTO guard (guard_id, tenant_id, name) VALUES (:g, 1, :g)"), {"g": guard.guard_id}
        )
        for group in guard.groups:
            connection.execute(
                text("INSERT INTO guard_group_member (tenant_id, group_id, guard_id) VALUES (1, :group, :g)"),
                {"group": group, "g": guard.guard_id},
            )
    versions = list(zones)
    for zone in {zone.zone_id: zone for zone in versions}.values():
        connection.execute(
            text(
                "INSERT INTO zone (zone_id, tenant_id, name, kind, area, radius_m, speed_limit_mps)"
                " OVERRIDING SYSTEM VALUE VALUES (:zone_id, 1, 'z' || :zone_id, :kind, :area, :radius_m, :limit_mps)"
            ),
            _columns(zone),
        )
    connection.execute(text("DELETE FROM zone_version"))
    for zone in versions:
        connection.execute(VERSION, _columns(zone))


def _columns(zone: Zone) -> dict[str, Any]:
    confirmation = {
        "enter": _needed(zone.enter, "dwell_s"),
        "exit": _needed(zone.exit, "grace_s"),
    }
    names = (
        "zone_id",
        "version",
        "holds_from",
        "holds_to",
        "kind",
        "time_zone",
        "group_id",
        "guard_id",
        "enabled",
    )
    return {
        **{name: getattr(zone, name) for name in (*names, "limit_mps")},
        "area": _wkt(zone.shape),
        "radius_m": zone.shape.radius_m if zone.shape.centre else None,
        "schedule": None if zone.schedule is None else msgspec.json.encode(zone.schedule).decode(),
        "confirmation": msgspec.json.encode(confirmation).decode(),
    }


def _wkt(shape: Shape) -> str:
    """Return the shape as WKT with all digits: shapely writes fewer."""
    if shape.centre is not None:
        return f"POINT({shape.centre[0]!r} {shape.centre[1]!r})"
    polygons = [
        "(" + ", ".join("(" + ", ".join(f"{x!r} {y!r}" for x, y in ring) + ")" for ring in rings) + ")"
        for rings in shape.polygons
    ]
    return f"MULTIPOLYGON({', '.join(polygons)})" if len(polygons) > 1 else f"POLYGON{polygons[0]}"


def _needed(needed: Needed, hold: str) -> dict[str, float]:
    return {"fixes": needed.fixes, "seconds": needed.seconds, hold: needed.hold_s}


def as_kept(guard: Guard) -> Guard:
    """Return the guard with numbers as the table keeps them: four bytes for claimed values."""
    fixes = (replace(f, accuracy=_float4(f.accuracy), speed=_float4(f.speed)) for f in guard.fixes)
    return replace(guard, fixes=tuple(fixes))


def _float4(value: float | None) -> float | None:
    return None if value is None else float(struct.unpack("f", struct.pack("f", value))[0])


def message_of(guard_id: str, fix: Fix) -> families.Fix:
    origin = Origin(
        source_id=guard_id,
        key=fix.key,
        msg_id=None,
        topic=f"guard/{guard_id}/gps",
        recorded_at=fix.recorded_at,
        received_at=fix.received_at,
        clock_suspect=False,
        quality=(),
        claimed_tenant_id=None,
        raw="{}",
    )
    return families.Fix(origin, fix.lat, fix.lon, fix.accuracy, fix.speed, None, "gps", fix.mock)


def rows_of(engine: Engine, guard_id: str) -> list[Row]:
    """Return the rows of a guard's track in the database."""
    with engine.connect() as connection:
        fixes = connection.execute(
            text(
                "SELECT l.message_key, l.in_geofence, l.geofence_violation, i.reason FROM mqtt_guard_location l"
                " LEFT JOIN implausible_fix i USING (message_key) WHERE l.guard_id = :g"
                " ORDER BY l.recorded_at, l.message_key"
            ),
            {"g": guard_id},
        ).all()
        found = connection.execute(
            text(
                "SELECT confirmed_key, kind, zone_id, zone_version, at, confirmed_at FROM zone_transition"
                " WHERE guard_id = :g AND superseded_at IS NULL"
            ),
            {"g": guard_id},
        ).all()
    changes: dict[Any, list[Change]] = {}
    for key, *change in found:
        changes.setdefault(key, []).append(Change(*change))
    return [
        Row(reason, in_geofence, violation, None, unordered(changes.pop(key, [])))
        for key, in_geofence, violation, reason in fixes
    ]
