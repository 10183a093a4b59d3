"""Tests of one position of a recording: a valid one is taken, and the error names an invalid one."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulation.recordings import fixes
from ops.simulation.recordings.fixes import PointCollector, RecordedFix, UnusablePoint, fix_of, known_names
from services.contracts.errors import Refused

GOOD = {"time": "2026-01-31T18:00:00+05:30", "lat": "12.97", "lon": 77.59}


def test_a_position_with_all_fields_and_one_with_few() -> None:
    more = {
        "track": " guard-7 ",
        "accuracy": "6",
        "speed": "1.5",
        "heading": "90",
        "mock": "TRUE",
    }
    assert fix_of({**GOOD, **more}, "line 2") == RecordedFix(
        track="guard-7",
        at=datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
        lat=12.97,
        lon=77.59,
        accuracy=6.0,
        speed=1.5,
        heading=90.0,
        mock=True,
    )
    few = fix_of({**GOOD, "accuracy": " ", "speed": None}, "line 2")
    assert (few.track, few.accuracy, few.speed, few.mock) == ("", None, None, False)
    unknown = fix_of({**GOOD, "accuracy": "-1", "speed": -1, "heading": -1.0}, "line 2")
    assert (unknown.accuracy, unknown.speed, unknown.heading) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("lat", "91", "line 7: lat is '91'; it must be a number, -90 to 90"),
        ("lon", "east", "line 7: lon is 'east'; it must be a number, -180 to 180"),
        ("lat", True, "line 7: lat is True"),
        ("lat", float("nan"), "line 7: lat is nan"),
        ("lat", [1], "line 7: lat is \\[1\\]"),
        ("lat", "", "line 7: lat is missing"),
        ("lat", " ", "line 7: lat is missing"),
        ("time", None, "line 7: time is missing"),
        ("time", "noon", "line 7: time is 'noon'; write it as 2026"),
        ("time", "2026-01-31T18:00:00", "line 7: time is .* without an offset"),
        ("time", "0001-01-01T00:00:00+14:00", "line 7: time is .* out of all time"),
        ("accuracy", "wide", "line 7: accuracy is 'wide'; it must be a number, 0 or more"),
        ("speed", "inf", "line 7: speed is 'inf'"),
        ("heading", 361, "line 7: heading is 361; it must be a number, 0 to 360"),
        ("mock", "maybe", "line 7: mock is 'maybe'; it must be true or false"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_field_and_remedy(field: str, value: object, said: str) -> None:
    with pytest.raises(Refused, match=said):
        fix_of({**GOOD, field: value}, "line 7")


@given(
    st.dictionaries(
        st.sampled_from(sorted(fixes.NAMES)),
        st.one_of(st.none(), st.text(), st.floats(), st.binary(), st.booleans()),
    )
)
def test_no_fields_make_it_raise_anything_but_refused(fields: dict[str, object]) -> None:
    try:
        fix_of({**GOOD, **fields}, "line 1")
    except Refused as error:
        assert str(error).startswith("line 1: ")


def test_names_of_others_are_known_whatever_their_case_and_ours_go_first() -> None:
    given = [" Latitude ", "LNG", "timestamp", "guard_id", "note", "time"]
    assert known_names(given) == {"lat": " Latitude ", "lon": "LNG", "time": "time", "track": "guard_id"}


def test_fixes_are_put_into_the_order_of_their_times_and_nothing_is_no_recording() -> None:
    earlier = {**GOOD, "time": "2026-01-01T00:00:00Z", "track": "b"}
    points = PointCollector()
    for fields in (GOOD, earlier, GOOD):
        points.take(fields, "")
    points.skipped = 3
    recording = points.recording()
    assert recording.fixes == [fix_of(earlier, ""), fix_of(GOOD, "")]
    assert (recording.tracks, recording.skipped, recording.points) == (["", "b"], 3, 3)
    assert recording.losses() == []
    with pytest.raises(Refused, match="no positions"):
        PointCollector().recording()
    with pytest.raises(Refused, match="more than 1,000,000"):
        fixes.check_count(1_000_001, "line 9")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"time": None}, "no time"),
        ({"time": " "}, "no time"),
        ({"time": "noon"}, "time is not readable"),
        ({"time": "2026-01-31T18:00:00"}, "time has no offset"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time is not readable"),
        ({"lat": None}, "no lat"),
        ({"lon": ""}, "no lon"),
        ({"lat": "91"}, "lat is not -90 to 90"),
        ({"lon": 437}, "lon is not -180 to 180"),
        ({"lat": "NaN"}, "lat is not -90 to 90"),
        ({"lon": [1]}, "lon is not -180 to 180"),
    ],
)
def test_a_point_that_cannot_be_used_is_counted_by_its_reason_and_the_others_are_kept(
    wrong: dict[str, object], reason: str
) -> None:
    points = PointCollector()
    points.take({**GOOD, **wrong}, "line 2")
    points.take(GOOD, "line 3")
    recording = points.recording()
    assert recording.fixes == [fix_of(GOOD, "")]
    assert recording.unusable == {reason: 1}
    assert recording.losses() == [f"1 of 2 points skipped: {reason}"]


def test_an_optional_field_that_cannot_be_read_costs_the_field_and_not_the_point() -> None:
    points = PointCollector()
    points.take({**GOOD, "speed": "fast", "accuracy": "wide", "mock": "maybe", "heading": 90}, "line 2")
    points.take({**GOOD, "speed": "inf", "lat": 13}, "line 3")
    recording = points.recording()
    assert [(fix.speed, fix.accuracy, fix.heading, fix.mock) for fix in recording.fixes] == [
        (None, None, 90.0, False),
        (None, None, None, False),
    ]
    assert recording.left_out == {"accuracy": 1, "speed": 2, "mock": 1}
    assert "speed cannot be read and is left out of 2 points" in recording.losses()


def test_several_reasons_are_counted_apart() -> None:
    points = PointCollector()
    for fields in ({}, {**GOOD, "lat": 91}, {**GOOD, "time": ""}, GOOD):
        points.take(fields, "line 1")
    assert points.recording().losses() == ["3 of 4 points skipped: 1 lat is not -90 to 90, 2 no time"]


def test_a_file_without_any_usable_point_is_refused_with_the_first_reason_and_the_count() -> None:
    points = PointCollector()
    for number in (2, 3):
        points.take({**GOOD, "time": None}, f"line {number}")
    with pytest.raises(Refused, match=r"^line 2: time is missing; .*; none of the 2 points can be used$"):
        points.recording()


def test_what_is_wrong_with_a_point_names_its_field() -> None:
    with pytest.raises(UnusablePoint) as raised:
        fix_of({**GOOD, "speed": "fast"}, "line 1")
    assert raised.value.field == "speed"
