"""Queue that serves its senders in turn. Pure.

No sender waits behind the many messages of another sender. The method is a deficit round robin: a
turn is worth `quantum` bytes, and a larger message waits for as many turns as it needs. Messages of
one sender keep their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

QUANTUM_BYTES = 1024
LARGEST_COST_BYTES = 65_536
"""Largest cost of a message, in bytes. A larger message needs no more turns than this."""


class FairQueue(Generic[T]):
    """Queue of items of many senders, with the method names of `collections.deque`.

    `append` adds an item, and `popleft` takes the next one.

    Args:
        sender_of: Returns the sender of an item.
        size_of: Returns the size of an item, in bytes.
    """

    def __init__(
        self,
        sender_of: Callable[[T], str],
        size_of: Callable[[T], int],
        *,
        quantum_bytes: int = QUANTUM_BYTES,
    ) -> None:
        self._sender_of = sender_of
        self._size_of = size_of
        self._quantum_bytes = quantum_bytes
        self._turns: deque[str] = deque()
        self._waiting: dict[str, deque[tuple[int, T]]] = {}
        self._deficit: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, item: T) -> None:
        """Add an item behind the other items of its sender."""
        sender = self._sender_of(item)
        mine = self._waiting.get(sender)
        if mine is None:
            mine = self._waiting[sender] = deque()
            self._turns.append(sender)
            self._deficit[sender] = 0
        mine.append((min(max(self._size_of(item), 1), LARGEST_COST_BYTES), item))
        self._count += 1

    def popleft(self) -> T:
        """Take the oldest item of the sender whose turn it is.

        Raises `IndexError` when the queue is empty.
        """
        while True:
            sender = self._turns[0]
            mine = self._waiting[sender]
            cost, item = mine[0]
            self._deficit[sender] += self._quantum_bytes
            self._turns.rotate(-1)

            if self._deficit[sender] < cost:
                continue

            mine.popleft()
            self._count -= 1

            # The rest of a turn is not saved: it would buy a run of small messages later.
            self._deficit[sender] = 0
            if not mine:
                del self._waiting[sender], self._deficit[sender]
                self._turns.pop()

            return item
