"""Signals that ask this process to stop, without a handler that does anything.

Python runs a handler between any two steps of the main thread. That can be within eventlet's hub,
where nothing may block: "do not call blocking functions from the mainloop". So the handlers are
empty. The interpreter itself writes the number of each signal into a pipe (`signal.set_wakeup_fd`),
and a green thread reads it. The pipe wakes the hub as well.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

from eventlet import patcher
from eventlet.hubs import trampoline

_os: Any = patcher.original("os")


class StopSignals:
    """Signals that ask this process to stop; made once, in the main thread."""

    def __init__(self, numbers: Iterable[int] = (signal.SIGTERM, signal.SIGINT)) -> None:
        self._numbers = frozenset(numbers)
        self._read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe loses nothing: its reader has a signal to read anyway.
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in self._numbers:
            signal.signal(number, _leave_it_to_the_pipe)

    def wait(self) -> int:
        """Wait in a green thread for the first of the signals and return its number.

        Further signals change nothing.
        """
        while True:
            trampoline(self._read_end, read=True)
            found = next((number for number in self._arrived() if number in self._numbers), None)
            if found is not None:
                return found

    def _arrived(self) -> bytes:
        try:
            return bytes(_os.read(self._read_end, 4096))
        except BlockingIOError:
            return b""


def _leave_it_to_the_pipe(_number: int, _frame: Any) -> None:
    """Do nothing. Without a handler, the number would not be written into the pipe."""
