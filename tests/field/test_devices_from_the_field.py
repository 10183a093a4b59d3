"""Tests of messages from integrators' devices, from the broker to the alert.

They cover gateway, rules and places together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ops.local.stack import Stack
from tests.support.guard_phones import INSIDE, OUTSIDE, GuardPhones
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

ALERTS = (
    "SELECT alert_type, severity, message FROM mqtt_device_alert WHERE source_id = %s ORDER BY received_at"
)

ZIGBEE2MQTT_SMOKE = {"smoke": True, "battery": 100, "voltage": 3195, "linkquality": 57}
CHIRPSTACK = {
    "deduplicationId": "3ac7e3c4",
    "time": "2026-11-29T10:00:00Z",
    "deviceInfo": {"devEui": "0101010101010101", "deviceName": "door"},
    "fCnt": 10,
    "data": "qg==",
    "object": {"open": True},
}
THE_THINGS = {
    "end_device_ids": {"device_id": "door"},
    "uplink_message": {"f_port": 1, "frm_payload": "AQ==", "decoded_payload": {"alarm": True}},
}
SHELLY = {
    "src": "shellyplussmoke-1",
    "method": "NotifyStatus",
    "params": {"ts": 1, "smoke:0": {"alarm": True}},
}
TASMOTA = {"Time": "2026-11-29T10:00:00", "Switch1": "ON", "DS18B20": {"Temperature": 20.6}}

ON_THE_ALARM_TOPIC: dict[str, tuple[bytes | dict[str, Any], str]] = {
    "smoke without a state": ({"type": "SMOKE"}, "FIRE"),
    "smoke as a switch": ({"type": "SMOKE", "value": True}, "FIRE"),
    "smoke as a number in text": ({"type": "SMOKE", "value": "350"}, "FIRE"),
    "smoke with a decimal comma": ({"type": "smoke", "value": "350,5"}, "FIRE"),
    "smoke that is on": ({"type": "Smoke", "state": "on"}, "FIRE"),
    "smoke that is triggered": ({"type": "SMOKE", "state": "TRIGGERED"}, "FIRE"),
    "glass": ({"type": "GLASS_BREAK", "state": 1}, "INTRUSION"),
    "water": ({"type": "WATER_LEAK", "value": 1}, "EQUIPMENT_FAILURE"),
    "Zigbee2MQTT": (ZIGBEE2MQTT_SMOKE, "UNREADABLE_ALERT"),
    "ChirpStack v4": (CHIRPSTACK, "UNREADABLE_ALERT"),
    "The Things Stack v3": (THE_THINGS, "UNREADABLE_ALERT"),
    "Shelly of the second generation": (SHELLY, "UNREADABLE_ALERT"),
    "Tasmota": (TASMOTA, "UNREADABLE_ALERT"),
    "a bare word": (b"ALARM", "UNREADABLE_ALERT"),
    "a bare number": (b"1", "UNREADABLE_ALERT"),
    "half a message": (b'{"type":"SMO', "UNREADABLE_ALERT"),
    "nothing": (b"", "UNREADABLE_ALERT"),
    "the name of the radio": (
        {"type": "SMOKE", "state": "ALARM", "source_id": "0x00158d0001"},
        "UNREADABLE_ALERT",
    ),
    "more than a message may have": (b'{"x":"' + b"A" * 1_048_576 + b'"}', "UNREADABLE_ALERT"),
}


def test_what_a_sensor_calls_an_alarm_raises_something(outside: OutsideClients) -> None:
    # Given one new sensor for each payload
    sensors = {f"s{number}-{outside.run}": name for number, name in enumerate(ON_THE_ALARM_TOPIC)}
    # When each sends its payload on its alarm topic
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"sensors-{outside.run}")
    for sensor, name in sensors.items():
        sent = ON_THE_ALARM_TOPIC[name][0]
        client.publish(
            f"sensor/{sensor}/alarm", sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        )
    client.settle(len(sensors))
    client.close()
    # Then each has one alert, of the type that was meant
    outside.until(lambda: all(outside.rows(ALERTS, sensor) for sensor in sensors), 30)
    found = {name: [row[0] for row in outside.rows(ALERTS, sensor)] for sensor, name in sensors.items()}
    assert found == {name: [kind] for name, (_, kind) in ON_THE_ALARM_TOPIC.items()}


@pytest.fixture(scope="module")
def phones(stack: Stack) -> Iterator[GuardPhones]:
    with OutsideClients(stack) as outside:
        yield GuardPhones(outside, "devices")


@pytest.mark.parametrize("stamp", ["1970-01-01T00:00:00Z", "2007-04-08T00:00:00Z", "", None, 0])
def test_equal_positions_of_a_dead_clock_are_all_heard(phones: GuardPhones, stamp: object) -> None:
    # Given a guard outside whose clock stands still
    guard = phones.guard(f"dead {stamp}")
    # When the same bytes come five times
    for _ in range(5):
        phones.send(guard, OUTSIDE, ahead_s=None, timestamp=stamp)
        phones.beat(0.5)
    # Then five fixes are stored, and the violation is raised
    phones.violates(guard)
    phones.outside.until(lambda: phones.stored(guard) == 5)


def test_a_battery_that_a_phone_tells_with_its_place_is_looked_at(phones: GuardPhones) -> None:
    # Given the phone of a guard, as OwnTracks sends it
    guard = phones.guard("phone")
    client = MqttClient(int(phones.outside.env["MQTT_BROKER_PORT"]), f"owntracks-{phones.run}")

    def send(percent: int) -> None:
        body = {
            "_type": "location",
            **INSIDE,
            "acc": 5,
            "batt": percent,
            "tst": int(datetime.now(UTC).timestamp()),
        }
        client.publish(f"owntracks/{guard}/phone", json.dumps(body).encode(), retain=True)

    # When its battery is nearly empty, and charged again
    send(3)
    phones.outside.until(lambda: [row[0] for row in phones.outside.rows(ALERTS, guard)] == ["LOW_BATTERY"])
    phones.beat()
    send(80)
    # Then the alert is raised and ends
    ended = "SELECT 1 FROM mqtt_device_alert WHERE source_id = %s AND cleared_at IS NOT NULL"
    phones.outside.until(lambda: phones.outside.rows(ended, guard))
    client.close()


def test_what_a_phone_kept_for_a_while_raises_no_alarm_of_now(phones: GuardPhones) -> None:
    # Given two guards who are outside by their newest fixes
    kept, live = phones.guard("kept"), phones.guard("live")
    # When one guard's phone says that it kept them
    for _ in range(6):
        phones.send(kept, OUTSIDE, buffered=True)
        phones.send(live, OUTSIDE)
        phones.beat()
    # Then an alarm is raised for the other one only
    phones.violates(live)
    phones.outside.until(lambda: phones.stored(kept) == 6)
    assert phones.outside.rows(ALERTS, kept) == []
