"""Where a screen begins: one snapshot for all sockets of a tenant that ask at about the same time."""

from __future__ import annotations

import time
from collections.abc import Callable

from eventlet.semaphore import Semaphore

from gateway.noc.framing import text_frame
from gateway.noc.outbox import Entry

MAX_AGE_S = 1.0
KEPT_TENANTS = 16
Seal = Callable[[int, int], bytes]
"""(tenant_id, frame_id) -> the sealed snapshot frame. Raises `Unavailable`."""


class Snapshots:
    """Sealed, framed and held once: a thousand screens that come back together cost one.

    A snapshot bears the id of the feed's last frame before it was made. Whoever goes on from there misses nothing,
    however old the snapshot is; frames that it may contain already say the same once more.
    """

    def __init__(
        self,
        last_id: Callable[[int], int],
        *,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._last_id = last_id
        self._max_age_s = max_age_s
        self._clock = clock
        self._turns: dict[int, Semaphore] = {}
        self._kept: dict[int, tuple[float, Entry]] = {}

    def of(self, tenant_id: int, *, seal: Seal) -> Entry:
        """Raises `Unavailable`. Green threads that ask meanwhile wait for the one that makes it."""
        with self._turns.setdefault(tenant_id, Semaphore()):
            made_s, entry = self._kept.get(tenant_id, (float("-inf"), None))
            if entry is None or self._clock() - made_s >= self._max_age_s:
                made_s = self._clock()
                frame_id = self._last_id(tenant_id)
                entry = Entry("snapshot", frame_id, text_frame(seal(tenant_id, frame_id)))
                self._keep(tenant_id, made_s, entry)
            return entry

    def forget(self) -> None:
        """The feed moved to another server: what was begun before does not lead there."""
        self._kept.clear()

    def _keep(self, tenant_id: int, made_s: float, entry: Entry) -> None:
        self._kept.pop(tenant_id, None)
        self._kept[tenant_id] = made_s, entry
        if len(self._kept) > KEPT_TENANTS:
            del self._kept[next(iter(self._kept))]
