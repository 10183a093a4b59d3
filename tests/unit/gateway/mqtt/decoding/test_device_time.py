from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.mqtt.decoding.device_time import DeviceTime, judge, moment_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EPOCH_S = int(NOW.timestamp())


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-23T12:00:00Z",
        "2026-11-23T17:30:00+05:30",
        "2026-11-23T12:00:00+0000",
        " 2026-11-23 12:00:00z ",
        EPOCH_S,
        float(EPOCH_S),
        EPOCH_S * 1000,
        EPOCH_S * 1000.0,
        str(EPOCH_S),
        f" {EPOCH_S} ",
        f"{EPOCH_S}.000",
        f"{EPOCH_S},0",
        str(EPOCH_S * 1000),
        f"{EPOCH_S * 1000}.0",
    ],
)
def test_a_time_is_read_in_every_form_of_the_contract(written: Any) -> None:
    assert moment_of(written) == NOW


def test_fractions_of_a_second_are_kept() -> None:
    assert moment_of(EPOCH_S + 0.25) == NOW + timedelta(milliseconds=250)
    assert moment_of(EPOCH_S * 1000 + 7) == NOW + timedelta(milliseconds=7)
    assert moment_of(f"{EPOCH_S}.5") == NOW + timedelta(milliseconds=500)


@pytest.mark.parametrize("written", [None, "", "  "])
def test_nothing_is_no_time(written: Any) -> None:
    assert moment_of(written) is None


@pytest.mark.parametrize(
    "written",
    [
        "noon",
        0,
        12345,
        -1,
        "0",
        "123456789",
        1e300,
        True,
        [],
        {},
        float("nan"),
        "2026-13-45T00:00:00Z",
        10**400,
    ],
)
def test_what_writes_no_time_is_an_error(written: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        moment_of(written)


def judged(
    timestamp: datetime | None, sent_at: datetime | None = None, *, held_back: bool = False
) -> tuple[DeviceTime, list[str]]:
    quality: list[str] = []
    found = judge(
        timestamp, sent_at, quality, received_at=NOW, max_ahead_s=300, max_age_s=604_800, held_back=held_back
    )
    return found, quality


@pytest.mark.parametrize("ahead_s", [-604_800, -3600, 0, 300])
def test_a_plausible_time_is_taken_and_proves_identity(ahead_s: float) -> None:
    at = NOW + timedelta(seconds=ahead_s)
    assert judged(at) == (DeviceTime(at, False, True), [])


@pytest.mark.parametrize(
    "at",
    [
        NOW - timedelta(days=8),
        NOW + timedelta(seconds=301),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
)
def test_a_time_that_is_not_plausible_is_replaced_and_proves_nothing(at: datetime) -> None:
    assert judged(at) == (DeviceTime(NOW, True, False), ["timestamp"])


@pytest.mark.parametrize("lead_s", [-86_400 * 400, -3600, -11, 11, 290, 7200, 86_400 * 30])
def test_a_clock_that_says_when_it_sent_is_corrected(lead_s: float) -> None:
    # Given a fix that is 30 s old by the device's own clock
    sent_at = NOW + timedelta(seconds=lead_s)
    found, quality = judged(sent_at - timedelta(seconds=30), sent_at)
    # Then the fix is 30 s old by ours
    assert found.recorded_at == NOW - timedelta(seconds=30)
    assert (found.suspect, quality) == (False, ["clock_corrected"])


@pytest.mark.parametrize("lead_s", [-10, -1, 0, 9.9])
def test_a_clock_that_is_about_right_is_left_alone(lead_s: float) -> None:
    sent_at = NOW + timedelta(seconds=lead_s)
    assert judged(sent_at, sent_at) == (DeviceTime(sent_at, False, True), [])


def test_a_clock_that_stands_still_proves_no_identity_although_it_is_corrected() -> None:
    # A stopped clock gives two presses the same bytes.
    stopped = datetime(1970, 1, 1, tzinfo=UTC)
    assert judged(stopped, stopped) == (DeviceTime(NOW, False, False), ["clock_corrected"])


def test_after_a_break_a_message_that_waited_at_the_broker_keeps_its_time() -> None:
    sent_at = NOW - timedelta(hours=1)
    assert judged(sent_at, sent_at, held_back=True) == (DeviceTime(sent_at, False, True), [])
    # Waiting cannot make a clock fast.
    ahead = NOW + timedelta(seconds=200)
    assert judged(ahead, ahead, held_back=True)[1] == ["clock_corrected"]


def test_a_time_without_offset_is_utc_and_flagged() -> None:
    naive = datetime(2026, 11, 23, 11, 59)  # noqa: DTZ001 - that is the case
    found, quality = judged(naive)
    assert (found.recorded_at, quality) == (naive.replace(tzinfo=UTC), ["timestamp_offset"])


def test_a_correction_out_of_all_time_is_no_time() -> None:
    assert judged(datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)) == (
        DeviceTime(NOW, True, False),
        ["timestamp"],
    )
