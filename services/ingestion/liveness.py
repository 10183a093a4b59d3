"""The time since when a service has received its messages without a pause.

A source is not offline when the service could not have received its messages. Every second one
process of the service marks that messages get through: PostgreSQL takes the mark, RabbitMQ answers,
and no backlog waits. Marks are missing when the service was down, a server was away, or a backlog
was read. After such a gap, offline time counts from the next mark on, for all sources.
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
"""Seconds for which marks may be missing, as in a restart.

After a longer gap, offline time counts from zero again.
"""
BACKLOG = 20
"""Batches that may wait without being a backlog: they are handled within a second or two."""
BEHIND_MAX_S = 600.0
"""Seconds of backlog after which offline sources are judged again.

An overload that does not end must not hide a guard for ever.
"""

MARK = text(
    """
    INSERT INTO road_heard AS r (service, since, marked_at) VALUES (:service, now(), now())
    ON CONFLICT (service) DO UPDATE SET marked_at = greatest(r.marked_at, now()),
        since = CASE WHEN r.marked_at < now() - make_interval(secs => :pause_s) THEN now() ELSE r.since END
    RETURNING since
    """
)
# One process of a service at a time; the second one has nothing to do in this second.
TURN = text("SELECT pg_try_advisory_xact_lock(hashtextextended('vigil silence ' || :service, 0))")


class WaitingCount(Protocol):
    def waiting(self) -> int: ...


class ReceptionMarks:
    """The marks of one service; one for each process."""

    def __init__(
        self, service: str, depth: WaitingCount, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._depth = depth
        self._clock = clock
        self._behind_s: float | None = None

    def is_open(self) -> bool:
        """Return whether the messages that were sent have been received.

        Raises:
            Unavailable: RabbitMQ does not say how many messages wait.
        """
        waiting = self._depth.waiting()
        if waiting <= BACKLOG:
            self._behind_s = None
            return True
        if self._behind_s is None:
            self._behind_s = self._clock()
            log.warning("offline_check_skipped", service=self._service, waiting=waiting)
        return self._clock() - self._behind_s > BEHIND_MAX_S

    def my_turn(self, connection: Connection) -> bool:
        """Take the turn of this service until the transaction ends.

        Returns:
            False when another process of the service has the turn.
        """
        return bool(connection.execute(TURN, {"service": self._service}).scalar_one())

    def since(self, connection: Connection) -> datetime:
        """Mark that messages get through; return the time from which offline time counts."""
        values = {"service": self._service, "pause_s": PAUSE_S}
        found: datetime = connection.execute(MARK, values).scalar_one()
        return found
