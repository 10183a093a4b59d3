"""Recorded shifts as CSV, GeoJSON, OwnTracks lines and GPX, by what the file looks like. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from gateway.mqtt.owntracks import as_guard_payload, read_message
from ops.recordings import gpx
from ops.recordings.fixes import (
    NAMES,
    RecordedFix,
    Recording,
    check_count,
    fix_of,
    known_names,
    recording_of,
    shown,
)
from services.errors import InvalidMessage, Refused

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
    """A file's fixes. `suffix`: of its name, without the dot. Raises `Refused` that names the place and the field."""
    if len(document) > MAX_FILE_BYTES:
        raise Refused(
            f"the file has {len(document):,} bytes; {MAX_FILE_BYTES:,} at the most are read: split it"
        )
    chosen = format or SUFFIXES.get(suffix.lower()) or _guessed(document)
    return READERS[chosen](document)


def read_csv(document: bytes) -> Recording:
    """A header of names (see `NAMES`), then a position a line."""
    reader = csv.reader(io.StringIO(_text(document), newline=""), strict=True)
    found: list[RecordedFix] = []
    try:
        header = next(reader, [])
        names = {ours: header.index(theirs) for ours, theirs in known_names(header).items()}
        for name in ("time", "lat", "lon"):
            if name not in names:
                raise Refused(f"line 1: there is no column {name} (also: {', '.join(NAMES[name][1:])})")
        for row in reader:
            if any(row):
                where = f"line {reader.line_num}"
                check_count(len(found) + 1, where)
                fields = {name: row[place] if place < len(row) else None for name, place in names.items()}
                found.append(fix_of(fields, where))
    except csv.Error as error:
        raise Refused(f"line {reader.line_num}: the file is no CSV: {error}") from error
    return recording_of(found)


def read_owntracks(document: bytes) -> Recording:
    """A message a line, as phones send them or as the OwnTracks Recorder keeps them (time, kind, message)."""
    found: list[RecordedFix] = []
    skipped = 0
    for number, line in enumerate(_text(document).split("\n"), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        check_count(len(found) + 1, where)
        fields = _location(line if line.lstrip().startswith("{") else line.rpartition("\t")[2], where)
        if fields is None:
            skipped += 1
        else:
            found.append(fix_of(fields, where))
    return recording_of(found, skipped=skipped)


def read_geojson(document: bytes) -> Recording:
    """Features that are Points with a time, or lines with a time for each coordinate (`coordTimes`, `times`)."""
    try:
        tree = msgspec.json.decode(document.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(f"the file is no JSON: {error}") from error
    kind = tree.get("type") if isinstance(tree, dict) else None
    nodes = tree.get("features") if kind == "FeatureCollection" else [tree]
    if kind not in ("FeatureCollection", "Feature") or not isinstance(nodes, list):
        raise Refused("the file is no GeoJSON FeatureCollection or Feature")
    found: list[RecordedFix] = []
    skipped = 0
    for number, node in enumerate(nodes, 1):
        where = f"feature {number}"
        taken = list(_of_feature(node, where))
        found += taken
        skipped += not taken
        check_count(len(found), where)
    return recording_of(found, skipped=skipped)


def _of_feature(node: Any, where: str) -> Iterator[RecordedFix]:
    if not isinstance(node, dict) or node.get("type") != "Feature":
        raise Refused(f"{where}: it is no GeoJSON Feature")
    properties, geometry = node.get("properties") or {}, node.get("geometry") or {}
    if not isinstance(properties, dict) or not isinstance(geometry, dict):
        raise Refused(f"{where}: its properties and geometry must be objects")
    fields = {ours: properties[theirs] for ours, theirs in known_names([*map(str, properties)]).items()}
    kind, places = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        yield fix_of({**fields, **_place(places, where)}, where)
    elif kind in LINES:
        track = {"track": fields.get("track", properties.get("name"))}
        for number, (place, time) in enumerate(_paired(properties, places, where, depth=LINES[kind]), 1):
            at = f"{where}, coordinate {number}"
            yield fix_of({**track, "time": time, **_place(place, at)}, at)


def _paired(
    properties: Mapping[str, Any], places: Any, where: str, *, depth: int
) -> Iterator[tuple[Any, Any]]:
    """Each coordinate of the lines with its time."""
    more = properties.get("coordinateProperties")
    given = {**properties, **(more if isinstance(more, dict) else {})}
    times = next((given[name] for name in TIMES_OF_LINES if isinstance(given.get(name), list)), None)
    if times is None:
        raise Refused(f"{where}: coordTimes is missing; a line needs a time for each of its coordinates")
    for line, moments in zip([places], [times], strict=True) if depth == 1 else _zipped(places, times, where):
        yield from _zipped(line, moments, where)


def _zipped(places: Any, times: Any, where: str) -> Iterator[tuple[Any, Any]]:
    if not isinstance(places, list) or not isinstance(times, list) or len(places) != len(times):
        raise Refused(f"{where}: coordTimes must hold as many times as there are coordinates")
    return zip(places, times, strict=True)


def _place(place: Any, where: str) -> dict[str, Any]:
    if not isinstance(place, list) or len(place) < 2:  # noqa: PLR2004
        raise Refused(f"{where}: coordinates are {shown(place)}; each is [longitude, latitude]")
    return {"lon": place[0], "lat": place[1]}


def _location(line: str, where: str) -> dict[str, Any] | None:
    """The fields of an OwnTracks message; None of one that is no position."""
    try:
        said = read_message(line.encode())
    except InvalidMessage as error:
        raise Refused(f"{where}: {error.detail or error.reason}") from error
    if said is None:
        return None
    fields = as_guard_payload(said)
    topic = str(said.get("topic") or "").split("/")
    user = topic[-2] if len(topic) > 1 else None
    return {**fields, "time": fields.get("timestamp"), "track": user or said.get("tid")}


def _text(document: bytes) -> str:
    try:
        return document.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = document[: error.start].count(b"\n") + 1
        raise Refused(f"line {line}: the file is not in UTF-8; save it so") from error


def _guessed(document: bytes) -> Format:
    begins = document[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if begins[:1] == b"<":
        return "gpx"
    if begins[:1] == b"{":
        return "owntracks" if b'"_type"' in begins.partition(b"\n")[0] else "geojson"
    return "owntracks" if b'\t{"' in begins.partition(b"\n")[0] else "csv"


READERS: Mapping[str, Callable[[bytes], Recording]] = {
    "csv": read_csv,
    "gpx": gpx.read,
    "geojson": read_geojson,
    "owntracks": read_owntracks,
}
__all__: Sequence[str] = ("FORMATS", "Format", "read")
