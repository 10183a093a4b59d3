"""Tests of alarms as devices really send them.

Each raises the alert that it means. A message that cannot be read raises an alert too.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

ALERTS = (
    "SELECT alert_type, severity, status, flags, message, silent, occurrences, ST_Y(location::geometry),"
    " ST_X(location::geometry) FROM mqtt_device_alert WHERE source_id = %s ORDER BY received_at"
)
NAMES = ("type", "severity", "status", "flags", "message", "silent", "occurrences", "lat", "lon")


def alerts(outside: OutsideClients, source: str) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in outside.rows(ALERTS, source)]


def send(outside: OutsideClients, messages: list[tuple[str, bytes]]) -> None:
    """Publish on one connection, and wait for the broker."""
    client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"field-{outside.run}")
    for topic, payload in messages:
        client.publish(topic, payload)
    client.settle(len(messages))
    client.close()


def settle(outside: OutsideClients, name: str) -> None:
    """Wait for a marker behind everything that was sent, on both lanes."""
    send(outside, [(f"alert/unknown/{name}-a", b"{}"), (f"sensor/{name}-b/alarm", b'{"type":"SMOKE"}')])
    outside.until(lambda: alerts(outside, f"{name}-a") and alerts(outside, f"{name}-b"))


PANICS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "a C string with its end": (
        b'{"message":"help","location":{"lat":12.97,"lon":77.59}}\0',
        {"type": "PANIC", "severity": "CRITICAL", "lat": 12.97, "lon": 77.59, "message": "help"},
    ),
    "a line": (b'{"message":"help"}\r\n', {"type": "PANIC", "message": "help"}),
    "a byte order mark": (b'\xef\xbb\xbf{"message":"help"}', {"type": "PANIC", "message": "help"}),
    "a place in text": (b'{"location":"12.97,77.59"}', {"type": "PANIC", "lat": 12.97, "lon": 77.59}),
    "GeoJSON": (
        b'{"location":{"type":"Point","coordinates":[77.59,12.97]}}',
        {"type": "PANIC", "lat": 12.97, "lon": 77.59},
    ),
    "latitude and longitude": (
        b'{"location":{"latitude":"12.97","longitude":"77.59"}}',
        {"type": "PANIC", "lat": 12.97, "lon": 77.59},
    ),
    "a list": (b'{"location":[12.97,77.59]}', {"type": "PANIC", "lat": 12.97, "lon": 77.59}),
    "lng": (b'{"location":{"lat":12.97,"lng":77.59}}', {"type": "PANIC", "lat": 12.97, "lon": 77.59}),
    "top level": (b'{"lat":12.97,"lon":77.59}', {"type": "PANIC", "lat": 12.97, "lon": 77.59}),
    "gps": (b'{"gps":{"lat":12.97,"lon":77.59}}', {"type": "PANIC", "lat": 12.97, "lon": 77.59}),
    "no fix": (b'{"location":{"lat":0,"lon":0}}', {"type": "PANIC", "lat": None, "flags": ["no_fix"]}),
    "a place in words": (
        b'{"message":"help","location":"Gate 4"}',
        {"type": "PANIC", "lat": None, "flags": ["location"], "message": "help Location as sent: Gate 4"},
    ),
    "a silent one in text": (b'{"silent":"true"}', {"type": "PANIC", "silent": True}),
    "a silent one as a number": (b'{"silent":1}', {"type": "PANIC", "silent": True}),
    "a loud one": (b'{"silent":"false"}', {"type": "PANIC", "silent": False}),
    "empty": (b"", {"type": "UNREADABLE_ALERT", "severity": "CRITICAL"}),
    "a number": (b"1", {"type": "UNREADABLE_ALERT", "severity": "CRITICAL"}),
    "a word": (b"ON", {"type": "UNREADABLE_ALERT", "severity": "CRITICAL"}),
    "Latin-1": (
        '{"message":"Überfall"}'.encode("latin-1"),
        {"type": "UNREADABLE_ALERT", "severity": "CRITICAL"},
    ),
    "half a surrogate": (b'{"message":"\\ud800"}', {"type": "UNREADABLE_ALERT", "severity": "CRITICAL"}),
    "a photo": (
        json.dumps({"message": "help", "photo": "A" * 300_000}).encode(),
        {"type": "PANIC", "message": "help"},
    ),
    "another name": (b'{"source_id":"0x1"}', {"type": "PANIC", "flags": ["identity_mismatch"]}),
}


def test_a_panic_is_read_in_every_dress(outside: OutsideClients) -> None:
    # When panics come as devices send them
    send(
        outside,
        [
            (f"alert/panic/p{number}-{outside.run}", payload)
            for number, (payload, _) in enumerate(PANICS.values())
        ],
    )
    # Then each is an alert with the message's facts
    outside.until(
        lambda: all(alerts(outside, f"p{n}-{outside.run}") for n in range(len(PANICS))), timeout_s=60
    )
    wrong = {}
    for number, (name, (_, right)) in enumerate(PANICS.items()):
        found = alerts(outside, f"p{number}-{outside.run}")
        assert len(found) == 1, (name, found)
        shown = {key: found[0][key] for key in right}
        if "flags" in right:
            shown["flags"] = [flag for flag in shown["flags"] if flag != "unknown_source"]
        if shown != right:
            wrong[name] = shown
    assert wrong == {}


TOPICS: list[tuple[str, str, str, str]] = [
    # topic, its source, the alert that is raised, its severity
    ("alert/mandown/{}", "{}", "MAN_DOWN", "CRITICAL"),
    ("alert/man-down/{}", "{}", "MAN_DOWN", "CRITICAL"),
    ("alert/fall_detected/{}", "{}", "MAN_DOWN", "CRITICAL"),
    ("alert/{}/fall", "{}", "MAN_DOWN", "CRITICAL"),
    ("alert/checkin_missed/{}", "{}", "CHECK_IN_MISSED", "CRITICAL"),
    ("alert/FIRE_ALARM/{}", "{}", "FIRE", "CRITICAL"),
    ("alert/smoke/{}", "{}", "FIRE", "CRITICAL"),
    ("alert/medical_emergency/{}", "{}", "MEDICAL", "CRITICAL"),
    ("alert/emergency/{}", "{}", "SOS", "CRITICAL"),
    ("alert/hold_up/{}", "{}", "PANIC", "CRITICAL"),
    ("alert/PANIC/{}", "{}", "PANIC", "CRITICAL"),
    ("alert/panic/{}/", "{}", "UNREADABLE_ALERT", "CRITICAL"),
    ("alert/panic/site1/{}", "{}", "UNREADABLE_ALERT", "CRITICAL"),
    ("alert/intrusion/site1/{}", "{}", "UNREADABLE_ALERT", "HIGH"),
    ("alert/a/b/c/d/{}", "{}", "UNREADABLE_ALERT", "HIGH"),
    ("guard/{}/panic", "{}", "UNREADABLE_ALERT", "CRITICAL"),
    ("guard/{}/SOS", "{}", "UNREADABLE_ALERT", "CRITICAL"),
    ("device/{}/fall", "{}", "UNREADABLE_ALERT", "CRITICAL"),
    ("sensor/{}/ALARM", "{}", "UNREADABLE_ALERT", "HIGH"),
    ("sensor/{}/alarm/", "{}", "UNREADABLE_ALERT", "HIGH"),
    ("sensor/{}/smoke", "{}", "UNREADABLE_ALERT", "CRITICAL"),
]


def test_an_alarm_on_a_topic_of_another_spelling_is_raised(outside: OutsideClients) -> None:
    names = [f"t{number}-{outside.run}" for number in range(len(TOPICS))]
    send(outside, [(topic.format(name), b"{}") for name, (topic, *_) in zip(names, TOPICS, strict=True)])
    sources = [source.format(name) for name, (_, source, *_) in zip(names, TOPICS, strict=True)]
    outside.until(lambda: all(alerts(outside, source) for source in sources), timeout_s=60)
    found = [
        (
            topic,
            source,
            [(alert["type"], alert["severity"]) for alert in alerts(outside, source.format(name))],
        )
        for name, (topic, source, *_) in zip(names, TOPICS, strict=True)
    ]
    assert found == [(topic, source, [(kind, severity)]) for topic, source, kind, severity in TOPICS]
    # And a message of a wrong shape is stored as refused as well.
    count = sum(kind == "UNREADABLE_ALERT" for _, _, kind, _ in TOPICS)
    refused = "SELECT count(*) FROM rejected_message WHERE topic LIKE %s"
    outside.until(lambda: outside.rows(refused, f"%{outside.run}%") == [(count,)])


def test_a_topic_without_a_source_raises_under_its_own_text(outside: OutsideClients) -> None:
    topics = ("alert/panic/", "alert/sos//", "alert/mandown", f"alert/panic/{'x' * 129}")
    send(outside, [(topic, b"{}") for topic in topics])
    for topic in topics:
        [alert] = outside.until(lambda topic=topic: alerts(outside, topic[:128]))
        assert (alert["type"], alert["severity"]) == ("UNREADABLE_ALERT", "CRITICAL")


def test_a_guard_of_digits_is_the_guard_of_its_fixes(outside: OutsideClients) -> None:
    number = str(int(outside.run, 16))[-8:]
    send(outside, [(f"alert/panic/{number}", b"{}"), (f"alert/{number}/sos", b"{}")])
    outside.until(lambda: len(alerts(outside, f"guard-{number}")) == 2)
    assert alerts(outside, number) == []


FIRES: dict[str, bytes] = {
    "a switch as the value": b'{"type":"SMOKE","value":true}',
    "a switch in text": b'{"type":"SMOKE","value":"true"}',
    "nothing but the type": b'{"type":"SMOKE"}',
    "a number in text": b'{"type":"SMOKE","value":"350"}',
    "a decimal comma": b'{"type":"smoke","value":"350,5"}',
    "blanks": b'{"type":" Smoke ","state":" alarm "}',
    "ON": b'{"type":"SMOKE","state":"ON"}',
    "triggered": b'{"type":"SMOKE","state":"triggered"}',
    "a switch as the state": b'{"type":"SMOKE","state":true}',
    "a one": b'{"type":"SMOKE","state":1}',
    "a value of one": b'{"type":"SMOKE","value":1}',
    "a C string": b'{"type":"SMOKE","state":"ALARM"}\0',
    "a line and an odd time": b'{"type":"SMOKE","state":"ALARM","timestamp":"24:00:00"}\r\n',
    "epoch seconds of long ago": b'{"type":"SMOKE","state":"ALARM","timestamp":1000000000}',
}


def test_a_smoke_alarm_is_a_fire_however_it_is_written(outside: OutsideClients) -> None:
    names = {name: f"f{number}-{outside.run}" for number, name in enumerate(FIRES)}
    send(outside, [(f"sensor/{names[name]}/alarm", payload) for name, payload in FIRES.items()])
    outside.until(lambda: all(alerts(outside, source) for source in names.values()))
    found = {name: [alert["type"] for alert in alerts(outside, source)] for name, source in names.items()}
    assert found == dict.fromkeys(FIRES, ["FIRE"])


UNREADABLE = {
    "half a message": (b'{"type":"SMO', "HIGH"),
    "no text": (b"\xff\xfe", "HIGH"),
    "empty": (b"", "HIGH"),
    "smoke in other words": (b"smoke detected", "CRITICAL"),
    "a list": (b'["fire"]', "CRITICAL"),
    "in another name": (b'{"type":"SMOKE","state":"ALARM","source_id":"0x00158d0001"}', "CRITICAL"),
    "an intrusion in another name": (b'{"type":"INTRUSION","state":"ALARM","source_id":"0x1"}', "HIGH"),
}


def test_a_sensor_s_alarm_that_cannot_be_read_is_raised_and_kept(outside: OutsideClients) -> None:
    names = {name: f"u{number}-{outside.run}" for number, name in enumerate(UNREADABLE)}
    send(outside, [(f"sensor/{names[name]}/alarm", payload) for name, (payload, _) in UNREADABLE.items()])
    outside.until(lambda: all(alerts(outside, source) for source in names.values()))
    found = {
        name: [(alert["type"], alert["severity"]) for alert in alerts(outside, source)]
        for name, source in names.items()
    }
    assert found == {name: [("UNREADABLE_ALERT", severity)] for name, (_, severity) in UNREADABLE.items()}
    for name, source in names.items():
        kept = outside.until(
            lambda source=source: outside.rows(
                "SELECT payload FROM rejected_message WHERE source_id = %s", source
            )
        )
        assert [bytes(payload) for (payload,) in kept] == [UNREADABLE[name][0]]


BARE = (b"ALARM", b"ON", b"1", b"true", b"TRIGGERED")


def test_a_bare_word_on_the_alarm_topic_is_a_reading_in_alarm(outside: OutsideClients) -> None:
    names = [f"b{number}-{outside.run}" for number in range(len(BARE))]
    send(outside, [(f"sensor/{name}/alarm", word) for name, word in zip(names, BARE, strict=True)])
    query = "SELECT state, quality FROM mqtt_sensor_reading WHERE sensor_id = %s"
    for name in names:
        [(state, quality)] = outside.until(lambda name=name: outside.rows(query, name))
        assert (state, "type" in str(quality)) == ("ALARM", True)
    refused = "SELECT count(*) FROM rejected_message WHERE source_id = ANY(%s)"
    assert outside.rows(refused, names) == [(0,)]


def test_link_words_raise_nothing_and_are_refused_nowhere(outside: OutsideClients) -> None:
    # When devices, sensors and systems report that they are online, or the broker that they are not
    run = outside.run
    words = [b"Offline", b"Online", b"offline", b'{"state":"online"}', b"true"]
    sent = [(f"device/d{number}-{run}/LWT", word) for number, word in enumerate(words)]
    sent += [(f"sensor/s{number}-{run}/availability", word) for number, word in enumerate(words)]
    sent += [(f"sensor/a{number}-{run}/alarm", word) for number, word in enumerate(words[:3])]
    sent += [(f"system/health/x{number}-{run}", word) for number, word in enumerate(words[:3])]
    sent += [(f"device/t{number}-{run}/telemetry", word) for number, word in enumerate(words[:3])]
    send(outside, sent)
    settle(outside, f"end3-{run}")
    # Then a device's link is a reading, and nothing was refused or raised
    query = (
        "SELECT device_id, connectivity FROM mqtt_device_telemetry WHERE device_id LIKE %s ORDER BY device_id"
    )
    right = ["OFFLINE", "ONLINE", "OFFLINE", "ONLINE", "ONLINE"]
    outside.until(lambda: len(outside.rows(query, f"%-{run}")) == 8)
    assert [state for _, state in outside.rows(query, f"d_-{run}")] == right
    assert [state for _, state in outside.rows(query, f"t_-{run}")] == right[:3]
    assert outside.rows("SELECT reason FROM rejected_message WHERE topic LIKE %s", f"%{run}%") == []
    assert (
        outside.rows(
            "SELECT source_id FROM mqtt_device_alert WHERE source_id LIKE %s AND source_id NOT LIKE 'end3-%%'",
            f"%{run}%",
        )
        == []
    )


SHAPES = {
    "zigbee smoke": b'{"smoke":true,"battery":100,"voltage":3195,"linkquality":57}',
    "zigbee water": b'{"water_leak":true,"battery":100}',
    "tasmota": b'{"Time":"2026-11-23T12:00:00","Switch1":"ON"}',
    "shelly": b'{"src":"shelly-1","method":"NotifyStatus","params":{"ts":1.0,"smoke:0":{"id":0,"alarm":true}}}',
    "chirpstack": b'{"deduplicationId":"1","deviceInfo":{"devEui":"a"},"object":{"alarm":1}}',
}


@pytest.mark.parametrize("topic", ["alarm", "status"])
def test_a_shape_of_another_product_is_never_stored_as_a_healthy_reading(
    outside: OutsideClients, topic: str
) -> None:
    names = {name: f"x{number}{topic}-{outside.run}" for number, name in enumerate(SHAPES)}
    send(outside, [(f"sensor/{names[name]}/{topic}", payload) for name, payload in SHAPES.items()])
    query = "SELECT quality, state FROM mqtt_sensor_reading WHERE sensor_id = %s"
    for source in names.values():
        [(quality, state)] = outside.until(lambda source=source: outside.rows(query, source))
        assert ("type" in str(quality), state) == (True, "ALARM" if topic == "alarm" else None)
