"""Tests of shapes of zones: some are taken, some are refused, and the message says why."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.geofencing import shapes
from services.geofencing.shapes import Shape, measure, shape_of
from services.geofencing.work_limits import MAX_VERTICES

SQUARE = [[77.0, 12.0], [77.01, 12.0], [77.01, 12.01], [77.0, 12.01], [77.0, 12.0]]
HOLE = [[77.004, 12.004], [77.006, 12.004], [77.006, 12.006], [77.004, 12.006]]
BESIDE = [[77.02, 12.0], [77.03, 12.0], [77.03, 12.01], [77.02, 12.01]]


def polygon(*rings: Any, **further: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings), **further}


def several(*polygons: Any) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": list(polygons)}


@pytest.mark.parametrize(
    ("lat", "lon", "radius", "field"),
    [
        (91, 0, 10, "lat"),
        (0, 181, 10, "lon"),
        (float("nan"), 0, 10, "lat"),
        (0, 0, 0, "radius_m"),
        (0, 0, 1e6, "radius_m"),
        (0, 0, float("inf"), "radius_m"),
        (0, 0, "10", "radius_m"),
        (True, 0, 10, "lat"),
        (10**400, 0, 10, "lat"),
    ],
)
def test_a_bad_circle_names_the_field(lat: Any, lon: Any, radius: Any, field: str) -> None:
    with pytest.raises(Refused, match=field):
        shapes.circle(lat=lat, lon=lon, radius_m=radius)


def test_a_polygon_may_be_closed_or_not() -> None:
    corners = [[0, 0], [0, 1], [1, 1]]
    assert shapes.polygon(corners).equals(shapes.polygon([*corners, corners[0]]))


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        (polygon([[0, 0], [1, 1]]), "2 different corners; it must have 3"),
        (
            polygon([[0, 0], [0.1, 0.1], [0, 0.1], [0.1, 0]]),
            "crosses itself near lat 0.05.*, lon 0.05.*draw it without",
        ),
        (polygon([[0, 0], [0, 0], [0, 0]]), "1 different corners"),
        (polygon([[0, 0], [1, 1], [2, 2]]), "covers no area"),
        (polygon([[0], [1], [2]]), r"corner 1: .*\[longitude, latitude\]"),
        (polygon([[0, 0], [0, "1"], [1, 1]]), "corner 2: lat is '1'"),
        (polygon([[0, 0], [0, float("nan")], [1, 1]]), "finite"),
        (polygon([[0, 0], [1e-6, 0], [1e-6, 1e-6]]), "square metres; it must cover 1 at least"),
        (
            polygon([[0, 0], [20, 0], [20, 20]]),
            "km from corner to corner; a zone measures 1,000 km at the most",
        ),
        (polygon([[12.0, 97.0], [12.1, 97.0], [12.1, 97.1]]), "they seem to be swapped"),
        (polygon([[0, 0], [99, 99], [1, 1]]), "lat is 99.0; it must be -90 to 90"),
        (polygon([[0, 89.9], [120, 89.9], [-120, 89.9]]), "goes round a pole"),
        (polygon([[0, 0], [180, 0], [90, 1]]), "half the earth"),
        (polygon(SQUARE, BESIDE), "a hole lies outside of it near lat 12"),
        (
            polygon(SQUARE, HOLE, [[77.0045, 12.0045], [77.0055, 12.0045], [77.0055, 12.0055]]),
            "hole lies in another",
        ),
        (several([SQUARE], [SQUARE]), "overlap or share an edge"),
        (
            several([SQUARE], [[[77.01, 12.0], [77.02, 12.0], [77.02, 12.01], [77.01, 12.01]]]),
            "share an edge near",
        ),
        (several([SQUARE], [[[0, 0], [0, 1]]]), "area, part 2"),
        (several(), "area is empty"),
        (polygon(), "area is empty"),
        ({"type": "LineString", "coordinates": SQUARE}, "area.type is 'LineString'; a zone is a Polygon"),
        ({"type": "Point", "coordinates": [77, 12]}, "radius_m is missing"),
        (
            polygon(SQUARE, crs={"type": "name", "properties": {"name": "EPSG:3857"}}),
            "ogr2ogr -t_srs EPSG:4326",
        ),
        ("SRID=3857;POINT(1 1)", "must be a GeoJSON geometry"),
        (polygon([[n / 1e6, (n % 2) / 1e6] for n in range(10_001)]), "10001 corners; a zone has 10000"),
    ],
)
def test_what_is_no_zone_is_refused_with_where_and_how_to_mend_it(geometry: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        shape_of(geometry)


def test_the_position_that_closes_a_ring_is_no_corner() -> None:
    angles = [math.tau * n / MAX_VERTICES for n in range(MAX_VERTICES)]
    ring = [[math.cos(angle) / 100, math.sin(angle) / 100] for angle in angles]
    assert shape_of(polygon([*ring, ring[0]])).area.is_valid


def test_a_radius_is_for_points_only() -> None:
    with pytest.raises(Refused, match="only for a Point"):
        shape_of(polygon(SQUARE), radius_m=5)
    assert shape_of({"type": "Point", "coordinates": [77, 12, 900]}, radius_m=5) == Shape(
        shapes.circle(lat=12, lon=77, radius_m=5), 5.0
    )


@pytest.mark.parametrize(
    "name", ["EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:EPSG::4326", "epsg:4326"]
)
def test_wgs_84_by_any_of_its_names_is_taken(name: str) -> None:
    crs = {"type": "name", "properties": {"name": name}}
    assert shape_of(polygon(SQUARE, crs=crs)).area.is_valid


def test_holes_altitudes_and_collections_are_understood() -> None:
    with_hole = shape_of(polygon([[*corner, 920.5] for corner in SQUARE], HOLE)).area
    assert len(with_hole.interiors) == 1
    collection = {"type": "GeometryCollection", "geometries": [polygon(SQUARE), several([BESIDE])]}
    assert shape_of(collection).area == shape_of(several([SQUARE], [BESIDE])).area


def test_the_same_drawing_begun_elsewhere_and_the_other_way_round_is_the_same_area() -> None:
    turned = [*SQUARE[2:-1], *SQUARE[:3]]
    drawn = shape_of(polygon(SQUARE, HOLE)).area
    assert shape_of(polygon(turned[::-1], HOLE[::-1])).area == drawn
    assert drawn.exterior.is_ccw


def test_measures_are_those_of_a_kilometre() -> None:
    found = measure(shape_of(polygon(SQUARE)))
    assert found.area_m2 == pytest.approx(1112 * 1112 * 0.978, rel=0.001)
    assert (found.vertices, found.parts) == (4, 1)
    assert measure(shape_of({"type": "Point", "coordinates": [0, 0]}, radius_m=10)).depth_m == 10


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "coordinates", "geometries", "crs", "properties", "name"]), inner
        )
    ),
    max_leaves=20,
)
geometries = st.fixed_dictionaries(
    {"type": st.sampled_from(["Point", "Polygon", "MultiPolygon", "GeometryCollection", "LineString"])},
    optional={"coordinates": junk, "geometries": junk, "crs": junk},
)
numbers = st.floats(-181, 181) | st.floats() | st.integers(-91, 91)
nearly = st.lists(st.lists(st.lists(numbers, min_size=2, max_size=3), max_size=6), max_size=3)


@given(junk | geometries, junk)
def test_whatever_comes_is_a_shape_or_refused(geometry: Any, radius_m: Any) -> None:
    try:
        shape_of(geometry, radius_m=radius_m)
    except Refused as error:
        assert str(error)


@given(nearly)
def test_whatever_ring_comes_is_a_sound_polygon_or_refused(rings: Any) -> None:
    try:
        area = shape_of({"type": "Polygon", "coordinates": rings}).area
    except Refused:
        return
    assert (
        shape_of(
            {
                "type": "Polygon",
                "coordinates": [list(ring.coords) for ring in (area.exterior, *area.interiors)],
            }
        ).area
        == area
    )
