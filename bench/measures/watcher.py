"""One websocket client that notes each position and alert.

It records the arrival times, the ages, and positions that went back in time.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import websocket

from services.feed import encryption

READY_TIMEOUT_S = 20.0
SLACK = timedelta(milliseconds=1)
"""Times may lose digits on their way."""


class ShownItem(NamedTuple):
    """One position of a frame, or one alert, which has no times."""

    source_id: str
    recorded_at: datetime | None = None
    received_at: datetime | None = None


class ShownItems:
    """Positions and alerts that a session was sent, compared with the original messages.

    A position counts as shown when a position of its guard comes that is not older. Two threads may
    record sent and shown positions.
    """

    def __init__(self) -> None:
        self.came_s: dict[str, float] = {}
        self.ages_s: list[float] = []
        self.went_back = 0
        self.newest: dict[str, datetime] = {}
        self._waiting: dict[str, deque[tuple[datetime, str]]] = defaultdict(deque)

    def expect(self, name: str, source_id: str, recorded_at: datetime) -> None:
        """Record a position before its send.

        Positions of one guard are sent in the order of their times.
        """
        self._waiting[source_id].append((recorded_at, name))

    def take(self, shown: Iterable[ShownItem], *, at_s: float, now_s: float) -> None:
        """Record a frame. `at_s` is of the monotonic clock, and `now_s` is of the epoch."""
        for one in shown:
            if one.recorded_at is None:
                self.came_s.setdefault(f"alert:{one.source_id}", at_s)
                continue
            if one.received_at is not None:
                self.ages_s.append(now_s - one.received_at.timestamp())

            newest = self.newest.get(one.source_id)
            self.went_back += newest is not None and one.recorded_at < newest

            self.newest[one.source_id] = max(newest or one.recorded_at, one.recorded_at)
            waiting = self._waiting[one.source_id]
            while waiting and waiting[0][0] <= one.recorded_at + SLACK:
                self.came_s.setdefault(waiting.popleft()[1], at_s)

    def not_shown(self, newest_sent: Mapping[str, datetime]) -> list[str]:
        """Return the guards whose newest position was never shown."""
        return [
            guard
            for guard, sent_at in newest_sent.items()
            if guard not in self.newest or self.newest[guard] < sent_at - SLACK
        ]


class FeedWatcher(threading.Thread):
    """Reader of a feed's frames into `seen`. `open_frame` returns the contents of a frame."""

    def __init__(self, url: str, open_frame: Callable[[str], list[ShownItem]], *, token: str = "") -> None:
        super().__init__(daemon=True)
        header = [f"Authorization: Bearer {token}"] if token else []
        self._connection = websocket.create_connection(url, header=header, timeout=60)
        self._open = open_frame
        self._ready = threading.Event()
        self.seen = ShownItems()
        self.start()
        if not self._ready.wait(READY_TIMEOUT_S):
            raise TimeoutError(f"no snapshot within {READY_TIMEOUT_S:g} s")

    def run(self) -> None:
        while True:
            try:
                text = self._connection.recv()
            except (OSError, websocket.WebSocketException):
                return  # the other end closed, or `close`

            if not text:
                return

            at_s, now_s = time.monotonic(), time.time()
            if is_snapshot(text):
                self._ready.set()
            else:
                self.seen.take(self._open(text), at_s=at_s, now_s=now_s)

    def close(self) -> None:
        self._connection.close()


def is_snapshot(text: str) -> bool:
    """Return True when a frame is the snapshot that a session starts from."""
    return text.startswith(('{"type":"snapshot"', '{"type": "snapshot"'))


def vigil_frames(keys: Mapping[str, str], tenant_id: int) -> Callable[[str], list[ShownItem]]:
    """Return a function that opens frames of Vigil's feed."""

    def opened(text: str) -> list[ShownItem]:
        if json.loads(text)["type"] not in ("positions", "critical_alert"):
            return []
        data = encryption.open_frame(text, keys=keys, tenant_id=tenant_id).data
        return [item_of(item) for item in (data if isinstance(data, list) else [data])]

    return opened


def peer_frames(text: str) -> list[ShownItem]:
    """Return the contents of a frame of the plain peer."""
    return [item_of(item) for item in json.loads(text)["data"]]


def item_of(item: Mapping[str, Any]) -> ShownItem:
    """Return a position or an alert as a frame holds it."""
    if "guard_id" not in item or "lat" not in item:
        return ShownItem(item["source_id"])
    times = (datetime.fromisoformat(item[name]) for name in ("recorded_at", "received_at"))
    return ShownItem(item["guard_id"], *times)
