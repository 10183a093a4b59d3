"""Tests of small packets of the broker and of the gateway.

None waits for the TCP acknowledgement of the one before it.
"""

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.mqtt import packets
from gateway.mqtt.client import BufferedSocket
from ops.local.stack import Stack

DELAYED_ACK_S = 0.04
"""Seconds for which Linux delays an acknowledgement when it has nothing to send with it."""
WARM_UP = 30
"""Messages of the warm-up.

A kernel delays acknowledgements on a connection that has been seen to
answer (tcp_in_pingpong_mode).
"""
PAIRS = 15
TOPIC = "device/packets/telemetry"


@contextmanager
def client(servers: Stack, name: str) -> Iterator[socket.socket]:
    env = servers.operator_environment()
    login = {"username": env["MQTT_BROKER_USERNAME"], "password": env["MQTT_BROKER_PASSWORD"]}
    host, port = env["MQTT_BROKER_ADDRESS"], int(env["MQTT_BROKER_PORT"])
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(packets.connect(name, **login))
        yield sock


class Subscriber:
    """A subscriber that acknowledges two messages at a time, as the gateway acknowledges batches."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = packets.PacketReader()
        self._mids: list[int] = []
        sock.sendall(packets.subscribe(TOPIC))
        self._listen(packets.SUBACK & 0xF0)

    def hear(self) -> float:
        """Return the time at which the next message came."""
        body = self._listen(packets.PUBLISH)
        at = 2 + len(TOPIC)
        self._mids.append(int.from_bytes(body[at : at + 2], "big"))
        return time.monotonic()

    def acknowledge(self) -> None:
        self._sock.sendall(packets.puback(self._mids))
        self._mids = []

    def _listen(self, kind: int) -> bytes:
        while True:
            data = self._sock.recv(65_536)
            assert data, "the broker closed the connection"
            for first, body in self._reader.feed(data):
                if first & 0xF0 == kind:
                    return bytes(body)


def test_the_second_of_two_messages_is_delivered_without_waiting_for_the_first_one_s_acknowledgement(
    servers: Stack,
) -> None:
    with client(servers, "packets-in") as listening, client(servers, "packets-out") as publishing:
        subscriber = Subscriber(listening)

        # When two messages come one after the other, again and again, to a subscriber that answers
        # both together
        gaps_s = []
        for _ in range(WARM_UP + PAIRS):
            times_s = []
            for mid in (1, 2):
                publishing.sendall(packets.publish(TOPIC, b"{}", message_id=mid))
                times_s.append(subscriber.hear())
            subscriber.acknowledge()
            gaps_s.append(times_s[1] - times_s[0])

        # Then the second one arrives long before its kernel acknowledges the first one by itself
        assert statistics.median(gaps_s[WARM_UP:]) < DELAYED_ACK_S / 2


def test_what_the_gateway_writes_to_the_broker_leaves_at_once() -> None:
    ours, theirs = socket.socket(), socket.socket()
    with ours, theirs:
        BufferedSocket(ours)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
