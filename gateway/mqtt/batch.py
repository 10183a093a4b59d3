"""Batches of deliveries: their limits, and the order of their acknowledgements. Pure: time comes in."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import NamedTuple

from gateway.mqtt.rate_limit import Share

SENDING_SHARE = 0.2
"""The part of the time in which a light batch may be on its way."""
SMOOTHING = 0.2
"""The weight of the newest batch in how long batches take."""


class Delivery(NamedTuple):
    """One message as the broker delivered it: `mid` is what to acknowledge, on that connection only.

    `passed_over`: it says nothing (retained by the broker, or Vigil's own clearing), and is acknowledged only.
    `outage`: the note of `backlog` when it may have waited at the broker.
    `share`: the class in which it travels.
    """

    topic: str
    payload: bytes
    qos: int
    mid: int
    received_at: datetime
    redelivered: bool = False
    passed_over: bool = False
    outage: str = ""
    share: Share = Share.FIRST


class Batch(NamedTuple):
    """Deliveries of one connection (`generation`) that go on together."""

    number: int
    generation: int
    deliveries: list[Delivery]


class Batcher:
    """Collects deliveries; a batch is full by count or by bytes, or it is due.

    It is due when the one before it has left long enough ago: a message that comes alone goes at once, and those that
    come soon after it go together. How long that is depends on the traffic. A light batch leaves `light_age_s` after
    the one before, because little is saved by waiting; later when batches take long on their way, because a busy
    machine has no time for many of them. One that fills fast leaves `max_age_s` after it, because each message then
    costs much less.
    """

    def __init__(
        self, *, max_messages: int, max_bytes: int, max_age_s: float, light_messages: int, light_age_s: float
    ) -> None:
        if max_messages < 1 or max_bytes < 1 or not 0 <= light_age_s <= max_age_s:
            raise ValueError(
                "a batch holds at least one message and one byte, and 0 <= light_age_s <= max_age_s"
            )
        self._light_messages = light_messages
        self._light_age_s = light_age_s
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._number = 0
        self._generation = 0
        self._open: list[Delivery] = []
        self._bytes = 0
        self._left_s = float("-inf")
        self._takes_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Return True when no delivery waits for others."""
        return not self._open

    def start_generation(self, generation: int) -> None:
        """A new connection: what the old one had delivered will be delivered again, so it is let go."""
        self._generation = generation
        self._open = []
        self._bytes = 0

    def add(self, delivery: Delivery, *, now_s: float) -> Batch | None:
        """Take one delivery; returns the batch that it filled."""
        self._open.append(delivery)
        self._bytes += len(delivery.payload)
        if len(self._open) >= self._max_messages or self._bytes >= self._max_bytes:
            return self._close(now_s)
        return None

    @property
    def due_s(self) -> float | None:
        """Return the time from which on the open batch is due; None when there is none."""
        if not self._open:
            return None
        return self._left_s + self._pause_s

    @property
    def _pause_s(self) -> float:
        if len(self._open) > self._light_messages:
            return self._max_age_s
        return min(max(self._light_age_s, self._takes_s / SENDING_SHARE), self._max_age_s)

    def took(self, seconds: float) -> None:
        """Note how long a batch was on its way. One that waited for a server counts no more than the longest pause."""
        self._takes_s += SMOOTHING * (min(seconds, self._max_age_s) - self._takes_s)

    def due(self, *, now_s: float) -> Batch | None:
        """Return the open batch when it is due."""
        due_s = self.due_s
        return self._close(now_s) if due_s is not None and now_s >= due_s else None

    def _close(self, now_s: float) -> Batch:
        self._left_s = now_s
        self._number += 1
        batch = Batch(self._number, self._generation, self._open)
        self._open = []
        self._bytes = 0
        return batch


class AckOrder:
    """MQTT wants acknowledgements in the order of delivery; batches may be confirmed in any order."""

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()
        self._confirmed: set[int] = set()

    @property
    def in_flight(self) -> int:
        """Return how many batches are on their way, or wait for one before them."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Return True when all that was delivered is acknowledged."""
        return not self._waiting

    def sent(self, batch: Batch) -> None:
        """The batch is on its way; called in order of delivery."""
        self._waiting.append(batch)

    def confirmed(self, batch: Batch) -> list[Batch]:
        """The batch is safe; returns the batches that may be acknowledged now, oldest first."""
        self._confirmed.add(batch.number)
        ready = []
        while self._waiting and self._waiting[0].number in self._confirmed:
            done = self._waiting.popleft()
            self._confirmed.discard(done.number)
            ready.append(done)
        return ready
