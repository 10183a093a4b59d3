"""Zones as GeoJSON (RFC 7946): reading and writing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from shapely.errors import GEOSException
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from services.contracts.errors import Refused
from services.geofencing import antimeridian, shapes
from services.geofencing.files import features
from services.geofencing.files.features import Feature, feature_of
from services.geofencing.rings import as_text
from services.platform.files.text_files import check_not_binary, text_of

SAVE_AS = "GeoJSON in UTF-8"
GEOMETRIES = (
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
)


def read(document: str | bytes) -> list[Feature]:
    """Return the features of a FeatureCollection, a Feature or a geometry.

    Raises:
        Refused: the document is none of these.
    """
    found = decode(document)
    shapes.check_crs(found)
    nodes = _nodes(found)
    features.check_count(len(nodes))
    return [_feature(index, node) for index, node in enumerate(nodes, 1)]


def area_of(document: str | bytes) -> tuple[Any, Any]:
    """Return the geometry of a file with exactly one feature, and its `radius_m`. Raises `Refused`.

    The name of the feature does not matter.
    """
    found = decode(document)
    shapes.check_crs(found)

    nodes = _nodes(found)
    if len(nodes) != 1:
        raise Refused(
            f"the file has {len(nodes)} features; only one is allowed here: `vigil zone import` takes many"
        )

    node = nodes[0] if isinstance(nodes[0], dict) else {}
    shapes.check_crs(node)
    properties = node.get("properties")
    radius_m = properties.get("radius_m") if isinstance(properties, dict) else None

    return node.get("geometry"), radius_m


def write(zones: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a FeatureCollection of zones as `ZoneStore.export` gives them, one line each."""
    lines = b",\n".join(
        msgspec.json.encode(
            {
                "type": "Feature",
                "properties": {key: zone[key] for key in features.PROPERTIES},
                "geometry": geometry_of(zone["area"]),
            }
        )
        for zone in zones
    )
    return b'{"type":"FeatureCollection","features":[\n' + lines + b"\n]}\n"


def geometry_of(area: BaseGeometry) -> dict[str, Any]:
    """Return an area as GeoJSON, cut at the antimeridian."""
    try:
        return dict(mapping(area if area.geom_type == "Point" else antimeridian.cut(area)))
    except (Refused, GEOSException):
        # The area is older than the checks of shapes, and perhaps goes right round the earth. Shown
        # as it is, it can still be corrected.
        return dict(mapping(area))


def decode(document: str | bytes) -> dict[str, Any]:
    """Return a JSON object. Raises `Refused`."""
    features.check_size(document)
    if isinstance(document, bytes):
        document = text_of(document, save_as=SAVE_AS)
    else:
        check_not_binary(document, save_as=SAVE_AS)

    try:
        found = msgspec.json.decode(document.removeprefix("\ufeff"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(f"the file is not JSON: {error}") from error

    if not isinstance(found, dict):
        raise Refused(f"the file is JSON, but {as_text(found)}; a GeoJSON FeatureCollection is required")

    return found


def _nodes(found: dict[str, Any]) -> list[Any]:
    kind = found.get("type")
    if kind == "FeatureCollection":
        nodes = found.get("features")
        if not isinstance(nodes, list):
            raise Refused("the FeatureCollection has no list of features")
        return nodes

    if kind == "Feature":
        return [found]
    if kind in GEOMETRIES:
        return [{"type": "Feature", "properties": found.get("properties"), "geometry": found}]

    raise Refused(f"type is {as_text(kind)}; a GeoJSON FeatureCollection, Feature or geometry is required")


def _feature(index: int, node: Any) -> Feature:
    if not isinstance(node, dict) or node.get("type") != "Feature":
        return Feature(
            index=index, name="", reason="it is not a GeoJSON Feature; write each zone as a Feature"
        )

    properties, geometry = node.get("properties") or {}, node.get("geometry")
    if not isinstance(properties, dict):
        return Feature(
            index=index, name="", reason="its properties are not an object; write them as an object"
        )

    reason = ""
    try:
        shapes.check_crs(node)
    except Refused as error:
        reason = str(error)

    if geometry is None:
        reason = reason or "it has no geometry; a zone is a Polygon, a MultiPolygon, or a Point with radius_m"

    return feature_of(index, properties, geometry, reason=reason)
