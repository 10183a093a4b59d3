"""Turns of the messages in hand: all run at once, or a suspected one alone. Pure.

When a process ends, it is not known which of the messages in hand caused that. Each of them is
handled alone the next time, so that the next end leaves no doubt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Start = Callable[[], None]


class SuspectTurns:
    """The turns of messages, in the order in which they came.

    A message that was started calls `leave` once when it is done.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[bool, Start]] = deque()
        self._running = 0
        self._one_is_alone = False
        self._is_starting = False

    def enter(self, start: Start, *, alone: bool) -> None:
        """Call `start` now, or when its turn comes; it must not raise."""
        self._waiting.append((alone, start))
        self._start_next()

    def leave(self) -> None:
        """Note that one message that was started is done."""
        self._running -= 1
        if not self._running:
            self._one_is_alone = False
        self._start_next()

    def _start_next(self) -> None:
        if self._is_starting:  # a message that is done at once calls `leave` within its start
            return

        self._is_starting = True
        try:
            while self._waiting:
                alone, start = self._waiting[0]
                if self._one_is_alone or (alone and self._running):
                    return
                self._waiting.popleft()
                self._running += 1
                self._one_is_alone = alone
                start()
        finally:
            self._is_starting = False
