"""Turnstile that lets batches pass one by one, in the order of their arrival."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class GuardTurn:
    """A place in the queue. The owner calls `end` when it has passed or gives up."""

    def __init__(self, waiting: deque[GuardTurn], changed: threading.Condition) -> None:
        self._waiting = waiting
        self._changed = changed

    def wait(self) -> None:
        """Wait until all turns before this one have ended. Return at once when this one has."""
        with self._changed:
            self._changed.wait_for(self._is_first_or_over)

    def _is_first_or_over(self) -> bool:
        return self not in self._waiting or self._waiting[0] is self

    def end(self) -> None:
        """Leave the queue. A second call changes nothing."""
        with self._changed:
            if self in self._waiting:
                self._waiting.remove(self)
                self._changed.notify_all()


class GuardTurns:
    """Queue of turns for the workers of one process."""

    def __init__(self) -> None:
        self._waiting: deque[GuardTurn] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[GuardTurn]:
        """Take a place behind those in the queue. It ends with the block at the latest."""
        mine = GuardTurn(self._waiting, self._changed)
        with self._changed:
            self._waiting.append(mine)
        try:
            yield mine
        finally:
            mine.end()
