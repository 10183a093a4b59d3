"""Checks of drawn shapes in a native thread: log-ins and snapshots go on meanwhile.

The work of one shape is bounded (`services.geometry_limits`), and GEOS lets other threads run. One shape is checked at
a time, first come, first served, so that many of them share one core at the most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import eventlet
from eventlet import tpool
from eventlet.semaphore import Semaphore

from services.errors import TooMany

P = ParamSpec("P")
R = TypeVar("R")
LONGEST_WAIT_S = 2.0


class GeometryThread:
    """Runs pure functions, one at a time, outside of the thread that serves RPC."""

    def __init__(self, *, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._free = Semaphore(1)
        self._longest_wait_s = longest_wait_s

    def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the work returns. Raises what it raises, and `TooMany` after a wait of `longest_wait_s`."""
        late = TooMany("many zones are being checked at the moment; try again in some seconds")
        with eventlet.Timeout(self._longest_wait_s, late):
            self._free.acquire()
        try:
            result: R = tpool.execute(work, *args, **kwargs)
        finally:
            self._free.release()
        return result
