"""Tests of KML from any author: zones are read, and traps have no effect."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.geofencing.files import kml
from services.geofencing.shapes import shape_of
from tests.unit.services.geofencing.files.test_geojson import ZONE

RING = "77,12,920 77.01,12,920 77.01,12.01,920 77,12.01,920 77,12,920"
HOLE = "77.004,12.004 77.006,12.004 77.006,12.006 77.004,12.004"


def boundary(side: str, ring: str) -> str:
    return f"<{side}BoundaryIs><LinearRing><coordinates>\n {ring}\n </coordinates></LinearRing></{side}BoundaryIs>"


POLYGON = f"<Polygon>{boundary('outer', RING)}</Polygon>"
WITH_HOLE = f"<Polygon>{boundary('inner', HOLE)}{boundary('outer', RING)}</Polygon>"


def file_of(*marks: str) -> str:
    return f'<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder>{"".join(marks)}</Folder></Document></kml>'


def mark(inside: str, name: str = "Dock") -> str:
    return f"<Placemark><name>{name}</name>{inside}</Placemark>"


def test_polygons_holes_points_and_data_are_read() -> None:
    kind = '<Data name="kind"><displayName>x</displayName><value>forbidden</value></Data>'
    data = (
        f'<ExtendedData>{kind}<SchemaData><SimpleData name="site">HQ</SimpleData></SchemaData></ExtendedData>'
    )
    point = (
        '<ExtendedData><Data name="radius_m"><value>50</value></Data></ExtendedData>'
        "<Point><coordinates>77,12</coordinates></Point>"
    )
    first, second, third = kml.read(
        file_of(
            mark(data + WITH_HOLE),
            mark(f"<MultiGeometry>{POLYGON}</MultiGeometry>", "Gate"),
            mark(point, "Post"),
        )
    )
    assert (first.name, first.fields["kind"], first.fields["site"]) == ("Dock", "forbidden", "HQ")
    assert len(shape_of(first.fields["area"]).area.interiors) == 1
    assert shape_of(second.fields["area"]).area.geom_type == "Polygon"
    assert shape_of(third.fields["area"], radius_m=third.fields["radius_m"]).radius_m == 50


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("", "no geometry"),
        ("<LineString><coordinates>0,0 1,1</coordinates></LineString>", "it is a LineString"),
        ('<gx:Track xmlns:gx="x"/>', "it is a Track"),
        ("<Point><coordinates>1 2</coordinates></Point>", "LON,LAT or LON,LAT,ALTITUDE"),
        ("<Point><coordinates>east,north</coordinates></Point>", "LON,LAT or LON,LAT,ALTITUDE"),
        (f"{POLYGON}<Point><coordinates>1,2</coordinates></Point>", "mixes points"),
        (f"<Polygon>{boundary('inner', HOLE)}</Polygon>", "no outerBoundaryIs, or several"),
        (
            f"<Polygon>{boundary('outer', RING)}{boundary('outer', HOLE)}</Polygon>",
            "no outerBoundaryIs, or several",
        ),
    ],
)
def test_a_placemark_that_is_no_zone_is_named_and_the_next_is_read(inside: str, said: str) -> None:
    bad, good = kml.read(file_of(mark(inside, "bad"), mark(POLYGON)))
    assert (bad.index, bad.name) == (1, "bad")
    assert said in bad.reason
    assert not good.reason


def test_what_points_elsewhere_is_named_and_nothing_is_fetched() -> None:
    link = "<NetworkLink><name>more</name><Link><href>http://127.0.0.1:9/more.kml</href></Link></NetworkLink>"
    away, here = kml.read(file_of(link, mark(POLYGON)))
    assert "nothing is fetched" in away.reason
    assert not here.reason


BILLION = (
    '<!DOCTYPE kml [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {chr(ord("a") + n)} "{("&" + chr(ord("a") + n - 1) + ";") * 10}">' for n in range(1, 10)
    )
    + "]><kml>&j;</kml>"
)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (BILLION, "document type"),
        ('<!DOCTYPE kml SYSTEM "file:///etc/passwd"><kml/>', "document type"),
        ('<!DOCTYPE kml [<!ENTITY x SYSTEM "file:///etc/passwd">]><kml>&x;</kml>', "document type"),
        ('<!DOCTYPE kml [<!ENTITY % x SYSTEM "http://127.0.0.1:9/">%x;]><kml/>', "document type"),
        (BILLION.encode("utf-16"), "document type"),
        ("<kml>&x;</kml>", "not XML: undefined entity"),
        ("", "the file is empty"),
        ("<kml>", "not XML"),
        ("<gpx/>", "not KML: its root is 'gpx'"),
        (b"PK\x03\x04rest", "unpack it"),
        ("<kml>" + "<a>" * 100 + "</a>" * 100 + "</kml>", "64 deep"),
        (b'<?xml version="1.0" encoding="no-such"?><kml/>', "encoding|not XML"),
        (b'<?xml version="1.0" encoding="utf-7"?><kml/>', "encoding|not XML"),
        ("<kml>\ud800</kml>", "encoding"),
        (b"<kml>\xff</kml>", "line 1: the file is not in UTF-8: save it as XML in UTF-8"),
        ("<kml><Placemark><Placemark/></Placemark></kml>", "write each on its own"),
    ],
)
def test_what_is_no_kml_or_asks_for_more_than_reading_is_refused(document: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        kml.read(document)


def test_too_many_placemarks_are_refused() -> None:
    with pytest.raises(Refused, match="more than 10,000"):
        kml.read("<kml>" + "<Placemark/>" * 10_001 + "</kml>")


def test_what_is_written_is_read_again() -> None:
    drawn = [
        {
            "type": "Polygon",
            "coordinates": [
                [[179, -1], [-179, -1], [-179, 1], [179, 1]],
                [[179.5, 0], [-179.5, 0], [180, 0.123456789]],
            ],
        },
        {
            "type": "MultiPolygon",
            "coordinates": [[[[77, 12], [77.01, 12], [77, 12.1]]], [[[78, 12], [78.01, 12], [78, 12.1]]]],
        },
    ]
    for geometry in drawn:
        area = shape_of(geometry).area
        [found] = kml.read(kml.write([{**ZONE, "area": area}]))
        assert not found.reason
        assert {name: found.fields[name] for name in ZONE} == ZONE
        assert shape_of(found.fields["area"]).area == area


def test_a_name_that_xml_cannot_hold_does_not_break_the_file() -> None:
    area = shape_of({"type": "Point", "coordinates": [1, 2]}, radius_m=5).area
    [found] = kml.read(kml.write([{**ZONE, "name": "a\x01b", "radius_m": 5.0, "area": area}]))
    assert found.name == "a\ufffdb"


pieces = st.lists(
    st.sampled_from(
        [
            "<kml>",
            "</kml>",
            "<Placemark>",
            "</Placemark>",
            "<name>",
            "</name>",
            "<Polygon>",
            "</Polygon>",
            "<coordinates>",
            "</coordinates>",
        ]
        + [
            "<outerBoundaryIs>",
            "</outerBoundaryIs>",
            "<innerBoundaryIs>",
            "</innerBoundaryIs>",
            "<Point>",
            "</Point>",
            "1,2 3,4",
            "nan,inf",
        ]
        + [
            "<Data name='kind'>",
            "<value>",
            "</value>",
            "</Data>",
            "<!DOCTYPE a>",
            "<![CDATA[x]]>",
            "<!-- -->",
            "<?x y?>",
            "&amp;",
            "&x;",
        ]
    ),
    max_size=30,
).map("".join)
nested = st.recursive(
    st.sampled_from(["", "1,2 3,4 5,6", "x", "1,2,3,4"]),
    lambda inner: st.tuples(
        st.sampled_from(
            [
                "Placemark",
                "name",
                "Polygon",
                "outerBoundaryIs",
                "innerBoundaryIs",
                "coordinates",
                "Point",
                "Data",
                "value",
                "NetworkLink",
            ]
        ),
        st.lists(inner, max_size=3).map("".join),
    ).map(lambda found: f"<{found[0]}>{found[1]}</{found[0]}>"),
    max_leaves=15,
)


@given(
    pieces
    | nested.map(lambda inside: f"<kml>{inside}</kml>")
    | st.binary(max_size=100)
    | st.text(max_size=50)
)
def test_whatever_file_comes_is_read_or_refused(document: Any) -> None:
    try:
        found = kml.read(document)
    except Refused as error:
        assert str(error)
        return
    for feature in found:
        assert feature.reason or "area" in feature.fields
        if not feature.reason:
            try:
                shape_of(feature.fields["area"], radius_m=5)
            except Refused as error:
                assert str(error)
