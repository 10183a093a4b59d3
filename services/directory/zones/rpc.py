"""RPC methods of the directory service about zones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.contracts.errors import Refused
from services.contracts.pagination import check_tenant
from services.directory.zones import import_export
from services.directory.zones.import_export import ZoneImport
from services.directory.zones.import_preview import check_edits, edits_of
from services.directory.zones.store import ZoneStore
from services.geofencing.files.features import Feature
from services.geofencing.shapes import Shape, ShapeSize, measure, positions_in
from services.geofencing.validation import draft_of

MAX_TEXT = 4 * 1024 * 1024
MAX_FEATURES = 1000
MAX_CORNERS = 50_000
"""Limit of corners of a file in a call. `vigil zone import` takes larger files."""


class ZoneRpc:
    """Calls about zones, as the directory service serves them. `area` is always a GeoJSON geometry.

    A change makes a new version, in force two seconds later. `by` is recorded with it.
    """

    def __init__(self, zones: ZoneStore) -> None:
        self._zones = zones

    def add_zone(self, *, tenant_id: int, by: str = "", **fields: Any) -> dict[str, Any]:
        """Add a zone from `name`, `area`, and other fields of `drafts.FIELDS`.

        Returns:
            zone_id, version and in_force_from.

        Raises:
            Refused: a field is wrong. The text names it.
        """
        return self._zones.add(fields, tenant_id=tenant_id, by=by)

    def change_zone(
        self,
        *,
        tenant_id: int,
        changes: dict[str, Any],
        name: str | None = None,
        zone_id: int | None = None,
        version: int | None = None,
        by: str = "",
    ) -> dict[str, Any]:
        """Change some fields of a zone, by name or id.

        Returns:
            zone_id, version, in_force_from, and `changed`: whether the change changed anything.

        Raises:
            Conflict: the zone is not at `version` any more.
            NotFound: there is no such zone.
            Refused: a field is wrong.
        """
        which = name if zone_id is None else zone_id
        return self._zones.change(which, changes, tenant_id=tenant_id, version=version, by=by)

    def enable_zone(
        self, *, tenant_id: int, name: str | None = None, zone_id: int | None = None, by: str = ""
    ) -> dict[str, Any]:
        which = name if zone_id is None else zone_id
        return self._zones.change(which, {"enabled": True}, tenant_id=tenant_id, by=by)

    def disable_zone(
        self, *, tenant_id: int, name: str | None = None, zone_id: int | None = None, by: str = ""
    ) -> dict[str, Any]:
        which = name if zone_id is None else zone_id
        return self._zones.change(which, {"enabled": False}, tenant_id=tenant_id, by=by)

    def check_zone(self, *, tenant_id: int, **fields: Any) -> dict[str, Any]:
        """Check the fields for `add_zone`, as far as the fields alone allow it.

        Returns:
            The measures of the zone's shape.

        Raises:
            Refused: a field is wrong. The text names it.
        """
        check_tenant(tenant_id)
        measures: ShapeSize = self._zones.judge_of(tenant_id)(_measured, fields)
        return measures._asdict()

    def get_zone(
        self, *, tenant_id: int, name: str | None = None, zone_id: int | None = None, limit: int = 100
    ) -> dict[str, Any]:
        """Return a zone by name or id, with its `versions`, newest first. Raises `NotFound`."""
        found = self._zones.get(tenant_id=tenant_id, name=name, zone_id=zone_id)
        versions = self._zones.versions(found["zone_id"], tenant_id=tenant_id, limit=limit)
        return {**found, "versions": versions}

    def import_zones(
        self,
        *,
        tenant_id: int,
        document: str,
        format: str | None = None,  # noqa: A002 - its name on the wire
        update: bool = False,
        all_or_nothing: bool = False,
        dry_run: bool = False,
        by: str = "",
    ) -> list[dict[str, Any]]:
        """Import zones from a GeoJSON or KML text.

        Returns:
            The outcome of each feature: index, name, outcome, reason.

        Raises:
            Refused: the text is no such file at all.
        """
        features = self._zones.judge_of(tenant_id)(_read, document, format)
        taken = ZoneImport(
            self._zones, tenant_id=tenant_id, by=by, update=update, whole=all_or_nothing, dry=dry_run
        )
        return [msgspec.structs.asdict(outcome) for outcome in taken.run(features)]

    def list_zone_edits(
        self,
        *,
        tenant_id: int,
        document: str,
        format: str | None = None,  # noqa: A002
    ) -> list[dict[str, Any]]:
        """Return the zones that a GeoJSON or KML text would make, each with all its fields.

        Nothing is changed.

        Raises:
            Refused: a feature is no zone.
        """
        features = self._zones.judge_of(tenant_id)(_read, document, format)
        edits = edits_of(self._zones, features, tenant_id=tenant_id)
        check_edits(edits)
        return [msgspec.structs.asdict(edit) for edit in edits]

    def export_zones(self, *, tenant_id: int, format: str = "geojson") -> str:  # noqa: A002
        """Return all zones of the tenant as a GeoJSON or KML text, which `import_zones` accepts."""
        zones = self._zones.export(tenant_id=tenant_id)
        written: bytes = self._zones.beside(import_export.write, zones, format=format)
        return written.decode()

    def add_circle_zone(
        self,
        *,
        tenant_id: int,
        name: str,
        lat: float,
        lon: float,
        radius_m: float,
        kind: str = "required",
        by: str = "",
    ) -> int:
        """Add a circle, and return its id. Raises `Refused` naming the field that is wrong."""
        area = {"type": "Point", "coordinates": [lon, lat]}
        fields = {"name": name, "kind": kind, "area": area, "radius_m": radius_m}
        return int(self._zones.add(fields, tenant_id=tenant_id, by=by)["zone_id"])

    def add_polygon_zone(
        self, *, tenant_id: int, name: str, vertices: list[list[float]], kind: str = "required", by: str = ""
    ) -> int:
        """Add a polygon of [longitude, latitude] pairs, and return its id."""
        area = {"type": "Polygon", "coordinates": [vertices]}
        fields = {"name": name, "kind": kind, "area": area}
        return int(self._zones.add(fields, tenant_id=tenant_id, by=by)["zone_id"])


def _measured(fields: Mapping[str, Any]) -> ShapeSize:
    draft = draft_of(fields)
    return measure(Shape(draft.area, draft.radius_m))


def _read(document: object, format: str | None) -> list[Feature]:  # noqa: A002
    """Return the features of a text that is small enough for a call. Raises `Refused`."""
    if not isinstance(document, str):
        raise Refused("document must be the text of a GeoJSON or KML file")

    features = import_export.read(document, format=format) if len(document) <= MAX_TEXT else None
    if features is None or len(features) > MAX_FEATURES:
        raise Refused(
            f"document has more than {MAX_TEXT:,} characters or {MAX_FEATURES:,} features;"
            " `vigil zone import` takes larger files"
        )

    corners = sum(positions_in(feature.fields.get("area")) for feature in features)
    if corners > MAX_CORNERS:
        raise Refused(
            f"document has {corners:,} corners; {MAX_CORNERS:,} at the most are taken in a call:"
            " `vigil zone import` takes larger files"
        )

    return features
