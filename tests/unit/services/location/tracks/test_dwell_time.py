from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.location.tracks.dwell_time import ZoneCrossing, ZoneStay, by_day, day_bounds, stays

SINCE, UNTIL = datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}+00:00")


def crossing(text: str, entered: bool, guard: str = "g", zone: int = 1) -> ZoneCrossing:
    return ZoneCrossing(guard, zone, at(text), entered)


def spans(found: list[ZoneStay]) -> list[tuple[datetime, datetime, bool]]:
    return [(stay.begin, stay.end, stay.open) for stay in found]


def test_a_stay_is_from_entry_to_exit_cut_to_what_was_asked() -> None:
    crossings = [
        crossing("03-27T20:00", True),
        crossing("03-28T02:00", False),
        crossing("03-30T23:00", True),
        crossing("03-31T01:00", False),
    ]
    assert spans(list(stays(crossings, {}, since=SINCE, until=UNTIL))) == [
        (SINCE, at("03-28T02:00"), False),
        (at("03-30T23:00"), UNTIL, False),
    ]


def test_who_has_not_left_counts_until_the_last_fix_and_no_longer() -> None:
    found = stays([crossing("03-28T10:00", True)], {"g": at("03-28T11:00")}, since=SINCE, until=UNTIL)
    assert spans(list(found)) == [(at("03-28T10:00"), at("03-28T11:00"), True)]
    nobody = stays([crossing("03-28T10:00", True)], {}, since=SINCE, until=UNTIL)
    assert list(nobody) == []


def test_an_exit_without_an_entry_counts_nothing() -> None:
    assert list(stays([crossing("03-28T10:00", False)], {}, since=SINCE, until=UNTIL)) == []


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)],
)
def test_a_day_on_which_clocks_change_has_23_or_25_hours(day: date, hours: int) -> None:
    begin, end = day_bounds(day, ZoneInfo("Europe/Berlin"))
    whole = ZoneStay("g", 1, begin - timedelta(days=2), end + timedelta(days=2), False)
    [found] = [row for row in by_day([whole], {1: "Europe/Berlin"}) if row.day == day]
    assert found.seconds == hours * 3600


def test_a_midnight_that_is_left_out_is_the_moment_of_the_change() -> None:
    # Clocks in Cuba went from 00:00 to 01:00 on that day.
    begin, end = day_bounds(date(2026, 3, 8), ZoneInfo("America/Havana"))
    assert (end - begin) == timedelta(hours=23)
    assert begin == datetime(2026, 3, 8, 5, tzinfo=UTC)


def test_days_are_those_of_each_zones_time_zone() -> None:
    stay = ZoneStay("g", 1, at("03-28T18:00"), at("03-28T19:00"), False)
    other = stay._replace(zone_id=2, open=True)
    rows = by_day([stay, other, stay], {1: "Asia/Kolkata"})
    assert [(r.zone_id, r.day.day, r.seconds, r.stays, r.open) for r in rows] == [
        (1, 28, 3600.0, 2, False),
        (2, 28, 3600.0, 1, True),
        (1, 29, 3600.0, 2, False),
    ]


@given(
    st.integers(0, 40 * 86_400),
    st.integers(1, 40 * 86_400),
    st.sampled_from(["Asia/Kolkata", "Europe/Berlin", "America/Havana"]),
)
def test_days_add_up_to_the_stay(start: int, length: int, zone: str) -> None:
    begin = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=start)
    rows = by_day([ZoneStay("g", 1, begin, begin + timedelta(seconds=length), False)], {1: zone})
    assert sum(row.seconds for row in rows) == pytest.approx(length)
    assert [row.day for row in rows] == sorted({row.day for row in rows})
    assert all(row.seconds <= 25 * 3600 for row in rows)
