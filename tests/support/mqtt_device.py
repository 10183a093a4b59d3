"""A device as strangers build one: MQTT 3.1.1 by hand, over plain TCP or TLS, honest or not."""

from __future__ import annotations

import select
import socket
import ssl
import time
from pathlib import Path

from gateway.mqtt import packets

TIMEOUT_S = 10.0


class ConnectionRefused(Exception):  # noqa: N818 - as our own errors are named
    """The broker did not let the client in.

    `code` is that of CONNACK, or -1 when the broker just closed the connection.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class MqttClient:
    """One connection. `heard` has the messages that arrive: (topic, payload, retained)."""

    def __init__(
        self,
        port: int,
        client_id: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.sock: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        if ca_file is not None:
            context = ssl.create_default_context(cafile=str(ca_file))
            if certificate is not None:
                context.load_cert_chain(*map(str, certificate))
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.heard: list[tuple[str, bytes, bool]] = []
        self.acknowledged = 0
        self.granted: list[int] = []
        self.closed_s: float | None = None
        self._reader = packets.PacketReader()
        self._next_id = 0
        self.sock.sendall(packets.connect(client_id, username=username, password=password))
        try:
            answer = self.sock.recv(4)
        except OSError:
            answer = b""
        if len(answer) < 4 or answer[3]:
            self.sock.close()
            raise ConnectionRefused(answer[3] if len(answer) == 4 else -1)

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> None:
        self._next_id = self._next_id % 65_535 + 1
        self.sock.sendall(packets.publish(topic, payload, message_id=self._next_id, retain=retain))

    def subscribe(self, topic_filter: str) -> bool:
        """Subscribe, and return whether the broker granted it."""
        before = len(self.granted)
        self.sock.sendall(packets.subscribe(topic_filter))
        self.until(lambda: len(self.granted) > before or self.closed_s is not None)
        return len(self.granted) > before and self.granted[-1] < 0x80

    def settle(self, count: int) -> None:
        """Wait until `count` messages in all are acknowledged."""
        self.until(lambda: self.acknowledged >= count)

    def until(self, condition: object, timeout_s: float = TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < deadline_s, "it did not come to pass in time"
            self.listen(wait_s=0.1)

    def listen(self, *, wait_s: float = 0.0) -> None:
        """Take the messages that have come."""
        if self.closed_s is not None or not self._readable(wait_s):
            return
        try:
            data = self.sock.recv(262_144)
        except OSError:
            data = b""
        if not data:
            self.closed_s = time.monotonic()
            return
        for first, body in self._reader.feed(data):
            kind = first & 0xF0
            if kind == packets.PUBACK:
                self.acknowledged += 1
            elif first == packets.SUBACK:
                self.granted.append(body[-1])
            elif kind == packets.PUBLISH:
                message = packets.parse_publish(first, body, 0, len(body))
                if message.qos:
                    self.sock.sendall(packets.puback([message.message_id]))
                self.heard.append((message.topic.decode(), message.payload, bool(first & 1)))

    @property
    def alive(self) -> bool:
        """Ping the broker, and return whether it answers.

        It closes a connection that was taken over.
        """
        self.listen()
        if self.closed_s is not None:
            return False
        try:
            self.sock.sendall(packets.PINGREQ)
        except OSError:
            return False
        self.listen(wait_s=1.0)
        return self.closed_s is None

    def close(self) -> None:
        self.sock.close()

    def _readable(self, wait_s: float) -> bool:
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        return bool(select.select([self.sock], [], [], wait_s)[0])
