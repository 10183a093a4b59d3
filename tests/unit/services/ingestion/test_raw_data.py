"""Tests that a payload is left out only when its row gives back all that it contained."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.decoding import payloads, topics
from gateway.mqtt.decoding.payloads import PayloadLimits
from services.contracts.errors import InvalidMessage
from services.contracts.families import DEVICE, SENSOR, SYSTEM
from services.ingestion import raw_data

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TIME = "2026-11-23T11:59:30Z"
TOPICS = {
    "guard_id": "guard/guard-1/gps",
    "device_id": "device/d-1/telemetry",
    "sensor_id": "sensor/s-1/reading",
    "system_id": "system/health/h-1",
}
COLUMNS = {
    "guard_id": ("lat", "lon", "accuracy", "speed", "heading", "source", "mock", "battery"),
    **{shape.source_column: tuple(shape.columns) for shape in (DEVICE, SENSOR, SYSTEM)},
}
FULL: dict[str, dict[str, Any]] = {
    "guard_id": {
        "lat": 12.9716123,
        "lon": 77.5946123,
        "accuracy": 4.1,
        "speed": 1.4,
        "heading": 200,
        "source": "gps",
        "mock": False,
        "battery": 80,
        "guard_id": 1,
        "client_id": 1,
    },
    "device_id": {"battery": 55, "signal": -70, "temperature": 29.3, "connectivity": "ONLINE"},
    "sensor_id": {"type": "TEMPERATURE", "value": 20.5, "state": "NORMAL"},
    "system_id": {"cpu": 10, "memory": 20, "disk": 30, "uptime": 4000},
}
TOLD_TO_NOBODY = {"guard_id", "client_id", "source_id", "sent_at", "timestamp", "msg_id", "buffered"}
"""Fields that are checked, or have a column in every family."""


def decode(column: str, fields: dict[str, Any] | bytes, *, topic: str = "") -> Any:
    topic = topic or TOPICS[column]
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return payloads.decode(
        topic, topics.parse(topic), body, received_at=NOW, limits=PayloadLimits(), fresh_key=lambda: b"k" * 16
    )


def kept(column: str, fields: dict[str, Any] | bytes, *, topic: str = "") -> str | None:
    return raw_data.to_keep(column, decode(column, fields, topic=topic).origin)


@pytest.mark.parametrize("column", FULL)
def test_a_payload_of_columns_is_left_out(column: str) -> None:
    assert kept(column, {**FULL[column], "timestamp": TIME, "msg_id": "m-1"}) is None
    assert kept(column, FULL[column]) is None


@pytest.mark.parametrize("column", FULL)
@pytest.mark.parametrize(
    "more",
    [
        {"firmware": "1.2"},
        {"timestamp": "2019-01-01T00:00:00Z"},
        {"timestamp": "2026-11-23T11:59:30"},
        {"buffered": True},
        {"source_id": {"deep": 1}},
        {"msg_id": 17},
    ],
)
def test_a_payload_that_says_more_is_kept_byte_for_byte(column: str, more: dict[str, Any]) -> None:
    fields = {**FULL[column], "timestamp": TIME, **more}
    try:
        assert kept(column, fields) == json.dumps(fields)
    except InvalidMessage as refused:
        # the refused message keeps its bytes elsewhere
        assert refused.reason == "identity_mismatch"


@pytest.mark.parametrize(
    ("column", "more"),
    [
        ("guard_id", {"lat": "12.5"}),
        ("guard_id", {"accuracy": -1}),
        ("guard_id", {"mock": 1}),
        ("guard_id", {"source": "GPS"}),
        ("guard_id", {"altitude": 920.5}),
        ("device_id", {"battery": "55 %"}),
        ("device_id", {"battery": 400}),
        ("device_id", {"connectivity": "online"}),
        ("sensor_id", {"type": "radar"}),
        ("sensor_id", {"type": "UNKNOWN"}),
        ("sensor_id", {"state": True}),
        ("sensor_id", {"state": "tripped"}),
        ("system_id", {"cpu": 101}),
    ],
)
def test_another_writing_than_that_of_the_column_is_kept(column: str, more: dict[str, Any]) -> None:
    fields = {**FULL[column], "timestamp": TIME, **more}
    assert kept(column, fields) == json.dumps(fields)


def test_a_message_on_an_alarm_topic_is_kept_whatever_it_says() -> None:
    fields = {**FULL["sensor_id"], "timestamp": TIME}
    assert kept("sensor_id", fields, topic="sensor/s-1/alarm") == json.dumps(fields)
    assert kept("sensor_id", b"ALARM", topic="sensor/s-1/alarm") == '"ALARM"'


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-200, 200),
    st.floats(-200, 200, allow_nan=False, width=32),
    st.sampled_from(["gps", "ONLINE", "poor", "SMOKE", "CLEAR", "12.5", "", "true", TIME]),
)


@given(st.sampled_from(sorted(FULL)), st.data())
def test_whatever_is_left_out_stands_in_the_columns(column: str, data: st.DataObject) -> None:
    # Given a payload with some valid fields, some odd ones and perhaps one that no family has
    names = [*FULL[column], "timestamp", "sent_at", "buffered", "msg_id", "altitude"]
    odd = data.draw(st.dictionaries(st.sampled_from(names), SCALARS, max_size=3))
    fields = {**FULL[column], **odd}
    try:
        message = decode(column, fields)
    except InvalidMessage:
        return

    # When it is left out
    if raw_data.to_keep(column, message.origin) is not None:
        return

    # Then each of its fields is in a column as it was sent
    for name, value in fields.items():
        if name not in TOLD_TO_NOBODY and value is not None:
            assert name in COLUMNS[column]
            assert getattr(message, name) == value
    assert message.origin.msg_id == fields.get("msg_id")
