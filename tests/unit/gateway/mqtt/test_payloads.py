import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mqtt import payloads, topics
from gateway.mqtt.payloads import Limits
from services.errors import InvalidMessage
from services.messages import AlertType, Severity

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TIME = "2026-11-23T11:59:30Z"


def decode(topic: str, payload: Any, *, key: bytes = b"k" * 16) -> Any:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return payloads.decode(
        topic, topics.parse(topic), body, received_at=NOW, limits=Limits(), fresh_key=lambda: key
    )


def refusal(topic: str, payload: Any) -> str:
    with pytest.raises(InvalidMessage) as refused:
        decode(topic, payload)
    return refused.value.reason


def test_a_good_fix_is_read_whole() -> None:
    fix = decode(
        "guard/guard-123/gps",
        {
            "lat": 12.9716,
            "lon": 77.5946,
            "accuracy": 10.5,
            "guard_id": 123,
            "client_id": 1,
            "timestamp": TIME,
        },
    )
    assert (fix.origin.source_id, fix.lat, fix.lon, fix.accuracy) == ("guard-123", 12.9716, 77.5946, 10.5)
    assert fix.origin.recorded_at == datetime(2026, 11, 23, 11, 59, 30, tzinfo=UTC)
    assert not fix.origin.clock_suspect
    assert fix.origin.claimed_tenant_id == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xfe", "invalid_utf8"),
        (b"{", "broken_json"),
        (b"", "broken_json"),
        (b"[1, 2]", "not_an_object"),
        (b"5", "not_an_object"),
        (b'{"lat": NaN, "lon": 1}', "broken_json"),
        (b'{"lat": 1e999, "lon": 1}', "broken_json"),
        (b'{"lon": 1}', "missing_field"),
        (b'{"lat": 999, "lon": 1}', "field_out_of_range"),
        (b'{"lat": "12", "lon": 1}', "field_out_of_range"),
        (b'{"lat": true, "lon": 1}', "field_out_of_range"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b'{"lat":1,"lon":1,"x":"' + b"a" * 1_048_577 + b'"}', "too_large"),
        (b'{"lat":1,"lon":1,"x":"\\u0000"}', "contains_nul"),
        (b'{"lat":1,"lon":1,"guard_id":7}', "identity_mismatch"),
        (b'{"lat":1,"lon":1,"source_id":"guard-7"}', "identity_mismatch"),
        (b'{"lat":1,"lon":1,"client_id":[1]}', "identity_mismatch"),
        (b'{"lat":1,"lon":1,"client_id":99999999999999999999999}', "identity_mismatch"),
    ],
)
def test_a_bad_fix_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    assert refusal("guard/guard-123/gps", payload) == reason


def test_exactly_the_largest_and_the_deepest_allowed_are_taken() -> None:
    start = b'{"lat":1,"lon":1,"x":"'
    decode("guard/1/gps", start + b"a" * (1_048_576 - len(start) - 2) + b'"}')
    decode("guard/1/gps", b'{"lat":1,"lon":1,"x":' + b"[" * 31 + b"]" * 31 + b"}")
    assert refusal("guard/1/gps", b'{"lat":1,"lon":1,"x":' + b"[" * 32 + b"]" * 32 + b"}") == "too_deep"


def test_brackets_in_text_are_not_depth_and_an_escaped_backslash_is_no_nul() -> None:
    decode("guard/1/gps", {"lat": 1, "lon": 1, "x": "[" * 500 + '"{' * 50})
    decode("guard/1/gps", b'{"lat":1,"lon":1,"x":"\\\\u0000"}')


def test_an_optional_field_out_of_range_costs_the_field_and_not_the_message() -> None:
    reading = decode(
        "device/d/telemetry", {"battery": 101, "signal": 5, "temperature": 25.5, "timestamp": TIME}
    )
    assert (reading.battery, reading.signal, reading.temperature) == (None, None, 25.5)
    assert set(reading.origin.quality) == {"battery", "signal"}
    assert '"battery": 101' in reading.origin.raw


def test_words_are_known_in_any_case_and_unknown_ones_are_named() -> None:
    sensor = decode("sensor/s/reading", {"type": "smoke", "state": "alarm", "timestamp": TIME})
    assert (sensor.type, sensor.state) == ("SMOKE", "ALARM")
    sensor = decode("sensor/s/reading", {"type": "laser", "state": "odd", "timestamp": TIME})
    assert (sensor.type, sensor.state, sensor.origin.quality) == ("UNKNOWN", None, ("state",))


@pytest.mark.parametrize(
    ("timestamp", "believed", "flag"),
    [
        (NOW - timedelta(days=6, hours=23), True, None),
        (NOW - timedelta(days=8), False, "timestamp"),
        (NOW + timedelta(minutes=4), True, None),
        (NOW + timedelta(minutes=6), False, "timestamp"),
        ("yesterday", False, "timestamp"),
        (12345, False, "timestamp"),
        (None, False, None),
    ],
)
def test_a_device_clock_is_believed_only_when_plausible(
    timestamp: Any, believed: bool, flag: str | None
) -> None:
    text = timestamp.isoformat() if isinstance(timestamp, datetime) else timestamp
    origin = decode("device/d/telemetry", {"timestamp": text}).origin
    assert origin.clock_suspect is not believed
    assert origin.recorded_at == (timestamp if believed else NOW)
    assert origin.received_at == NOW
    assert (flag in origin.quality) is (flag is not None)


def test_a_time_without_offset_is_utc_and_flagged() -> None:
    origin = decode("device/d/telemetry", {"timestamp": "2026-11-23T11:59:30"}).origin
    assert origin.recorded_at == datetime(2026, 11, 23, 11, 59, 30, tzinfo=UTC)
    assert origin.quality == ("timestamp_offset",)


def test_identity_is_the_msg_id_else_the_bytes_with_a_time_else_made_now() -> None:
    with_id = {"msg_id": "m1", "timestamp": TIME}
    assert (
        decode("device/d/telemetry", with_id).origin.key
        == decode("device/d/telemetry", {**with_id, "battery": 50}).origin.key
    )
    assert (
        decode("device/d/telemetry", with_id).origin.key != decode("device/e/telemetry", with_id).origin.key
    )
    timed = {"timestamp": TIME}
    assert decode("device/d/telemetry", timed).origin.key == decode("device/d/telemetry", timed).origin.key
    assert decode("device/d/telemetry", {}, key=b"fresh" + b"0" * 11).origin.key == b"fresh" + b"0" * 11


def test_a_panic_is_an_alert_whatever_is_wrong_with_its_content() -> None:
    alert = decode(
        "alert/panic/guard-789",
        {
            "severity": "purple",
            "location": {"lat": 999},
            "timestamp": "nonsense",
            "guard_id": 1,
            "silent": "maybe",
        },
    )
    assert alert.alert_type is AlertType.PANIC
    assert (alert.lat, alert.severity, alert.silent) == (None, None, False)
    assert {"severity", "location", "timestamp", "identity_mismatch", "silent"} <= set(alert.flags)


def test_another_alert_that_names_another_source_is_refused() -> None:
    assert refusal("alert/intrusion/guard-789", {"source_id": "guard-1"}) == "identity_mismatch"


def test_severity_and_type_are_read_in_any_case() -> None:
    alert = decode("alert/Panic/guard-1", {"severity": "critical"})
    assert (alert.alert_type, alert.severity) == (AlertType.PANIC, Severity.CRITICAL)
    assert decode("alert/odd/x", {"alert_type": "fire"}).alert_type is AlertType.FIRE
    assert decode("alert/odd/x", {}).alert_type is AlertType.UNKNOWN


def test_an_unreadable_panic_becomes_a_critical_alert_with_its_bytes() -> None:
    topic = topics.parse("alert/panic/guard-789")
    error = InvalidMessage("broken_json", "byte 0")
    alert = payloads.unreadable_alert("t", topic, b"\xff", error=error, received_at=NOW, key=b"0" * 16)
    assert alert.alert_type is AlertType.UNREADABLE_ALERT
    assert alert.severity is Severity.CRITICAL
    assert alert.unreadable == b"\xff"


ALL_TOPICS = [
    "guard/1/gps",
    "device/d/telemetry",
    "sensor/s/reading",
    "system/health/x",
    "alert/panic/guard-1",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
field_names = sorted({name for kind in payloads.PAYLOADS.values() for name in kind.__struct_fields__})


@settings(max_examples=400)
@given(
    st.sampled_from(ALL_TOPICS),
    st.binary(max_size=200) | st.dictionaries(st.sampled_from(field_names), json_values),
)
def test_no_payload_makes_decoding_raise_anything_but_invalid_message(topic: str, payload: Any) -> None:
    try:
        message = decode(topic, payload)
    except InvalidMessage as error:
        assert error.reason
    else:
        assert len(message.origin.key) == 16
        msgspec.msgpack.encode(message)  # what was taken can be sent on


def test_a_refused_message_keeps_the_identity_that_it_has() -> None:
    count = itertools.count()
    topic = topics.parse("guard/1/gps")

    def key(body: bytes) -> bytes:
        return payloads.rejected_key("guard/1/gps", topic, body, fresh_key=lambda: b"%016d" % next(count))

    assert key(b'{"msg_id":"a"}') == key(b'{"msg_id":"a","lat":999}')
    assert key(b'{"tst":1767225600,"lat":999}') == key(b'{"tst":1767225600,"lat":999}')
    assert key(b"garbage") != key(b"garbage")
