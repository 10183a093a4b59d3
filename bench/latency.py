"""How long a message takes at a quiet pace: to the commit (its receipt) and to the control room (its frame)."""

from __future__ import annotations

import json
import math
import select
import socket
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import websocket

from bench.load import Receipts
from gateway.mqtt import wire
from services import envelope

ALL_CAME_TIMEOUT_S = 15.0


class Frames(threading.Thread):
    """Opens the frames of the feed and notes when each position and alert came."""

    def __init__(self, url: str, token: str, keys: Mapping[str, str], tenant_id: int) -> None:
        super().__init__(daemon=True)
        self._connection = websocket.create_connection(
            url, header=[f"Authorization: Bearer {token}"], timeout=30
        )
        self._keys = keys
        self._tenant_id = tenant_id
        self.came_s: dict[str, float] = {}
        self.ready = threading.Event()

    def run(self) -> None:
        while True:
            try:
                text = self._connection.recv()
            except (OSError, websocket.WebSocketException):
                return
            now_s = time.monotonic()
            if not text:
                return
            kind = json.loads(text)["type"]
            if kind == "snapshot":
                self.ready.set()
            if kind in ("positions", "critical_alert"):
                data = envelope.open_frame(text, keys=self._keys, tenant_id=self._tenant_id).data
                for item in data if isinstance(data, list) else [data]:
                    self.came_s.setdefault(item.get("guard_id") or f"alert:{item['source_id']}", now_s)

    def close(self) -> None:
        self._connection.close()


def measure(
    *, host: str, port: int, url: str, token: str, keys: Mapping[str, str], seconds: float, rate: float
) -> dict[str, float]:
    """Percentiles in ms: a position's way to its receipt and to its frame, a panic's way to its frame."""
    frames = Frames(url, token, keys, 1)
    frames.start()
    if not frames.ready.wait(20):
        raise TimeoutError("no snapshot within 20 s")
    receipts = Receipts(host, port, f"bench-latency-{time.monotonic_ns()}", "")
    sock = socket.create_connection((host, port))
    sock.sendall(wire.connect(f"bench-pace-{time.monotonic_ns()}"))
    sent_s: dict[str, float] = {}
    total = int(seconds * rate)
    started_s = time.monotonic()
    for number in range(total):
        name, topic, payload = _message(number, int(started_s))
        _listen_until(started_s + number / rate, sock, receipts)
        sent_s[name] = time.monotonic()
        sock.sendall(wire.publish(topic, payload, message_id=number % 65_535 + 1))
    last_s = time.monotonic() + ALL_CAME_TIMEOUT_S
    while time.monotonic() < last_s and not (
        sent_s.keys() <= frames.came_s.keys() and len(receipts.stored) >= total
    ):
        _listen_until(time.monotonic() + 0.05, sock, receipts)
    frames.close()
    sock.close()
    receipts.sock.close()
    committed_s = {name.decode(): at_s for name, at_s in receipts.stored.items()}
    positions = {name: at_s for name, at_s in sent_s.items() if not name.startswith("alert:")}
    panics = {name: at_s for name, at_s in sent_s.items() if name.startswith("alert:")}
    return {
        **percentiles("position_commit", positions, committed_s),
        **percentiles("position_noc", positions, frames.came_s),
        **percentiles("alert_noc", panics, frames.came_s),
    }


def _message(number: int, run: int) -> tuple[str, str, bytes]:
    """Each from a guard of its own, so that a frame names the message; every twentieth is a panic."""
    guard = f"guard-{run % 100_000}{number:06d}"
    fields: dict[str, Any] = {"timestamp": datetime.now(UTC).isoformat(), "msg_id": guard}
    if number % 20 == 19:
        return (
            f"alert:{guard}",
            f"alert/panic/{guard}",
            json.dumps({**fields, "severity": "critical"}).encode(),
        )
    position = {"lat": 12.9716, "lon": 77.5946, "accuracy": 5.0}
    return guard, f"guard/{guard}/gps", json.dumps({**fields, **position}).encode()


def _listen_until(at_s: float, sock: socket.socket, receipts: Receipts) -> None:
    while (left_s := at_s - time.monotonic()) > 0:
        for ready in select.select([sock, receipts.sock], [], [], left_s)[0]:
            receipts.listen() if ready is receipts.sock else sock.recv(65_536)


def percentiles(name: str, sent_s: Mapping[str, float], came_s: Mapping[str, float]) -> dict[str, float]:
    """p50, p95 and p99 in ms. Raises `RuntimeError` when one did not come: the slowest may not be left out."""
    absent = [one for one in sent_s if one not in came_s]
    if absent or not sent_s:
        raise RuntimeError(f"{name}: {len(absent)} of {len(sent_s)} did not come, such as {absent[:3]}")
    ordered = sorted(came_s[one] - at_s for one, at_s in sent_s.items())
    return {
        f"{name}_p{p}_ms": round(1000 * ordered[math.ceil(len(ordered) * p / 100) - 1], 1)
        for p in (50, 95, 99)
    }
