"""Tests of late readings, wrong clocks and restarted counters, from the device to the alert.

There was a fire, so somebody is notified.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.outside_clients import OutsideClients

Message = tuple[str, float | None, dict[str, Any]]
"""A message: topic, time and payload.

It has the topic's last word, the device's time in seconds from now (None: none), and the rest of
the payload.
"""

ALERTS = "SELECT alert_type, cleared_at IS NOT NULL FROM mqtt_device_alert WHERE source_id = %s ORDER BY 1"
STATE = "SELECT 1 FROM source_state WHERE source_id = %s"
ROWS = "SELECT count(*) FROM mqtt_sensor_reading WHERE sensor_id = %s"

ALARM = {"type": "SMOKE", "state": "ALARM"}
NORMAL = {"type": "SMOKE", "state": "NORMAL"}
BURNS = [("FIRE", False)]
BURNT = [("FIRE", True)]
NOTHING: list[tuple[str, bool]] = []


def send(outside: OutsideClients, source: str, message: Message) -> None:
    word, seconds, payload = message
    if seconds is not None:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        payload = {**payload, "timestamp": at.isoformat()}
    outside.publish(f"sensor/{source}/{word}", payload)


def send_in_turn(outside: OutsideClients, source: str, messages: list[Message]) -> None:
    """Send the messages in turn. Each is stored before the next is sent."""
    for number, message in enumerate(messages, start=1):
        send(outside, source, message)
        outside.until(lambda number=number: outside.rows(ROWS, source) == [(number,)])


CASES: dict[str, tuple[list[Message], list[tuple[str, bool]]]] = {
    "the end first, then the fire of 50 s before": ([("status", -10, NORMAL), ("alarm", -60, ALARM)], BURNT),
    "the fire of a day ago": ([("status", -10, NORMAL), ("alarm", -86_000, ALARM)], BURNT),
    "by its value": ([("status", -10, NORMAL), ("reading", -60, {"type": "SMOKE", "value": 350})], BURNT),
    "detected": ([("status", -10, NORMAL), ("status", -40, {"type": "SMOKE", "state": "DETECTED"})], BURNT),
    "late, and it burns again": (
        [("status", -10, NORMAL), ("alarm", -60, ALARM), ("alarm", -5, ALARM)],
        BURNS,
    ),
    "late between two": (
        [("alarm", -90, ALARM), ("status", -10, NORMAL), ("alarm", -60, ALARM)],
        BURNT,
    ),
    "a late end of a fire that began again": (
        [("alarm", -20, ALARM), ("status", -40, NORMAL), ("alarm", -60, ALARM)],
        BURNS,
    ),
    "several measures, none of them about smoke": (
        [("reading", -10, {"type": "TEMPERATURE", "value": 21}), ("alarm", -60, ALARM)],
        BURNS,
    ),
    "a clock 240 s fast that is set right": ([("status", 240, NORMAL), ("alarm", 0, ALARM)], BURNS),
    "a clock 100 s fast that is set right": ([("status", 100, NORMAL), ("alarm", -1, ALARM)], BURNS),
    "a clock 10 s fast that is set right": ([("status", 10, NORMAL), ("alarm", 0, ALARM)], BURNS),
    "no time, then a clock 20 s slow": ([("status", None, NORMAL), ("alarm", -20, ALARM)], BURNS),
    "no time, then a clock an hour slow": ([("status", None, NORMAL), ("alarm", -3600, ALARM)], BURNS),
    "a clock 20 s slow, then no time": ([("status", -20, NORMAL), ("alarm", None, ALARM)], BURNS),
    "a time of 1970, then a right one": ([("status", -1.7e9, NORMAL), ("alarm", 0, ALARM)], BURNS),
    "began without a time, ended with a slow one": ([("alarm", None, ALARM), ("status", -20, NORMAL)], BURNT),
    "intrusion that is late and over": (
        [
            ("status", -10, {"type": "INTRUSION", "state": "CLEAR"}),
            ("status", -60, {"type": "INTRUSION", "state": "DETECTED"}),
            ("status", -5, NORMAL),
        ],
        NOTHING,
    ),
    "a clock 240 s fast, then an intrusion with a right one": (
        [
            ("status", 240, {"type": "INTRUSION", "state": "CLEAR"}),
            ("alarm", 0, {"type": "INTRUSION", "state": "ALARM"}),
        ],
        [("INTRUSION", False)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_sensor_saw_is_told_in_whatever_order_it_arrives(outside: OutsideClients, case: str) -> None:
    messages, expected = CASES[case]
    source = f"sensor-{secrets.token_hex(6)}"
    send_in_turn(outside, source, messages)
    marker = f"sensor-{secrets.token_hex(6)}"
    send(outside, marker, ("alarm", None, ALARM))
    outside.until(lambda: outside.rows(ALERTS, marker))
    outside.until(lambda: outside.rows(ALERTS, source) == expected)


def test_sixty_new_sensors_with_a_fire_and_its_end_at_once_miss_neither(outside: OutsideClients) -> None:
    sources = [f"sensor-{secrets.token_hex(6)}" for _ in range(60)]
    for number, source in enumerate(sources):
        timed = number % 3 != 0
        send(outside, source, ("alarm", -20 if timed else None, ALARM))
        send(outside, source, ("alarm" if number % 2 else "status", -10 if timed else None, NORMAL))
    query = "SELECT source_id FROM mqtt_device_alert WHERE source_id = ANY(%s) AND cleared_at IS NOT NULL"

    def missing() -> set[str]:
        return set(sources) - {name for (name,) in outside.rows(query, sources)}

    outside.until(lambda: not missing(), timeout_s=60)


def test_a_condition_that_was_cleared_and_is_met_again_is_put_on_record_again(
    outside: OutsideClients,
) -> None:
    source = f"sensor-{secrets.token_hex(6)}"
    send_in_turn(outside, source, [("alarm", -30, ALARM), ("status", -20, NORMAL)])
    outside.until(lambda: outside.rows(ALERTS, source) == BURNT)
    send(outside, source, ("alarm", -10, ALARM))
    outside.until(lambda: outside.rows(ALERTS, source) == BURNS)
    occurrences = "SELECT sum(occurrences) FROM mqtt_device_alert WHERE source_id = %s"
    assert outside.rows(occurrences, source) == [(2,)]


@pytest.mark.parametrize("offset_s", [-360, -40, 120])
def test_a_steady_wrong_clock_is_corrected_and_shown(outside: OutsideClients, offset_s: float) -> None:
    source = f"device-{secrets.token_hex(6)}"
    topic = f"device/{source}/telemetry"
    corrected = (
        "SELECT 1 FROM mqtt_device_telemetry WHERE device_id = %s AND 'clock_corrected' = ANY(quality)"
        " AND abs(extract(epoch FROM received_at - recorded_at)) < 5"
    )
    sent = 0

    def send_one() -> bool:
        nonlocal sent
        sent += 1
        at = datetime.now(UTC) + timedelta(seconds=offset_s)
        outside.publish(topic, json.dumps({"battery": 80, "n": sent, "timestamp": at.isoformat()}).encode())
        return bool(outside.rows(corrected, source))

    outside.until(send_one)
    token = outside.token(role="viewer")
    status, answer = outside.request("GET", "/api/v1/device-states?limit=1000", token=token)
    assert status == 200
    [mine] = [state for state in answer if state["source_id"] == source]
    assert abs(mine["clock_offset_s"] - offset_s) < 5
