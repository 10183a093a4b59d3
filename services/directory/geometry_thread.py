"""Checks of drawn shapes in a native thread: log-ins and snapshots go on meanwhile.

The work of one shape is bounded (`services.geometry_limits`), and GEOS lets other threads run. One shape is checked at
a time, first come, first served, so that many of them share one core at the most. No tenant takes all places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar, cast

import eventlet
from eventlet import tpool
from eventlet.semaphore import Semaphore

from services.directory.zone_store import Judge
from services.errors import TooMany

P = ParamSpec("P")
R = TypeVar("R")
LONGEST_WAIT_S = 2.0
MOST = 3
MOST_OF_TENANT = 2
"""At work or waiting: each holds one of the service's workers, and log-ins and other tenants need some."""


class GeometryThread:
    """Runs pure functions, one at a time, outside of the thread that serves RPC."""

    def __init__(self, *, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._free = Semaphore(1)
        self._longest_wait_s = longest_wait_s
        self._inside: Counter[int] = Counter()

    def of(self, tenant_id: int) -> Judge:
        """Return what runs a function for this tenant.

        It raises what the function raises; `TooMany` when too many are there already, of all or of this tenant, and
        after a wait of `longest_wait_s`.
        """
        return cast(Judge, partial(self._run, tenant_id))

    def _run(self, tenant_id: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        busy = TooMany("many zones are being checked at the moment; try again in some seconds")
        if self._inside.total() >= MOST or self._inside[tenant_id] >= MOST_OF_TENANT:
            raise busy
        self._inside[tenant_id] += 1
        try:
            with eventlet.Timeout(self._longest_wait_s, busy):
                self._free.acquire()
            try:
                result: R = tpool.execute(work, *args, **kwargs)
            finally:
                self._free.release()
        finally:
            self._inside[tenant_id] -= 1
            self._inside += Counter()  # forget tenants that have nothing there
        return result
