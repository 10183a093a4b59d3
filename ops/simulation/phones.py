"""The phones of a simulated fleet.

All share one outbox. Each source that has a credential has its own connection.
"""

from __future__ import annotations

import json
import random
import secrets
import selectors
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from vigil_device import receipts
from vigil_device.core import Core
from vigil_device.messages import Kind, Message, State
from vigil_device.policy import Policy
from vigil_device.store import MEMORY, OutboxInUse, Store, StoreFailed

from gateway.mqtt import packets
from ops.servers.mqtt_connection import PublishingConnection
from ops.simulation.simulator import SimulatedMessage
from services.contracts.errors import Refused, Unavailable
from services.platform.config import MqttSettings

POLICY = Policy(max_messages=100_000, window=500)
"""Policy of the one outbox of a fleet.

The window has room for some messages of each of a hundred phones.
"""
FILE = "outbox.db"
FLUSH_S = 2.0
LONGEST_WAIT_S = 0.5


class PhoneConnection(PublishingConnection):
    """A connection that also receives receipts."""

    def __init__(
        self,
        mqtt: MqttSettings,
        client_id: str,
        *,
        on_receipt: Callable[[bytes], None],
        on_taken: Callable[[int], None],
        receipts_of: str,
        username: str = "",
        password: str = "",
    ) -> None:
        self._on_receipt = on_receipt
        self._on_taken = on_taken
        super().__init__(mqtt, client_id, username=username, password=password)
        self._sock.sendall(packets.subscribe(f"{self._prefix}receipt/{receipts_of}"))

    def _take(self, first: int, body: bytes) -> None:
        if first & 0xF0 == packets.PUBACK:
            self._on_taken(int.from_bytes(body[:2], "big"))
        elif first & 0xF0 == packets.PUBLISH:
            message = packets.parse_publish(first, body, 0, len(body))
            if message.qos:
                self._sock.sendall(packets.puback([message.message_id]))
            self._on_receipt(message.payload)


class Phones:
    """Sender of the fleet's messages, each until its receipt comes.

    All phones lose and find the broker together.

    Raises:
        Refused: the directory is in use or cannot be written, or a source has no password.
    """

    def __init__(
        self, mqtt: MqttSettings, passwords: Mapping[str, str] | None, *, directory: Path | None
    ) -> None:
        self.acknowledged = 0
        self.stored = 0
        self.sends = 0
        self.where = f"they are kept in {directory}" if directory else "they are lost: --outbox keeps them"
        self._mqtt = mqtt
        self._passwords = passwords
        self._chance = random.SystemRandom().random
        self._core = Core(POLICY, chance=self._chance)
        self._store = _store(directory)
        self._began_s = time.monotonic() - self._store.ran_s
        self._lines: dict[str, PhoneConnection] = {}
        self._packets: dict[tuple[str, int], str] = {}
        self._selector = selectors.DefaultSelector()
        self._connected = False
        self._failures = 0
        self._connect_at_s = 0.0
        self._flushed_s = time.monotonic()
        for message in self._store.waiting():
            self._drop(self._core.add(message))

    @property
    def pending(self) -> int:
        """Return the number of messages without a receipt."""
        return len(self._core)

    def put(self, outgoing: SimulatedMessage) -> None:
        """Take a message of the fleet."""
        message = self._store.put(
            msg_id=json.loads(outgoing.payload)["msg_id"],
            kind=kind_of(outgoing.topic),
            topic=outgoing.topic,
            payload=outgoing.payload,
            born_s=self._now_s(),
        )
        self._drop(self._core.add(message))

    def step(self, *, wait_s: float) -> None:
        """Connect, send the messages that are due, and listen for at most `wait_s` seconds."""
        until_s = time.monotonic() + min(wait_s, LONGEST_WAIT_S)
        try:
            self._connect_when_due()
            self._send_due()
            wake_at_s = self._core.wake_at_s(self._now_s())
            till_s = until_s if wake_at_s is None else min(until_s, wake_at_s + self._began_s)
            self._listen(max(0.0, till_s - time.monotonic()))
        except (OSError, Unavailable) as error:
            self._break(str(error))

        if time.monotonic() - self._flushed_s > FLUSH_S:
            self._flushed_s = time.monotonic()
            self._store.flush(ran_s=self._now_s())

    def close(self) -> None:
        """Close the connections; messages without a receipt stay in the directory."""
        for line in self._lines.values():
            line.hang_up()
        self._selector.close()
        self._store.close()

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _connect_when_due(self) -> None:
        now_s = time.monotonic()
        if self._connected or now_s < self._connect_at_s:
            return
        if self._passwords is None:
            self._line("")
        self._connected = True
        self._core.connected(self._now_s())

    def _send_due(self) -> None:
        due = self._core.due(self._now_s())
        for message, reason in due.given_up:
            self._store.set_aside(message, State.UNDELIVERED, reason)
        for message in due.sends:
            name = source_of(message.topic) if self._passwords is not None else ""
            self._packets[name, self._line(name).publish(message.topic, message.payload)] = message.msg_id
            self.sends += 1

    def _listen(self, wait_s: float) -> None:
        for line in self._lines.values():
            line.keep_alive()
        if not self._lines:
            time.sleep(wait_s)  # nothing can happen until the next attempt to connect
            return
        for key, _ in self._selector.select(wait_s):
            key.fileobj.listen()  # type: ignore[union-attr]

    def _line(self, name: str) -> PhoneConnection:
        line = self._lines.get(name)
        if line is not None:
            return line

        username, password = "", ""
        if self._passwords is not None:
            if name not in self._passwords:
                raise Refused(
                    f"{name} is not in the file of credentials; `vigil guard|device import` makes one"
                )
            username, password = name, self._passwords[name]

        line = self._lines[name] = PhoneConnection(
            self._mqtt,
            name or f"vigil-simulator-{secrets.token_hex(4)}",
            on_receipt=self._take_receipt,
            on_taken=lambda packet_id: self._take_acknowledgement(name, packet_id),
            receipts_of=name or "+",
            username=username,
            password=password,
        )

        self._selector.register(line, selectors.EVENT_READ)
        self._failures = 0
        return line

    def _take_acknowledgement(self, name: str, packet_id: int) -> None:
        msg_id = self._packets.pop((name, packet_id), None)
        if msg_id is not None and self._core.taken(msg_id) is not None:
            self.acknowledged += 1

    def _take_receipt(self, payload: bytes) -> None:
        receipt = receipts.read(payload)
        message = None if receipt is None else self._core.receipt(receipt, self._now_s())
        if receipt is None or message is None:
            return
        if receipt.status == "refused":
            self._store.set_aside(message, State.REFUSED, receipt.reason or "")
        else:
            self.stored += 1
            self._store.remove(message.number)

    def _break(self, reason: str) -> None:
        """Drop every connection; the next attempt comes after a pause with jitter."""
        for line in self._lines.values():
            self._selector.unregister(line)
            line.hang_up()

        self._lines.clear()
        self._packets.clear()
        self._core.disconnected()
        self._connected = False
        self._failures += 1
        pause_s = POLICY.connect_after_s(failures=self._failures, chance=self._chance())
        self._connect_at_s = time.monotonic() + pause_s
        click.echo(
            f"broker {self._mqtt.host}:{self._mqtt.port}: {reason}; again in {pause_s:.1f} s", err=True
        )

    def _drop(self, messages: list[Message]) -> None:
        for message in messages:
            self._store.remove(message.number)


def kind_of(topic: str) -> Kind:
    """Return the kind of a message of the fleet."""
    family = topic.partition("/")[0]
    return {"alert": Kind.ALERT, "guard": Kind.POSITION}.get(family, Kind.READING)


def source_of(topic: str) -> str:
    """Return the source of a message of the fleet."""
    words = topic.split("/")
    return words[2] if words[0] in ("alert", "system") else words[1]


def _store(directory: Path | None) -> Store:
    try:
        if directory is None:
            return Store(MEMORY)
        directory.mkdir(parents=True, exist_ok=True)
        return Store(directory / FILE)
    except (OSError, OutboxInUse, StoreFailed) as error:
        raise Refused(f"the outbox {directory}: {error}") from error
