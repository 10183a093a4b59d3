"""The MQTT broker: its configuration, its rights file, and commands to it while it runs."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.mqtt import access_control, packets
from gateway.mqtt.access_control import Command
from ops.environment import write_private
from ops.servers.certificates import CertificateAuthority
from ops.servers.mqtt_connection import connect
from services.contracts.errors import Misconfigured, Unavailable
from services.platform.config import MqttSettings

PLUGIN = "mosquitto_dynamic_security.so"
PLUGIN_DIRECTORIES = ("/usr/lib", "/usr/local/lib")
CONTROL = "$CONTROL/dynamic-security/v1"
RESPONSE = f"{CONTROL}/response"
WINDOW = 16
"""Most commands that wait for an answer.

For each command the broker writes its whole file, and it has other work meanwhile.
"""
TIMEOUT_S = 15.0

# Mosquitto's own limits drop acknowledged messages silently. These limits do not.
CONFIG = """\
# Plain, for this machine only.
listener {mqtt} 127.0.0.1

# TLS, with a name and password.
listener {mqtts} {tls_host}
cafile {tls}/ca.pem
certfile {tls}/server.pem
keyfile {tls}/server-key.pem
tls_version tlsv1.2

# TLS, with a client certificate: its subject is the source, and the source its client id.
listener {mqtts_certificate} {tls_host}
cafile {tls}/ca.pem
certfile {tls}/server.pem
keyfile {tls}/server-key.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true

allow_anonymous {anonymous}
plugin {plugin}
plugin_opt_config_file {data}/dynamic-security.json
acl_file {data}/acl
# Most devices retain, and a broker that refuses it cuts their connections; the gateway clears positions.
retain_available true

persistence true
persistence_location {data}/
# What waits is written once a second: a killed broker loses no more than that (docs/adr/0046).
autosave_interval 1
max_queued_messages 1000000
max_queued_bytes 1073741824
max_inflight_messages 20000
# Larger than the payload limit: what is too large is refused by the gateway, with its reason, and kept.
max_packet_size 2097152
# Else a small packet waits for the TCP acknowledgement of the one before: up to 40 ms (docs/performance.md).
set_tcp_nodelay true
sys_interval 10
connection_messages false
{user}
"""


def write_configuration(
    data: Path,
    *,
    ports: Mapping[str, int],
    people: Mapping[str, tuple[str, str]],
    prefix: str,
    anonymous: bool,
    tls_host: str = "127.0.0.1",
    hosts: Sequence[str] = (),
    authority: Path | None = None,
    plugin_file: str = "",
) -> Path:
    """Write everything that the broker reads into `data`, and return its configuration file.

    Credentials of sources that are there already are kept.

    Args:
        data: the directory of the broker.
        ports: the port of each listener, by name.
        people: user name to (password, role).
        prefix: the prefix of topics.
        anonymous: whether clients may connect without a name.
        tls_host: the address that the TLS listeners bind.
        hosts: the names that clients use for the broker.
        authority: the directory of the certificate authority, apart from the broker.
        plugin_file: for a broker on another machine, the path of the plugin there.
    """
    tls = data / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    issuer = CertificateAuthority(authority or tls)
    issuer.make()

    if authority:
        (tls / "ca.pem").write_bytes(issuer.certificate_file.read_bytes())

    issuer.keep_server(tls, hosts=hosts or ["localhost", "127.0.0.1", socket.gethostname()])
    (data / "acl").write_text(access_control.acl_file(prefix, anonymous=anonymous))
    _write_rights(data / "dynamic-security.json", people, prefix=prefix)
    config = data / "mosquitto.conf"
    config.write_text(
        CONFIG.format(
            **{name: ports[name] for name in ("mqtt", "mqtts", "mqtts_certificate")},
            tls_host=tls_host,
            tls=tls,
            data=data,
            anonymous=str(anonymous).lower(),
            plugin=plugin_file or plugin(),
            # A broker that root starts becomes the user mosquitto by default, and that user may not
            # read this.
            user="user root" if os.geteuid() == 0 and not plugin_file else "",
        )
    )

    return config


def _write_rights(file: Path, people: Mapping[str, tuple[str, str]], *, prefix: str) -> None:
    """Write the rights file only when it changes, because a running broker writes it too."""
    held = json.loads(file.read_text()) if file.exists() else {}
    salts = {
        client["username"]: base64.b64decode(client["salt"])
        for client in held.get("clients", [])
        if "salt" in client
    }

    salted = {name: (*person, salts.get(name) or secrets.token_bytes(12)) for name, person in people.items()}
    merged = access_control.broker_file(held, prefix=prefix, people=salted)
    if merged != held:
        write_private(file, json.dumps(merged, indent=1))


def plugin() -> Path:
    """Return the file of the dynamic-security plugin.

    Raises:
        Misconfigured: it is not installed.
    """
    for directory in PLUGIN_DIRECTORIES:
        for found in sorted(Path(directory).glob(f"**/{PLUGIN}")):
            return found
    raise Misconfigured(f"{PLUGIN} is not installed; it comes with Debian's package mosquitto")


class BrokerAdmin:
    """An administrator's connection to a running broker. Raises `Unavailable`, `Misconfigured`."""

    def __init__(self, mqtt: MqttSettings) -> None:
        if not mqtt.admin_password:
            raise Misconfigured(
                "MQTT_ADMIN_PASSWORD is not set, so the broker cannot be given credentials; "
                "set it, or use --no-credential"
            )

        self._sock = connect(
            mqtt,
            f"vigil-admin-{secrets.token_hex(4)}",
            username=mqtt.admin_username,
            password=mqtt.admin_password,
        )

        self._reader = packets.PacketReader()
        self._message_id = 1
        try:
            self._sock.sendall(packets.subscribe(RESPONSE))
            self._subscribed = False
            while not self._subscribed:
                list(self._listen())
        except OSError as error:
            raise Unavailable(f"the MQTT broker: {error}") from error

    def run(self, commands: Sequence[Command], *, ignore: Iterable[str] = ()) -> None:
        """Run commands in order.

        Args:
            commands: the commands to run.
            ignore: parts of errors that are not a failure.

        Raises:
            Unavailable: the broker refuses a command with another error.
        """
        for command, error in self.run_each(commands):
            if error and not any(words in error for words in ignore):
                raise Unavailable(
                    f"the broker refused {command['command']} {command.get('username', '')}: {error}"
                )

    def run_each(self, commands: Iterable[Command]) -> Iterator[tuple[Command, str]]:
        """Run commands in order, up to `WINDOW` at once.

        Yields:
            Each command with the broker's error, which is empty on success.
        """
        waiting: dict[str, Command] = {}
        for number, command in enumerate(commands):
            while len(waiting) >= WINDOW:
                yield from self._answers(waiting)
            waiting[str(number)] = command
            self._send(command, str(number))
        while waiting:
            yield from self._answers(waiting)

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> BrokerAdmin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, command: Command, correlation: str) -> None:
        body = msgspec.json.encode({"commands": [{**command, "correlationData": correlation}]})
        self._message_id = self._message_id % 65_535 + 1
        try:
            self._sock.sendall(packets.publish(CONTROL, body, message_id=self._message_id))
        except OSError as error:
            raise Unavailable(f"the MQTT broker: {error}") from error

    def _answers(self, waiting: dict[str, Command]) -> Iterator[tuple[Command, str]]:
        try:
            for answer in self._listen():
                command = waiting.pop(answer.get("correlationData", ""), None)
                if command is not None:
                    yield command, answer.get("error", "")
        except OSError as error:
            raise Unavailable(f"the MQTT broker did not answer to a command: {error}") from error

    def _listen(self) -> Iterator[dict[str, Any]]:
        data = self._sock.recv(262_144)
        if not data:
            raise ConnectionError("the broker closed the connection")

        for first, body in self._reader.feed(data):
            if first == packets.SUBACK:
                if body[-1] & 0x80:
                    raise Misconfigured("MQTT_ADMIN_USERNAME may not administer the broker")
                self._subscribed = True
            if first & 0xF0 == packets.PUBLISH:
                message = packets.parse_publish(first, body, 0, len(body))
                if message.qos:
                    self._sock.sendall(packets.puback([message.message_id]))
                yield from msgspec.json.decode(message.payload)["responses"]
