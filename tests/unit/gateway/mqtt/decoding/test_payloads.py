import itertools
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mqtt.decoding import payloads, topics
from gateway.mqtt.decoding.identity import RecentMessages
from gateway.mqtt.decoding.payloads import PayloadLimits
from services.contracts import families
from services.contracts.errors import InvalidMessage
from services.contracts.events import AlertType, Severity
from services.contracts.families import (
    BATCHED,
    PYTHON_TYPES,
    BatchedFamily,
    Column,
    Family,
    HealthReading,
    Origin,
    SensorReading,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TIME = "2026-11-23T11:59:30Z"


def decode(topic: str, payload: Any, *, key: bytes = b"k" * 16) -> Any:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return payloads.decode(
        topic, topics.parse(topic), body, received_at=NOW, limits=PayloadLimits(), fresh_key=lambda: key
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
        (b'{"lat": "twelve", "lon": 1}', "field_out_of_range"),
        (b'{"lat": "91", "lon": 1}', "field_out_of_range"),
        (b'{"lat": 0, "lon": 0}', "no_fix"),
        (b'{"lat": "0", "lon": "0.0"}', "no_fix"),
        (b'{"lat": null, "lon": null}', "no_fix"),
        (b'{"location": {"lat": 0, "lon": 0}}', "no_fix"),
        (b'{"lat": null, "lon": 1}', "missing_field"),
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
    assert (sensor.type, sensor.state, sensor.origin.quality) == ("UNKNOWN", None, ("type", "state"))


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


def test_identity_is_the_id_with_the_bytes_else_the_bytes_with_a_believed_time_else_made_now() -> None:
    def key(payload: dict[str, Any], topic: str = "device/d/telemetry") -> bytes:
        made: bytes = decode(topic, payload, key=b"fresh" + b"0" * 11).origin.key
        return made

    fresh = b"fresh" + b"0" * 11
    with_id = {"msg_id": "m1", "timestamp": TIME}
    assert key(with_id) == key(with_id) != fresh
    assert key(with_id) != key({**with_id, "battery": 50}), "other bytes are another message"
    assert key(with_id) != key(with_id, "device/e/telemetry")
    assert key({"msg_id": 17}) == key({"msg_id": 17}) != fresh, "a counter is an id too"
    assert key({"timestamp": TIME}) == key({"timestamp": TIME}) != fresh
    now_s = int(NOW.timestamp())
    for written in (now_s, now_s * 1000, str(now_s), f"{now_s}.5", now_s + 0.25):
        assert key({"timestamp": written}) == key({"timestamp": written}) != fresh
    for proves_nothing in ("1970-01-01T00:00:00Z", 0, "", "noon", 12345, "2007-04-08T00:00:00Z"):
        assert key({"timestamp": proves_nothing}) == fresh


def window(topic: str, *payloads_: Any, redelivered: bool = False) -> list[Any]:
    """Return the messages of deliveries one second apart, with a lane's memory."""
    count, recent = itertools.count(1), RecentMessages()
    return [
        payloads.decode(
            topic,
            topics.parse(topic),
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            received_at=NOW + timedelta(seconds=number),
            limits=PayloadLimits(),
            fresh_key=lambda: b"%016d" % next(count),
            recent=recent,
            redelivered=redelivered and number > 0,
        )
        for number, body in enumerate(payloads_)
    ]


@pytest.mark.parametrize(
    ("topic", "counted"),
    [
        ("device/d/telemetry", 1),
        ("guard/1/gps", 3),
        ("sensor/s/alarm", 3),
        ("sensor/s/status", 1),
        ("system/health/x", 1),
        ("alert/low_battery/g", 1),
        ("alert/intrusion/g", 1),
        ("alert/panic/g", 3),
        ("alert/fall/g", 3),
        ("alert/smoke/g", 3),
        ("alert/checkin_missed/g", 3),
        ("alert/odd/g", 1),
    ],
)
@pytest.mark.parametrize("timestamp", [None, "", "1970-01-01T00:00:00Z", "2007-04-08T00:00:00Z", 0])
def test_without_an_identity_equal_bytes_are_one_message_but_each_panic_and_each_position_counts(
    topic: str, counted: int, timestamp: Any
) -> None:
    body = {"lat": 1, "lon": 2, "timestamp": timestamp}
    assert len({message.origin.key for message in window(topic, body, body, body)}) == counted
    again = window(topic, body, body, body, redelivered=True)
    assert len({message.origin.key for message in again}) == 1, "the broker says that it is one message"


@pytest.mark.parametrize(("lag_s", "counted"), [(0, 1), (-5, 1), (50, 1), (61, 3), (3600, 3), (86_400, 3)])
def test_a_time_that_is_not_of_now_does_not_make_two_presses_one(lag_s: int, counted: int) -> None:
    body = {"message": "help", "timestamp": (NOW - timedelta(seconds=lag_s)).isoformat()}
    assert len({press.origin.key for press in window("alert/panic/g", body, body, body)}) == counted
    named = {**body, "msg_id": "7"}
    assert len({press.origin.key for press in window("alert/panic/g", named, named)}) == 1
    assert len({row.origin.key for row in window("device/d/telemetry", body, body)}) == 1


def test_what_lies_between_makes_equal_bytes_two_messages() -> None:
    on, off = {"state": "ALARM"}, {"state": "NORMAL"}
    assert len({message.origin.key for message in window("sensor/s/status", on, off, on, on)}) == 3
    timed = {"state": "NORMAL", "timestamp": TIME}
    assert len({message.origin.key for message in window("sensor/s/status", on, timed, on)}) == 3


def test_an_id_that_was_used_before_is_flagged_and_no_message_is_lost() -> None:
    rows = window("device/d/telemetry", *({"msg_id": "1", "battery": level} for level in (90, 80, 80, 5)))
    assert len({row.origin.key for row in rows}) == 3
    assert [row.origin.quality for row in rows] == [(), ("msg_id_reused",), (), ("msg_id_reused",)]
    presses = window("alert/panic/g", {"msg_id": "1", "message": "a"}, {"msg_id": "1", "message": "b"})
    assert [press.flags for press in presses] == [(), ("msg_id_reused",)]


def test_a_panic_is_an_alert_whatever_is_wrong_with_its_content() -> None:
    alert = decode(
        "alert/panic/guard-789",
        {
            "severity": "purple",
            "location": {"lat": 999},
            "timestamp": "nonsense",
            "guard_id": 1,
            "silent": "maybe",
            "message": ["help", 5],
        },
    )
    assert alert.alert_type is AlertType.PANIC
    assert (alert.lat, alert.severity, alert.silent) == (None, None, True)
    assert {"severity", "location", "timestamp", "identity_mismatch", "silent", "message"} <= set(alert.flags)
    assert alert.message == '["help",5] Location as sent: {"lat":999}'


@pytest.mark.parametrize("kind", ["panic", "fire", "man_down", "check_in_missed", "medical", "sos", "duress"])
def test_a_life_safety_alert_that_names_another_source_is_kept_and_flagged(kind: str) -> None:
    assert "identity_mismatch" in decode(f"alert/{kind}/guard-789", {"source_id": "guard-1"}).flags


def test_another_alert_that_names_another_source_is_refused() -> None:
    assert refusal("alert/intrusion/guard-789", {"source_id": "guard-1"}) == "identity_mismatch"


def test_severity_and_type_are_read_in_any_case() -> None:
    alert = decode("alert/Panic/guard-1", {"severity": "critical"})
    assert (alert.alert_type, alert.severity) == (AlertType.PANIC, Severity.CRITICAL)
    assert decode("alert/odd/x", {"alert_type": "fire"}).alert_type is AlertType.FIRE
    assert decode("alert/odd/x", {}).alert_type is AlertType.UNKNOWN


@pytest.mark.parametrize(
    ("topic", "word"),
    [("alert/Panic/g", "panic"), ("alert/g/shift_note", "g"), ("alert/Shift-Note/g", "shift-note")],
)
def test_an_alert_bears_the_word_of_its_topic(topic: str, word: str) -> None:
    assert decode(topic, {}).word == word


@pytest.mark.parametrize("value", ["true", 1, "1", "yes", "", [], "null", 2, True])
def test_every_value_but_those_of_the_contract_makes_an_alert_silent(value: Any) -> None:
    assert decode("alert/panic/g", {"silent": value}).silent is True


@pytest.mark.parametrize("value", [False, 0, "false", "False", "0", None])
def test_an_alert_is_loud_by_the_words_of_the_contract_and_duress_never(value: Any) -> None:
    assert decode("alert/panic/g", {"silent": value}).silent is False
    assert decode("alert/panic/g", {}).silent is False
    assert decode("alert/duress/g", {"silent": value}).silent is True


@pytest.mark.parametrize("value", ["true", 1, "yes"])
def test_a_drill_is_one_only_by_a_plain_true(value: Any) -> None:
    alert = decode("alert/panic/g", {"drill": value})
    assert (alert.drill, "drill" in alert.flags) == (False, True)


def test_a_place_that_cannot_be_read_is_shown_and_no_long_message_pushes_it_out() -> None:
    alert = decode("alert/panic/g", {"message": "x" * 5000, "location": "Gate 4"})
    assert len(alert.message) == payloads.MAX_ALERT_TEXT
    assert alert.message.endswith("x Location as sent: Gate 4")
    assert json.loads(alert.origin.raw)["location"] == "Gate 4"


@pytest.mark.parametrize(
    ("extra", "place", "flags"),
    [
        ({"location": {"lat": 12.9, "lon": 77.5}}, (12.9, 77.5), ()),
        ({"location": "12.9,77.5"}, (12.9, 77.5), ()),
        ({"location": {"type": "Point", "coordinates": [77.5, 12.9]}}, (12.9, 77.5), ()),
        ({"latitude": "12.9", "longitude": "77.5"}, (12.9, 77.5), ()),
        ({"location": {"lat": 0, "lon": 0}}, (None, None), ("no_fix",)),
        ({"lat": 0.0, "lon": 0.0}, (None, None), ("no_fix",)),
        ({"location": {"lat": None, "lon": None}}, (None, None), ("no_fix",)),
        ({"location": {"lat": 12.9, "lon": 77.5, "accuracy": -1}}, (12.9, 77.5), ("accuracy",)),
        ({"location": None}, (None, None), ()),
    ],
    ids=str,
)
def test_an_alert_takes_its_place_from_where_it_is(extra: Any, place: Any, flags: Any) -> None:
    alert = decode("alert/panic/g", {"message": "help", **extra})
    assert ((alert.lat, alert.lon), alert.flags, alert.message) == (place, flags, "help")


@pytest.mark.parametrize(
    ("payload", "state"),
    [
        *(
            (word, "ALARM")
            for word in (b"ALARM", b"ON", b"1", b"true", b"TRIGGERED", b"on\r\n", b'"alarm"', b"Active\0")
        ),
        *((word, "NORMAL") for word in (b"OFF", b"0", b"false", b"NORMAL", b"ok", b"Restored")),
        (b"CLEAR", "CLEAR"),
        (b"closed", "CLOSED"),
        (b'{"type":"SMOKE"}', "ALARM"),
        (b'{"state":null}', "ALARM"),
        (b'{"state":""}', "ALARM"),
        (b"{}", "ALARM"),
        (b'{"value":true}', "ALARM"),
        (b'{"value":"true"}', "ALARM"),
        (b'{"value":1}', "ALARM"),
        (b'{"value":"1"}', "ALARM"),
        (b'{"value":"?"}', "ALARM"),
        (b'{"value":false}', "NORMAL"),
        (b'{"value":0}', "NORMAL"),
        (b'{"value":350}', None),
        (b'{"state":true}', "ALARM"),
        (b'{"state":1}', "ALARM"),
        (b'{"state":" on "}', "ALARM"),
        (b'{"state":"triggered"}', "ALARM"),
        (b'{"state":0}', "NORMAL"),
        (b'{"state":"INACTIVE"}', "NORMAL"),
        (b'{"state":"detected"}', "DETECTED"),
        (b'{"state":"open"}', "OPEN"),
        (b'{"state":"NORMAL","value":true}', "NORMAL"),
    ],
)
def test_on_the_alarm_topic_a_word_a_switch_or_nothing_is_an_alarm(payload: bytes, state: str | None) -> None:
    reading = decode("sensor/s/alarm", payload)
    assert (reading.kind, reading.state) == ("alarm", state)
    json.loads(reading.origin.raw)


@pytest.mark.parametrize(
    ("payload", "state", "flagged"),
    [
        ({"type": "SMOKE", "value": True}, "DETECTED", False),
        ({"type": "smoke", "value": False}, "NORMAL", False),
        ({"type": "MOTION", "state": True}, "DETECTED", False),
        ({"type": "INTRUSION", "state": "TRIGGERED"}, "ALARM", False),
        ({"type": "DOOR", "value": True}, None, True),
        ({"type": "TEMPERATURE", "value": True}, None, True),
        ({"type": "SMOKE", "state": "ON"}, None, True),
        ({"type": "SMOKE"}, None, False),
        ({"type": "SMOKE", "state": {"a": 1}}, None, True),
    ],
    ids=str,
)
def test_on_other_topics_a_switch_is_a_state_where_its_sense_is_plain(
    payload: dict[str, Any], state: str | None, flagged: bool
) -> None:
    reading = decode("sensor/s/status", payload)
    assert (reading.state, "state" in reading.origin.quality) == (state, flagged)


@pytest.mark.parametrize("kind", [None, "", "laser", "UNKNOWN", "Rauch", "smoke detector"])
def test_a_type_that_nobody_knows_is_flagged(kind: Any) -> None:
    reading = decode("sensor/s/status", {"type": kind, "smoke": True})
    assert (reading.type, "type" in reading.origin.quality) == ("UNKNOWN", True)


NUMBERS = {
    "guard/1/gps": ("lat", "lon", "accuracy", "speed", "heading", "battery"),
    "device/d/telemetry": ("battery", "temperature"),
    "sensor/s/reading": ("value",),
    "system/health/x": ("cpu", "memory", "disk", "uptime"),
}


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic, names in NUMBERS.items() for name in names]
)
@pytest.mark.parametrize(("written", "number"), [("35", 35.0), ("35,5", 35.5), (" 12 ", 12.0), ("5%", 5.0)])
def test_a_number_in_text_is_a_number_in_every_field(
    topic: str, name: str, written: str, number: float
) -> None:
    message = decode(topic, {"lat": 1, "lon": 2, name: written})
    assert getattr(message, name) == number
    assert name not in message.origin.quality


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic, names in NUMBERS.items() for name in names[-1:]]
)
@pytest.mark.parametrize("written", ["NaN", "inf", "", "12 V", "-", True, [], "1e999"])
def test_what_is_no_number_costs_the_field_and_is_named(topic: str, name: str, written: Any) -> None:
    message = decode(topic, {"lat": 1, "lon": 2, name: written})
    assert getattr(message, name) is None
    assert name in message.origin.quality or isinstance(message, SensorReading)


@pytest.mark.parametrize(
    ("level", "flagged"), [(0, False), (0.85, True), (0.01, True), (1, False), (85, False)]
)
def test_a_battery_that_may_be_a_share_is_flagged_and_stays_per_cent(level: float, flagged: bool) -> None:
    reading = decode("device/d/telemetry", {"battery": level})
    assert (reading.battery, "battery_share" in reading.origin.quality) == (level, flagged)


@pytest.mark.parametrize("tail", [b"\0", b"\r\n", b" \0\0", b"\t"])
@pytest.mark.parametrize("topic", ["alert/panic/g", "guard/1/gps", "sensor/s/alarm"])
def test_the_end_of_a_c_string_is_no_part_of_a_message(topic: str, tail: bytes) -> None:
    message = decode(topic, b'{"lat":12.9,"lon":77.5,"type":"SMOKE","state":"ALARM"}' + tail)
    assert getattr(message, "lat", 12.9) == 12.9
    json.loads(message.origin.raw)


@pytest.mark.parametrize("value", [True, 1, "true", "yes", "buffered"])
def test_a_message_says_that_it_was_kept_for_a_while(value: Any) -> None:
    for topic in ("guard/1/gps", "alert/panic/g", "device/d/telemetry"):
        assert decode(topic, {"lat": 1, "lon": 2, "buffered": value}).origin.buffered
        assert not decode(topic, {"lat": 1, "lon": 2, "buffered": False}).origin.buffered
        assert not decode(topic, {"lat": 1, "lon": 2}).origin.buffered


@pytest.mark.parametrize("lead", [timedelta(minutes=-20), timedelta(minutes=4), timedelta(days=-7000)])
@pytest.mark.parametrize("form", ["text", "seconds", "milliseconds"])
def test_a_clock_is_corrected_by_the_time_of_sending(lead: timedelta, form: str) -> None:
    def written(at: datetime) -> Any:
        seconds = at.timestamp()
        return {"text": at.isoformat(), "seconds": seconds, "milliseconds": int(seconds * 1000)}[form]

    if form != "text" and (NOW + lead).timestamp() < 1e9:
        lead = timedelta(days=-3000)
    body = {"timestamp": written(NOW + lead - timedelta(seconds=40)), "sent_at": written(NOW + lead)}
    origin = decode("device/d/telemetry", body).origin
    assert abs(origin.recorded_at - (NOW - timedelta(seconds=40))) < timedelta(milliseconds=2)
    assert (origin.clock_suspect, origin.quality) == (False, ("clock_corrected",))


@pytest.mark.parametrize("sent_at", ["noon", 5, [], True])
def test_a_time_of_sending_that_is_none_is_named(sent_at: Any) -> None:
    origin = decode("device/d/telemetry", {"timestamp": TIME, "sent_at": sent_at}).origin
    assert (origin.clock_suspect, origin.quality) == (False, ("sent_at",))


@pytest.mark.parametrize("mock", ["true", 1, "yes", True])
def test_a_position_that_may_be_made_up_is_taken_as_made_up(mock: Any) -> None:
    assert decode("guard/1/gps", {"lat": 1, "lon": 2, "mock": mock}).mock is True


@pytest.mark.parametrize(
    "body",
    [
        {"latitude": 12.9, "longitude": 77.5},
        {"lat": "12.9", "lng": "77,5"},
        {"location": {"lat": 12.9, "lon": 77.5}},
        {"position": "12.9,77.5"},
        {"lat": None, "lon": None, "gps": [12.9, 77.5]},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [77.5, 12.9]}},
    ],
    ids=str,
)
def test_a_fix_is_read_in_another_dress(body: dict[str, Any]) -> None:
    fix = decode("guard/1/gps", body)
    assert (fix.lat, fix.lon) == (12.9, 77.5)


def test_a_negative_accuracy_is_unknown() -> None:
    fix = decode("guard/1/gps", {"lat": 1, "lon": 2, "accuracy": -1})
    assert (fix.accuracy, fix.origin.quality) == (None, ("accuracy",))


def test_fields_that_are_not_looked_at_may_be_as_large_as_the_limit_allows() -> None:
    photo = {"message": "help", "location": {"lat": 12.9, "lon": 77.5}, "photo": "A" * 900_000}
    alert = decode("alert/panic/g", photo)
    assert (alert.message, alert.lat) == ("help", 12.9)
    long_list = {"location": [1] * 9_000, "message": "m" * 100_000}
    assert decode("alert/panic/g", long_list).message.startswith("mmm")


def test_a_link_word_is_a_reading_of_the_device_s_link() -> None:
    reading = payloads.link_reading(
        "device/d/LWT", "d", b"Offline", online=False, received_at=NOW, fresh_key=lambda: b"k" * 16
    )
    assert (reading.connectivity, reading.battery, reading.origin.quality) == (
        "OFFLINE",
        None,
        ("link_state",),
    )
    assert json.loads(reading.origin.raw) == {"link": "Offline"}


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
        msgspec.msgpack.encode(message)  # an accepted message can be sent on


def rejected(body: bytes, *, topic: str = "guard/1/gps", recent: RecentMessages | None = None) -> bytes:
    count = next(COUNT)
    parsed = topics.parse(topic)
    return payloads.rejected_identity(
        topic,
        parsed,
        body,
        received_at=NOW,
        limits=PayloadLimits(),
        fresh_key=lambda: b"%016d" % count,
        recent=recent,
    ).key


COUNT = itertools.count()


@pytest.mark.parametrize(
    ("body", "msg_id", "outbox"),
    [
        (b'{"msg_id":"a","outbox":true,"lat":999}', "a", True),
        (b'{"msg_id":7,"outbox":1}', "7", False),
        (b'{"msg_id":"","outbox":"true"}', None, False),
        (b'{"msg_id":"%s"}' % (b"a" * 65), None, False),
        (b'{"msg_id":"a",', None, False),
        (b"[]", None, False),
    ],
)
def test_the_id_of_a_refused_message_and_the_promise_of_an_outbox_are_read_as_far_as_they_can_be(
    body: bytes, msg_id: str | None, outbox: bool
) -> None:
    found = payloads.rejected_identity(
        "guard/1/gps",
        topics.parse("guard/1/gps"),
        body,
        received_at=NOW,
        limits=PayloadLimits(),
        fresh_key=lambda: b"0" * 16,
    )
    assert (found.msg_id, found.outbox) == (msg_id, outbox)


def test_only_true_promises_an_outbox() -> None:
    for value, promised in ((True, True), (False, False), (1, False), ("true", False), (None, False)):
        found = decode("alert/panic/g", {"msg_id": "a", "outbox": value})
        assert found.outbox is promised  # type: ignore[union-attr]


def test_a_refused_message_keeps_the_identity_that_it_has() -> None:
    assert rejected(b'{"msg_id":"a"}') == rejected(b'{"msg_id":"a"}')
    assert rejected(b'{"msg_id":"a"}') != rejected(b'{"msg_id":"a","lat":999}')
    now_s = int(NOW.timestamp())
    for name in ("timestamp", "tst"):
        body = b'{"%s":%d,"lat":999}' % (name.encode(), now_s)
        assert rejected(body) == rejected(body)
        body = b'{"%s":5,"lat":999}' % name.encode()
        assert rejected(body) != rejected(body), "a time that is not believed proves nothing"
    assert rejected(b"garbage") != rejected(b"garbage")


def test_refused_garbage_is_one_message_within_the_window_unless_it_may_be_a_panic() -> None:
    for topic, count in (
        ("guard/1/gps", 1),
        ("alert/low_battery/g", 1),
        ("alert/panic/g", 3),
        ("alert/g/fall", 3),
    ):
        recent = RecentMessages()
        assert len({rejected(b"{", topic=topic, recent=recent) for _ in range(3)}) == count


@pytest.mark.parametrize("row", BATCHED, ids=lambda row: row.name)
def test_every_field_of_the_table_is_read_into_its_message(row: BatchedFamily) -> None:
    # Given a payload with a value for each field that devices send
    sent: dict[str, Any] = {}
    for name, column in row.fields.items():
        kind = PYTHON_TYPES[column.sql]
        low, high = column.low or 0, 100 if column.high is None else column.high
        number = low + 0.75 * (high - low)
        word = min(column.words - {column.other}, default="word")
        if column.is_sent:
            sent[name] = {float: number, bool: True, str: word}[kind]

    # When it is decoded
    words = ["x-1" if word.startswith("{") else word for word in row.topic.split("/")]
    words[-1] = min(row.details, default=words[-1])
    message = decode("/".join(words), sent)

    # Then the message holds all of them
    assert {name: getattr(message, name) for name in sent} == sent
    assert message.origin.quality == ()


class Climate(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Message of a family that is made up."""

    origin: Origin
    kind: Annotated[str, Column("text", is_sent=False)]
    humidity: Annotated[float | None, Column("real", "%", 0, 100)]
    mode: Annotated[str | None, Column("text", words=frozenset({"HEAT", "COOL"}))]
    fan: Annotated[str | None, Column("text", words=frozenset({"ON", "UNKNOWN"}), other="UNKNOWN")]
    locked: Annotated[bool, Column("bool")]


@pytest.mark.parametrize(
    ("sent", "expected", "quality"),
    [
        ((40.0, "HEAT", "ON"), (40.0, "HEAT", "ON"), ()),
        ((40.0, " cool", None), (40.0, "COOL", None), ()),
        ((None, "DRY", "fast"), (None, None, "UNKNOWN"), ("mode", "fan")),
    ],
)
def test_a_family_without_rules_of_its_own_is_built_from_its_columns(
    sent: tuple[Any, ...], expected: tuple[Any, ...], quality: tuple[str, ...]
) -> None:
    # Given a row with words, and no builder of its own
    row = msgspec.structs.replace(families.SYSTEM, family=Family.OWNTRACKS, message=Climate)
    made = payloads.builder_of(row)
    humidity, mode, fan = sent
    fields = SimpleNamespace(source_id=None, humidity=humidity, mode=mode, fan=fan, locked=None)
    origin = decode("system/health/h-1", {}).origin

    # When a message is built
    message: Any = made(topics.Topic(Family.SYSTEM, "h-1", "indoor"), fields, origin)

    # Then its fields are those sent, with words as the table has them
    assert (message.humidity, message.mode, message.fan) == expected
    assert (message.kind, message.locked, message.origin.quality) == ("indoor", False, quality)


class MoreHealth(HealthReading, array_like=True, frozen=True, gc=False):
    """Message of a family with a field that its builder does not know."""

    swap: Annotated[float | None, Column("real", "%", 0, 100)] = None


def test_a_new_field_of_a_family_with_a_builder_is_filled_from_its_column() -> None:
    # Given the row of a family with one field more
    row = msgspec.structs.replace(families.SYSTEM, message=MoreHealth)
    fields = SimpleNamespace(source_id=None, cpu=1.0, memory=2.0, disk=3.0, uptime=4.0, swap=5.0)

    # When a builder of the old message is extended by it
    values = payloads._Values(row, frozenset({"cpu", "memory", "disk", "uptime"}))
    own = payloads._plain(row, payloads._Values(row, frozenset({"swap"})))
    made: Any = payloads._extended(own, values)(
        topics.Topic(Family.SYSTEM, "h-1"), fields, decode("system/health/h-1", {}).origin
    )

    # Then the message has both
    assert (made.cpu, made.uptime, made.swap) == (1.0, 4.0, 5.0)
