"""Newest positions for the control room: the first at once, those soon after it together."""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
import structlog
from eventlet.event import Event

from services.contracts.errors import Unavailable
from services.contracts.events import FeedPosition
from services.feed.stream import LEFT_ALONE_S, FeedWriter
from services.location.live_positions.frame_pace import FramePace
from services.location.tracks.latest_positions import LatestPositions
from services.platform import metrics

log = structlog.get_logger(__name__)

TASK = "show_positions"
ROUNDS_SHARE = 0.1
"""Part of the time that rounds may take. Beyond it, positions wait longer for one another."""


class PositionFeed:
    """Newest position of each guard since the last frame.

    Each process publishes the positions that it has stored itself, at its own pace. No process
    waits for the turn of another.

    Args:
        feed: Takes the frames.
        shortest_s, longest_s: The bounds of the pause between two frames of one tenant.
    """

    def __init__(
        self,
        feed: FeedWriter,
        *,
        shortest_s: float,
        longest_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._newest = LatestPositions()
        self._pace = FramePace(shortest_s=shortest_s, longest_s=longest_s, share=ROUNDS_SHARE)
        self._clock = clock
        self._arrived = Event()
        self._without_former: set[int] = set()

    def put(self, tenant_id: int, position: FeedPosition) -> None:
        """Keep a position for the next frame, unless a newer one of the guard (by device time) waits."""
        self._newest.put(tenant_id, position)
        if not self._arrived.ready():
            self._arrived.send(None)

    def run(self) -> None:
        """Publish positions for as long as the process lives. Sleep while there are none."""
        while True:
            if not self._newest.tenants():
                self._arrived.wait()
                self._arrived = Event()
            eventlet.sleep(self._pace.rest_s(now_s=self._clock()))
            began_s = self._clock()
            self._show_or_keep()
            self._pace.ended(began_s=began_s, now_s=self._clock())

    def close(self) -> None:
        """Publish what still waits when the process stops.

        The guards may not move again for a while.
        """
        try:
            self.show()
        except Unavailable as error:
            log.warning("positions_not_published", error=str(error))

    def _show_or_keep(self) -> None:
        """Publish what waits. Positions that Redis does not take stay for the next round."""
        started_s = time.perf_counter()
        try:
            self.show()
        except Unavailable as error:
            metrics.task_failure.labels(TASK, type(error).__name__).inc()
            log.warning("positions_not_published", error=str(error))
            eventlet.sleep(LEFT_ALONE_S)
        else:
            metrics.task_success.labels(TASK).inc()

        metrics.task_duration.labels(TASK).observe(time.perf_counter() - started_s)

    def show(self) -> None:
        """Append one frame for each tenant with positions that wait.

        Raises:
            Unavailable: Redis does not answer. The positions still wait.
        """
        for tenant_id in self._newest.tenants():
            positions = self._newest.take(tenant_id)
            try:
                oldest = min(position.received_at for position in positions)
                self._feed.publish(tenant_id, "positions", positions, arrived=oldest)
            except Unavailable:
                self._newest.put_back(tenant_id, positions)
                raise
            self._remove_former(tenant_id)

    def _remove_former(self, tenant_id: int) -> None:
        """Remove what an older version left in Redis, once for each tenant.

        The feed goes on when this fails.
        """
        if tenant_id in self._without_former:
            return
        self._without_former.add(tenant_id)
        try:
            self._feed.remove_former_positions(tenant_id)
        except Unavailable as error:
            log.warning("former_positions_not_removed", tenant_id=tenant_id, error=str(error))
