"""Decisions of the outbox: send, send again, or give up. Pure: time and chance come in.

A message is due for the first time when the window has room. An alert is due at once. A message
stays outstanding until its receipt. Two rules keep the number of sends low when Vigil is away and
the broker is not:

1. The window: a message that was never sent waits in the outbox, not at the broker.
2. A receipt proves the path. While no receipt comes, only alerts and the oldest outstanding
   position or reading are sent again, the latter as a probe. After a receipt, the others wait once
   more before they are sent again, because the broker may have kept them.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vigil_device.messages import Kind, Message, Receipt, State
from vigil_device.policy import Policy

BUSY_REASONS = frozenset({"rate_limited"})
"""Reasons of a refusal that depend on the moment and not on the message."""
STATES_OF_STATUS = {
    "stored": State.STORED,
    "notified": State.NOTIFIED,
    "acknowledged": State.ACKNOWLEDGED,
    "resolved": State.RESOLVED,
    "off_shift": State.OFF_SHIFT,
    "refused": State.REFUSED,
}
"""States by the status of a receipt. In each state the message needs no further send."""
STRAGGLER_SENDS = 2
"""Number of overtaken sends after which a message no longer takes a place in the window."""


class Due(NamedTuple):
    """Work that is due now: publish `sends` in this order, and set `given_up` aside."""

    sends: list[Message]
    given_up: list[tuple[Message, str]]


class _Item:
    """Message that was sent and has no receipt."""

    __slots__ = ("due_s", "message", "passed", "sends", "sent_s", "taken", "was_taken")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.sends = 0
        self.passed = 0
        self.sent_s = 0.0
        self.due_s = 0.0
        self.taken = False
        self.was_taken = False


class Core:
    """Waiting messages. Only one thread at a time may use it."""

    def __init__(self, policy: Policy, *, chance: Callable[[], float]) -> None:
        self._policy = policy
        self._chance = chance
        self._alerts: OrderedDict[str, Message] = OrderedDict()
        self._bulk: OrderedDict[str, Message] = OrderedDict()
        self._outstanding: OrderedDict[str, _Item] = OrderedDict()
        self._timers: list[tuple[float, int, str]] = []
        self._in_window = 0
        self._connected = False
        self._heard_s: float | None = None
        self._asked_s: float | None = None

    def __len__(self) -> int:
        return len(self._alerts) + len(self._bulk) + len(self._outstanding)

    def messages(self) -> Iterable[Message]:
        """Return every waiting message, in no particular order."""
        yield from self._alerts.values()
        yield from self._bulk.values()
        yield from (item.message for item in self._outstanding.values())

    def add(self, message: Message) -> list[Message]:
        """Queue a message. Return the messages that were dropped to make room.

        The new message may be among them.
        """
        queue = self._alerts if message.kind is Kind.ALERT else self._bulk
        queue[message.msg_id] = message
        dropped = []
        while len(self) > self._policy.max_messages:
            oldest = self._oldest_droppable()
            if oldest is None:
                break
            self._remove(oldest.msg_id)
            dropped.append(oldest)
        return dropped

    def connected(self, now_s: float) -> None:
        """Start with a new connection.

        Messages that the broker had not acknowledged are due at once, and so is every alert.
        """
        self._connected = True
        self._heard_s = self._asked_s = None
        for item in self._outstanding.values():
            at_once = item.message.kind is Kind.ALERT or not item.taken
            pause_s = 0.0 if at_once else self._chance() * self._policy.bulk_wait_s
            self._set_due(item, now_s + pause_s)

    def disconnected(self) -> None:
        """Record the end of the connection."""
        self._connected = False

    def taken(self, msg_id: str) -> Message | None:
        """Record that the broker acknowledged a message.

        Return the message the first time, else None.
        """
        item = self._outstanding.get(msg_id)
        if item is None or item.taken:
            return None
        item.taken = True
        if item.was_taken:
            return None
        item.was_taken = True
        return item.message

    def not_taken(self, msg_id: str) -> None:
        """Record that the broker refused a message, or had no subscriber for it.

        The message is sent again after its wait.
        """
        item = self._outstanding.get(msg_id)
        if item is not None:
            item.taken = False

    def receipt(self, receipt: Receipt, now_s: float) -> Message | None:
        """Take a receipt. Return the message that it completes, if that message was waiting."""
        self._prove(now_s)
        if receipt.status not in STATES_OF_STATUS:
            return None
        if receipt.status == "refused" and receipt.reason in BUSY_REASONS:
            item = self._outstanding.get(receipt.msg_id)
            if item is not None:
                self._set_due(item, now_s + self._wait_s(item, now_s))
            return None
        return self._remove(receipt.msg_id)

    def forget(self, msg_id: str) -> None:
        """Remove a message that can never be sent."""
        self._remove(msg_id)

    def due(self, now_s: float) -> Due:
        """Return the work that is due now. The returned messages count as sent."""
        if not self._connected:
            return Due([], [])
        again, given_up = self._due_again(now_s)
        alerts = [self._first_send(self._alerts) for _ in range(len(self._alerts))]
        room = min(len(self._bulk), max(0, self._policy.window - self._in_window))
        bulk = [self._first_send(self._bulk) for _ in range(room)]

        again.sort(key=lambda item: item.message.number)
        items = [item for item in again if item.message.kind is Kind.ALERT] + alerts
        items += [item for item in again if item.message.kind is not Kind.ALERT] + bulk
        for item in items:
            item.sends += 1
            item.sent_s = now_s
            self._set_due(item, now_s + self._wait_s(item, now_s))
        if items and self._asked_s is None:
            self._asked_s = now_s
        return Due([item.message for item in items], given_up)

    def wake_at_s(self, now_s: float) -> float | None:
        """Return the time of the next work; None when nothing is due without an event."""
        if not self._connected:
            return None
        if self._alerts or (self._bulk and self._in_window < self._policy.window):
            return now_s
        self._drop_stale_timers()
        return self._timers[0][0] if self._timers else None

    def _due_again(self, now_s: float) -> tuple[list[_Item], list[tuple[Message, str]]]:
        """Return the outstanding messages whose wait is over, and those that are given up."""
        over = self._over(now_s)
        again: list[_Item] = []
        given_up: list[tuple[Message, str]] = []
        probe = None if self._is_proven(now_s) else self._oldest_outstanding_bulk()
        for item in over:
            reason = self._reason_to_give_up(item, now_s)
            if reason:
                self._remove(item.message.msg_id)
                given_up.append((item.message, reason))
            elif item.message.kind is Kind.ALERT or not item.taken or probe is None or item is probe:
                self._count_overtaken(item)
                again.append(item)
            else:
                self._set_due(item, now_s + self._wait_s(item, now_s))
        return again, given_up

    def _over(self, now_s: float) -> list[_Item]:
        over = []
        while self._timers and self._timers[0][0] <= now_s:
            due_s, _, msg_id = heapq.heappop(self._timers)
            item = self._outstanding.get(msg_id)
            if item is not None and item.due_s == due_s:
                item.due_s = math.inf  # an equal timer of the same message does not count twice
                over.append(item)
        return over

    def _reason_to_give_up(self, item: _Item, now_s: float) -> str:
        if now_s - item.message.born_s > self._policy.max_age_s:
            return "too old"
        return "no receipt" if item.passed >= self._policy.max_passed else ""

    def _count_overtaken(self, item: _Item) -> None:
        """Count a send that receipts of other messages overtook. Such a message may be faulty."""
        if item.message.kind is Kind.ALERT or self._heard_s is None or self._heard_s <= item.sent_s:
            return
        item.passed += 1
        if item.passed == STRAGGLER_SENDS:
            self._in_window -= 1

    def _first_send(self, queue: OrderedDict[str, Message]) -> _Item:
        msg_id, message = queue.popitem(last=False)
        item = self._outstanding[msg_id] = _Item(message)
        if message.kind is not Kind.ALERT:
            self._in_window += 1
        return item

    def _prove(self, now_s: float) -> None:
        """Record a receipt. After a time without receipts, outstanding messages wait once more."""
        was_proven = self._is_proven(now_s)
        self._heard_s, self._asked_s = now_s, None
        if was_proven:
            return
        for item in self._outstanding.values():
            wait_s = self._policy.wait_s(item.message.kind)
            if item.taken:
                is_alert = item.message.kind is Kind.ALERT
                self._set_due(item, now_s + (0.0 if is_alert else wait_s) + self._chance() * wait_s)

    def _is_proven(self, now_s: float) -> bool:
        """Return True when a receipt came on this connection, and no later one is overdue."""
        if self._heard_s is None:
            return False
        return self._asked_s is None or now_s - self._asked_s <= self._policy.bulk_wait_s

    def _wait_s(self, item: _Item, now_s: float) -> float:
        return self._policy.resend_after_s(
            item.message.kind,
            sends=max(1, item.sends),
            age_s=now_s - item.message.born_s,
            chance=self._chance(),
        )

    def _set_due(self, item: _Item, due_s: float) -> None:
        item.due_s = due_s
        heapq.heappush(self._timers, (due_s, item.message.number, item.message.msg_id))
        if len(self._timers) > 64 + 4 * len(self._outstanding):
            self._timers = [(i.due_s, i.message.number, i.message.msg_id) for i in self._outstanding.values()]
            heapq.heapify(self._timers)

    def _drop_stale_timers(self) -> None:
        while self._timers:
            due_s, _, msg_id = self._timers[0]
            item = self._outstanding.get(msg_id)
            if item is not None and item.due_s == due_s:
                return
            heapq.heappop(self._timers)

    def _remove(self, msg_id: str) -> Message | None:
        for queue in (self._alerts, self._bulk):
            found = queue.pop(msg_id, None)
            if found is not None:
                return found
        item = self._outstanding.pop(msg_id, None)
        if item is None:
            return None
        if item.message.kind is not Kind.ALERT and not _is_straggler(item):
            self._in_window -= 1
        return item.message

    def _oldest_outstanding_bulk(self) -> _Item | None:
        for item in self._outstanding.values():
            if item.message.kind is not Kind.ALERT and item.taken:
                return item
        return None

    def _oldest_droppable(self) -> Message | None:
        for kind in (Kind.POSITION, Kind.READING):
            for item in self._outstanding.values():
                if item.message.kind is kind:
                    return item.message
            for message in self._bulk.values():
                if message.kind is kind:
                    return message
        return None


def _is_straggler(item: _Item) -> bool:
    return item.passed >= STRAGGLER_SENDS
