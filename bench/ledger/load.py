"""Sender of a ledger over raw MQTT, and receiver of its receipts.

It sends as fast as the broker acknowledges, or at a rate.
"""

from __future__ import annotations

import select
import socket
import time
import zlib
from collections.abc import Callable, Sequence

from bench.ledger.messages import LedgerEntry
from gateway.mqtt import packets as wire

WINDOW = 1000
CHUNK = 64
QUIET_S = 15.0


def connect(host: str, port: int) -> socket.socket:
    """Return a connection that sends small packets at once.

    Nagle's algorithm would hold them for 40 ms at a quiet pace.
    """
    sock = socket.create_connection((host, port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class LedgerSender:
    """One connection with its share of the ledger.

    The messages are encoded before the clock starts.
    """

    def __init__(self, host: str, port: int, name: str, prefix: str, entries: Sequence[LedgerEntry]) -> None:
        outgoing = [entry for entry in entries for _ in range(entry.copies)]
        self.packets = packets(outgoing, prefix)
        self.names = [entry.msg_id for entry in outgoing]
        self.sock = connect(host, port)
        self.sock.sendall(wire.connect(name))
        self.reader = wire.PacketReader()
        self.sent = 0
        self.acknowledged = 0

    def send_some(self, *, at_most: int = CHUNK) -> None:
        count = min(at_most, WINDOW - (self.sent - self.acknowledged), len(self.packets) - self.sent)
        if count > 0:
            self.sock.sendall(b"".join(self.packets[self.sent : self.sent + count]))
            self.sent += count

    def listen(self) -> None:
        data = self.sock.recv(262_144)
        if not data:
            raise ConnectionError("the broker closed a sender's connection")
        self.acknowledged += sum(first == wire.PUBACK for first, _ in self.reader.feed(data))

    @property
    def done(self) -> bool:
        return self.acknowledged >= len(self.packets)

    @property
    def unacknowledged(self) -> set[str]:
        """Return the msg_ids without an acknowledged copy.

        Brokers acknowledge in the order of arrival [MQTT-4.6.0-2].
        """
        return set(self.names[self.acknowledged :]) - set(self.names[: self.acknowledged])


def packets(outgoing: Sequence[LedgerEntry], prefix: str = "") -> list[bytes]:
    """Return one PUBLISH for each entry. Packet ids repeat only far behind the window."""
    return [
        wire.publish(prefix + entry.topic, entry.payload, message_id=number % 65_535 + 1)
        for number, entry in enumerate(outgoing)
    ]


def shares(entries: Sequence[LedgerEntry], connections: int) -> list[list[LedgerEntry]]:
    """Return the entries of each connection.

    All messages of one topic use one connection, as those of a device do, and keep their order.
    """
    found: list[list[LedgerEntry]] = [[] for _ in range(connections)]
    for entry in entries:
        found[zlib.crc32(entry.topic.encode()) % connections].append(entry)
    return found


def allowance(*, elapsed_s: float, rate: float | None, sent: int, connections: int) -> int:
    """Return the number of packets that each connection may send now: at most a chunk."""
    if rate is None:
        return CHUNK
    left = int(elapsed_s * rate) - sent
    return min(CHUNK, max(0, -(-left // connections)))


class Receipts:
    """Subscriber of `receipt/#`. It records the stored msg_ids, and the time of the last one."""

    def __init__(self, host: str, port: int, name: str, prefix: str) -> None:
        self.sock = connect(host, port)
        self.sock.sendall(wire.connect(name) + wire.subscribe(f"{prefix}receipt/#", qos=0))
        self._reader = wire.PacketReader()

        self.stored: dict[bytes, float] = {}
        self.last_s = 0.0
        granted = False
        while not granted:
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError("the broker refused the receipts' subscription")
            granted = any(first == wire.SUBACK for first, _ in self._reader.feed(data))

    def close(self) -> None:
        self.sock.close()

    def listen(self) -> None:
        data = self.sock.recv(1_048_576)
        if not data:
            raise ConnectionError("the broker closed the receipts' connection")

        now_s = time.monotonic()
        for first, body in self._reader.feed(data):
            if first & 0xF0 != wire.PUBLISH:
                continue
            start = body.find(b'"msg_id":"') + 10
            if b'"status":"stored"' in body:
                self.stored.setdefault(body[start : body.index(b'"', start)], now_s)
                self.last_s = now_s


class LoadResult:
    """Result of a run. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self.started_s = 0.0
        self.acknowledged_s = 0.0
        self.stored_s = 0.0
        self.published = 0
        self.acknowledged = 0
        self.unacknowledged: set[str] = set()


def run(
    entries: Sequence[LedgerEntry],
    *,
    host: str,
    port: int,
    prefix: str = "",
    connections: int = 4,
    receipts: Receipts | None = None,
    say: Callable[[str], None] = lambda _: None,
    during: Callable[[], None] = lambda: None,
    quiet_s: float = QUIET_S,
    rate: float | None = None,
) -> LoadResult:
    """Send the whole ledger, at `rate` messages a second when given.

    With `receipts`, wait until every message that can be stored is stored, or until nothing has
    come for `quiet_s`.
    """
    senders = [
        LedgerSender(host, port, f"bench-{time.monotonic_ns()}-{number}", prefix, share)
        for number, share in enumerate(shares(entries, connections))
    ]
    expected = sum(not entry.refused for entry in entries)
    result = LoadResult()
    result.started_s = moved_s = said_s = time.monotonic()

    while True:
        sent = sum(sender.sent for sender in senders)
        elapsed_s = time.monotonic() - result.started_s

        allowed = allowance(elapsed_s=elapsed_s, rate=rate, sent=sent, connections=connections)
        for sender in senders:
            sender.send_some(at_most=allowed)

        busy = [sender for sender in senders if not sender.done]
        if not busy and result.acknowledged_s == 0.0:
            result.acknowledged_s = time.monotonic()
        if not busy and (receipts is None or len(receipts.stored) >= expected):
            break

        socks = [sender.sock for sender in busy] + ([receipts.sock] if receipts else [])
        readable = select.select(socks, [], [], 0.02 if rate else 0.5)[0]

        listeners: list[LedgerSender | Receipts] = [*busy, *([receipts] if receipts else [])]
        for listener in listeners:
            if listener.sock in readable:
                listener.listen()

        now_s = time.monotonic()
        moved_s = now_s if readable else moved_s
        during()

        if now_s - moved_s > quiet_s:
            say("nothing has moved for a while; going on to the checker")
            break
        if now_s - said_s > 2:
            said_s = now_s
            stored = len(receipts.stored) if receipts else 0
            say(f"{sum(sender.sent for sender in senders)} sent, {stored} of {expected} stored")

    result.stored_s = receipts.last_s if receipts else result.acknowledged_s
    result.published = sum(sender.sent for sender in senders)
    result.acknowledged = sum(sender.acknowledged for sender in senders)
    result.unacknowledged = set().union(*(sender.unacknowledged for sender in senders))

    for sender in senders:
        sender.sock.sendall(wire.DISCONNECT)
        sender.sock.close()

    return result
