"""Tests of areas over the antimeridian.

They are cut for files and whole for Vigil, and stay the same after any number of both.
"""

import math
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from services.contracts.errors import Refused
from services.geofencing import antimeridian
from services.geofencing.shapes import Shape, measure, shape_of


def halves(*parts: Any) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in parts]}


WEST = [[179, -1], [180, -1], [180, 1], [179, 1]]
EAST = [[-180, -1], [-179, -1], [-179, 1], [-180, 1]]


def test_halves_that_were_cut_at_180_degrees_are_one_again() -> None:
    area = shape_of(halves(WEST, EAST)).area
    assert area.geom_type == "Polygon"
    assert list(area.exterior.coords) == [(179, -1), (-179, -1), (-179, 1), (179, 1), (179, -1)]
    assert measure(Shape(area)).extent_m == pytest.approx(314_500, rel=0.001)


def test_a_hole_that_was_cut_is_a_hole_again() -> None:
    whole = {
        "type": "Polygon",
        "coordinates": [
            [[179, -1], [-179, -1], [-179, 1], [179, 1]],
            [[179.5, -0.5], [-179.5, -0.5], [-179.5, 0.5], [179.5, 0.5]],
        ],
    }
    area = shape_of(whole).area
    cut = antimeridian.cut(area)
    assert cut.geom_type == "MultiPolygon"
    assert not any(part.interiors for part in cut.geoms)
    assert shape_of(mapping(cut)).area == area


def test_parts_that_only_lie_near_each_other_stay_apart() -> None:
    away = [[-179.9, -1], [-179, -1], [-179, 1], [-179.9, 1]]
    assert shape_of(halves(WEST, away)).area.geom_type == "MultiPolygon"
    above = [[-180, 2], [-179, 2], [-179, 3], [-180, 3]]
    assert shape_of(halves(WEST, above)).area.geom_type == "MultiPolygon"


def test_overlapping_halves_are_not_taken_for_one() -> None:
    other = [[-180, 0], [-179, 0], [-179, 2], [-180, 2]]
    with pytest.raises(Refused, match="overlap"):
        shape_of(halves(WEST, EAST, other))


def test_what_does_not_cross_is_not_cut() -> None:
    area = shape_of(mapping(box(77, 12, 77.01, 12.01))).area
    assert antimeridian.cut(area) == area
    at_the_edge = shape_of(mapping(box(179, 12, 180, 12.01))).area
    assert antimeridian.cut(at_the_edge) == at_the_edge
    assert at_the_edge.bounds[2] == 180


@given(
    st.floats(-181.5, 181.5),
    st.floats(-60, 60),
    st.lists(st.floats(0.05, 1), min_size=3, max_size=24),
    st.floats(0, 0.8),
)
def test_cut_and_put_together_is_the_same_to_the_bit(
    lon: float, lat: float, radii: list[float], hole: float
) -> None:
    """The shapes are stars round any centre, with a similar hole."""
    shell = star(lon, lat, radii, 1.0)
    drawn: list[Any] = [shell, star(lon, lat, radii, hole)] if hole > 0.1 and len(radii) > 4 else [shell]
    try:
        area = shape_of({"type": "Polygon", "coordinates": drawn}).area
    except Refused as error:
        assert "sound" in str(error) or "covers" in str(error)
        return
    cut = antimeridian.cut(area)
    assert shapely.is_valid(cut)
    for part in antimeridian.parts_of(cut):
        assert -180 <= part.bounds[0] <= part.bounds[2] <= 180
        assert part.bounds[2] - part.bounds[0] <= 3
    assert cut.area == pytest.approx(antimeridian.unrolled(area).area, rel=1e-6)
    again = shape_of(mapping(cut)).area
    assert again == area
    assert antimeridian.canonical(antimeridian.unrolled(area)) == area


def star(lon: float, lat: float, radii: list[float], scale: float) -> list[list[float]]:
    angles = [2 * math.pi * number / len(radii) for number in range(len(radii))]
    return [
        [(lon + scale * radius * math.cos(angle) + 180) % 360 - 180, lat + scale * radius * math.sin(angle)]
        for radius, angle in zip(radii, angles, strict=True)
    ]


def teeth(count: int, *, east: bool) -> list[list[float]]:
    """Return a comb whose teeth end at the antimeridian."""
    spine, end = (-178.0, -180.0) if east else (178.0, 180.0)
    drawn = [[lon, 10 + (n + half) / count] for n in range(count) for lon, half in ((end, 0.0), (spine, 0.5))]
    # Each tooth ends in an edge, so that the halves meet in more than points.
    drawn = [place for lon, lat in drawn for place in ([lon, lat], [lon, lat + 0.2 / count])]
    side = spine + (1.0 if east else -1.0)
    return [*drawn, [side, 11.0], [side, 10.0]]


@pytest.mark.parametrize("count", [1, 20, 90])
def test_combs_of_few_teeth_are_put_together_and_cut_again(count: int) -> None:
    area = shape_of(halves(teeth(count, east=False), teeth(count, east=True))).area
    assert shape_of(mapping(antimeridian.cut(area))).area == area


@pytest.mark.parametrize("count", [150, 1000])
def test_who_crosses_the_antimeridian_too_often_is_refused_with_the_limit(count: int) -> None:
    with pytest.raises(Refused, match="a zone crosses it 200 times at the most"):
        shape_of(halves(teeth(count, east=False), teeth(count, east=True)))


def test_parts_of_one_side_that_overlap_are_refused_before_they_are_put_together() -> None:
    upright = [[lat + 169, lon - 169] for lon, lat in teeth(30, east=False)]
    with pytest.raises(Refused, match="has parts that overlap"):
        shape_of(halves(teeth(30, east=False), upright, teeth(30, east=True)))


@pytest.mark.parametrize("turns", [1, 5, 500])
def test_a_ring_that_goes_round_and_back_is_refused_by_its_extent(turns: int) -> None:
    there = [[(n * 90) % 360 - 180, 12 + n / 1e4] for n in range(4 * turns)]
    with pytest.raises(Refused, match="a zone measures 1,000 km at the most"):
        shape_of({"type": "Polygon", "coordinates": [there + [[lon, lat - 1] for lon, lat in there[::-1]]]})
