"""Transactional outbox: events stored by the commit that caused them, removed once published.

A batch that starts or ends conditions, or moves guards over the edges of zones, stores its events
in its own transaction. It publishes them after the commit, and then deletes the rows. A process
that dies in between leaves rows. A timer of any process publishes those.

The events of one source are published in the order of their commits: a batch first publishes the
earlier events that the outbox still holds for its sources. An event may therefore be published
twice; its receivers handle it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import structlog
from sqlalchemy import Connection, Row, text

from services.contracts.errors import Unavailable
from services.ingestion import bulk_insert
from services.ingestion.effects import Effects, Event
from services.platform.database import Database
from services.platform.prepared_statements import PreparedStatement

log = structlog.get_logger(__name__)

Service = Literal["telemetry", "location"]

OVERDUE_S = 5.0
TYPES = {"tenant_id": "int", "event": "text", "about": "text", "body": "bytea"}
EARLIER = PreparedStatement(
    "SELECT id, event, body FROM owed_event WHERE service = :service AND sources && CAST(:sources AS text[])"
)
# The outer query does not see the new rows: it finds the rows stored before.
OWE = PreparedStatement(
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


class TransactionalOutbox:
    """The outbox of one service."""

    def __init__(self, database: Database, service: Service) -> None:
        self._database = database
        self._service = service

    def store_events(self, connection: Connection, effects: Effects) -> None:
        """Store the events of effects in the caller's transaction, and note their rows in the effects.

        The caller has locked the states of the sources that the events are about. Without events,
        no statement is sent to the database.
        """
        owings = effects.owings
        if not owings:
            return

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
        effects.note_outbox((row.id for row in found if row.event is None), _events(found))

    def note_earlier(self, connection: Connection, sources: Sequence[str], effects: Effects) -> None:
        """Note in the effects the events of these sources that the outbox holds already.

        A batch that comes again publishes the events that its first run could not publish.
        """
        values = {"service": self._service, "sources": bulk_insert.array("text", sources)}
        effects.note_outbox((), _events(EARLIER.run(connection, values).all()))

    def publish(self, effects: Effects, publish: Callable[[Sequence[Event]], None]) -> None:
        """Publish all that is due by effects, and then delete their rows."""
        publish(effects.due)
        self.forget(effects)

    def forget(self, effects: Effects) -> None:
        """Delete the rows of effects that were published.

        Rows that cannot be deleted now are published once more by the timer.
        """
        ids = effects.outbox_ids
        if not ids:
            return

        try:
            with self._database.across() as connection:
                connection.execute(TOLD, {"ids": ids})
        except Unavailable as error:
            log.warning("outbox_events_kept", service=self._service, count=len(ids), error=str(error))

    def publish_overdue(
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
