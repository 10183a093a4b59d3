"""Recorded shifts as CSV, GeoJSON, OwnTracks lines and GPX. Pure.

The format follows from the name or the content of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from gateway.mqtt.decoding.owntracks import as_guard_payload, read_message
from ops.input_output.csv_tables import read_table, renamed
from ops.simulation.recordings import gpx
from ops.simulation.recordings.fixes import (
    NAMES,
    RANGES,
    REQUIRED,
    PointCollector,
    Recording,
    UnusablePoint,
    known_names,
    short_text,
)
from services.contracts.errors import InvalidMessage, Refused
from services.platform.files.text_files import check_not_binary, first_text, text_of

Format = Literal["csv", "gpx", "geojson", "owntracks"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: Mapping[str, Format] = {
    "csv": "csv",
    "gpx": "gpx",
    "geojson": "geojson",
    "rec": "owntracks",
    "jsonl": "owntracks",
    "ndjson": "owntracks",
}
MAX_FILE_BYTES = 256 * 1024 * 1024
TIMES_OF_LINES = ("coordTimes", "times", "time")
LINES = {"LineString": 1, "MultiLineString": 2}


def read(document: bytes, *, suffix: str = "", format: str | None = None) -> Recording:  # noqa: A002
    """Return the fixes of a file.

    Args:
        document: the content of the file.
        suffix: the ending of the file's name, without the dot.
        format: the format, when it is known.

    Raises:
        Refused: the file cannot be read; the message names the place and the field.
    """
    if len(document) > MAX_FILE_BYTES:
        raise Refused(
            f"the file has {len(document):,} bytes; {MAX_FILE_BYTES:,} at the most are read: split it"
        )
    check_not_binary(document, save_as="GPX, GeoJSON or CSV UTF-8")
    chosen = format or SUFFIXES.get(suffix.lower()) or _guessed(document)
    return READERS[chosen](document)


def read_csv(document: bytes) -> Recording:
    """Read a CSV file: a header of names (see `NAMES`), then one position in each line.

    A file with semicolons may have decimal commas.
    """
    known = [name for names in NAMES.values() for name in names]
    table = read_table(document, known=known, required=(), others=True)
    names = renamed(table.columns, NAMES)

    for name in REQUIRED:
        if name not in names:
            raise Refused(f"line 1: there is no column {name} (also: {', '.join(NAMES[name][1:])})")

    points = PointCollector()
    for row in table.rows:
        cells = row.cells
        fields = {name: cells[place] if place < len(cells) else None for name, place in names.items()}
        if table.separator != ",":
            fields |= {
                name: value.replace(",", ".") for name, value in fields.items() if name in RANGES and value
            }
        points.take(fields, f"line {row.number}")

    return points.recording()


def read_owntracks(document: bytes) -> Recording:
    """Read OwnTracks messages, one in each line.

    A line is a message as phones send it, or as the OwnTracks Recorder keeps it (time, kind,
    message).
    """
    points = PointCollector()
    for number, line in enumerate(text_of(document).split("\n"), 1):
        if not line.strip():
            continue

        where = f"line {number}"
        try:
            fields = _location(line if line.lstrip().startswith("{") else line.rpartition("\t")[2], where)
        except UnusablePoint as error:
            points.refuse(error)
            continue

        if fields is None:
            points.skipped += 1
        else:
            points.take(fields, where)

    return points.recording()


def read_geojson(document: bytes) -> Recording:
    """Read GeoJSON features.

    A feature is a Point with a time, or a line with a time for each coordinate (`coordTimes`,
    `times`).
    """
    try:
        tree = msgspec.json.decode(text_of(document))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(f"the file is not JSON: {error}") from error

    kind = tree.get("type") if isinstance(tree, dict) else None
    nodes = tree.get("features") if kind == "FeatureCollection" else [tree]
    if kind not in ("FeatureCollection", "Feature") or not isinstance(nodes, list):
        raise Refused("the file is not a GeoJSON FeatureCollection or Feature")

    points = PointCollector()
    for number, node in enumerate(nodes, 1):
        where, before = f"feature {number}", len(points)
        try:
            for fields, place, at in _of_feature(node, where):
                _take(points, fields, place, at)
        except UnusablePoint as error:
            points.refuse(error)
        points.skipped += len(points) == before

    return points.recording()


def _take(points: PointCollector, fields: Mapping[str, Any], place: Any, where: str) -> None:
    """Take one coordinate; an invalid one is counted, and reading goes on."""
    if isinstance(place, list) and len(place) >= 2:  # noqa: PLR2004
        points.take({**fields, "lon": place[0], "lat": place[1]}, where)
        return
    said = f"{where}: coordinates are {short_text(place)}; each is [longitude, latitude]"
    points.refuse(_unusable(said, "no coordinates"))


def _of_feature(node: Any, where: str) -> Iterator[tuple[Mapping[str, Any], Any, str]]:
    """Yield fields, coordinate and place of each point of a feature. Raises `UnusablePoint`."""
    if not isinstance(node, dict) or node.get("type") != "Feature":
        raise _unusable(f"{where}: it is not a GeoJSON Feature", "no GeoJSON Feature")

    properties, geometry = node.get("properties") or {}, node.get("geometry") or {}
    if not isinstance(properties, dict) or not isinstance(geometry, dict):
        raise _unusable(f"{where}: its properties and geometry must be objects", "no GeoJSON Feature")

    fields = {ours: properties[theirs] for ours, theirs in known_names([*map(str, properties)]).items()}
    kind, places = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        yield fields, places, where
    elif kind in LINES:
        track = {"track": fields.get("track", properties.get("name"))}
        for number, (place, time) in enumerate(_paired(properties, places, where, depth=LINES[kind]), 1):
            at = f"{where}, coordinate {number}"
            yield {**track, "time": time}, place, at


def _paired(
    properties: Mapping[str, Any], places: Any, where: str, *, depth: int
) -> Iterator[tuple[Any, Any]]:
    """Yield each coordinate of the lines with its time."""
    more = properties.get("coordinateProperties")
    given = {**properties, **(more if isinstance(more, dict) else {})}
    times = next((given[name] for name in TIMES_OF_LINES if isinstance(given.get(name), list)), None)
    if times is None:
        said = f"{where}: coordTimes is missing; a line needs a time for each of its coordinates"
        raise _unusable(said, "no time")
    for line, moments in zip([places], [times], strict=True) if depth == 1 else _zipped(places, times, where):
        yield from _zipped(line, moments, where)


def _zipped(places: Any, times: Any, where: str) -> Iterator[tuple[Any, Any]]:
    if not isinstance(places, list) or not isinstance(times, list) or len(places) != len(times):
        said = f"{where}: coordTimes must hold as many times as there are coordinates"
        raise _unusable(said, "times and coordinates differ in number")
    return zip(places, times, strict=True)


def _unusable(message: str, reason: str) -> UnusablePoint:
    return UnusablePoint(message, field="", reason=reason)


def _location(line: str, where: str) -> dict[str, Any] | None:
    """Return the fields of an OwnTracks message, or None when it is not a position.

    Raises:
        UnusablePoint: the message cannot be read.
    """
    try:
        said = read_message(line.encode())
    except InvalidMessage as error:
        raise _unusable(f"{where}: {error.detail or error.reason}", error.reason.replace("_", " ")) from error

    if said is None:
        return None

    fields = as_guard_payload(said)
    topic = str(said.get("topic") or "").split("/")
    user = topic[-2] if len(topic) > 1 else None

    return {**fields, "time": fields.get("timestamp"), "track": user or said.get("tid")}


def _guessed(document: bytes) -> Format:
    begins = first_text(document)
    if begins.startswith("<"):
        return "gpx"
    if begins.startswith("{"):
        return "owntracks" if '"_type"' in begins.partition("\n")[0] else "geojson"
    return "owntracks" if '\t{"' in begins.partition("\n")[0] else "csv"


READERS: Mapping[str, Callable[[bytes], Recording]] = {
    "csv": read_csv,
    "gpx": gpx.read,
    "geojson": read_geojson,
    "owntracks": read_owntracks,
}
__all__: Sequence[str] = ("FORMATS", "Format", "read")
