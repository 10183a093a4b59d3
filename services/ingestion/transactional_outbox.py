"""Transactional outbox: events stored by the commit that caused them, removed once published.

A batch that starts or ends conditions, or moves guards over the edges of zones, stores its events
in its own transaction. It publishes them after the commit, and then deletes the rows. A process
that dies in between leaves rows. A timer of any process publishes those.

The events of one source are published in the order of their commits: a batch first publishes the
earlier events that the outbox still holds for its sources. An event may therefore be published
twice; its receivers handle it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, Row, text

from services.contracts.errors import Unavailable
from services.contracts.events import Condition, ConditionsEvent
from services.ingestion import bulk_insert
from services.platform.database import Database
from services.platform.prepared_statements import Prepared

log = structlog.get_logger(__name__)

Event = tuple[str, msgspec.Struct | msgspec.Raw]
Service = Literal["telemetry", "location"]

OVERDUE_S = 5.0
TYPES = {"tenant_id": "int", "event": "text", "about": "text", "body": "bytea"}
EARLIER = Prepared(
    "SELECT id, event, body FROM owed_event WHERE service = :service AND sources && CAST(:sources AS text[])"
)
# The outer query does not see the new rows: it finds the rows stored before.
OWE = Prepared(
    """
    WITH own AS (
        INSERT INTO owed_event (tenant_id, service, event, sources, body)
        SELECT tenant_id, :service, event, ARRAY(SELECT json_array_elements_text(about)), body
        FROM unnest(CAST(:tenant_id AS int[]), CAST(:event AS text[]), CAST(:about AS json[]),
                    CAST(:body AS bytea[])) AS t (tenant_id, event, about, body)
        RETURNING id
    )
    SELECT id, NULL AS event, NULL AS body FROM own
    UNION ALL
    SELECT id, event, body FROM owed_event WHERE service = :service AND sources && CAST(:sources AS text[])
    """
)
# One process at a time. Two would publish the events of one source out of order.
TURN = text("SELECT pg_try_advisory_xact_lock(hashtextextended('vigil owed ' || :service, 0))")
OVERDUE = text(
    """
    SELECT id, event, body FROM owed_event
    WHERE service = :service AND owed_at < now() - make_interval(secs => :older_than_s)
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
# A process that holds one of the rows is publishing it or has published it, and deletes it itself.
TOLD = text(
    """
    WITH free AS (SELECT id FROM owed_event WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED)
    DELETE FROM owed_event o USING free WHERE o.id = free.id
    """
)


class Owing(NamedTuple):
    """An event for the outbox, with its tenant and the sources that it is about."""

    tenant_id: int
    event: str
    about: Sequence[str]
    body: msgspec.Struct


def owing_conditions(met: Sequence[Condition], cleared: Sequence[Condition]) -> list[Owing]:
    """Return the events that report conditions, one for each tenant and kind."""
    found = []
    for tenant_id in sorted({condition.tenant_id for condition in (*met, *cleared)}):
        mine = [[c for c in conditions if c.tenant_id == tenant_id] for conditions in (met, cleared)]
        for event, body in condition_events(*mine):
            about = sorted({condition.source_id for condition in body.conditions})
            found.append(Owing(tenant_id, event, about, body))
    return found


def condition_events(met: list[Condition], cleared: list[Condition]) -> list[tuple[str, ConditionsEvent]]:
    """Return the events that report conditions; none when there are no conditions."""
    both = (("alert_condition_met", met), ("alert_condition_cleared", cleared))
    return [(event, ConditionsEvent(conditions)) for event, conditions in both if conditions]


class Debt:
    """The outbox rows of a batch, and the earlier rows about the same sources."""

    def __init__(self, own: Iterable[int] = (), earlier: Mapping[int, Event] | None = None) -> None:
        self._own = set(own)
        self._earlier = dict(earlier or {})

    def add(self, part: Debt) -> None:
        """Add the rows of a further part of the batch; it may have found earlier parts' rows."""
        self._earlier |= {number: event for number, event in part._earlier.items() if number not in self._own}
        self._own |= part._own

    @property
    def ids(self) -> list[int]:
        return sorted(self._own | self._earlier.keys())

    @property
    def earlier(self) -> list[Event]:
        """Return the events to publish before the batch's own events, in order."""
        return [event for _, event in sorted(self._earlier.items())]


class OwedEvents:
    """The outbox of one service."""

    def __init__(self, database: Database, service: Service) -> None:
        self._database = database
        self._service = service

    def owe(self, connection: Connection, owings: Sequence[Owing]) -> Debt:
        """Store events in the caller's transaction.

        The caller has locked the states of the sources that the events are about. Without events,
        no statement is sent to the database.
        """
        if not owings:
            return Debt()
        values: dict[str, list[object]] = {
            "tenant_id": [owing.tenant_id for owing in owings],
            "event": [owing.event for owing in owings],
            "about": [msgspec.json.encode(owing.about).decode() for owing in owings],
            "body": [msgspec.msgpack.encode(owing.body) for owing in owings],
        }
        sources = sorted({source for owing in owings for source in owing.about})
        given = {
            "service": self._service,
            "sources": bulk_insert.array("text", sources),
            **bulk_insert.arrays(TYPES, values),
        }
        found = OWE.run(connection, given).all()
        return Debt((row.id for row in found if row.event is None), _events(found))

    def earlier(self, connection: Connection, sources: Sequence[str]) -> Debt:
        """Return the events of these sources that the outbox holds already.

        A batch that comes again publishes the events that its first run could not publish.
        """
        values = {"service": self._service, "sources": bulk_insert.array("text", sources)}
        return Debt((), _events(EARLIER.run(connection, values).all()))

    def forget(self, debt: Debt) -> None:
        """Delete rows that were published.

        Rows that cannot be deleted now are published once more by the timer.
        """
        if not debt.ids:
            return
        try:
            with self._database.across() as connection:
                connection.execute(TOLD, {"ids": debt.ids})
        except Unavailable as error:
            log.warning("outbox_events_kept", service=self._service, count=len(debt.ids), error=str(error))

    def tell_overdue(
        self,
        publish: Callable[[Sequence[Event]], None],
        *,
        older_than_s: float = OVERDUE_S,
        limit: int = 100,
    ) -> int:
        """Publish the events that have waited for `older_than_s` seconds, in order.

        An error that `publish` raises leaves all of them in the outbox.

        Returns:
            The number of events published.
        """
        with self._database.across() as connection:
            if not connection.execute(TURN, {"service": self._service}).scalar_one():
                return 0
            values = {"service": self._service, "older_than_s": older_than_s, "limit": limit}
            found = connection.execute(OVERDUE, values).all()
            if not found:
                return 0
            publish([(row.event, msgspec.Raw(bytes(row.body))) for row in found])
            connection.execute(TOLD, {"ids": [row.id for row in found]})
        log.warning("outbox_events_published", service=self._service, count=len(found))
        return len(found)


def _events(found: Sequence[Row[Any]]) -> dict[int, Event]:
    return {row.id: (row.event, msgspec.Raw(bytes(row.body))) for row in found if row.event is not None}
