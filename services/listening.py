"""Since when a service has heard its messages without a pause: nobody is silent whom it could not have heard.

Every second one process of the service puts down that the road is open to it: PostgreSQL takes the mark, RabbitMQ
answers, and no backlog waits. When marks were missing for a while (the service was down, a server was away, a backlog
was read), silence is counted from the next one on, for everybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy import Connection, text

log = structlog.get_logger(__name__)

PAUSE_S = 10.0
"""Marks may be missing for so long, as in a restart, before silence is counted anew."""
BACKLOG = 20
"""Batches that may wait without being a backlog: they are handled within a second or two."""
BEHIND_MAX_S = 600.0
"""Who is behind for longer judges all the same: an overload that does not end must not hide a guard for ever."""

MARK = text(
    """
    INSERT INTO road_heard AS r (service, since, marked_at) VALUES (:service, now(), now())
    ON CONFLICT (service) DO UPDATE SET marked_at = greatest(r.marked_at, now()),
        since = CASE WHEN r.marked_at < now() - make_interval(secs => :pause_s) THEN now() ELSE r.since END
    RETURNING since
    """
)
# One process of a service at a time; whoever comes second has nothing to do in this second.
TURN = text("SELECT pg_try_advisory_xact_lock(hashtextextended('vigil silence ' || :service, 0))")


class Depth(Protocol):
    def waiting(self) -> int: ...


class Listening:
    """One a process."""

    def __init__(self, service: str, depth: Depth, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._depth = depth
        self._clock = clock
        self._behind_s: float | None = None

    def is_open(self) -> bool:
        """Whether what was sent has been heard. Raises `Unavailable` when RabbitMQ does not say."""
        waiting = self._depth.waiting()
        if waiting <= BACKLOG:
            self._behind_s = None
            return True
        if self._behind_s is None:
            self._behind_s = self._clock()
            log.warning("silence_not_judged", service=self._service, waiting=waiting)
        return self._clock() - self._behind_s > BEHIND_MAX_S

    def my_turn(self, connection: Connection) -> bool:
        """Whether no other process of the service is at it; until the transaction ends."""
        return bool(connection.execute(TURN, {"service": self._service}).scalar_one())

    def since(self, connection: Connection) -> datetime:
        """Put down that the road is open; from when on silence counts."""
        values = {"service": self._service, "pause_s": PAUSE_S}
        found: datetime = connection.execute(MARK, values).scalar_one()
        return found
