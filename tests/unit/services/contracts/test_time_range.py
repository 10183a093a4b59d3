from datetime import UTC, date, datetime, timedelta

import pytest

from services.contracts.errors import Refused
from services.contracts.time_range import as_day, as_period, as_time

DAY = timedelta(days=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_times_come_as_such_or_as_text() -> None:
    assert as_time("2026-01-31T17:30:00+05:30", what="since") == NOON == as_time(NOON, what="since")
    assert as_day("2026-01-31", what="day") == date(2026, 1, 31) == as_day(date(2026, 1, 31), what="day")
    assert as_period("2026-01-30T12:00:00Z", NOON, longest=DAY) == (NOON - DAY, NOON)


@pytest.mark.parametrize("wrong", ["yesterday", None, 5, "2026-01-31T12:00:00"])
def test_what_is_no_time_is_named(wrong: object) -> None:
    with pytest.raises(Refused, match=r"since (is|needs)"):
        as_time(wrong, what="since")


@pytest.mark.parametrize("wrong", ["31.1.2026", None, NOON])
def test_what_is_no_day_is_named(wrong: object) -> None:
    with pytest.raises(Refused, match="day is .*; write it as 2026-01-31"):
        as_day(wrong, what="day")


def test_a_period_has_an_order_and_a_longest() -> None:
    with pytest.raises(Refused, match="until .* must be after since"):
        as_period(NOON, NOON, longest=DAY)
    with pytest.raises(Refused, match="more than 1 days"):
        as_period(NOON - DAY, NOON + timedelta(seconds=1), longest=DAY)
