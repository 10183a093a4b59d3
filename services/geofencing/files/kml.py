"""Zones as KML 2.2 (OGC 07-147r2): reading and writing. Pure.

A file may come from anybody. expat reads it as a stream, one element after the other. A document
type, and with it every entity, is refused at its beginning. No link in the file is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import msgspec
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from services.contracts.errors import Refused
from services.geofencing import antimeridian
from services.geofencing.files import features
from services.geofencing.files.features import Feature, feature_of
from services.geofencing.rings import as_text
from services.platform.files.safe_xml import parse
from services.platform.files.text_files import check_not_binary

DEEPEST = 64
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NO_ZONES = ("LineString", "Model", "Track", "MultiTrack")
FETCHED = "NetworkLink"


class Placemark:
    """Content of a Placemark that was read so far."""

    def __init__(self) -> None:
        self.properties: dict[str, Any] = {}
        self.polygons: list[dict[str, list[Any]]] = []
        self.points: list[Any] = []
        self.reason = ""

    def feature(self, index: int) -> Feature:
        area: dict[str, Any] | None = None
        if not self.reason and self.points and (self.polygons or len(self.points) > 1):
            self.reason = (
                "it mixes points with other geometries; a zone is polygons, or one Point with radius_m"
            )
        if not self.reason and any(len(part["outer"]) != 1 for part in self.polygons):
            self.reason = (
                "a Polygon has no outerBoundaryIs, or several; give it one, with holes in innerBoundaryIs"
            )

        if self.points:
            area = {"type": "Point", "coordinates": self.points[0]}
        elif self.polygons:
            rings = [[*part["outer"][:1], *part["inner"]] for part in self.polygons]
            area = {"type": "MultiPolygon", "coordinates": rings}
        elif not self.reason:
            self.reason = "it has no geometry; a zone is polygons, or one Point with radius_m"

        return feature_of(index, self.properties, area, reason=self.reason)


class KmlReader:
    """Handler of expat's events. It keeps the Placemarks."""

    def __init__(self) -> None:
        self.found: list[Feature] = []
        self._path: list[str] = []
        self._mark: Placemark | None = None
        self._key = ""
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self._path and name != "kml":
            raise Refused(f"the file is XML, but not KML: its root is {as_text(name)}")
        if len(self._path) >= DEEPEST:
            raise Refused(f"the file has elements {DEEPEST} deep or more; a KML file of zones has fewer")

        self._path.append(name)
        self._text = []
        if name in ("Placemark", FETCHED):
            if self._mark is not None:
                raise Refused(f"the file has a {name} in a Placemark; write each on its own")
            self._mark = Placemark()
            features.check_count(len(self.found) + 1)

        if self._mark is not None:
            self._begin(self._mark, name, attributes)

    def _begin(self, mark: Placemark, name: str, attributes: dict[str, str]) -> None:
        if name in ("Data", "SimpleData"):
            self._key = attributes.get("name", "")
        elif name == "Polygon":
            mark.polygons.append({"outer": [], "inner": []})
        elif name in NO_ZONES:
            mark.reason = mark.reason or f"it is a {name}; a zone is polygons, or one Point with radius_m"
        elif name == FETCHED:
            mark.reason = "a NetworkLink points to another file; nothing is fetched: import that file itself"

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, _tag: str) -> None:
        name = self._path.pop()
        if self._mark is None:
            return

        parent = self._path[-1] if self._path else ""
        text, self._text = "".join(self._text).strip(), []

        if name in ("Placemark", FETCHED):
            self.found.append(self._mark.feature(len(self.found) + 1))
            self._mark = None
        elif name == "name" and parent in ("Placemark", FETCHED):
            self._mark.properties["name"] = text
        elif name == "SimpleData" or (name == "value" and parent == "Data"):
            if self._key and self._key != "name":
                self._mark.properties[self._key] = text
        elif name == "coordinates":
            self._coordinates(self._mark, text)

    def _coordinates(self, mark: Placemark, text: str) -> None:
        positions = [_position(word) for word in text.split()]
        if None in positions:
            wrong = text.split()[positions.index(None)]
            mark.reason = f"coordinates hold {as_text(wrong)}; each is LON,LAT or LON,LAT,ALTITUDE"
        elif "Polygon" in self._path:
            side = "inner" if "innerBoundaryIs" in self._path else "outer"
            mark.polygons[-1][side].append(positions)
        elif self._path[-1] == "Point" and positions:
            mark.points.append(positions[0])


def read(document: str | bytes) -> list[Feature]:
    """Return the Placemarks of a file.

    Raises:
        Refused: the file is no KML, or asks for more than reading.
    """
    features.check_size(document)
    check_not_binary(document, save_as="KML")
    reader = KmlReader()
    parse(document, reader, expat.ParserCreate())
    return reader.found


def write(zones: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a Document of zones as `ZoneStore.export` gives them, one Placemark each."""
    marks = "".join(map(_placemark, zones))
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n'
    return (head + marks + "</Document></kml>\n").encode()


def _position(word: str) -> list[float] | None:
    try:
        numbers = [float(part) for part in word.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) in (2, 3) else None


def _placemark(zone: Mapping[str, Any]) -> str:
    data = "".join(
        f"<Data name={quoteattr(key)}><value>{_escaped(_text(zone[key]))}</value></Data>"
        for key in features.PROPERTIES
        if key != "name"
    )
    return (
        f"<Placemark><name>{_escaped(zone['name'])}</name><ExtendedData>{data}</ExtendedData>"
        f"{_geometry(zone['area'])}</Placemark>\n"
    )


def _geometry(area: BaseGeometry) -> str:
    if area.geom_type == "Point":
        return f"<Point><coordinates>{_corner(area.x, area.y)}</coordinates></Point>"
    parts = [_polygon(part) for part in antimeridian.parts_of(antimeridian.cut(area))]
    return parts[0] if len(parts) == 1 else f"<MultiGeometry>{''.join(parts)}</MultiGeometry>"


def _polygon(part: Polygon) -> str:
    return f"<Polygon>{''.join(_boundaries(part))}</Polygon>"


def _boundaries(part: Polygon) -> Iterator[str]:
    for side, rings in (("outer", [part.exterior]), ("inner", part.interiors)):
        for ring in rings:
            words = " ".join(_corner(lon, lat) for lon, lat in ring.coords)
            yield (
                f"<{side}BoundaryIs><LinearRing><coordinates>{words}</coordinates></LinearRing></{side}BoundaryIs>"
            )


def _corner(lon: float, lat: float) -> str:
    return f"{lon:.9f},{lat:.9f}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _escaped(text: str) -> str:
    return escape(NOT_XML.sub("\ufffd", text))
