"""Batches of deliveries: limits and the order of acknowledgements. Pure: time comes in."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import NamedTuple

from gateway.mqtt.rate_limit import MessageClass

SENDING_SHARE = 0.2
"""Part of the time in which a light batch may be on its way."""
SMOOTHING = 0.2
"""Weight of the newest batch in the average time that a batch takes."""


class MqttDelivery(NamedTuple):
    """One message as the broker delivered it.

    `mid` is the message id to acknowledge, on that connection only. `passed_over`: the message
    carries no news (retained by the broker, or Vigil's own clearing) and is only acknowledged.
    `outage`: the note of `backlog` when the message may have waited at the broker. `share`: the
    class in which the message travels.
    """

    topic: str
    payload: bytes
    qos: int
    mid: int
    received_at: datetime
    redelivered: bool = False
    passed_over: bool = False
    outage: str = ""
    share: MessageClass = MessageClass.FIRST


class DeliveryBatch(NamedTuple):
    """Deliveries of one connection (`generation`) that are sent together."""

    number: int
    generation: int
    deliveries: list[MqttDelivery]


class Batcher:
    """Collector of deliveries.

    A batch closes when it is full by count or by bytes, or when it is due.

    A batch is due when enough time has passed since the previous batch left. So a message that
    comes alone leaves at once, and messages that come soon after it leave together. The pause
    depends on the traffic:

    - A light batch leaves `light_age_s` after the previous one, because waiting saves little. It
      leaves later when batches take long on their way, because a busy machine has no time for many
      of them.
    - A batch that fills fast leaves `max_age_s` after the previous one, because each message then
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
        self._open: list[MqttDelivery] = []
        self._bytes = 0
        self._left_s = float("-inf")
        self._takes_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Return True when no delivery waits for others."""
        return not self._open

    def start_generation(self, generation: int) -> None:
        """Start with a new connection.

        Drop the open batch: the broker delivers its messages again.
        """
        self._generation = generation
        self._open = []
        self._bytes = 0

    def add(self, delivery: MqttDelivery, *, now_s: float) -> DeliveryBatch | None:
        """Add one delivery. Return the batch that it filled, else None."""
        self._open.append(delivery)
        self._bytes += len(delivery.payload)
        if len(self._open) >= self._max_messages or self._bytes >= self._max_bytes:
            return self._close(now_s)
        return None

    @property
    def due_s(self) -> float | None:
        """Return the time at which the open batch is due; None when there is no open batch."""
        if not self._open:
            return None
        return self._left_s + self._pause_s

    @property
    def _pause_s(self) -> float:
        if len(self._open) > self._light_messages:
            return self._max_age_s
        return min(max(self._light_age_s, self._takes_s / SENDING_SHARE), self._max_age_s)

    def took(self, seconds: float) -> None:
        """Record the seconds that a batch was on its way.

        A batch that waited for a server counts no more than the longest pause.
        """
        self._takes_s += SMOOTHING * (min(seconds, self._max_age_s) - self._takes_s)

    def due(self, *, now_s: float) -> DeliveryBatch | None:
        """Return the open batch when it is due."""
        due_s = self.due_s
        return self._close(now_s) if due_s is not None and now_s >= due_s else None

    def _close(self, now_s: float) -> DeliveryBatch:
        self._left_s = now_s
        self._number += 1
        batch = DeliveryBatch(self._number, self._generation, self._open)
        self._open = []
        self._bytes = 0
        return batch


class AckOrder:
    """Order of acknowledgements.

    MQTT wants the order of delivery; batches are confirmed in any order.
    """

    def __init__(self) -> None:
        self._waiting: deque[DeliveryBatch] = deque()
        self._confirmed: set[int] = set()

    @property
    def in_flight(self) -> int:
        """Return the number of batches that are on their way, or that wait for an earlier batch."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Return True when every delivered message is acknowledged."""
        return not self._waiting

    def sent(self, batch: DeliveryBatch) -> None:
        """Record that a batch is on its way. Call this in the order of delivery."""
        self._waiting.append(batch)

    def confirmed(self, batch: DeliveryBatch) -> list[DeliveryBatch]:
        """Record that a batch is safe.

        Return the batches that may be acknowledged now, oldest first.
        """
        self._confirmed.add(batch.number)
        ready = []
        while self._waiting and self._waiting[0].number in self._confirmed:
            done = self._waiting.popleft()
            self._confirmed.discard(done.number)
            ready.append(done)
        return ready
