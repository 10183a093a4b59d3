"""Tests of schedules by the clocks of a place.

They cover midnight, the change of clocks, and the days that differ.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.geofencing.schedule import DAYS, covers, parse

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
EVERY_DAY = list(DAYS)


def nightly(start: str, end: str, **more: Any) -> Any:
    return parse({"weekly": [{"days": EVERY_DAY, "from": start, "to": end}], **more})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    monday = parse({"weekly": [{"days": ["mon"], "from": "22:00", "to": "06:00"}]})
    assert not covers(monday, utc("2026-03-02 20:59:59"), BERLIN)
    assert covers(monday, utc("2026-03-02 21:00"), BERLIN)
    assert covers(monday, utc("2026-03-03 04:59:59"), BERLIN)
    assert not covers(monday, utc("2026-03-03 05:00"), BERLIN)
    assert not covers(monday, utc("2026-03-03 22:00"), BERLIN)


@pytest.mark.parametrize(
    ("moment", "covered"),
    # Clocks go from 02:00 to 03:00 on 29 March 2026: 02:30 does not exist and becomes 03:00, which
    # is 01:00 UTC.
    [
        ("2026-03-29 00:59:59", False),
        ("2026-03-29 01:00", True),
        ("2026-03-29 01:29:59", True),
        ("2026-03-29 01:30", False),
    ],
)
def test_a_beginning_that_does_not_exist_is_the_first_moment_that_does(moment: str, covered: bool) -> None:
    assert covers(nightly("02:30", "03:30"), utc(moment), BERLIN) is covered


@pytest.mark.parametrize(
    ("moment", "covered"),
    # 1 November 2026 in New York: 01:30 comes twice, at 05:30 and 06:30 UTC.
    [
        ("2026-11-01 05:29:59", False),
        ("2026-11-01 05:30", True),
        ("2026-11-01 06:30:59", True),
        ("2026-11-01 06:31", False),
    ],
)
def test_of_a_time_that_comes_twice_the_first_begins_and_the_second_ends(moment: str, covered: bool) -> None:
    assert covers(nightly("01:30", "01:31"), utc(moment), NEW_YORK) is covered


def test_a_night_over_the_change_has_seven_or_nine_hours() -> None:
    night = nightly("22:00", "06:00")

    def minutes(first: str) -> int:
        start = utc(first).timestamp()
        return sum(covers(night, datetime.fromtimestamp(start + 60 * n, UTC), BERLIN) for n in range(14 * 60))

    assert minutes("2026-03-28 17:00") == 7 * 60
    assert minutes("2026-10-24 17:00") == 9 * 60
    assert minutes("2026-06-01 17:00") == 8 * 60


def test_an_exception_replaces_what_begins_on_its_date_and_nothing_else() -> None:
    closed = nightly("22:00", "06:00", exceptions=[{"date": "2026-12-25", "windows": []}])
    assert covers(closed, utc("2026-12-25 03:00"), "UTC")  # of the 24th
    assert not covers(closed, utc("2026-12-25 23:00"), "UTC")
    assert not covers(closed, utc("2026-12-26 03:00"), "UTC")
    assert covers(closed, utc("2026-12-26 23:00"), "UTC")
    day = parse({"exceptions": [{"date": "2026-12-25", "windows": [{"from": "00:00", "to": "24:00"}]}]})
    assert covers(day, utc("2026-12-25 23:59:59"), "UTC")
    assert not covers(day, utc("2026-12-26 00:00"), "UTC")


def test_a_schedule_without_any_window_is_told_apart() -> None:
    closed = {"exceptions": [{"date": "2026-12-25", "windows": []}]}
    assert parse({}).is_never
    assert parse(closed).is_never
    assert not nightly("22:00", "06:00", **closed).is_never
    window = {"from": "00:00", "to": "24:00"}
    assert not parse({"exceptions": [{"date": "2026-12-25", "windows": [window]}]}).is_never


def test_a_place_that_skips_a_day_goes_on_with_the_next() -> None:
    # Apia went from 29 to 31 December 2011.
    always = nightly("00:00", "24:00")
    assert covers(always, utc("2011-12-30 10:30"), "Pacific/Apia")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "schedule must be an object"),
        ({"weekley": []}, "weekley"),
        ({"weekly": {}}, "schedule.weekly"),
        ({"weekly": [{"days": ["monday"], "from": "01:00", "to": "02:00"}]}, "schedule.weekly[0].days"),
        ({"weekly": [{"days": [], "from": "01:00", "to": "02:00"}]}, "days"),
        ({"weekly": [{"days": ["mon"], "from": "1:00", "to": "02:00"}]}, "schedule.weekly[0].from"),
        ({"weekly": [{"days": ["mon"], "from": "24:00", "to": "02:00"}]}, "23:59"),
        ({"weekly": [{"days": ["mon"], "from": "01:00"}]}, "schedule.weekly[0].to"),
        ({"exceptions": [{"date": "25.12.2026", "windows": []}]}, "schedule.exceptions[0].date"),
        ({"exceptions": [{"date": "2026-02-30", "windows": []}]}, "schedule.exceptions[0].date"),
        ({"exceptions": [{"date": "2026-12-25"}]}, "schedule.exceptions[0].windows"),
        ({"exceptions": [{"date": "2026-12-25", "windows": []}] * 2}, "exception already"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(document: object, field: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(document)
    assert field in str(caught.value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["mon", "22:00", "2026-12-25"]),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(["weekly", "exceptions", "days", "from", "to", "date", "windows"]),
                c,
                max_size=4,
            )
        ),
    )
)
def test_no_document_raises_anything_but_refused(document: object) -> None:
    try:
        schedule = parse(document)
    except Refused:
        return
    covers(schedule, utc("2026-03-29 01:00"), BERLIN)
