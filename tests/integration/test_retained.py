"""Tests of retained messages at a real broker.

Every device may send them. Each is handled once, and no position stays.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import eventlet
import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.mqtt import access_control
from gateway.mqtt.lane import Lane
from ops.local import ports, servers
from ops.servers import mosquitto
from services.contracts.events import DeviceAlert
from services.platform import config
from tests.support.mqtt_device import MqttClient

SWEEP_S = 0.5
PLACE = {"lat": 12.97, "lon": 77.59}
VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}


class Broker:
    """A Mosquitto with an installation's configuration. It can be stopped and started again."""

    def __init__(self, home: Path) -> None:
        chosen = ports.choose({}, prefer=False)
        self.port = chosen["mqtt"]
        mine = {name: port for name, port in chosen.items() if name.startswith("mqtt")}
        people = {"vigil-gateway": ("gateway-pw", access_control.GATEWAY)}
        self._file = mosquitto.write_configuration(home, ports=mine, people=people, prefix="", anonymous=True)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [servers.binary("mosquitto"), "-c", str(self._file)], stderr=subprocess.DEVNULL
        )
        until(lambda: servers.answers(self.port))

    def stop(self) -> None:
        # SIGTERM: the broker writes its retained messages to disk before it ends.
        self._process.terminate()
        self._process.wait()

    def client(self, name: str = "") -> MqttClient:
        return MqttClient(self.port, name or f"c{time.monotonic_ns()}")

    def retained(self) -> dict[str, bytes]:
        """Return the devices' messages that the broker retains."""
        client = self.client()
        for family in ("guard", "alert", "device", "sensor", "system", "owntracks"):
            assert client.subscribe(f"{family}/#")
        client.publish("other/end", b"end")
        client.subscribe("other/#")
        client.publish("other/end", b"end")
        client.until(lambda: any(topic == "other/end" for topic, _, _ in client.heard))
        client.close()
        return {topic: payload for topic, payload, kept in client.heard if kept and topic != "other/end"}


class Gateway:
    """Both lanes on a real broker. `events` has the events that they would send to RabbitMQ."""

    def __init__(self, port: int, *, sweep_s: float = SWEEP_S) -> None:
        settings = config.load(environ={"VIGIL_OWNTRACKS": "true", "VIGIL_RETAINED_SWEEP_S": str(sweep_s)})
        mqtt = msgspec.structs.replace(
            settings.mqtt, port=port, username="vigil-gateway", password="gateway-pw"
        )
        self._settings = msgspec.structs.replace(settings, mqtt=mqtt)
        self.events: list[tuple[str, Any]] = []
        self.lanes: list[Lane] = []
        self._running: list[eventlet.greenthread.GreenThread] = []

    def start(self) -> None:
        self.lanes = [Lane(self._settings, name) for name in ("alert", "bulk")]
        self._running = [eventlet.spawn(lane.run, self.events.extend) for lane in self.lanes]
        until(lambda: all(lane.connection.generation and lane.connection._client for lane in self.lanes))

    def kill(self) -> None:
        """End the lanes as a killed process ends: they send nothing to the broker."""
        for running, lane in zip(self._running, self.lanes, strict=True):
            running.kill()
            lane.close()

    def alerts(self, source: str = "") -> list[DeviceAlert]:
        found = [event for _, event in self.events if isinstance(event, DeviceAlert)]
        return [alert for alert in found if source in ("", alert.origin.source_id)]

    def of(self, source: str) -> list[Any]:
        """Return the readings, fixes, alerts and refusals of one source."""
        found: list[Any] = self.alerts(source)
        for _, event in self.events:
            for name in ("readings", "fixes"):
                found += [item for item in getattr(event, name, []) if item.origin.source_id == source]
            found += [item for item in getattr(event, "messages", []) if item.source_id == source]
        return found


def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        eventlet.sleep(0.02)
    return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def gateway(broker: Broker) -> Iterator[Gateway]:
    made = Gateway(broker.port)
    made.start()
    yield made
    made.kill()


def device(broker: Broker, version: str, name: str, *, will: tuple[str, bytes] | None = None) -> paho.Client:
    """Return a device with paho, as makers of devices use it.

    It connects again, and sends again the messages that were not acknowledged.
    """
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=VERSIONS[version])
    if will is not None:
        client.will_set(*will, qos=1, retain=True)
    client.connect("127.0.0.1", broker.port, keepalive=30)
    client.loop_start()
    until(client.is_connected)
    return client


def marker(gateway: Gateway, broker: Broker, family: str = "alert") -> None:
    """Wait until everything before this call has passed the lane."""
    name = f"marker-{time.monotonic_ns()}"
    topic = f"alert/unknown/{name}" if family == "alert" else f"system/health/{name}"
    client = broker.client()
    client.publish(topic, b"{}")
    client.settle(1)
    until(lambda: gateway.of(name))
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("topic", ["alert/panic/{}", "alert/{}/SOS", "sensor/{}/alarm", "alert/fall/{}"])
def test_a_retained_alarm_is_told_once_and_its_connection_lives(
    broker: Broker, gateway: Gateway, version: str, topic: str
) -> None:
    # Given a device that retains the messages that it sends
    client = device(broker, version, "dev-1")
    # When it sends an alarm
    body = b'{"type":"SMOKE","message":"help"}'
    client.publish(topic.format("dev-1"), body, qos=1, retain=True).wait_for_publish(10)
    # Then it is handled once, and the device is still connected
    until(lambda: gateway.of("dev-1"))
    marker(gateway, broker, "alert" if topic.startswith("alert") else "bulk")
    assert len(gateway.of("dev-1")) == 1
    assert client.is_connected()
    client.loop_stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retained_will_is_accepted_and_comes_as_a_message_of_its_source(
    broker: Broker, gateway: Gateway, version: str
) -> None:
    client = device(broker, version, "dev-2", will=("device/dev-2/LWT", b"Offline"))
    client.publish("device/dev-2/LWT", b"Online", qos=1, retain=True).wait_for_publish(10)
    until(lambda: [reading.connectivity for reading in gateway.of("dev-2")] == ["ONLINE"])
    # When its connection breaks
    client.loop_stop()
    sock = client.socket()
    assert sock is not None
    sock.close()
    # Then the will is handled
    until(lambda: [reading.connectivity for reading in gateway.of("dev-2")] == ["ONLINE", "OFFLINE"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_panic_behind_a_retained_reading_on_one_connection_is_raised(
    broker: Broker, gateway: Gateway, version: str
) -> None:
    client = device(broker, version, "dev-3")
    client.publish("device/dev-3/telemetry", b'{"battery":80}', qos=1, retain=True)
    client.publish("alert/panic/dev-3", b'{"message":"help"}', qos=1).wait_for_publish(10)
    [alert] = until(lambda: gateway.alerts("dev-3"))
    assert alert.alert_type == "PANIC"
    client.loop_stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_phone_with_the_defaults_of_owntracks_is_stored_and_never_cut(
    broker: Broker, gateway: Gateway, version: str
) -> None:
    # Given OwnTracks on Android: it retains everything, its will included
    now_s = int(time.time())
    topic = "owntracks/guard-9/phone"
    lwt = json.dumps({"_type": "lwt", "tst": now_s}).encode()
    phone = device(broker, version, "phone", will=(topic, lwt))
    # When it sends its state and positions, retained
    said: list[dict[str, Any]] = [
        {"_type": "status", "android": {"wifi": 1}},
        {
            "_type": "location",
            **PLACE,
            "acc": 12,
            "batt": 3,
            "tst": now_s,
            "_id": "a1",
            "created_at": now_s,
            "t": "u",
        },
        {"_type": "location", **PLACE, "acc": 12, "tst": now_s + 1, "_id": "a2", "created_at": now_s + 1},
    ]
    for message in said:
        phone.publish(topic, json.dumps(message).encode(), qos=1, retain=True).wait_for_publish(10)
    # Then both positions are fixes, the battery with them
    fixes = until(lambda: len(gateway.of("guard-9")) == 2 and gateway.of("guard-9"))
    assert [fix.battery for fix in fixes] == [3, None]
    assert phone.is_connected()
    phone.loop_stop()
    sock = phone.socket()
    assert sock is not None
    sock.close()
    # And its will, which is not a position, is neither refused nor kept
    until(lambda: broker.retained().get(topic) == lwt)
    marker(gateway, broker, "bulk")
    assert len(gateway.of("guard-9")) == 2


POSITIONS = {
    "guard/guard-1/gps": json.dumps(PLACE).encode(),
    "guard/2/gps": b"unreadable, perhaps a position",
    "owntracks/guard-1/phone": json.dumps({"_type": "location", **PLACE}).encode(),
    "owntracks/guard-2/phone": json.dumps({"_type": "encrypted", "data": "eA=="}).encode(),
    "owntracks/guard-2/phone/event": json.dumps({"_type": "transition", **PLACE}).encode(),
    "alert/panic/guard-1": json.dumps({"location": PLACE}).encode(),
    "alert/sos/guard-1": json.dumps({"gps": "12.97,77.59"}).encode(),
    "device/d-1/telemetry": json.dumps({"battery": 50, "position": [12.97, 77.59]}).encode(),
    "alert/panic/Jürgen Müller": json.dumps(
        {"location": {"type": "Point", "coordinates": [77.59, 12.97]}}
    ).encode(),
}
OTHERS = {
    "alert/panic/guard-3": b'{"message":"help"}',
    "device/d-1/LWT": b"Online",
    "sensor/s-1/alarm": b'{"type":"SMOKE","state":"NORMAL"}',
    "owntracks/guard-3/phone": b'{"_type":"lwt","tst":1}',
    "guard/guard-3/LWT": b"Offline",
}


def test_a_retained_position_is_gone_at_the_broker_and_the_clearing_raises_nothing(
    broker: Broker, gateway: Gateway
) -> None:
    # Given retained messages of every family, with places and without
    client = broker.client()
    for topic, payload in {**POSITIONS, **OTHERS}.items():
        client.publish(topic, payload, retain=True)
    client.settle(len(POSITIONS) + len(OTHERS))
    # Then messages that say where somebody is are cleared, and the rest stays
    until(lambda: broker.retained() == OTHERS)
    # And each was handled once: the clearing is not a message of the source
    for family in ("alert", "bulk"):
        marker(gateway, broker, family)
    assert len(gateway.alerts()) == len([topic for topic in (*POSITIONS, *OTHERS) if "alert/" in topic]) + 1
    assert not [alert for alert in gateway.alerts() if alert.alert_type == "UNREADABLE_ALERT"]
    # And an empty press of the source itself is still an alarm
    client.publish("alert/panic/guard-1", b"")
    until(lambda: [alert for alert in gateway.alerts("guard-1") if alert.alert_type == "UNREADABLE_ALERT"])


def test_thousands_of_retained_positions_are_gone_after_one_sweep(broker: Broker) -> None:
    count = 3000
    client = broker.client()
    for number in range(count):
        client.publish(f"guard/guard-{number}/gps", json.dumps(PLACE).encode(), retain=True)
    client.settle(count)
    assert len(broker.retained()) == count
    gateway = Gateway(broker.port, sweep_s=3600)
    gateway.start()
    until(lambda: not broker.retained())
    gateway.kill()


def test_a_gateway_that_starts_again_a_hundred_times_tells_nothing_that_is_retained(broker: Broker) -> None:
    # Given the retained states of 200 devices, from before there was a gateway
    client = broker.client()
    sent = 0
    for number in range(200):
        for topic, payload in (
            (f"device/d-{number}/telemetry", b'{"battery":3}'),
            (f"sensor/s-{number}/alarm", b'{"type":"SMOKE","state":"ALARM"}'),
            (f"alert/panic/g-{number}", b'{"message":"help"}'),
            (f"alert/panic/h-{number}", b"garbage"),
        ):
            client.publish(topic, payload, retain=True)
            sent += 1
    client.settle(sent)
    client.close()
    gateway = Gateway(broker.port, sweep_s=3600)
    # When the gateway starts again and again, and the broker with it now and then
    for number in range(100):
        if number % 25 == 24:
            broker.stop()
            broker.start()
        gateway.start()
        gateway.kill()
    # Then a new message is handled, and none before it was
    gateway.start()
    for family in ("alert", "bulk"):
        marker(gateway, broker, family)
    names = {event.origin.source_id.split("-")[0] for event in gateway.alerts()}
    assert names == {"marker"}
    assert {name.partition(".")[0] for name, _ in gateway.events} == {
        "device_alert_received",
        "system_health_received",
    }
    assert len(broker.retained()) == sent
    gateway.kill()


@pytest.mark.parametrize("group", ["", "vigil"], ids=["alone", "shared"])
def test_a_session_of_the_time_before_is_told_nothing_that_is_retained(broker: Broker, group: str) -> None:
    """The broker keeps a subscription of an older gateway.

    By it, it would send the retained messages at every start.
    """
    name = "vigil-gateway-alert-one" if group else "vigil-gateway-alert"
    old = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    old.username_pw_set("vigil-gateway", "gateway-pw")
    old.connect("127.0.0.1", broker.port, clean_start=False, properties=properties)
    old.loop_start()
    until(old.is_connected)
    granted: list[int] = []
    old.on_subscribe = lambda *args: granted.append(args[2])
    old.subscribe(f"$share/{group}/alert/#" if group else "alert/#", qos=1)
    until(lambda: granted)
    old.disconnect()
    old.loop_stop()
    client = broker.client()
    client.publish("sensor/s/status", b"{}", retain=True)
    client.publish("alert/panic/g", b"{}", retain=True)
    client.settle(2)
    gateway = Gateway(broker.port)
    if group:
        mqtt = msgspec.structs.replace(gateway._settings.mqtt, shared_group=group, instance="one")
        gateway._settings = msgspec.structs.replace(gateway._settings, mqtt=mqtt)
    # The panic waited for the session, and is handled once. Later starts handle nothing.
    gateway.start()
    until(lambda: gateway.alerts("g"))
    gateway.kill()
    for _ in range(3):
        gateway.start()
        marker(gateway, broker)
        gateway.kill()
    assert len(gateway.alerts("g")) == 1
