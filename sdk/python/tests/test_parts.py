"""Ids, receipts, payloads, the policy and the clock's measure."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil_device import payloads, receipts
from vigil_device.clock import ClockMeasure
from vigil_device.ids import MAX_LENGTH, MsgIds
from vigil_device.messages import Kind, Receipt
from vigil_device.policy import Policy

NOW = datetime(2026, 11, 29, 10, 0, tzinfo=timezone.utc)


def test_ids_differ_within_a_start_over_starts_and_over_copies_of_a_database() -> None:
    made = [
        MsgIds(installation=installation, starts=starts, random_part=part)
        for installation, starts, part in (
            ("a" * 16, 1, "x"),
            ("a" * 16, 2, "x"),
            ("a" * 16, 1, "y"),
            ("b" * 16, 1, "x"),
        )
    ]
    ids = [make() for make in made for _ in range(100)]

    assert len(set(ids)) == 400
    assert max(map(len, ids)) <= MAX_LENGTH


def test_an_id_is_never_longer_than_vigil_takes() -> None:
    make = MsgIds(installation="f" * 16, starts=2**31, random_part="f" * 8)
    assert len(make()) + 15 <= MAX_LENGTH
    with pytest.raises(ValueError, match="too long"):
        MsgIds(installation="f" * 60, starts=1, random_part="f" * 8)


def test_a_receipt_is_read_with_all_its_fields() -> None:
    body = {
        "msg_id": "m",
        "status": "refused",
        "at": "2026-11-29T10:00:00.5Z",
        "reason": "no_fix",
        "alert_id": "a",
        "by": "Asha",
        "silent": True,
        "more": [1],
    }
    assert receipts.read(json.dumps(body).encode()) == Receipt(
        "m", "refused", NOW + timedelta(seconds=0.5), "a", "Asha", "no_fix", True
    )


@pytest.mark.parametrize(
    "at", ["", "soon", None, 5, "2026-11-29T10:00:00", "2026-13-01T00:00:00Z", "2026-11-29T10:00:00.Z0"]
)
def test_a_time_that_cannot_be_read_is_left_out_of_a_receipt(at: object) -> None:
    found = receipts.read(json.dumps({"msg_id": "m", "status": "stored", "at": at}).encode())
    assert found is not None
    assert found.at is None


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_bytes_that_are_no_receipt_are_passed_over(payload: bytes) -> None:
    assert receipts.read(payload) is None


@given(
    st.dictionaries(
        st.sampled_from(["msg_id", "status", "at", "silent"]), st.none() | st.integers() | st.text()
    )
)
def test_a_receipt_with_wrong_fields_does_not_raise(body: dict[str, object]) -> None:
    receipts.read(json.dumps(body).encode())


def test_topics_and_payloads_are_those_of_the_contract() -> None:
    assert payloads.alert_topic("PANIC", "guard-789") == "alert/panic/guard-789"
    assert payloads.position_topic("guard", "guard-789") == "guard/guard-789/gps"
    assert payloads.reading_topic("device", "d") == "device/d/telemetry"
    assert payloads.reading_topic("sensor", "s") == "sensor/s/reading"
    assert payloads.reading_topic("system", "s") == "system/health/s"
    fields = payloads.alert_fields(message="help", severity=None, lat=1.5, lon=2.5, silent=False, drill=False)
    assert json.loads(payloads.encode(fields, msg_id="m", at=NOW)) == {
        "message": "help",
        "location": {"lat": 1.5, "lon": 2.5},
        "outbox": True,
        "timestamp": "2026-11-29T10:00:00+00:00",
        "msg_id": "m",
    }


@pytest.mark.parametrize("word", ["", "a/b", "+", "#", "a\0"])
def test_a_name_that_would_be_another_topic_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="must be text"):
        payloads.source(word, "guard")
    with pytest.raises(ValueError, match="must be text"):
        payloads.alert_topic(word, "guard-1")


def test_a_wrong_call_says_what_is_right() -> None:
    with pytest.raises(ValueError, match="one of guard, device"):
        payloads.source("x", "phone")
    with pytest.raises(ValueError, match="family='guard'"):
        payloads.position_topic("sensor", "s")
    with pytest.raises(ValueError, match="family='device'"):
        payloads.reading_topic("guard", "g")
    with pytest.raises(ValueError, match="not JSON"):
        payloads.encode({"a": object()}, msg_id="m", at=NOW)
    with pytest.raises(ValueError, match="bytes"):
        payloads.encode({"a": "x" * payloads.MAX_BYTES}, msg_id="m", at=NOW)


def test_a_time_without_an_offset_is_local_time() -> None:
    naive = datetime(2026, 1, 1)
    stamp = datetime.fromisoformat(json.loads(payloads.encode({}, msg_id="m", at=naive))["timestamp"])
    assert stamp == naive.astimezone(timezone.utc)


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "a\0", "a" * 65_536])
def test_a_topic_that_cannot_be_published_to_is_refused_when_it_is_given(topic: str) -> None:
    with pytest.raises(ValueError, match="cannot be published"):
        payloads.topic(topic)


def test_nothing_that_is_added_to_an_alert_makes_it_too_long() -> None:
    extra = payloads.extra_fields({f"photo{number}": "x" * 100_000 for number in range(30)})
    fields = payloads.alert_fields(
        message="y" * 2_000_000, severity=None, lat=None, lon=None, silent=False, drill=False
    )
    body = json.loads(payloads.encode({**extra, **fields}, msg_id="m", at=NOW))
    assert body["message"] == "y" * 2_000
    assert body["left_out"][0] == "photo0"


def test_a_place_that_is_no_number_costs_the_place_and_not_the_alert() -> None:
    assert payloads.location(float("nan"), 1.0) is None
    assert payloads.location(None, 1.0) is None


@given(sends=st.integers(1, 10_000), age_s=st.floats(0, 1e7), chance=st.floats(0, 1))
def test_a_wait_has_a_floor_and_a_ceiling(sends: int, age_s: float, chance: float) -> None:
    policy = Policy()
    for kind in Kind:
        wait_s = policy.resend_after_s(kind, sends=sends, age_s=age_s, chance=chance)
        assert policy.wait_s(kind) <= wait_s <= policy.wait_s(kind) + policy.slow_cap_s
    assert 0 <= policy.connect_after_s(failures=sends, chance=chance) <= policy.connect_cap_s
    assert policy.connect_after_s(failures=sends, chance=chance, urgent=True) <= policy.urgent_connect_cap_s


def test_the_offset_of_a_clock_is_found_within_its_uncertainty() -> None:
    measure = ClockMeasure()
    assert measure.offset() is None
    # The device is 100 s behind. Vigil stores 0.3 s after the send, and the receipt comes 0.1 s
    # later.
    for delay_s in (5.0, 0.3):
        at = NOW + timedelta(seconds=100 + delay_s)
        measure.add(sent=NOW, at=at, arrived=NOW + timedelta(seconds=delay_s + 0.1))

    found = measure.offset()

    assert found is not None
    assert found.uncertainty_s == pytest.approx(0.2)
    assert abs(found.seconds - 100) <= found.uncertainty_s


def test_a_clock_that_was_set_between_send_and_receipt_measures_nothing() -> None:
    measure = ClockMeasure()
    measure.add(sent=NOW, at=NOW, arrived=NOW - timedelta(hours=1))
    assert measure.offset() is None
