"""One plain connection to the broker, for commands: blocking, at QoS 1, with a window."""

from __future__ import annotations

import select
import socket
import ssl
import time

from gateway.mqtt import packets
from services.contracts.errors import Unavailable
from services.platform.config import MqttSettings

TIMEOUT_S = 5.0
PING_S = 20.0
WINDOW = 500
"""Largest number of unacknowledged messages."""
REASONS = {
    1: "protocol version",
    2: "client id",
    3: "server unavailable",
    4: "user or password",
    5: "not authorised",
}


def connect(
    mqtt: MqttSettings, client_id: str, *, username: str = "", password: str = "", keepalive_s: int = 60
) -> socket.socket:
    """Return a socket after CONNACK.

    Raises:
        Unavailable: the broker does not answer, or refuses the connection.
    """
    try:
        sock = socket.create_connection((mqtt.host, mqtt.port), timeout=TIMEOUT_S)
        if mqtt.ca_file:
            sock = ssl.create_default_context(cafile=mqtt.ca_file).wrap_socket(
                sock, server_hostname=mqtt.host
            )
        sock.sendall(
            packets.connect(client_id, keepalive_s=keepalive_s, username=username, password=password)
        )
        answer = sock.recv(4)
    except OSError as error:
        raise Unavailable(f"MQTT broker {mqtt.host}:{mqtt.port}: {error}") from error

    if len(answer) < 4 or answer[0] != packets.CONNACK or answer[3]:
        sock.close()
        reason = REASONS.get(answer[3], str(answer[3])) if len(answer) == 4 else "no answer"
        raise Unavailable(f"MQTT broker {mqtt.host}:{mqtt.port} refused {username or 'us'}: {reason}")

    return sock


class PublishingConnection:
    """Connection that publishes at QoS 1 within a window.

    Methods raise `OSError`. The constructor raises `Unavailable`.
    """

    def __init__(self, mqtt: MqttSettings, client_id: str, *, username: str = "", password: str = "") -> None:
        self._prefix = mqtt.topic_prefix
        self._sock = connect(mqtt, client_id, username=username, password=password)
        self._reader = packets.PacketReader()
        self._next_id = 0
        self.in_flight = 0
        self.acknowledged = 0
        self._said_s = time.monotonic()

    def fileno(self) -> int:
        return self._sock.fileno()

    def publish(self, topic: str, payload: bytes) -> int:
        """Send one message and return its packet id; wait while the window is full."""
        self.settle(WINDOW - 1)
        self._next_id = self._next_id % 65_535 + 1
        self._sock.sendall(packets.publish(self._prefix + topic, payload, message_id=self._next_id))
        self.in_flight += 1
        self._said_s = time.monotonic()
        return self._next_id

    def settle(self, at_most: int) -> None:
        """Wait until at most this many messages are unacknowledged."""
        while self.in_flight > at_most:
            before = self.in_flight
            if select.select([self._sock], [], [], TIMEOUT_S)[0]:
                self.listen()
            if self.in_flight == before:
                raise TimeoutError(f"nothing acknowledged within {TIMEOUT_S:g} s")

    def listen(self) -> None:
        """Take the packets that have arrived."""
        data = self._sock.recv(65_536)
        if not data:
            raise ConnectionError("the broker closed the connection")
        for first, body in self._reader.feed(data):
            if first & 0xF0 == packets.PUBACK:
                self.in_flight -= 1
                self.acknowledged += 1
            self._take(first, bytes(body))

    def _take(self, first: int, body: bytes) -> None:
        """Look at a packet that has arrived; a subclass may override it."""

    def keep_alive(self) -> None:
        """Send a ping when nothing has been sent for a while."""
        if time.monotonic() - self._said_s > PING_S:
            self._sock.sendall(packets.PINGREQ)
            self._said_s = time.monotonic()

    def hang_up(self) -> None:
        """Close without waiting for anything."""
        self._sock.close()

    def close(self) -> None:
        """Wait until all messages are acknowledged, then disconnect."""
        try:
            self.settle(0)
            self._sock.sendall(packets.DISCONNECT)
        finally:
            self._sock.close()
