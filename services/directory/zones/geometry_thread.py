"""Checks of drawn shapes in a native thread, so that log-ins and snapshots go on meanwhile.

The work for one shape is limited (`services.geofencing.work_limits`), and GEOS lets other threads
run. One shape is checked at a time, in the order of arrival, so that all checks share one core at
most. No tenant takes all places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar, cast

import eventlet
from eventlet import tpool
from eventlet.semaphore import Semaphore

from services.contracts.errors import TooMany
from services.directory.zones.store import FunctionRunner

P = ParamSpec("P")
R = TypeVar("R")
LONGEST_WAIT_S = 2.0
MOST = 3
MOST_OF_TENANT = 2
"""Limit of a tenant's checks, at work or waiting.

Each holds one of the service's workers. Log-ins and other tenants need workers too.
"""


class GeometryThread:
    """Runner of pure functions, one at a time, outside of the thread that serves RPC."""

    def __init__(self, *, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._free = Semaphore(1)
        self._longest_wait_s = longest_wait_s
        self._inside: Counter[int] = Counter()

    def of(self, tenant_id: int) -> FunctionRunner:
        """Return a runner of functions for this tenant.

        It raises the exceptions of the function.

        Raises:
            TooMany: there are too many checks already, of all tenants or of this one, or
                `longest_wait_s` has passed.
        """
        return cast(FunctionRunner, partial(self._run, tenant_id))

    def _run(self, tenant_id: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        busy = TooMany("many zones are being checked; try again in a few seconds")
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
            self._inside += Counter()  # forget tenants without checks

        return result
