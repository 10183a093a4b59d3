"""Tests of recordings in each format, which the name or the first bytes show.

Errors name the place.
"""

import codecs
import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulation.recordings import formats
from services.contracts.errors import Refused

AT = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
TST = int(AT.timestamp())
CSV = "guard,time,lat,lon,accuracy\nguard-7,2026-01-31T12:30:00Z,12.97,77.59,6\n"
LOCATION = {"_type": "location", "lat": 12.97, "lon": 77.59, "tst": TST, "acc": 6, "vel": 36}


def point(**properties: Any) -> dict[str, Any]:
    place = {"type": "Point", "coordinates": [77.59, 12.97]}
    return {"type": "Feature", "properties": {"time": AT.isoformat(), **properties}, "geometry": place}


def line(times: Any, kind: str = "LineString", **properties: Any) -> dict[str, Any]:
    places: list[Any] = [[77.59, 12.97], [77.6, 12.98, 900]]
    shape = {"type": kind, "coordinates": places if kind == "LineString" else [places]}
    return {"type": "Feature", "properties": {"coordTimes": times, **properties}, "geometry": shape}


def collection(*features: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


TIMES = [AT.isoformat(), "2026-01-31T12:31:00Z"]


@pytest.mark.parametrize(
    ("document", "suffix"),
    [
        (CSV.encode(), "csv"),
        (CSV.encode(), "txt"),
        (b"\xef\xbb\xbf" + CSV.encode(), ""),
        (collection(point(guard="guard-7", accuracy=6)), "GeoJSON"),
        (collection(point(guard="guard-7", accuracy=6)), "json"),
        (json.dumps(point(guard="guard-7", accuracy=6)).encode(), ""),
        (json.dumps({**LOCATION, "tid": "guard-7"}).encode(), "rec"),
        (json.dumps({**LOCATION, "tid": "guard-7"}).encode(), ""),
        (f"2026-01-31T12:30:00Z\t*  \t{json.dumps({**LOCATION, 'tid': 'guard-7'})}\n".encode(), ""),
    ],
)
def test_each_format_is_known_by_its_name_or_its_beginning(document: bytes, suffix: str) -> None:
    [fix] = formats.read(document, suffix=suffix).fixes
    assert (fix.track, fix.at, fix.lat, fix.lon, fix.accuracy) == ("guard-7", AT, 12.97, 77.59, 6.0)


def test_a_format_that_is_named_goes_before_the_file_s_own_name() -> None:
    assert len(formats.read(CSV.encode(), suffix="gpx", format="csv").fixes) == 1
    with pytest.raises(Refused, match="not XML"):
        formats.read(CSV.encode(), suffix="csv", format="gpx")


def test_lines_of_geojson_have_a_time_for_each_place() -> None:
    found = formats.read(
        collection(line(TIMES, name="walk"), {"type": "Feature", "properties": None, "geometry": None})
    )
    assert [(fix.track, fix.lat, fix.at.minute) for fix in found.fixes] == [
        ("walk", 12.97, 30),
        ("walk", 12.98, 31),
    ]
    assert found.skipped == 1
    assert len(formats.read(collection(line([TIMES], "MultiLineString"))).fixes) == 2
    newer = line(None, coordinateProperties={"times": TIMES}, guard="guard-7")
    assert formats.read(collection(newer)).tracks == ["guard-7"]


def test_owntracks_speaks_in_its_own_units_and_what_is_no_position_is_passed_over() -> None:
    said = [
        {**LOCATION, "topic": "owntracks/guard-7/phone", "tid": "x"},
        {"_type": "lwt", "tst": TST},
        {**LOCATION, "vel": -1, "tst": TST + 10, "tid": "g8"},
    ]
    found = formats.read("\n".join(map(json.dumps, said)).encode() + b"\n\n")
    assert [(fix.track, fix.speed) for fix in found.fixes] == [("guard-7", 10.0), ("g8", None)]
    assert found.skipped == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (CSV.replace("77.59", "east").encode(), "^line 2: lon is 'east'"),
        (CSV.replace("lat", "north").encode(), "^line 1: there is no column lat \\(also: latitude"),
        (b"", "^the file is empty"),
        (b"\n", "^the file is empty"),
        (b"guard\n", "^line 1: there is no column time"),
        (CSV.splitlines()[0].encode(), "no positions"),
        ((CSV + '"open').encode(), "^line 3: the file is not CSV"),
        (CSV.encode() + b"\xff", "^line 3: the file is not in UTF-8"),
        (gzip.compress(CSV.encode()), "is gzip-compressed"),
        (collection(point(time=None)), "^feature 1: time is missing"),
        (collection(line(["", "noon"])), "^feature 1, coordinate 1: time is missing.*none of the 2 points"),
        (collection(line(TIMES[:1])), "^feature 1: coordTimes must hold as many"),
        (collection(line(None)), "^feature 1: coordTimes is missing"),
        (collection(line(TIMES, "MultiLineString")), "^feature 1: coordTimes must hold as many"),
        (collection("x"), "^feature 1: it is not a GeoJSON Feature"),
        (collection({**point(), "properties": [1]}), "^feature 1: its properties and geometry"),
        (
            collection({**point(), "geometry": {"type": "Point", "coordinates": 1}}),
            "^feature 1: coordinates are 1",
        ),
        (b'{"type":"Polygon"}', "not a GeoJSON FeatureCollection"),
        (b"{", "not JSON"),
        (json.dumps({**LOCATION, "lat": 91}).encode(), "^line 1: lat is 91"),
        (json.dumps({**LOCATION, "tst": None}).encode(), "^line 1: time is missing"),
        (b'{"_type":"encrypted","data":"x"}', "^line 1: the phone encrypts"),
        (b'{"_type"\n{', "^line 1: .*none of the 2 points"),
    ],
)
def test_what_is_wrong_is_named_by_line_or_feature_and_field(document: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        formats.read(document)


@pytest.mark.parametrize(
    ("document", "fixes", "unusable"),
    [
        ((CSV + "\nguard-7,2026-01-31T12:31:00Z,12.97\n").encode(), 1, {"no lon": 1}),
        ((CSV + "guard-7,,12.97,77.59\n").encode(), 1, {"no time": 1}),
        (CSV.replace("guard-7", "g,,12,77,\nguard-7").encode(), 1, {"no time": 1}),
        (collection(point(time=None), point()), 1, {"no time": 1}),
        (collection(line(["", TIMES[1]])), 1, {"no time": 1}),
        (collection(line([TIMES[0], "noon"])), 1, {"time is not readable": 1}),
        (
            collection(line(None), line(TIMES[:1]), point()),
            1,
            {"no time": 1, "times and coordinates differ in number": 1},
        ),
        (collection("x", point()), 1, {"no GeoJSON Feature": 1}),
        (
            collection({**point(), "geometry": {"type": "Point", "coordinates": 1}}, point()),
            1,
            {"no coordinates": 1},
        ),
        (json.dumps(LOCATION).encode() + b"\n{", 1, {"broken json": 1}),
        (
            "\n".join(json.dumps({**LOCATION, **more}) for more in ({}, {"lat": 91}, {"tst": None})).encode(),
            1,
            {"lat is not -90 to 90": 1, "no time": 1},
        ),
    ],
)
def test_points_that_cannot_be_used_are_counted_and_the_others_replayed(
    document: bytes, fixes: int, unusable: dict[str, int]
) -> None:
    found = formats.read(document)
    assert (len(found.fixes), found.unusable) == (fixes, unusable)
    assert found.points == fixes + sum(unusable.values())


@pytest.mark.parametrize(
    "document",
    [
        CSV.replace(",", ";").encode(),
        CSV.replace(",", ";").replace("12.97", "12,97").encode(),
        ("sep=;\r\n" + CSV.replace(",", ";")).encode(),
        CSV.replace(",", "\t").encode(),
        CSV.replace("lat,lon", " Latitude ,LNG").encode(),
        CSV.replace("\n", ",\n").encode(),
        codecs.BOM_UTF16_LE + CSV.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"),
        codecs.BOM_UTF16_LE + collection(point(guard="guard-7", accuracy=6)).decode().encode("utf-16-le"),
    ],
)
def test_a_recording_is_read_as_spreadsheets_and_windows_write_it(document: bytes) -> None:
    [fix] = formats.read(document).fixes
    assert (fix.track, fix.lat, fix.lon, fix.accuracy) == ("guard-7", 12.97, 77.59, 6.0)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=200), st.sampled_from([None, *formats.FORMATS]))
def test_no_bytes_make_it_raise_anything_but_refused(document: bytes, format_name: str | None) -> None:
    try:
        formats.read(document, format=format_name)
    except Refused as error:
        assert str(error)


@given(values, values, st.sampled_from(["Point", "LineString", "MultiLineString", "Polygon"]))
def test_nor_does_any_feature(properties: Any, coordinates: Any, kind: str) -> None:
    geometry = {"type": kind, "coordinates": coordinates}
    times = properties if isinstance(properties, dict) else {"coordTimes": properties}
    document = collection({"type": "Feature", "properties": times, "geometry": geometry})
    try:
        formats.read(document)
    except Refused as error:
        assert str(error)
