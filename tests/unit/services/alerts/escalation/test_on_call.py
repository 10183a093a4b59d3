"""Tests of the on-call schedule by the wall clock of the place, also when clocks change."""

import itertools
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.escalation.on_call import OnCallOverride, OnCallRota, on_call, parse
from services.contracts.errors import Refused

BERLIN = ZoneInfo("Europe/Berlin")


def rota(**changes: Any) -> OnCallRota:
    base = {"members": ["a", "b", "c"], "time_zone": "Europe/Berlin", "first_day": date(2026, 3, 23)}
    return OnCallRota(**{**base, **changes})


def at(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


def test_turns_change_at_the_handover_by_the_clock_on_the_wall() -> None:
    assert on_call(rota(), at(23, 8)) == "a"
    assert on_call(rota(), at(30, 7, 59)) == "a"
    assert on_call(rota(), at(30, 8)) == "b"
    # Clocks went forward between them (29 March): 8:00 is another hour of UTC now.
    assert at(23, 8).astimezone(UTC).hour != at(30, 8).astimezone(UTC).hour


def test_before_the_first_day_the_round_is_thought_backwards() -> None:
    assert on_call(rota(), at(23, 7, 59)) == "c"
    assert on_call(rota(turn_days=1), at(21, 9)) == "b"


def test_a_handover_that_a_change_of_clocks_skips_still_happens_once() -> None:
    skipped = rota(turn_days=1, handover=time(2, 30), first_day=date(2026, 3, 28))
    start = at(28, 12).astimezone(UTC)
    seen = [on_call(skipped, start + timedelta(minutes=m)) for m in range(0, 36 * 60, 10)]
    left = [one for one, other in itertools.pairwise(seen) if one != other]
    assert left == ["a"]
    assert seen[-1] == "b"


def test_who_stands_in_is_on_call_and_the_last_written_exchange_counts() -> None:
    exchanges = [OnCallOverride(at(24, 0), at(25, 0), "x"), OnCallOverride(at(24, 6), at(24, 9), "y")]
    swapped = rota(exceptions=exchanges)
    assert [on_call(swapped, at(24, hour)) for hour in (5, 6, 9)] == ["x", "y", "x"]
    assert on_call(swapped, at(25, 0)) == "a"


@given(
    st.integers(1, 7),
    st.integers(1, 31),
    st.sampled_from(["Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
)
def test_somebody_is_always_on_call_and_turns_have_their_length(
    members: int, turn_days: int, zone: str, moment: datetime
) -> None:
    names = [str(number) for number in range(members)]
    asked = OnCallRota(names, zone, date(2026, 1, 1), turn_days=turn_days)
    whole_round = timedelta(days=members * turn_days)
    local = moment.astimezone(ZoneInfo(zone))
    later = (local.replace(tzinfo=None) + whole_round).replace(tzinfo=ZoneInfo(zone))
    assert on_call(asked, moment) in names
    # Half an hour around a handover, the change of clocks may decide otherwise.
    if local.hour not in (7, 8):
        assert on_call(asked, later.astimezone(UTC)) == on_call(asked, moment)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"members": []}, "members"),
        ({"members": [" "]}, "members"),
        ({"time_zone": "Mars/Olympus"}, "time_zone 'Mars/Olympus' is not known"),
        ({"time_zone": "../../etc/passwd"}, "is not known"),
        ({"turn_days": 0}, "turn_days"),
        ({"handover": "8 in the morning"}, "handover"),
        ({"handover": "08:00:00+01:00"}, "handover is a local time"),
        (
            {"exceptions": [{"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00", "member": "a"}]},
            "offset",
        ),
        (
            {"exceptions": [{"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z", "member": "a"}]},
            "after",
        ),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_rota_that_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    base = {"members": ["a"], "time_zone": "UTC", "first_day": "2026-01-01"}
    with pytest.raises(Refused, match=said):
        parse({**base, **changes})


def test_a_rota_from_a_file_is_what_it_says() -> None:
    document = {
        "members": ["a"],
        "time_zone": "Asia/Kolkata",
        "first_day": "2026-01-01",
        "handover": "20:00:00",
    }
    assert parse(document).handover == time(20)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("08:00", time(8)), ("20:00", time(20)), (1200, time(20)), ("20:30:15", time(20, 30, 15)), (0, time(0))],
)
def test_a_handover_may_be_written_without_seconds(written: object, meant: time) -> None:
    document = {"members": ["A"], "time_zone": "UTC", "first_day": "2026-01-01", "handover": written}
    assert parse(document).handover == meant


@pytest.mark.parametrize("written", ["25:00", "8", 1440, -1, True, "20:00+05:30", None])
def test_a_handover_that_is_no_time_is_refused(written: object) -> None:
    document = {"members": ["A"], "time_zone": "UTC", "first_day": "2026-01-01", "handover": written}
    with pytest.raises(Refused, match="handover"):
        parse(document)
