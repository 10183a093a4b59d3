"""Zones as users enter them: every field is checked. Pure.

An error names the field and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import shapely
from shapely.geometry.base import BaseGeometry

from services.contracts.errors import Refused
from services.contracts.zone_parameters import DIRECTIONS, PARAMETERS, Direction
from services.geofencing import shapes
from services.geofencing.rings import as_text, number
from services.geofencing.schedule import parse as parse_schedule
from services.geofencing.shapes import Shape

KINDS = ("required", "forbidden", "speed")
LONGEST_NAME = 200
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MIN_LIMIT_MPS, MAX_LIMIT_MPS = 0.5, 100.0
FIELDS = (
    "name",
    "kind",
    "site_id",
    "group_id",
    "guard_id",
    "speed_limit_mps",
    "schedule",
    "confirmation",
    "enabled",
    "area",
    "radius_m",
)
"""Fields of a zone that users set. Vigil sets the others."""


class ZoneDraft(msgspec.Struct, frozen=True, kw_only=True):
    """Zone that passed every check except those that need the database."""

    name: str
    kind: str
    area: BaseGeometry
    radius_m: float | None = None
    site_id: int | None = None
    group_id: int | None = None
    guard_id: str | None = None
    speed_limit_mps: float | None = None
    schedule: dict[str, Any] | None = None
    confirmation: dict[str, Any] | None = None
    enabled: bool = True

    def columns(self) -> dict[str, Any]:
        """Return the values for the database."""
        values: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        for name in ("schedule", "confirmation"):
            values[name] = None if values[name] is None else msgspec.json.encode(values[name]).decode()
        return values | {"area": shapely.to_wkb(self.area)}

    def differs_from(self, other: ZoneDraft) -> bool:
        mine, theirs = self.columns(), other.columns()
        mine |= {"schedule": self.schedule, "confirmation": self.confirmation}
        theirs |= {"schedule": other.schedule, "confirmation": other.confirmation}
        return mine != theirs


def draft_of(fields: Mapping[str, object]) -> ZoneDraft:
    """Return a new zone. Raises `Refused` naming the field that is wrong or missing."""
    check_known(fields)
    for name in ("name", "area"):
        if fields.get(name) is None:
            raise Refused(f"{name} is missing; a zone has a name and an area")
    shape = shapes.shape_of(fields["area"], radius_m=fields.get("radius_m"))
    return _checked({"kind": "required", "enabled": True, **fields}, shape)


def changed(old: ZoneDraft, changes: Mapping[str, object]) -> ZoneDraft:
    """Return the zone with some of its fields changed. An absent field stays. Raises `Refused`."""
    check_known(changes)
    shape = Shape(old.area, old.radius_m)

    if changes.get("area") is not None:
        shape = shapes.shape_of(changes["area"], radius_m=changes.get("radius_m"))
    elif "radius_m" in changes:
        if old.radius_m is None:
            raise Refused("radius_m is only for circles; give an area of type Point as well to make it one")
        shapes.circle(lat=old.area.y, lon=old.area.x, radius_m=changes["radius_m"])
        shape = Shape(old.area, number(changes["radius_m"], "radius_m"))

    fields = {name: getattr(old, name) for name in FIELDS} | dict(changes)
    # A zone of another kind has no limit, unless the changes name one.
    if fields["kind"] != "speed" and "speed_limit_mps" not in changes:
        fields["speed_limit_mps"] = None

    return _checked(fields, shape)


def check_known(fields: object) -> None:
    """Check that a zone has these fields. Raises `Refused` for an unknown one."""
    if not isinstance(fields, Mapping):
        raise Refused(f"the zone's fields are {as_text(fields)}; they must be an object")
    unknown = sorted(str(name) for name in fields if name not in FIELDS)
    if unknown:
        raise Refused(f"a zone has no {as_text(unknown[0])}; its fields are {', '.join(FIELDS)}")


def _checked(fields: Mapping[str, Any], shape: Shape) -> ZoneDraft:
    draft = ZoneDraft(
        name=name_of(fields["name"]),
        kind=_kind(fields["kind"]),
        area=shape.area,
        radius_m=shape.radius_m,
        site_id=_row_id(fields.get("site_id"), "site_id"),
        group_id=_row_id(fields.get("group_id"), "group_id"),
        guard_id=_guard(fields.get("guard_id")),
        speed_limit_mps=_limit(fields["kind"], fields.get("speed_limit_mps")),
        schedule=_schedule(fields.get("schedule")),
        confirmation=_confirmation(fields.get("confirmation")),
        enabled=_enabled(fields["enabled"]),
    )
    if draft.schedule is not None and draft.site_id is None:
        raise Refused(
            "schedule needs a site: its hours are in the time zone of the site. Name the site, or"
            " leave the schedule out"
        )

    return draft


def name_of(value: object) -> str:
    """Return a name as it is kept. Raises `Refused`."""
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= LONGEST_NAME or UNPRINTABLE.search(name):
        raise Refused(f"name is {as_text(value)}; it must be 1 to {LONGEST_NAME} printable characters")
    return name


def plain_text(value: object, field: str) -> str:
    """Return a text that the database can look up. Raises `Refused`."""
    if not isinstance(value, str) or UNPRINTABLE.search(value):
        raise Refused(f"{field} is {as_text(value)}; it must be printable text")
    return value


def row_id(value: object, field: str) -> int:
    """Return a number that can be the number of a row. Raises `Refused`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise Refused(f"{field} is {as_text(value)}; it must be the number of one of the tenant's own")
    return value


def _kind(value: object) -> str:
    if value not in KINDS:
        raise Refused(f"kind is {as_text(value)}; it must be one of {', '.join(KINDS)}")
    return str(value)


def _row_id(value: object, field: str) -> int | None:
    return None if value is None else row_id(value, field)


def _guard(value: object) -> str | None:
    if value is None:
        return None
    guard_id = plain_text(value, "guard_id")
    if not guard_id:
        raise Refused("guard_id is empty; it must be the id of a guard, such as guard-123")
    return guard_id


def _limit(kind: object, value: object) -> float | None:
    if kind != "speed":
        if value is not None:
            raise Refused(f"speed_limit_mps is only for zones of kind speed; this is {as_text(kind)}")
        return None
    if value is None:
        raise Refused("speed_limit_mps is missing; a zone of kind speed has a limit in metres a second")

    limit = number(value, "speed_limit_mps")
    if not MIN_LIMIT_MPS <= limit <= MAX_LIMIT_MPS:
        raise Refused(
            f"speed_limit_mps is {limit:g}; it must be {MIN_LIMIT_MPS:g} to {MAX_LIMIT_MPS:g} metres a second"
        )

    return limit


def _schedule(document: object) -> dict[str, Any] | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise Refused(f"schedule is {as_text(document)}; it must be an object with weekly and exceptions")

    if parse_schedule(document).is_never:
        raise Refused(
            "schedule has no window: the zone would never be in force. Give the days in weekly (all seven, 00:00 to"
            " 24:00, for always but the exceptions), or set enabled to false"
        )

    return document


def _confirmation(document: object) -> dict[str, Any] | None:
    """Return a checked confirmation; None for an empty one.

    `services/contracts/zone_parameters.py` has its form. Absent values have their defaults.
    """
    if document is None or document == {}:
        return None
    if not isinstance(document, dict) or set(document) - set(DIRECTIONS):
        raise Refused(f"confirmation is {as_text(document)}; it has the fields enter and exit and no others")
    return {
        side: _side(document[side], f"confirmation.{side}", side) for side in DIRECTIONS if side in document
    }


def _side(document: object, field: str, direction: Direction) -> dict[str, Any]:
    known = {parameter.names[direction]: parameter for parameter in PARAMETERS}
    if not isinstance(document, dict) or set(document) - set(known):
        raise Refused(f"{field} must be an object; its fields are {', '.join(known)}, each may be left out")
    for name, value in document.items():
        found, parameter = number(value, f"{field}.{name}"), known[name]
        if not parameter.allows(value):
            said = as_text(value) if parameter.whole else f"{found:g}"
            raise Refused(f"{field}.{name} is {said}; it must be {parameter.bounds}")
    return dict(document)


def _enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"enabled is {as_text(value)}; it must be true or false")
    return value
