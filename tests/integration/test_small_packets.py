"""Small packets of the broker and of the gateway: none waits for the TCP acknowledgement of the one before it."""

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.mqtt import wire
from gateway.mqtt.client import BufferedSocket
from ops.stack import Stack

DELAYED_ACK_S = 0.04
"""Linux holds an acknowledgement back for so long when it has nothing to send with it."""
UNTIL_DELAYED = 30
"""At first a connection acknowledges at once (tcp(7), TCP_QUICKACK)."""
PAIRS = 15


@contextmanager
def client(servers: Stack, name: str) -> Iterator[socket.socket]:
    env = servers.operator_environment()
    login = {"username": env["MQTT_BROKER_USERNAME"], "password": env["MQTT_BROKER_PASSWORD"]}
    host, port = env["MQTT_BROKER_ADDRESS"], int(env["MQTT_BROKER_PORT"])
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(wire.connect(name, **login))
        yield sock


def listen(sock: socket.socket, reader: wire.Reader, kind: int, count: int) -> list[float]:
    """Return when each of so many packets of a kind came."""
    came: list[float] = []
    while len(came) < count:
        data = sock.recv(65_536)
        assert data, "the broker closed the connection"
        came += [time.monotonic() for first, _ in reader.feed(data) if first & 0xF0 == kind]
    return came


def test_the_second_of_two_messages_is_delivered_without_waiting_for_the_first_one_s_acknowledgement(
    servers: Stack,
) -> None:
    with client(servers, "packets-in") as subscriber, client(servers, "packets-out") as publisher:
        reader = wire.Reader()
        subscriber.sendall(wire.subscribe("device/packets/telemetry", qos=0))
        listen(subscriber, reader, wire.SUBACK & 0xF0, 1)

        # Given a subscriber that sends nothing, whose kernel acknowledges late by now
        def publish() -> None:
            publisher.sendall(wire.publish("device/packets/telemetry", b"{}", message_id=1))

        for _ in range(UNTIL_DELAYED):
            publish()
            listen(subscriber, reader, wire.PUBLISH, 1)

        # When two messages come one after the other, again and again
        gaps_s = []
        for _ in range(PAIRS):
            publish()
            [first_s] = listen(subscriber, reader, wire.PUBLISH, 1)
            publish()
            [second_s] = listen(subscriber, reader, wire.PUBLISH, 1)
            gaps_s.append(second_s - first_s)

        # Then the second one is there long before the acknowledgement of the first one
        assert statistics.median(gaps_s) < DELAYED_ACK_S / 2


def test_what_the_gateway_writes_to_the_broker_leaves_at_once() -> None:
    ours, theirs = socket.socket(), socket.socket()
    with ours, theirs:
        BufferedSocket(ours)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
