from typing import Any

import pytest
import shapely

from services.contracts.errors import Refused
from services.location.tracks.search_area import check_place, parse

RING = [[77.0, 12.0], [77.1, 12.0], [77.1, 12.1], [77.0, 12.0]]


def test_polygons_and_circles_come_out_as_the_database_takes_them() -> None:
    hole = [[77.05, 12.01], [77.06, 12.01], [77.06, 12.02], [77.05, 12.01]]
    found = parse({"type": "Polygon", "coordinates": [RING, hole]})
    assert (len(shapely.from_wkb(found.wkb).interiors), found.radius_m) == (1, None)
    far = [[lon + 1, lat] for lon, lat in RING]
    assert shapely.from_wkb(
        parse({"type": "MultiPolygon", "coordinates": [[RING], [far]]}).wkb
    ).geom_type == ("MultiPolygon")
    circle = parse({"type": "Point", "coordinates": [77.0, 12.0], "radius_m": 500})
    assert (shapely.from_wkb(circle.wkb).x, circle.radius_m) == (77.0, 500.0)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (None, "GeoJSON object"),
        ({"type": "LineString"}, "shape.type must be Polygon"),
        ({"type": "Point", "coordinates": [77, 12]}, "shape.radius_m"),
        ({"type": "Point", "coordinates": [77, 12], "radius_m": True}, "shape.radius_m"),
        ({"type": "Point", "coordinates": [77, 92], "radius_m": 5}, "latitude must be a number from -90"),
        ({"type": "Point", "coordinates": [float("nan"), 2], "radius_m": 5}, "longitude"),
        ({"type": "Point", "coordinates": [77], "radius_m": 5}, r"\[longitude, latitude\]"),
        ({"type": "Polygon", "coordinates": None}, "must be a list"),
        ({"type": "Polygon", "coordinates": []}, "each ring needs"),
        ({"type": "Polygon", "coordinates": [RING[:-1]]}, "at least four places"),
        ({"type": "MultiPolygon", "coordinates": []}, "no polygon"),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]},
            "Self-intersection",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0]] * 10_001]},
            "10001 corners; a shape has 10000",
        ),
    ],
)
def test_what_is_wrong_is_named(shape: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        parse(shape)


WORLD = [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]


@pytest.mark.parametrize(
    "ring",
    [
        WORLD,
        [[0, 0], [180, 0], [90, 80], [0, 0]],
        [[-179, -89], [179, -89], [179, 89], [-179, 89], [-179, -89]],
        [[0, 0], [120, 0], [-120, 0], [0, 0]],
        [[0, 5], [90, 5], [180, 5], [-90, 5], [0, -80], [0, 5]],
        [[10, -89], [20, 89], [30, -89], [10, -89]],
    ],
)
def test_a_shape_that_goes_round_the_earth_is_refused_with_the_limit(ring: Any) -> None:
    with pytest.raises(Refused, match="more than 80 degrees"):
        parse({"type": "Polygon", "coordinates": [ring]})


def test_a_large_country_and_a_shape_on_the_antimeridian_s_side_are_taken() -> None:
    for ring in (
        [[-170, 30], [-66, 30], [-66, 71], [-170, 71], [-170, 30]],
        [[170, -20], [180, -20], [180, -10], [170, -10], [170, -20]],
    ):
        assert parse({"type": "Polygon", "coordinates": [ring]}).wkb


def test_the_work_of_a_shape_is_bounded() -> None:
    comb = [[70 + n * 1e-4 + 5 * (n % 2), 10 + n * 1e-4 + 5 * (n % 2)] for n in range(2000)]
    with pytest.raises(Refused, match="pairs of edges"):
        parse({"type": "Polygon", "coordinates": [[*comb, comb[0]]]})
    with pytest.raises(Refused, match="600 parts and holes; a shape has 500"):
        parse({"type": "MultiPolygon", "coordinates": [[RING]] * 600})


def test_a_place_is_two_numbers_on_the_globe() -> None:
    assert check_place(12, 77.5) == (12.0, 77.5)
    with pytest.raises(Refused, match="lon must be a number from -180"):
        check_place(12, 181)
    with pytest.raises(Refused, match="lat must be"):
        check_place("12", 77)
