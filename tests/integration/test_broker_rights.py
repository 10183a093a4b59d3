"""Tests of the broker as production runs it: who is let in, and which of their messages arrive.

The broker answers Success to a denied publisher, because MQTT 3.1.1 has no other answer. So only
the arrival counts.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import eventlet
import msgspec
import pytest

from gateway.mqtt import access_control
from gateway.mqtt.client import Connection
from ops.local import ports, servers
from ops.servers import mosquitto
from ops.servers.certificates import CertificateAuthority
from ops.servers.mosquitto import BrokerAdmin
from ops.watchdog.broker import CLIENTS, listen
from services.contracts.errors import Misconfigured, Unavailable
from services.platform import config
from services.platform.config import MqttSettings
from tests.support.mqtt_device import ConnectionRefused, MqttClient

SOURCES = {
    **{f"guard-{n}": "guard" for n in range(1, 7)},
    **{f"device-{n}": "device" for n in range(1, 6)},
    **{f"sensor-{n}": "sensor" for n in range(1, 5)},
    **{f"system-{n}": "system" for n in range(1, 4)},
    **{f"button-{n}": "alert" for n in range(1, 3)},
}
NUMERIC = {"guard-1": "1", "guard-2": "2"}
"""Guards that were entered as a number."""
KNOWN_TYPES = ("panic", "sos", "PANIC", "low_battery")
WILDCARDS = (
    "#",
    "+",
    "+/+",
    "+/{}",
    "receipt/#",
    "receipt/+",
    "command/#",
    "command/+",
    "guard/#",
    "device/#",
    "alert/#",
    "alert/+/{}",
    "guard/{}/gps",
    "$SYS/#",
    "$SYS/broker/clients/connected",
    "$share/group/#",
    "$share/group/receipt/{}",
    "$CONTROL/#",
    "$CONTROL/dynamic-security/v1/response",
)


class RealBroker:
    """One Mosquitto with production's configuration, and its administrator."""

    def __init__(self, home: Path) -> None:
        self.ports = {
            name: port for name, port in ports.choose({}, prefer=False).items() if name.startswith("mqtt")
        }
        people = {
            "vigil-gateway": ("gateway-pw", access_control.GATEWAY),
            "vigil-admin": ("admin-pw", access_control.ADMIN),
            "vigil-watchdog": ("watchdog-pw", access_control.WATCHDOG),
        }
        file = mosquitto.write_configuration(
            home, ports=self.ports, people=people, prefix="", anonymous=False
        )
        self.tls = home / "tls"
        self._process = subprocess.Popen(
            [servers.binary("mosquitto"), "-c", str(file)], stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + 10
        while not servers.answers(self.ports["mqtt"]):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        given = config.load(environ={}).mqtt
        self.mqtt: MqttSettings = msgspec.structs.replace(
            given, port=self.ports["mqtt"], admin_password="admin-pw"
        )
        self.admin = BrokerAdmin(self.mqtt)

    def add(self, source: str, family: str, *, password: str | None = "", number: str | None = None) -> None:
        given = f"pw-{source}" if password == "" else password
        self.admin.run(access_control.add(source, family=family, password=given, prefix="", number=number))

    def client(self, source: str, **changes: str) -> MqttClient:
        facts = {"client_id": source, "username": source, "password": f"pw-{source}", **changes}
        return MqttClient(self.ports["mqtt"], facts.pop("client_id"), **facts)  # type: ignore[arg-type]

    def gateway(self) -> MqttClient:
        return MqttClient(
            self.ports["mqtt"], "vigil-gateway-x", username="vigil-gateway", password="gateway-pw"
        )

    def auditor(self) -> MqttClient:
        """Return a client that receives every message."""
        allow = [
            {"acltype": kind, "topic": "#", "allow": True}
            for kind in ("subscribePattern", "publishClientReceive")
        ]
        role = {"command": "createRole", "rolename": "auditor", "acls": allow}
        roles = [{"rolename": "auditor"}]
        client = {"command": "createClient", "username": "auditor", "password": "pw-auditor", "roles": roles}
        self.admin.run([role, client], ignore=["already exists"])
        auditor = self.client("auditor")
        assert auditor.subscribe("#")
        return auditor

    def stop(self) -> None:
        self.admin.close()
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBroker]:
    made = RealBroker(tmp_path_factory.mktemp("broker"))
    for source, family in SOURCES.items():
        made.add(source, family, number=NUMERIC.get(source))
    yield made
    made.stop()


def topics_about(target: str) -> list[str]:
    """Return every shape of topic that names a source, right and wrong."""
    return [
        f"device/{target}/telemetry",
        f"device/{target}/other",
        f"guard/{target}/gps",
        f"guard/{target}/gps/more",
        f"guard/{target}/panic",
        f"guard/{NUMERIC.get(target, target)}/gps",
        f"owntracks/{target}/phone",
        f"owntracks/{target}/phone/event",
        f"owntracks/{NUMERIC.get(target, target)}/phone",
        *(f"sensor/{target}/{kind}" for kind in ("status", "reading", "alarm", "alarm/")),
        *(f"alert/{kind}/{target}" for kind in ("panic", "nonsense", "panic/site1")),
        f"alert/panic/{NUMERIC.get(target, target)}",
        f"alert/panic/{target}/",
        *(f"alert/{target}/{kind}" for kind in (*KNOWN_TYPES, "nonsense")),
        f"system/health/{target}",
        f"receipt/{target}",
        f"command/{target}",
        f"{target}",
        f"$SYS/{target}",
        f"$CONTROL/dynamic-security/{target}",
    ]


def may_publish(source: str, topic: str) -> bool:
    """Return whether a source may publish on a topic.

    This is the contract, written in another way than in the broker's files.
    """
    family, parts = SOURCES[source], topic.split("/")
    names = (source, NUMERIC.get(source, source))
    if parts[0] == "alert":
        ends_with_it = len(parts) in (3, 4) and parts[-1] in names
        begins_with_it = len(parts) == 3 and parts[1] == source and parts[2] in KNOWN_TYPES
        return ends_with_it or begins_with_it or (len(parts) == 4 and parts[2] in names and not parts[3])
    own = {
        "guard": {
            topic
            for name in names
            for topic in (f"guard/{name}/gps", f"guard/{name}/panic", f"owntracks/{name}/phone")
        },
        "device": {f"device/{source}/telemetry", f"device/{source}/other"},
        "sensor": {f"sensor/{source}/{kind}" for kind in ("status", "reading", "alarm", "alarm/")},
        "system": {f"system/health/{source}"},
        "alert": set[str](),
    }
    return topic in own[family]


def test_each_source_publishes_its_own_topics_and_no_other(broker: RealBroker) -> None:
    auditor = broker.auditor()
    topics = [topic for target in SOURCES for topic in topics_about(target)]
    tried = 0
    for source in SOURCES:
        client = broker.client(source)
        for topic in topics:
            client.publish(topic, f"{source} {topic}".encode())
        client.settle(len(topics))  # the broker answers Success in every case
        tried += len(topics)
        client.close()
    last = broker.client("guard-1")
    last.publish("guard/guard-1/gps", b"the end")
    auditor.until(lambda: any(payload == b"the end" for _, payload, _ in auditor.heard))
    arrived = [payload.decode() for _, payload, _ in auditor.heard if payload != b"the end"]
    expected = [f"{source} {topic}" for source in SOURCES for topic in topics if may_publish(source, topic)]
    assert sorted(arrived) == sorted(expected)
    assert tried == 20 * len(topics) > 7000
    assert len(expected) > 100


def test_each_source_hears_its_own_receipts_and_commands_and_nothing_else(broker: RealBroker) -> None:
    clients = {source: broker.client(source) for source in SOURCES}
    granted_wildcards = []
    for source, client in clients.items():
        for topic in ("receipt", "command"):
            assert client.subscribe(f"{topic}/{source}")
        for target in SOURCES:
            for topic in ("receipt", "command"):
                client.subscribe(f"{topic}/{target}")
        granted_wildcards += [
            (source, wildcard) for wildcard in WILDCARDS if client.subscribe(wildcard.format("guard-1"))
        ]
    assert granted_wildcards == []
    gateway = broker.gateway()
    for target in SOURCES:
        for topic in ("receipt", "command"):
            gateway.publish(f"{topic}/{target}", f"for {target}".encode())
    clients["guard-1"].publish("guard/guard-1/gps", b"a fix")
    for target in SOURCES:
        gateway.publish(f"receipt/{target}", b"the end")
    for source, client in clients.items():
        client.until(lambda client=client: any(payload == b"the end" for _, payload, _ in client.heard))
        heard = {(topic, payload) for topic, payload, _ in client.heard if payload != b"the end"}
        assert heard == {(f"{topic}/{source}", f"for {source}".encode()) for topic in ("receipt", "command")}


def test_only_the_gateway_hears_the_field_and_only_the_administrator_changes_rights(
    broker: RealBroker,
) -> None:
    gateway = broker.gateway()
    for family in ("device", "guard", "sensor", "alert", "system", "owntracks"):
        assert gateway.subscribe(f"{family}/#")
    for forbidden in ("#", "receipt/#", "command/#", "$SYS/#", "$CONTROL/#"):
        assert not gateway.subscribe(forbidden)
    for family in ("device", "guard", "sensor", "alert", "system", "owntracks"):
        assert gateway.subscribe(f"$share/vigil/{family}/#"), "gateways may share what one may hear"
    for forbidden in ("$share/vigil/#", "$share/vigil/receipt/#", "$share/vigil/$SYS/#"):
        assert not gateway.subscribe(forbidden)
    auditor = broker.auditor()
    for topic in ("sensor/sensor-1/alarm", "system/health/system-1", "$CONTROL/dynamic-security/v1"):
        gateway.publish(topic, b'{"commands":[{"command":"deleteClient","username":"guard-1"}]}')
    gateway.publish("receipt/guard-1", b"the end")
    auditor.until(lambda: any(payload == b"the end" for _, payload, _ in auditor.heard))
    assert [topic for topic, *_ in auditor.heard] == ["receipt/guard-1"]
    assert broker.client("guard-1").alive
    with pytest.raises(Misconfigured):
        BrokerAdmin(
            msgspec.structs.replace(broker.mqtt, admin_username="vigil-gateway", admin_password="gateway-pw")
        )


def test_the_watchdog_publishes_its_test_messages_and_reads_figures_of_the_broker_and_no_more(
    broker: RealBroker,
) -> None:
    watchdog, auditor = (
        broker.client("vigil-watchdog", password="watchdog-pw", client_id="w-1"),
        broker.auditor(),
    )
    assert watchdog.subscribe("$SYS/broker/#")
    for forbidden in ("#", "$SYS/#", "guard/#", "alert/#", "receipt/#", "$CONTROL/#", "$share/g/guard/#"):
        assert not watchdog.subscribe(forbidden)
    others = ["guard/guard-1/gps", "alert/panic/guard-1", "alert/unknown/guard-1", "device/d/telemetry"]
    for topic in (*others, "receipt/guard-1", "$CONTROL/dynamic-security/v1", *access_control.TEST_TOPICS):
        watchdog.publish(topic, b"{}")
    auditor.until(lambda: access_control.TEST_TOPICS[-1] in [topic for topic, *_ in auditor.heard])
    assert [topic for topic, *_ in auditor.heard] == list(access_control.TEST_TOPICS)


def test_who_tries_to_take_a_connection_over_does_not_get_in_and_the_honest_one_stays(
    broker: RealBroker,
) -> None:
    honest = broker.client("guard-3")
    assert honest.subscribe("receipt/guard-3")
    attempts: list[dict[str, str]] = [
        {"username": "guard-4", "password": "pw-guard-4", "client_id": "guard-3"},
        {"username": "guard-3", "password": "guessed"},
        {"username": "guard-3", "password": ""},
        {"username": "", "password": "", "client_id": "guard-3"},
        {"username": "nobody", "password": "pw", "client_id": "guard-3"},
        {"username": "guard-3", "password": "pw-guard-3", "client_id": "another"},
        {"username": "guard-3", "password": "pw-guard-3", "client_id": ""},
        {"username": "GUARD-3", "password": "pw-guard-3"},
    ]
    for attempt in attempts:
        with pytest.raises(ConnectionRefused):
            broker.client("guard-3", **attempt)
        assert honest.alive
    broker.gateway().publish("receipt/guard-3", b"still here")
    honest.until(lambda: honest.heard)


def test_without_a_credential_nobody_gets_in_by_any_door(broker: RealBroker) -> None:
    for port in broker.ports.values():
        ca_file = None if port == broker.ports["mqtt"] else broker.tls / "ca.pem"
        with pytest.raises((ConnectionRefused, OSError)):
            MqttClient(port, "stranger", ca_file=ca_file)


def test_a_password_works_over_tls_and_plain_clients_are_not_understood_there(broker: RealBroker) -> None:
    port = broker.ports["mqtts"]
    client = MqttClient(
        port, "guard-5", username="guard-5", password="pw-guard-5", ca_file=broker.tls / "ca.pem"
    )
    assert client.subscribe("receipt/guard-5")
    with pytest.raises((ConnectionRefused, OSError)):
        MqttClient(port, "guard-5", username="guard-5", password="pw-guard-5")


def test_a_certificate_is_a_credential_and_its_subject_is_the_source(
    broker: RealBroker, tmp_path: Path
) -> None:
    authority = CertificateAuthority(broker.tls)
    broker.add("cam-1", "sensor", password=None)
    broker.add("cam-2", "sensor", password=None)
    files = {name: authority.issue_source(tmp_path, name) for name in ("cam-1", "cam-2")}
    port, ca_file = broker.ports["mqtts_certificate"], broker.tls / "ca.pem"

    def connect(name: str, *, client_id: str = "", username: str = "") -> MqttClient:
        return MqttClient(
            port, client_id or name, username=username, ca_file=ca_file, certificate=files[name]
        )

    honest, auditor = connect("cam-1"), broker.auditor()
    # the certificate is cam-2's, whatever the client claims
    thief = connect("cam-2", client_id="cam-1", username="cam-1")
    assert honest.alive
    for client in (honest, thief):
        for topic in (
            "sensor/cam-1/alarm",
            "sensor/cam-2/alarm",
            "device/cam-1/telemetry",
            "sensor/sensor-1/alarm",
        ):
            client.publish(topic, b"honest" if client is honest else b"thief")
        client.settle(4)
    honest.publish("sensor/cam-1/status", b"the end")
    auditor.until(lambda: any(payload == b"the end" for _, payload, _ in auditor.heard))
    assert [(topic, payload) for topic, payload, _ in auditor.heard][:-1] == [
        ("sensor/cam-1/alarm", b"honest"),
        ("sensor/cam-2/alarm", b"thief"),
    ]
    with pytest.raises(ConnectionRefused):  # without a password it gets in by its certificate only
        broker.client("cam-1", password="")

    other = CertificateAuthority(tmp_path / "other")
    other.make()
    files["cam-1"] = other.issue_source(tmp_path / "forged", "cam-1")
    with pytest.raises((ConnectionRefused, OSError)):
        connect("cam-1")


@pytest.mark.parametrize("by", ["password", "certificate"])
def test_a_source_that_is_disabled_is_off_at_once_and_says_nothing_more(
    broker: RealBroker, tmp_path: Path, by: str
) -> None:
    name = f"lost-{by}"
    broker.add(name, "device", password="" if by == "password" else None)
    files = CertificateAuthority(broker.tls).issue_source(tmp_path, name) if by == "certificate" else None

    def connect() -> MqttClient:
        if files is None:
            return broker.client(name)
        port = broker.ports["mqtts_certificate"]
        return MqttClient(port, name, ca_file=broker.tls / "ca.pem", certificate=files)

    client, auditor = connect(), broker.auditor()
    asked_s = time.monotonic()
    broker.admin.run(access_control.switch(name, enabled=False))
    client.until(lambda: client.closed_s is not None)
    assert client.closed_s is not None
    assert client.closed_s - asked_s < 2.0
    try:
        again = connect()
        again.publish(f"device/{name}/telemetry", b"I am back")
        again.settle(1)
        assert not again.subscribe(f"receipt/{name}")
    except ConnectionRefused:
        assert by == "password"
    broker.admin.run(access_control.switch(name, enabled=True))
    back = connect()
    back.publish(f"device/{name}/telemetry", b"the end")
    auditor.until(lambda: auditor.heard)
    assert [payload for _, payload, _ in auditor.heard] == [b"the end"]


def test_a_new_password_voids_the_old_one_at_once(broker: RealBroker) -> None:
    client = broker.client("guard-6")
    broker.admin.run(access_control.rotate("guard-6", "fresh"))
    client.until(lambda: client.closed_s is not None)
    with pytest.raises(ConnectionRefused):
        broker.client("guard-6")
    assert broker.client("guard-6", password="fresh").alive
    broker.admin.run(access_control.rotate("guard-6", "pw-guard-6"))


def test_the_gateway_itself_speaks_tls_and_trusts_only_its_authority(
    broker: RealBroker, tmp_path: Path
) -> None:
    over_tls = msgspec.structs.replace(
        broker.mqtt,
        host="localhost",
        port=broker.ports["mqtts"],
        ca_file=str(broker.tls / "ca.pem"),
        username="vigil-gateway",
        password="gateway-pw",
    )
    heard: list[tuple[str, bytes]] = []

    def connection(mqtt: MqttSettings) -> Connection:
        return Connection(
            mqtt,
            lane="bulk",
            filters=["guard/#"],
            receive_maximum=10,
            on_message=lambda topic, message: heard.append((topic, message.payload)),
            on_connected=lambda _: None,
        )

    serving = eventlet.spawn(connection(over_tls).serve)
    source = broker.client("guard-5")
    deadline_s = time.monotonic() + 10
    while not heard:
        assert time.monotonic() < deadline_s
        source.publish("guard/guard-5/gps", b"over TLS")
        eventlet.sleep(0.1)
    assert heard[0] == ("guard/guard-5/gps", b"over TLS")
    serving.kill()

    stranger = CertificateAuthority(tmp_path)
    stranger.make()
    with pytest.raises(Unavailable, match="certificate"):
        connection(msgspec.structs.replace(over_tls, ca_file=str(stranger.certificate_file))).serve()


@pytest.mark.parametrize("group", ["", "vigil"], ids=["alone", "shared"])
def test_phones_are_heard_from_when_they_are_wanted_and_no_more_when_not(
    broker: RealBroker, group: str
) -> None:
    mqtt = msgspec.structs.replace(
        broker.mqtt,
        username="vigil-gateway",
        password="gateway-pw",
        client_id=f"phones-{group}",
        shared_group=group,
    )
    heard: list[str] = []

    def serve(*, wanted: bool) -> eventlet.greenthread.GreenThread:
        connection = Connection(
            mqtt,
            lane="bulk",
            filters=["guard/#", "owntracks/#"] if wanted else ["guard/#"],
            unwanted=[] if wanted else ["owntracks/#"],
            receive_maximum=10,
            on_message=lambda topic, *_: heard.append(topic),
            on_connected=lambda _: None,
        )
        return eventlet.spawn(connection.serve)

    def until_heard(topic: str, publish: str) -> None:
        """Publish again until the gateway has subscribed and gets the message."""
        deadline_s = time.monotonic() + 10
        while topic not in heard:
            assert time.monotonic() < deadline_s
            phone.publish(publish, b"{}")
            eventlet.sleep(0.1)

    phone, serving = broker.client("guard-5"), serve(wanted=True)
    until_heard("owntracks/guard-5/phone", "owntracks/guard-5/phone")
    serving.kill()
    heard.clear()
    # The session goes on, and its old subscription is cancelled. Only a guard's own topic, which
    # comes later, is received.
    serving = serve(wanted=False)
    until_heard("guard/guard-5/gps", "guard/guard-5/gps")
    heard.clear()
    phone.publish("owntracks/guard-5/phone", b"{}")
    until_heard("guard/guard-5/gps", "guard/guard-5/gps")
    assert set(heard) == {"guard/guard-5/gps"}
    serving.kill()


def test_the_broker_says_what_it_refuses(broker: RealBroker) -> None:
    with pytest.raises(Unavailable, match="deleteClient nobody"):
        broker.admin.run(access_control.remove("nobody"))
    with pytest.raises(Unavailable, match="user or password|not authorised"):
        BrokerAdmin(msgspec.structs.replace(broker.mqtt, admin_password="wrong"))


def test_reading_the_broker_s_figures_is_a_quiet_connection(broker: RealBroker) -> None:
    settings = config.load(environ={})
    watchdog = msgspec.structs.replace(settings.watchdog, mqtt_password="watchdog-pw")
    settings = msgspec.structs.replace(settings, mqtt=broker.mqtt, watchdog=watchdog)
    sent: list[str] = []
    listening = eventlet.spawn(listen, settings, lambda topic, _: sent.append(topic))
    auditor = broker.client("vigil-watchdog", password="watchdog-pw", client_id="w-2")
    assert auditor.subscribe("$SYS/broker/messages/received")

    def counts() -> list[int]:
        # The retained figure is older than the test.
        return [int(figure) for _, figure, retained in auditor.heard if not retained]

    auditor.until(lambda: len(counts()) >= 2, timeout_s=25)
    listening.kill()
    assert CLIENTS in sent
    assert counts()[1] - counts()[0] < 100, "packets in the ten seconds between two figures"
