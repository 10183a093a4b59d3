"""Connections to the MQTT broker. This is the only file that uses paho.

paho connects, keeps the session, subscribes and sends keep-alives. `MqttLink` drives it through a
buffer by its documented external-loop calls, so that one read of the socket serves hundreds of
messages. The frequent packets (PUBLISH, PUBACK) leave the buffer before paho sees them. paho spends
30 to 40 us on each packet, which was two thirds of the gateway's time (docs/adr/0003).
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import eventlet
import paho.mqtt.client as paho
import structlog
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.mqtt import packets
from gateway.mqtt.decoding import topics
from services.contracts.errors import Outage, Unavailable
from services.platform.config import MqttSettings
from services.platform.outages import MQTT

log = structlog.get_logger(__name__)

READ_BYTES = 262_144
IDLE_WAIT_S = 1.0
CONNECT_TIMEOUT_S = 10.0
SUBSCRIBE_TIMEOUT_S = 10.0
MAX_PACKETS_A_TURN = 200
MAX_PACKET_ID = 65_535

NOT_SUBSCRIBED = 17
"""MQTT 5 reason code of an UNSUBACK: there was no such subscription, and nothing to leave."""

OnRead = Callable[[bool, float], None]
"""Called after each read of the socket, before its messages are taken.

The arguments are: True when bytes came, and the seconds that the read waited.
"""
OnTaken = Callable[[], None]
"""Called when all messages of one read are taken.

It may block for a moment: the lane does not read meanwhile.
"""
OnMessage = Callable[[str, packets.PublishPacket], None]
"""Called with the topic (without the installation's prefix) and the message.

It must not block or raise.
"""


def client_id(config: MqttSettings, name: str) -> str:
    """Return the client id under which the broker keeps a link's session.

    Two links with one client id disconnect each other.
    """
    return "-".join(part for part in (config.client_id, name, config.instance) if part)


class BufferedSocket:
    """Socket for paho that reads from and writes to buffers, and never blocks.

    `fill` and `flush` do the real, green input and output around it.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._incoming = b""
        self._position = 0
        self.closed_by_peer = False
        self._outgoing = bytearray()
        self._flushing = Semaphore()

        # Each write here is a whole packet, and none may wait for the TCP acknowledgement of the
        # previous one.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(IDLE_WAIT_S)

    def fill(self) -> bool:
        """Wait up to `IDLE_WAIT_S` for bytes.

        Returns:
            True when bytes came.

        Raises:
            OSError: The socket failed.
        """
        try:
            data = self._sock.recv(READ_BYTES)
        except TimeoutError:
            return False
        self.closed_by_peer = not data
        self._incoming = self._incoming[self._position :] + data
        self._position = 0
        return bool(data)

    def flush(self) -> None:
        """Send the bytes that paho has written. Raises `OSError`."""
        with self._flushing:
            while self._outgoing:
                data = bytes(self._outgoing)
                self._outgoing.clear()
                self._sock.settimeout(CONNECT_TIMEOUT_S)
                try:
                    self._sock.sendall(data)
                finally:
                    self._sock.settimeout(IDLE_WAIT_S)

    def take(self, on_packet: Callable[[int, bytes, int, int], bool]) -> bool:
        """Offer whole packets as (first byte, buffer, start, end) until `on_packet` refuses one.

        Returns:
            True when a refused packet is now at the front, for paho. False when no whole packet is
                left.
        """
        buffer, position = self._incoming, self._position
        count = 0
        while (found := packets.front(buffer, position)) is not None:
            first, start, end = found
            if not on_packet(first, buffer, start, end):
                return True
            self._position = position = end
            count += 1
            if count % MAX_PACKETS_A_TURN == 0:
                eventlet.sleep(0)  # senders, receipts and heartbeats take their turn too

        return False

    def pending(self) -> int:
        return len(self._incoming) - self._position

    def recv(self, size: int) -> bytes:
        start = self._position
        data = self._incoming[start : start + size]
        if not data and not self.closed_by_peer:
            raise BlockingIOError
        self._position = start + len(data)
        return data

    def send(self, data: bytes) -> int:
        self._outgoing += data
        return len(data)

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def setblocking(self, _blocking: bool) -> None:
        """Do nothing. paho wants a socket that does not block, and this one never does."""


class BufferedPaho(paho.Client):
    """paho client on a `BufferedSocket`."""

    buffered: BufferedSocket

    def _create_socket(self) -> Any:
        self.buffered = BufferedSocket(super()._create_socket())
        return self.buffered


class MqttLink:
    """One connection. `serve` makes it and drives it in one green thread until it breaks."""

    def __init__(self, config: MqttSettings, *, name: str, protocol: int = paho.MQTTv5) -> None:
        self._config = config
        self._name = name
        self._protocol = protocol
        self._client: BufferedPaho | None = None

    def serve(self) -> None:
        """Connect and serve until the connection breaks. Raises `Unavailable`."""
        client = self._make_client()
        try:
            self._connect(client)
            self._client = client
            while True:
                self._turn(client)
                self._between_turns(client)
        except OSError as error:
            raise Unavailable(f"MQTT broker {self._config.host}:{self._config.port}: {error}") from error
        finally:
            self._client = None
            self._broken()
            with contextlib.suppress(OSError, AttributeError):  # the socket may be gone or never have been
                client.buffered.close()

    def _make_client(self) -> BufferedPaho:
        client = BufferedPaho(
            paho.CallbackAPIVersion.VERSION2,
            client_id=client_id(self._config, self._name),
            protocol=self._protocol,
            manual_ack=True,
        )

        client.connect_timeout = CONNECT_TIMEOUT_S
        # 0 means no limit, and saves the scans that a limit costs at each acknowledgement. Callers
        # wait for batches.
        client.max_inflight_messages_set(0)

        if self._config.username:
            client.username_pw_set(self._config.username, self._config.password)
        if self._config.ca_file:
            client.tls_set(ca_certs=self._config.ca_file)

        # With this callback paho does not write packet by packet. `_write` flushes many packets at
        # once.
        client.on_socket_register_write = lambda *_: None
        return client

    def _connect(self, client: BufferedPaho) -> None:
        raise NotImplementedError

    def _broken(self) -> None:
        """Handle the end of the connection."""

    def _has_read(self, heard: bool, waited_s: float) -> None:
        """Handle one read of the socket. Must not block.

        Args:
            heard: True when bytes came.
            waited_s: Seconds that the read waited for bytes.
        """

    def _has_taken(self) -> None:
        """Do the work that waited for the last packet of one read."""

    def _between_turns(self, client: BufferedPaho) -> None:
        """Do the work that is due. `serve` calls this at least every `IDLE_WAIT_S`.

        Raises `Unavailable`.
        """

    def _on_packet(self, first: int, buffer: bytes, start: int, end: int) -> bool:
        """Take a packet and return True, or return False to leave it to paho.

        Must not raise because of a message's content.
        """
        raise NotImplementedError

    def _open(self, client: BufferedPaho, **options: Any) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        client.on_connect = lambda *args: answers.update(connect=args[3], session=args[2].session_present)
        client.on_subscribe = lambda *args: answers.__setitem__("subscribe", args[3])
        client.on_unsubscribe = lambda *args: answers.__setitem__("unsubscribe", args[3])
        client.connect(self._config.host, self._config.port, keepalive=self._config.keepalive_s, **options)
        code = self._await(client, answers, "connect")
        if code.is_failure:
            raise Unavailable(f"the MQTT broker refused the connection: {code}")
        return answers

    def _await(self, client: BufferedPaho, answers: dict[str, Any], name: str) -> Any:
        deadline = time.monotonic() + SUBSCRIBE_TIMEOUT_S
        while name not in answers:
            if time.monotonic() > deadline:
                raise Unavailable(f"the MQTT broker did not answer to {name}")
            self._turn(client)
        return answers[name]

    def _join(
        self,
        client: BufferedPaho,
        answers: dict[str, Any],
        filters: Sequence[str],
        *,
        qos: int,
        with_retained: bool,
    ) -> None:
        """Subscribe to filters. Live messages do not carry the retain bit. Raises `Unavailable`."""
        answers.pop("subscribe", None)
        handling = (
            SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            if with_retained
            else SubscribeOptions.RETAIN_DO_NOT_SEND
        )

        options = SubscribeOptions(qos=qos, retainAsPublished=False, retainHandling=handling)
        client.subscribe([(name, options) for name in filters])

        refused = [str(code) for code in self._await(client, answers, "subscribe") if code.is_failure]
        if refused:
            raise Unavailable(f"the MQTT broker refused a subscription: {refused[0]}")

    def _leave(self, client: BufferedPaho, answers: dict[str, Any], filters: Sequence[str]) -> None:
        """End subscriptions. The broker still delivers the messages that it holds for this session.

        Raises:
            Unavailable: The broker refused, or did not answer.
        """
        answers.pop("unsubscribe", None)
        client.unsubscribe(list(filters))
        codes = self._await(client, answers, "unsubscribe")
        refused = [str(code) for code in codes if code.is_failure and code.value != NOT_SUBSCRIBED]
        if refused:
            raise Unavailable(f"the MQTT broker refused to end a subscription: {refused[0]}")

    def _turn(self, client: BufferedPaho) -> None:
        """Read once, let paho process the bytes, and write its answers."""
        self._write(client)
        started_s = time.monotonic()
        heard = client.buffered.fill()
        self._has_read(heard, time.monotonic() - started_s)

        try:
            while client.buffered.take(self._on_packet):
                self._checked(client.loop_read())
        except (ValueError, IndexError) as error:
            raise Unavailable(f"the MQTT broker sent a broken packet: {error}") from error

        self._has_taken()
        if client.buffered.closed_by_peer:
            raise Unavailable("the MQTT broker closed the connection")

        self._checked(client.loop_misc())

    def _write(self, client: BufferedPaho) -> None:
        try:
            self._checked(client.loop_write())
            client.buffered.flush()
        except OSError as error:
            raise Unavailable(f"MQTT: {error}") from error

    def _checked(self, code: paho.MQTTErrorCode) -> None:
        if code != paho.MQTT_ERR_SUCCESS:
            raise Unavailable(f"MQTT: {paho.error_string(code)}")


class Connection(MqttLink):
    """Incoming connection of a lane.

    The broker keeps the session, and the lane sends acknowledgements itself.

    `unwanted` are filters that the session may hold from another configuration, and must no longer
    hold. `on_session` is called with True when the broker had kept the session.
    """

    def __init__(
        self,
        config: MqttSettings,
        *,
        lane: str,
        filters: Sequence[str],
        unwanted: Sequence[str] = (),
        receive_maximum: int,
        on_message: OnMessage,
        on_connected: Callable[[int], None],
        on_session: Callable[[bool], None] = lambda _: None,
        on_read: OnRead = lambda *_: None,
        on_taken: OnTaken = lambda: None,
    ) -> None:
        super().__init__(config, name=lane)
        self._filters = [topics.shared(config.shared_group, config.topic_prefix + name) for name in filters]
        self._unwanted = [topics.shared(config.shared_group, config.topic_prefix + name) for name in unwanted]
        self._expiry_s = config.shared_session_expiry_s if config.shared_group else config.session_expiry_s
        self._receive_maximum = receive_maximum
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_session = on_session
        self._on_read = on_read
        self._on_taken = on_taken
        self.generation = 0

    def ack(self, message_ids: Iterable[int], *, generation: int) -> None:
        """Acknowledge messages in the given order.

        Acknowledgements of an earlier connection are void and are dropped.
        """
        client = self._client
        if client is None or generation != self.generation:
            return
        client.buffered.send(packets.puback(message_ids))
        self._write(client)

    def _connect(self, client: BufferedPaho) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self._expiry_s
        properties.ReceiveMaximum = self._receive_maximum
        self.generation += 1
        self._on_connected(self.generation)
        answers = self._open(client, clean_start=False, properties=properties)
        self._on_session(answers["session"])

        # A session that was kept delivers at once, before the broker answers the subscription.
        self._client = client
        if self._config.leaving:
            self._leave(client, answers, [*self._filters, *self._unwanted])
        else:
            # Retained messages are of the past, so the broker does not deliver them.
            self._join(client, answers, self._filters, qos=1, with_retained=False)
            if self._unwanted:  # the session may hold old filters
                self._leave(client, answers, self._unwanted)

        log.info("mqtt_connected", lane=self._name, generation=self.generation, leaving=self._config.leaving)

    def _has_read(self, heard: bool, waited_s: float) -> None:
        self._on_read(heard, waited_s)

    def _has_taken(self) -> None:
        self._on_taken()

    def _on_packet(self, first: int, buffer: bytes, start: int, end: int) -> bool:
        if first & 0xF0 != packets.PUBLISH:
            return False

        message = packets.parse_publish(first, buffer, start, end, version=5)
        # An exception here would end the delivery of all other messages.
        try:
            topic = message.topic.decode("utf-8", "replace").removeprefix(self._config.topic_prefix)
            self._on_message(topic, message)
        except Exception:
            log.exception("mqtt_delivery_failed", lane=self._name, mid=message.message_id)

        return True


class OutgoingConnection(MqttLink):
    """Outgoing connection of a lane.

    It uses MQTT 3.1.1: nothing of version 5 is needed, and each acknowledgement costs a third less.
    """

    def __init__(self, config: MqttSettings, *, lane: str) -> None:
        super().__init__(config, name=f"{lane}-out", protocol=paho.MQTTv311)
        self._waiting: dict[int, _Batch] = {}
        self._last_id = 0

    def publish_all(self, messages: Sequence[tuple[str, bytes]], *, timeout_s: float = 10.0) -> None:
        """Publish at QoS 1 and wait until the broker has acknowledged all messages.

        Raises `Outage`.
        """
        client = self._client
        if client is None:
            raise Outage.of(MQTT, "the MQTT broker is not connected")
        if not messages:
            return

        batch = _Batch(len(messages))
        prefix = self._config.topic_prefix

        for topic, payload in messages:
            message_id = self._free_id()
            self._waiting[message_id] = batch
            client.buffered.send(packets.publish(prefix + topic, payload, message_id=message_id))

        self._write(client)
        with eventlet.Timeout(timeout_s, Outage.of(MQTT, "the MQTT broker did not accept messages in time")):
            batch.done.wait()

    def _connect(self, client: BufferedPaho) -> None:
        self._open(client)

    def _free_id(self) -> int:
        """Return the next packet id that is not in use. Raises `Outage` when all ids are in use."""
        for _ in range(MAX_PACKET_ID):
            self._last_id = self._last_id % MAX_PACKET_ID + 1
            if self._last_id not in self._waiting:
                return self._last_id
        raise Outage.of(MQTT, "the MQTT broker has not acknowledged any of 65,535 messages")

    def _on_packet(self, first: int, buffer: bytes, start: int, end: int) -> bool:
        if first != packets.PUBACK or end - start < 2:
            return False
        batch = self._waiting.pop(buffer[start] << 8 | buffer[start + 1], None)
        if batch is not None:
            batch.left -= 1
            if not batch.left and not batch.done.ready():
                batch.done.send(None)
        return True

    def _broken(self) -> None:
        for batch in {id(batch): batch for batch in self._waiting.values()}.values():
            if not batch.done.ready():
                batch.done.send_exception(Outage.of(MQTT, "the MQTT connection broke"))
        self._waiting.clear()


class _Batch:
    """Messages that one `publish_all` call waits for."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done = Event()
