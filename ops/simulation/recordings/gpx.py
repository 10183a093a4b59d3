"""Tracks of GPX 1.0 and 1.1 (https://www.topografix.com/gpx.asp). Pure.

A file may come from anybody, so expat reads it as a stream. A document type, and with it every
entity, is refused where it begins.

A point's time is in UTC, also when the file does not say so. `speed` (m/s) and `course` count
wherever they are; in GPX 1.1 they are among the extensions. Dilutions of precision are not metres,
and are left out.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from ops.simulation.recordings.fixes import PointCollector, Recording, short_text
from services.contracts.errors import Refused
from services.platform.files.safe_xml import parse
from services.platform.files.text_files import check_not_binary

DEEPEST = 64
OF_POINT = {"time": "time", "speed": "speed", "course": "heading", "accuracy": "accuracy"}


class GpxReader:
    """Handler of expat's events; keeps the points of tracks."""

    def __init__(self, parser: Any) -> None:
        self.points = PointCollector()
        self._parser = parser
        self._path: list[str] = []
        self._track = ""
        self._begun = 0
        self._point: dict[str, Any] | None = None
        self._line = 0
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self._path and name != "gpx":
            raise Refused(f"the file is XML, but not GPX: its root is {short_text(name)}")
        if len(self._path) >= DEEPEST:
            raise Refused(f"the file has elements {DEEPEST} deep or more; a GPX file of tracks has fewer")

        self._path.append(name)
        self._text = []
        if name == "trk":
            self._track, self._begun = "", len(self.points)
        elif name == "trkpt":
            self._line = self._parser.CurrentLineNumber
            self._point = {"lat": attributes.get("lat"), "lon": attributes.get("lon")}
        elif name in ("wpt", "rtept"):
            self.points.skipped += 1

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, _tag: str) -> None:
        name = self._path.pop()
        text, self._text = "".join(self._text).strip(), []
        if name == "trkpt" and self._point is not None:
            self.points.take({**self._point, "track": self._track}, f"line {self._line}")
            self._point = None
        elif self._point is not None and name in OF_POINT:
            self._point[OF_POINT[name]] = _utc(text) if name == "time" else text
        elif name == "name" and self._path[-1:] == ["trk"]:
            self._name(text)

    def _name(self, name: str) -> None:
        """Set the track's name, which must come before the points of the track."""
        if len(self.points) > self._begun:
            raise Refused(
                f"line {self._parser.CurrentLineNumber}: the track's name stands behind its points; put it before them"
            )
        self._track = name


def read(document: bytes) -> Recording:
    """Return the points of all tracks.

    Raises:
        Refused: the file cannot be read, or no point of it can be used.
    """
    check_not_binary(document, save_as="GPX")
    parser = expat.ParserCreate()
    reader = GpxReader(parser)
    parse(document, reader, parser)
    return reader.points.recording()


def _utc(text: str) -> str:
    day, _, clock = text.partition("T")
    return text if not clock or any(mark in clock for mark in "Zz+-") else f"{day}T{clock}Z"
