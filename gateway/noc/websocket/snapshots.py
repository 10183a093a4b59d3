"""Snapshots: one for all sockets of a tenant that start at about the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from eventlet.semaphore import Semaphore

from gateway.noc.websocket.rfc6455 import text_frame
from gateway.noc.websocket.send_queue import QueuedFrame

MAX_AGE_S = 1.0
KEPT_TENANTS = 16


class SnapshotSealer(Protocol):
    """RPC of the directory that makes and seals a snapshot."""

    def __call__(self, *, tenant_id: int, frame_id: int) -> bytes:
        """Return the sealed snapshot frame. Raises `Unavailable`."""


class Snapshots:
    """Snapshots that are sealed, framed and held once. A thousand returning sessions cost one.

    A snapshot has the id of the feed's last frame before it was made. A client that continues from
    there misses nothing, however old the snapshot is. Frames that the snapshot may already contain
    repeat the same data.
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
        self._kept: dict[int, tuple[float, QueuedFrame]] = {}

    def of(self, tenant_id: int, *, seal: SnapshotSealer) -> QueuedFrame:
        """Return a tenant's snapshot. Raises `Unavailable`.

        Green threads that ask meanwhile wait for the thread that makes it.
        """
        with self._turns.setdefault(tenant_id, Semaphore()):
            made_s, entry = self._kept.get(tenant_id, (float("-inf"), None))
            if entry is None or self._clock() - made_s >= self._max_age_s:
                made_s = self._clock()
                frame_id = self._last_id(tenant_id)
                entry = QueuedFrame(
                    "snapshot", frame_id, text_frame(seal(tenant_id=tenant_id, frame_id=frame_id))
                )
                self._keep(tenant_id, made_s, entry)
            return entry

    def forget(self) -> None:
        """Drop all snapshots: the feed moved to another server, and no snapshot leads there."""
        self._kept.clear()

    def _keep(self, tenant_id: int, made_s: float, entry: QueuedFrame) -> None:
        self._kept.pop(tenant_id, None)
        self._kept[tenant_id] = made_s, entry
        if len(self._kept) > KEPT_TENANTS:
            del self._kept[next(iter(self._kept))]
