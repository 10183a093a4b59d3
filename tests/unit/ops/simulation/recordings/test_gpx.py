"""Tests of GPX as phones and watches write it. Errors name the line."""

import gzip
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulation.recordings import gpx
from services.contracts.errors import Refused

HEAD = (
    '<?xml version="1.0"?>\n<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1" xmlns:x="urn:x">\n'
)
POINT = '<trkpt lat="12.97" lon="77.59"><time>2026-01-31T12:30:00Z</time>{}</trkpt>\n'


def gpx_of(*tracks: str) -> bytes:
    return f"{HEAD}{''.join(tracks)}</gpx>\n".encode()


def track(*points: str, name: str = "guard-7") -> str:
    return f"<trk><name>{name}</name><trkseg>\n{''.join(points)}</trkseg></trk>\n"


def test_points_are_read_with_what_stands_in_extensions_too() -> None:
    old = POINT.format("<speed>1.5</speed><course>90</course><hdop>0.8</hdop>")
    new = POINT.format(
        "<extensions><x:TrackPointExtension><x:speed>2</x:speed></x:TrackPointExtension></extensions>"
    )
    waypoint = '<wpt lat="1" lon="2"><name>gate</name></wpt>\n'
    found = gpx.read(gpx_of(waypoint, track(old), track(new, name="guard-8")))
    assert [(fix.track, fix.speed, fix.heading, fix.accuracy) for fix in found.fixes] == [
        ("guard-7", 1.5, 90.0, None),
        ("guard-8", 2.0, None, None),
    ]
    assert (found.fixes[0].lat, found.fixes[0].lon) == (12.97, 77.59)
    assert found.fixes[0].at == datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
    assert found.skipped == 1


def test_a_time_that_names_no_zone_is_utc_as_the_standard_says() -> None:
    bare = POINT.replace("12:30:00Z", "12:30:00.250")
    assert gpx.read(gpx_of(track(bare.format("")))).fixes[0].at == datetime(
        2026, 1, 31, 12, 30, 0, 250_000, tzinfo=UTC
    )
    there = POINT.replace("12:30:00Z", "12:30:00+05:30")
    assert gpx.read(gpx_of(track(there.format("")))).fixes[0].at.hour == 7


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            gpx_of(track('<trkpt lat="91" lon="2"><time>2026-01-01T00:00:00Z</time></trkpt>')),
            "line 4: lat is '91'",
        ),
        (gpx_of(track('<trkpt lat="1" lon="2"/>')), "line 4: time is missing"),
        (gpx_of(track('<trkpt lon="2"><time>2026-01-01T00:00:00Z</time></trkpt>')), "line 4: lat is missing"),
        (gpx_of(track(POINT.replace("2026-01-31T12:30:00Z", "noon").format(""))), "line 4: time is 'noon'"),
        (gzip.compress(gpx_of()), "gzip-compressed: unpack it first"),
        (b"PK\x03\x04", "ZIP archive"),
        (
            gpx_of(f"<trk><trkseg>{POINT.format('')}</trkseg><name>late</name></trk>"),
            "line 4: the track's name stands behind",
        ),
        (gpx_of(), "no positions"),
        (b"<kml></kml>", "not GPX: its root is 'kml'"),
        (b"<gpx>", "not XML"),
        (b'<?xml version="1.0" encoding="x"?><gpx/>', "encoding"),
        (b'<!DOCTYPE gpx [<!ENTITY a "b">]><gpx>&a;</gpx>', "document type"),
        (b"<gpx>" + b"<a>" * 100, "deep"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(document: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        gpx.read(document)


def test_points_without_a_time_or_place_are_counted_and_the_others_replayed() -> None:
    untimed, misplaced = '<trkpt lat="1" lon="2"/>\n', POINT.replace("12.97", "91").format("")
    found = gpx.read(gpx_of(track(untimed, POINT.format(""), misplaced, POINT.format("<speed>fast</speed>"))))
    assert [(fix.lat, fix.speed) for fix in found.fixes] == [(12.97, None)]  # the same point twice
    assert found.unusable == {"no time": 1, "lat is not -90 to 90": 1}
    assert (found.points, found.left_out) == (4, {"speed": 1})


@given(st.binary(max_size=200) | st.text(max_size=100).map(gpx_of))
def test_no_bytes_make_it_raise_anything_but_refused(document: bytes) -> None:
    try:
        gpx.read(document)
    except Refused as error:
        assert str(error)
