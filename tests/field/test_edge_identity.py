"""Tests that deliveries of one message are recognised as one message.

Counters restart, clocks stand still, and brokers deliver again.
"""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import paho.mqtt.client as paho

from tests.support.outside_clients import OutsideClients

ALERTS = (
    "SELECT alert_type, status, occurrences FROM mqtt_device_alert WHERE source_id = %s ORDER BY received_at"
)


def now(*, ago_s: float = 0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()


class Device:
    """A device with a stock library. It sends at QoS 2 when the test asks for it."""

    def __init__(self, outside: OutsideClients) -> None:
        self._outside = outside
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"identity-{outside.run}")
        self._client.connect("127.0.0.1", int(outside.env["MQTT_BROKER_PORT"]))
        self._client.loop_start()

    def send(self, topic: str, body: Any, *, qos: int = 1) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._client.publish(topic, payload, qos=qos).wait_for_publish(15)

    def settle(self) -> None:
        """Wait until every message that was sent before has been stored."""
        name = f"end{time.monotonic_ns()}-{self._outside.run}"
        self.send(f"alert/unknown/{name}", {})
        self.send(f"device/{name}/telemetry", {"battery": 50})
        self._outside.until(lambda: self._outside.rows(ALERTS, name))
        self._outside.until(lambda: rows(self._outside, name))

    def close(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()


def rows(outside: OutsideClients, device: str) -> list[float | None]:
    query = (
        "SELECT battery FROM mqtt_device_telemetry WHERE device_id = %s ORDER BY received_at, battery DESC"
    )
    return [battery for (battery,) in outside.rows(query, device)]


def alerts(outside: OutsideClients, source: str) -> list[tuple[Any, ...]]:
    return outside.rows(ALERTS, source)


def resolve(outside: OutsideClients, source: str) -> None:
    [(alert_id,)] = outside.until(
        lambda: outside.rows("SELECT alert_id::text FROM mqtt_device_alert WHERE source_id = %s", source)
    )
    status, answer = outside.request(
        "POST", f"/api/v1/alerts/{alert_id}/resolve", {"note": "seen to"}, token=outside.token()
    )
    assert status == 200, answer


def test_a_press_after_a_reboot_is_another_alert_although_its_counter_starts_again(
    outside: OutsideClients,
) -> None:
    device, source = Device(outside), f"guard-{outside.run}"
    device.send(f"alert/panic/{source}", {"msg_id": "1", "message": "first press", "timestamp": now()})
    resolve(outside, source)
    second = {"msg_id": "1", "message": "second press", "location": {"lat": 1, "lon": 2}, "timestamp": now()}
    device.send(f"alert/panic/{source}", second)
    outside.until(lambda: alerts(outside, source) == [("PANIC", "RESOLVED", 1), ("PANIC", "NEW", 1)])
    device.close()


def test_a_panic_is_not_hidden_by_a_battery_message_with_its_id(outside: OutsideClients) -> None:
    device, source = Device(outside), f"guard-{outside.run}"
    device.send(f"alert/low_battery/{source}", {"msg_id": "1"})
    device.send(f"device/{source}/telemetry", {"msg_id": "1", "battery": 50})
    device.send(f"alert/panic/{source}", {"msg_id": "1", "message": "HELP"})
    device.send(f"alert/sos/{source}", {"msg_id": "1", "message": "HELP"})
    outside.until(lambda: {kind for kind, *_ in alerts(outside, source)} == {"LOW_BATTERY", "PANIC", "SOS"})
    device.close()


def test_another_text_under_one_id_is_another_occurrence(outside: OutsideClients) -> None:
    device, source = Device(outside), f"guard-{outside.run}"
    device.send(f"alert/panic/{source}", {"msg_id": "1", "message": "first"})
    device.send(f"alert/panic/{source}", {"msg_id": "1", "message": "other", "severity": "critical"})
    outside.until(lambda: [occurrences for _, _, occurrences in alerts(outside, source)] == [2])
    device.close()


def test_every_reading_under_a_counter_that_restarts_is_a_row_and_flagged(outside: OutsideClients) -> None:
    device, source = Device(outside), f"dev-{outside.run}"
    for battery in (90, 80, 70, 5):
        device.send(f"device/{source}/telemetry", {"msg_id": "1", "battery": battery, "timestamp": now()})
    outside.until(lambda: sorted(rows(outside, source)) == [5, 70, 80, 90])
    quality = (
        "SELECT count(*) FROM mqtt_device_telemetry WHERE device_id = %s AND 'msg_id_reused' = ANY(quality)"
    )
    assert outside.rows(quality, source) == [(3,)]
    outside.until(lambda: [kind for kind, *_ in alerts(outside, source)] == ["LOW_BATTERY"])
    device.close()


def test_a_press_whose_clock_is_not_believed_counts_each_time(outside: OutsideClients) -> None:
    device = Device(outside)
    bodies: dict[str, Any] = {
        "none": {"message": "help"},
        "empty": {"message": "help", "timestamp": ""},
        "1970": {"message": "help", "timestamp": "1970-01-01T00:00:00Z"},
        "1970 in seconds": {"message": "help", "timestamp": 0},
        "20 years back": {"message": "help", "timestamp": "2007-04-08T00:00:00Z"},
        "far ahead": {"message": "help", "timestamp": "2099-01-01T00:00:00Z"},
        "nonsense": {"message": "help", "timestamp": "noon"},
        "stands still": {"timestamp": "1970-01-01T00:00:00Z", "sent_at": "1970-01-01T00:00:00Z"},
    }
    names = {name: f"guard-c{number}-{outside.run}" for number, name in enumerate(bodies)}
    for name, source in names.items():
        device.send(f"alert/panic/{source}", bodies[name], qos=2)
        resolve(outside, source)
        device.send(f"alert/panic/{source}", bodies[name], qos=2)
    right = [("PANIC", "RESOLVED", 1), ("PANIC", "NEW", 1)]
    for source in names.values():
        outside.until(lambda source=source: alerts(outside, source) == right)
    device.close()


def test_the_same_bytes_with_a_believed_time_are_one_message_in_every_form_of_time(
    outside: OutsideClients,
) -> None:
    device, at_s = Device(outside), time.time()
    forms: dict[str, Any] = {
        "RFC 3339": now(),
        "seconds": int(at_s),
        "seconds with a fraction": at_s,
        "milliseconds": int(at_s * 1000),
        "seconds in text": str(int(at_s)),
        "milliseconds in text": str(int(at_s * 1000)),
        "a fraction in text": f"{at_s:.3f}",
    }
    names = {name: f"o{number}-{outside.run}" for number, name in enumerate(forms)}
    for name, source in names.items():
        for _ in range(3):
            device.send(f"alert/panic/{source}", {"message": "help", "timestamp": forms[name]}, qos=2)
            device.send(f"device/{source}/telemetry", {"battery": 50, "timestamp": forms[name]})
    outside.until(lambda: all(alerts(outside, source) and rows(outside, source) for source in names.values()))
    device.settle()
    found = {name: (alerts(outside, source), len(rows(outside, source))) for name, source in names.items()}
    assert found == dict.fromkeys(names, ([("PANIC", "NEW", 1)], 1))
    suspect = "SELECT bool_or(clock_suspect) FROM mqtt_device_telemetry WHERE device_id = ANY(%s)"
    assert outside.rows(suspect, list(names.values())) == [(False,)]
    device.close()


def test_without_a_time_equal_readings_within_seconds_are_one_and_presses_are_not(
    outside: OutsideClients,
) -> None:
    device, source = Device(outside), f"w-{outside.run}"
    for _ in range(3):
        device.send(f"device/{source}/telemetry", {"battery": 50})
        device.send(f"alert/panic/{source}", {"message": "help"}, qos=2)
        device.send(f"device/{source}-2/telemetry", {"battery": 50})
        device.send(f"device/{source}-2/telemetry", {"battery": 60})
    outside.until(lambda: alerts(outside, source) == [("PANIC", "NEW", 3)])
    # Another reading lies between them.
    outside.until(lambda: len(rows(outside, f"{source}-2")) == 6)
    assert rows(outside, source) == [50]
    device.close()


STORED = (
    "SELECT extract(epoch FROM received_at - recorded_at)::float, coalesce(quality, '{}'), clock_suspect"
    " FROM mqtt_device_telemetry WHERE device_id = %s"
)


def test_a_clock_that_is_ahead_is_corrected_by_the_time_of_sending(outside: OutsideClients) -> None:
    device, source = Device(outside), f"k-{outside.run}"
    for minutes in (1, 4, 20, 60 * 24 * 30):
        ahead_s = 60 * minutes
        body = {"battery": 50, "timestamp": now(ago_s=30 - ahead_s), "sent_at": now(ago_s=-ahead_s)}
        device.send(f"device/{source}/telemetry", body)
    found = outside.until(lambda: len(outside.rows(STORED, source)) == 4 and outside.rows(STORED, source))
    for age_s, quality, suspect in found:
        assert 28 < age_s < 45
        assert ("clock_corrected" in quality, suspect) == (True, False)
    device.close()


def test_a_clock_that_is_slow_is_corrected_once_nothing_waits_at_the_broker(outside: OutsideClients) -> None:
    device, source = Device(outside), f"k2-{outside.run}"

    counted = itertools.count()

    def corrected() -> list[tuple[Any, ...]]:
        # In the first minute of a connection its messages may have waited, and are not corrected.
        # Readings of different ages show no steady offset, so only `sent_at` corrects them.
        body = {
            "battery": 50,
            "timestamp": now(ago_s=3630 + 17 * next(counted) % 60),
            "sent_at": now(ago_s=3600),
            "msg_id": str(time.time()),
        }
        device.send(f"device/{source}/telemetry", body)
        device.settle()
        return [row for row in outside.rows(STORED, source) if "clock_corrected" in row[1]]

    [(age_s, _, suspect)] = outside.until(corrected, timeout_s=90)
    assert (28 < age_s < 105, suspect) == (True, False)
    device.close()


def test_numbers_in_text_are_stored_and_judged(outside: OutsideClients) -> None:
    device, run = Device(outside), outside.run
    device.send(f"device/n-{run}/telemetry", {"battery": "5", "signal": "-65", "temperature": "21,5"})
    device.send(f"sensor/n2-{run}/reading", {"type": "SMOKE", "value": "350,5"})
    device.send(f"system/health/n3-{run}", {"cpu": "95", "memory": 95, "uptime": "24T05:33:15"})
    device.send(f"device/n4-{run}/telemetry", {"battery": 0.85})
    device.send(f"guard/n5-{run}/gps", {"lat": "12,97", "lon": " 77.59 ", "accuracy": -1, "speed": "1.5"})
    device.send(f"guard/n6-{run}/gps", {"lat": 0, "lon": 0})
    outside.until(lambda: [kind for kind, *_ in alerts(outside, f"n-{run}")] == ["LOW_BATTERY"])
    outside.until(lambda: [kind for kind, *_ in alerts(outside, f"n2-{run}")] == ["FIRE"])
    outside.until(lambda: {kind for kind, *_ in alerts(outside, f"n3-{run}")} == {"EQUIPMENT_FAILURE"})
    flagged = "SELECT quality FROM mqtt_device_telemetry WHERE device_id = %s"
    [(quality,)] = outside.until(lambda: outside.rows(flagged, f"n4-{run}"))
    assert quality == ["battery_share"]
    fixes = "SELECT lat, lon, accuracy, speed, quality FROM mqtt_guard_location WHERE guard_id = %s"
    [fix] = outside.until(lambda: outside.rows(fixes, f"n5-{run}"))
    assert fix == (12.97, 77.59, None, 1.5, ["accuracy"])
    refused = "SELECT reason FROM rejected_message WHERE source_id = %s"
    outside.until(lambda: outside.rows(refused, f"n6-{run}") == [("no_fix",)])
    device.close()
