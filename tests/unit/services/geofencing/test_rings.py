import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.geofencing import rings

corners = st.tuples(
    st.floats(-180, 180).map(lambda lon: round(lon, 9)), st.floats(-89, 89).map(lambda lat: round(lat, 9))
)


def test_a_ring_over_the_antimeridian_goes_on_past_180() -> None:
    assert rings.ring_of([[179, 0], [-179, 0], [-179, 1], [179, 0]], field="area") == [
        (179, 0),
        (181, 0),
        (181, 1),
    ]


def test_repeats_and_the_closing_corner_are_left_out() -> None:
    assert len(rings.ring_of([[0, 0], [0, 0], [1, 0], [1, 1], [1, 1], [0, 0]], field="area")) == 3


def test_a_ring_on_one_side_of_the_antimeridian_stays_there() -> None:
    assert rings.wrapped([(179, 0), (180, 0), (180, 1)]) == [(179, 0), (180, 0), (180, 1)]
    assert rings.wrapped([(180, 0), (181, 0), (180, 1)]) == [(-180, 0), (-179, 0), (-180, 1)]
    assert rings.wrapped([(179, 0), (181, 0), (180, 1)]) == [(179, 0), (-179, 0), (180, 1)]


def test_a_value_is_shown_in_one_short_line() -> None:
    assert len(rings.as_text("x" * 1000)) == 60
    assert rings.as_text([1, 2]) == "a list"
    assert rings.as_text(10**500) == "a huge number"


@given(
    corners,
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-0.5, 0.5)), min_size=2, max_size=20),
    st.integers(-3, 3),
)
def test_wrapping_is_the_inverse_of_unrolling(
    start: tuple[float, float], steps: list[tuple[float, float]], turns: int
) -> None:
    drawn = [start] + [(round(start[0] + east, 9), round(start[1] + north, 9)) for east, north in steps]
    wrapped = rings.wrapped(drawn)
    assert all(abs(lon) <= 180 for lon, _ in wrapped)
    unrolled = rings.unroll(wrapped, field="area")
    turn = rings.turn_near(unrolled[0][0], drawn[0][0])
    assert rings.turned(unrolled, turn) == drawn
    assert rings.wrapped(rings.turned(drawn, 360.0 * turns)) == wrapped


@given(st.lists(corners, min_size=3, max_size=6))
def test_an_unrolled_ring_has_no_long_edge(drawn: list[tuple[float, float]]) -> None:
    try:
        found = rings.unroll(drawn, field="area")
    except Refused:
        return
    for before, after in zip(found, [*found[1:], found[0]], strict=True):
        assert abs(before[0] - after[0]) < 180


def test_swapped_coordinates_are_noticed_only_when_swapping_helps() -> None:
    with pytest.raises(Refused, match="seem to be swapped"):
        rings.check_position(100, 12)
    with pytest.raises(Refused, match="lat is 100.0; it must be"):
        rings.check_position(100, 100)
    with pytest.raises(Refused, match="181 is written -179"):
        rings.check_position(12, 181)


@pytest.mark.parametrize("positions", [7, None, {"lon": 1}, "1,2"])
def test_what_is_no_list_of_corners_says_what_is_wanted(positions: object) -> None:
    with pytest.raises(Refused, match=r"area, hole 1 is .*list of \[longitude, latitude\] pairs"):
        rings.ring_of(positions, field="area, hole 1")
