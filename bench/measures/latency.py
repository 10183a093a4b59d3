"""Latency of a message at a quiet pace: to its commit (the receipt), and to its frame.

The frame is that of the control room's websocket.
"""

from __future__ import annotations

import json
import math
import select
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bench.ledger.load import Receipts, connect
from bench.measures.cpu import Meter
from bench.measures.watcher import FeedWatcher
from gateway.mqtt import packets

ALL_CAME_TIMEOUT_S = 15.0
GUARDS = 500
PANIC_EVERY = 20
FIRST_GUARD = 50_000
"""Number of the first guard, far from those of the ledger, so that clocks and tracks do not mix."""


class TimedMessage(NamedTuple):
    """One message: its msg_id, the name of its awaited event, and its source."""

    msg_id: str
    waits: str
    source_id: str
    topic: str
    payload: bytes
    recorded_at: datetime


class PacedConnection:
    """Connection that sends one message at a time, and takes the receipts between them.

    `prefix` is that of the contestant's topics. Without a `watcher`, frames are not measured.
    """

    def __init__(self, host: str, port: int, *, prefix: str = "", watcher: FeedWatcher | None = None) -> None:
        name = time.monotonic_ns()
        self._prefix = prefix
        self._watcher = watcher
        self._receipts = Receipts(host, port, f"bench-latency-{name}", prefix)
        self._sock = connect(host, port)
        self._sock.sendall(packets.connect(f"bench-pace-{name}"))
        self._run = f"q{name % 10**9}"
        self._sent_s: dict[str, float] = {}
        self._waits: dict[str, str] = {}
        self._number = 0

    def warm_up(self, *, panics: int, rate: float) -> None:
        """Send one position of each source, and wait for the receipts.

        Known sources are the daily case.

        Raises:
            TimeoutError: A receipt does not come.
        """
        sources = [guard(n) for n in range(GUARDS)] + [self._panicking(n) for n in range(panics)]
        started_s = time.monotonic()

        for number, source_id in enumerate(sources):
            self._listen_until(started_s + number / rate)
            self._send(position(f"{self._run}-w{number}", source_id, datetime.now(UTC)))

        self._wait_for_all()
        absent = [name for name in self._sent_s if name.encode() not in self._receipts.stored]
        if absent:
            raise TimeoutError(
                f"{len(absent)} of {len(sources)} receipts did not come before the measurement"
            )

        self._sent_s.clear()

    def measure(
        self, *, seconds: float, rate: float, meter: Meter
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return percentiles in ms, and CPU seconds of each process for 1,000 messages.

        The CPU seconds cover the time until all messages are stored.
        """
        started_s = time.monotonic()
        before_s = meter.read()
        total = int(seconds * rate)
        for number in range(total):
            self._listen_until(started_s + number / rate)
            self._send(self._message(number))
        self._wait_for_all()  # unfinished work also belongs to this pace
        used_s = {name: used - before_s[name] for name, used in meter.read().items()}
        return self._percentiles(), {name: 1000 * used / total for name, used in sorted(used_s.items())}

    def close(self) -> None:
        self._sock.close()
        self._receipts.sock.close()

    def _percentiles(self) -> dict[str, float]:
        committed_s = {name.decode(): at_s for name, at_s in self._receipts.stored.items()}
        positions = {
            name: s for name, s in self._sent_s.items() if not self._waits[name].startswith("alert:")
        }
        found = percentiles("position_commit", positions, committed_s)

        if self._watcher is not None:
            came_s = dict(self._watcher.seen.came_s)
            panics = {self._waits[name]: s for name, s in self._sent_s.items() if name not in positions}
            found |= percentiles("position_noc", positions, came_s) | percentiles("alert_noc", panics, came_s)

        return found

    def _message(self, number: int) -> TimedMessage:
        """Return a position of the known guards in turn.

        Every twentieth message is a panic of another source.
        """
        now, msg_id = datetime.now(UTC), f"{self._run}-{number}"
        if number % PANIC_EVERY == PANIC_EVERY - 1:
            return panic(msg_id, self._panicking(number // PANIC_EVERY), now)
        return position(msg_id, guard(number % GUARDS), now)

    def _panicking(self, number: int) -> str:
        """Return a source for a panic. Each run has its own sources.

        A panic raises an alert only when its source has no open panic.
        """
        return f"guard-{self._run[1:]}{number:04d}"

    def _send(self, message: TimedMessage) -> None:
        if self._watcher is not None and message.waits == message.msg_id:
            self._watcher.seen.expect(message.msg_id, message.source_id, message.recorded_at)
        self._number += 1
        packet = packets.publish(
            self._prefix + message.topic, message.payload, message_id=self._number % 65_535 + 1
        )
        self._waits[message.msg_id] = message.waits
        self._sent_s[message.msg_id] = time.monotonic()
        self._sock.sendall(packet)

    def _wait_for_all(self) -> None:
        last_s = time.monotonic() + ALL_CAME_TIMEOUT_S
        while not self._have_all():
            if time.monotonic() > last_s:
                return  # the percentiles name the missing messages
            self._listen_until(time.monotonic() + 0.05)

    def _have_all(self) -> bool:
        if not all(name.encode() in self._receipts.stored for name in self._sent_s):
            return False
        return self._watcher is None or all(
            self._waits[name] in self._watcher.seen.came_s for name in self._sent_s
        )

    def _listen_until(self, at_s: float) -> None:
        while (left_s := at_s - time.monotonic()) > 0:
            for ready in select.select([self._sock, self._receipts.sock], [], [], left_s)[0]:
                self._receipts.listen() if ready is self._receipts.sock else self._sock.recv(65_536)


def guard(number: int) -> str:
    """Return the id of a guard whose positions are timed."""
    return f"guard-{FIRST_GUARD + number}"


def position(msg_id: str, source_id: str, now: datetime) -> TimedMessage:
    """Return a position in the middle of the site."""
    fields: dict[str, Any] = {"lat": 12.9716, "lon": 77.5946, "accuracy": 5.0}
    return _sent(msg_id, msg_id, source_id, f"guard/{source_id}/gps", fields, now)


def panic(msg_id: str, source_id: str, now: datetime) -> TimedMessage:
    """Return a panic. It is awaited by its source, because its frame has no msg_id."""
    fields = {"severity": "critical"}
    return _sent(msg_id, f"alert:{source_id}", source_id, f"alert/panic/{source_id}", fields, now)


def _sent(
    msg_id: str, waits: str, source_id: str, topic: str, fields: dict[str, Any], now: datetime
) -> TimedMessage:
    payload = json.dumps({**fields, "timestamp": now.isoformat(), "msg_id": msg_id}).encode()
    return TimedMessage(msg_id, waits, source_id, topic, payload, now)


def percentiles(name: str, sent_s: Mapping[str, float], came_s: Mapping[str, float]) -> dict[str, float]:
    """Return p50, p95 and p99 in ms.

    Raises:
        RuntimeError: A message did not come. The slowest may not be left out.
    """
    absent = [one for one in sent_s if one not in came_s]
    if absent or not sent_s:
        raise RuntimeError(f"{name}: {len(absent)} of {len(sent_s)} did not come, such as {absent[:3]}")
    ordered = sorted(came_s[one] - at_s for one, at_s in sent_s.items())
    return {f"{name}_p{p}_ms": round(1000 * rank(ordered, p), 1) for p in (50, 95, 99)}


def rank(ordered: list[float], percent: int) -> float:
    """Return a percentile of sorted values, by nearest rank."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
