import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon

from services.contracts.errors import Refused
from services.geofencing.files import geojson
from services.geofencing.shapes import shape_of

SQUARE = {"type": "Polygon", "coordinates": [[[77, 12], [77.01, 12], [77.01, 12.01], [77, 12.01], [77, 12]]]}
ZONE = {
    "name": "Dock \u2028 <&>",
    "kind": "speed",
    "site": "HQ",
    "group": None,
    "guard": None,
    "enabled": True,
    "speed_limit_mps": 8.5,
    "radius_m": None,
    "schedule": {"weekly": []},
    "confirmation": None,
}


def feature(**properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": SQUARE}


def read(node: object) -> list[Any]:
    return geojson.read(json.dumps(node))


def test_a_collection_a_feature_and_a_geometry_are_read() -> None:
    many = read({"type": "FeatureCollection", "features": [feature(name="a"), feature(name="b")]})
    assert [(found.index, found.name) for found in many] == [(1, "a"), (2, "b")]
    [one] = read(feature(name="a"))
    assert one.fields == {"name": "a", "area": SQUARE}
    [bare] = read(SQUARE)
    assert "name is None" in bare.reason


def test_one_bad_feature_is_named_and_the_others_are_read() -> None:
    bad = [
        7,
        {"type": "Feature", "properties": []},
        feature(),
        {**feature(name="x"), "geometry": None},
        {**feature(name="y"), "properties": 7},
    ]
    found = read({"type": "FeatureCollection", "features": [*bad, feature(name="good")]})
    assert [bool(item.reason) for item in found] == [True] * 5 + [False]
    assert found[-1].index == 6


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b"{}"), "gzip-compressed: unpack it first"),
        ("PK\x03\x04", "ZIP archive"),
        (b"[1]", "a list; a GeoJSON FeatureCollection is required"),
        (b"{}", "type is None"),
        (b'{"type": "FeatureCollection"}', "no list of features"),
        (b'{"type": "Topology"}', "type is 'Topology'"),
        (
            b'{"type": "FeatureCollection", "features": [], "crs": {"properties": {"name": "EPSG:3857"}}}',
            "EPSG:4326",
        ),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ("\ud800", "not JSON"),
        (b'{"type": NaN}', "not JSON"),
    ],
)
def test_what_is_no_geojson_at_all_is_refused(document: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        geojson.read(document)


def test_a_file_with_one_area_is_taken_whatever_it_is_called() -> None:
    assert geojson.area_of(json.dumps(SQUARE)) == (SQUARE, None)
    assert geojson.area_of(b"\xef\xbb\xbf" + json.dumps(feature(radius_m=5)).encode()) == (SQUARE, 5)
    with pytest.raises(Refused, match="2 features; only one is allowed"):
        geojson.area_of(json.dumps({"type": "FeatureCollection", "features": [feature(), feature()]}))


def test_what_is_written_is_read_again() -> None:
    area = shape_of(SQUARE).area
    [found] = geojson.read(geojson.write([{**ZONE, "area": area}]))
    assert {name: found.fields[name] for name in ZONE} == ZONE
    assert shape_of(found.fields["area"]).area == area
    assert json.loads(geojson.write([])) == {"type": "FeatureCollection", "features": []}


def test_an_old_area_that_cannot_be_cut_is_shown_as_it_is() -> None:
    ring = [(0.0, 89.0), (120.0, 89.0), (-120.0, 89.0)]
    assert geojson.geometry_of(Polygon(ring))["type"] == "Polygon"


node = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "features", "properties", "geometry", "crs", "name", "coordinates"]),
            inner,
        )
    ),
    max_leaves=25,
)
typed = st.fixed_dictionaries(
    {"type": st.sampled_from(["FeatureCollection", "Feature", "Polygon"])},
    optional={"features": st.lists(node, max_size=4), "properties": node, "geometry": node, "crs": node},
)


@given(st.binary(max_size=200) | st.text(max_size=50) | node.map(json.dumps) | typed.map(json.dumps))
def test_whatever_file_comes_is_read_or_refused(document: Any) -> None:
    for take in (geojson.read, geojson.area_of):
        try:
            take(document)
        except Refused as error:
            assert str(error)


def test_a_feature_in_other_coordinates_is_named_and_the_next_is_read() -> None:
    metres = {**feature(name="a"), "crs": {"type": "name", "properties": {"name": "EPSG:3857"}}}
    found = read({"type": "FeatureCollection", "features": [metres, feature(name="b")]})
    assert "EPSG:3857" in found[0].reason
    assert "convert them" in found[0].reason
    assert found[1].reason == ""
