from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.decoding import place
from gateway.mqtt.decoding.place import FoundPlace

HERE = (12.97, 77.59)


@pytest.mark.parametrize(
    "tree",
    [
        {"location": {"lat": 12.97, "lon": 77.59}},
        {"location": {"lat": "12.97", "lon": "77,59"}},
        {"location": {"Latitude": 12.97, "Longitude": 77.59}},
        {"location": {"lat": 12.97, "lng": 77.59}},
        {"location": {"lat": 12.97, "long": 77.59}},
        {"location": {"type": "Point", "coordinates": [77.59, 12.97]}},
        {"location": {"type": "Point", "coordinates": [77.59, 12.97, 900]}},
        {"location": {"type": "Feature", "geometry": {"type": "Point", "coordinates": [77.59, 12.97]}}},
        {"location": {"coords": {"latitude": 12.97, "longitude": 77.59}}},
        {"location": "12.97,77.59"},
        {"location": " 12.97 , 77.59 "},
        {"location": "12.97 77.59"},
        {"location": "12,97;77,59"},
        {"location": "geo:12.97,77.59?z=14"},
        {"location": "12.97,77.59,900"},
        {"location": [12.97, 77.59]},
        {"location": ["12.97", "77.59"]},
        {"lat": 12.97, "lon": 77.59},
        {"lat": "12.97", "lng": "77.59"},
        {"latitude": 12.97, "longitude": 77.59},
        {"gps": {"lat": 12.97, "lon": 77.59}},
        {"gps": "12.97,77.59"},
        {"position": [12.97, 77.59]},
        {"coords": {"latitude": 12.97, "longitude": 77.59}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [77.59, 12.97]}},
        {"location": "Gate 4", "lat": 12.97, "lon": 77.59},
        {"location": {"lat": 0, "lon": 0}, "gps": {"lat": 12.97, "lon": 77.59}},
    ],
    ids=str,
)
def test_a_place_is_read_in_every_dress(tree: dict[str, Any]) -> None:
    assert place.find(tree) == FoundPlace(HERE)
    assert place.holds_place(tree)
    assert place.holds_place({"body": [tree]})


@pytest.mark.parametrize(
    "location",
    [
        {"lat": 0, "lon": 0},
        {"lat": None, "lon": None},
        {"lat": "", "lon": ""},
        [0, 0],
        "0,0",
        "0.0, 0.0",
        {"lat": 0.0, "lng": "0"},
    ],
    ids=str,
)
def test_a_receiver_without_a_fix_gives_no_place(location: Any) -> None:
    assert place.find({"location": location}) == FoundPlace(None, ("no_fix",))
    assert not place.holds_place({"location": location})


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("Gate 4, north", "Gate 4, north"),
        ({"lat": 91, "lon": 0}, '{"lat":91,"lon":0}'),
        ({"lat": 12.9, "lon": 181}, '{"lat":12.9,"lon":181}'),
        ({"lat": 12.9}, '{"lat":12.9}'),
        ({"lat": True, "lon": 77}, '{"lat":true,"lon":77}'),
        ([77.59, 12.97, 1, 2], "[77.59,12.97,1,2]"),
        ([120.5, 12.97], "[120.5,12.97]"),
        ({"coordinates": [77.59, 12.97]}, '{"coordinates":[77.59,12.97]}'),
        ({"type": "Point", "coordinates": []}, '{"type":"Point","coordinates":[]}'),
        ({"type": "Polygon", "coordinates": [[[1, 2]]]}, '{"type":"Polygon","coordinates":[[[1,2]]]}'),
        (5, "5"),
        ("", ""),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_shown_as_it_was_sent(location: Any, shown: str) -> None:
    assert place.find({"location": location}) == FoundPlace(None, ("location",), shown)


def test_a_long_place_is_shown_in_part_and_no_place_is_nothing() -> None:
    assert len(place.find({"location": "x " * 100_000}).shown) == place.LONGEST_SHOWN
    assert place.find({}) == FoundPlace(None)
    assert place.find({"location": None, "lat": 5}) == FoundPlace(None)


names = st.sampled_from(["lat", "lon", "type", "coordinates", "geometry", "coords", "x"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(place.FIELDS), json_values))
def test_no_object_makes_it_raise_and_every_place_is_on_earth(tree: dict[str, Any]) -> None:
    found = place.find(tree)
    place.holds_place(tree)
    if found.point is not None:
        assert -90 <= found.point[0] <= 90
        assert -180 <= found.point[1] <= 180
        assert not place.is_no_fix(*found.point)
