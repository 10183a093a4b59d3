"""Tests of retained messages through the whole stack.

Each is handled once, also when the gateway is killed, and no position stays.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

ALERTS = "SELECT alert_type, occurrences FROM mqtt_device_alert WHERE source_id = %s"


def retained(outside: OutsideClients, topics: list[str]) -> dict[str, bytes]:
    """Return the messages that the broker retains on these topics."""
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"looks-{outside.run}")
    for topic in topics:
        assert client.subscribe(topic)
    end = f"receipt/end-{outside.run}"
    assert client.subscribe(end)
    client.publish(end, b"end")
    client.until(lambda: any(topic == end for topic, _, _ in client.heard))
    client.close()
    return {topic: payload for topic, payload, kept in client.heard if kept}


def kill(outside: OutsideClients, name: str) -> None:
    """Kill one of the stack's processes, and have the supervisor start it again."""
    supervisor = outside.stack.supervisor
    [process] = [process for process in supervisor.processes if process.name == name]
    before = process.pid
    process.kill()

    def is_back() -> bool:
        supervisor.poll()
        return process.pid not in (None, before) and process.state == "ready"

    outside.until(is_back, timeout_s=120)


def test_what_is_retained_is_told_once_whatever_happens_to_the_gateway(outside: OutsideClients) -> None:
    # Given a device that retains its states, its alarm and its panic
    run = outside.run
    place = {"lat": 12.97, "lon": 77.59}
    bodies: dict[str, dict[str, Any]] = {
        f"device/d-{run}/telemetry": {"battery": 3},
        f"sensor/s-{run}/alarm": {"type": "SMOKE", "state": "ALARM"},
        f"alert/panic/p-{run}": {"message": "help", "location": place},
        f"alert/sos/q-{run}": {"message": "help"},
        f"guard/guard-{run}/gps": place,
        f"owntracks/guard-{run}/phone": {"_type": "location", **place},
    }
    payloads = {topic: json.dumps(body).encode() for topic, body in bodies.items()}
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"retains-{run}")
    for topic, payload in payloads.items():
        client.publish(topic, payload, retain=True)
    client.settle(len(payloads))
    client.close()
    right = {f"d-{run}": "LOW_BATTERY", f"s-{run}": "FIRE", f"p-{run}": "PANIC", f"q-{run}": "SOS"}
    for source, kind in right.items():
        outside.until(lambda source=source, kind=kind: outside.rows(ALERTS, source) == [(kind, 1)])

    # When both lanes are killed, twice
    for _ in range(2):
        kill(outside, "mqtt_gateway-alert")
        kill(outside, "mqtt_gateway-bulk")

    # Then both lanes handle a new message, and no message that they handled before
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"after-{run}")
    client.publish(f"alert/unknown/end-{run}", b"{}")
    client.publish(f"sensor/end2-{run}/alarm", b'{"type":"SMOKE"}')
    for source in (f"end-{run}", f"end2-{run}"):
        outside.until(lambda source=source: outside.rows(ALERTS, source), timeout_s=60)
    assert {source: outside.rows(ALERTS, source) for source in right} == {
        source: [(kind, 1)] for source, kind in right.items()
    }
    fixes = "SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s"
    assert outside.rows(fixes, f"guard-{run}") == [(2,)]

    # And within a minute the broker holds no position, and all the rest
    places = {
        topic for topic in payloads if topic.split("/")[0] in ("guard", "owntracks") or "/panic/" in topic
    }
    rest = {topic: payload for topic, payload in payloads.items() if topic not in places}
    outside.until(lambda: retained(outside, list(payloads)) == rest, timeout_s=60)
    assert outside.rows("SELECT reason FROM rejected_message WHERE topic LIKE %s", f"%{run}%") == []
    client.close()
