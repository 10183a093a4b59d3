"""SQL of stored data: readings between two times, and messages that were refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text

from services.contracts.errors import NotFound, Refused
from services.contracts.families import TELEMETRY, BatchedFamily
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.platform.database import Database

MAX_LISTED = 10_000
FAMILY = text("SELECT family FROM source_state WHERE tenant_id = :tenant_id AND source_id = :source_id")
NEWEST_FIRST = ListOrder((("received_at", "timestamptz"), ("message_key", "uuid")), descending=True)


class HistoryStore:
    """Store of past readings and refused messages.

    Each method is one transaction of one tenant. Raises `Refused`, `NotFound`, `Unavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def readings(
        self, source_id: str, *, tenant_id: int, since: datetime, until: datetime, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """List readings, newest first, by device time: since <= recorded_at < until."""
        check_limit(limit, most=MAX_LISTED)
        if not since < until:
            raise Refused("until must be after since")

        values = {"tenant_id": tenant_id, "source_id": source_id, "since": since, "until": until}
        with self._database.of(tenant_id) as connection:
            family = connection.execute(FAMILY, values).scalar_one_or_none()
            row = next((row for row in TELEMETRY if row.name == family), None)
            if row is None:
                raise NotFound(
                    f"no device, sensor or system {source_id!r} of tenant {tenant_id} has sent messages"
                )
            query = _readings_of(row)
            return [dict(row._mapping) for row in connection.execute(query, {**values, "limit": limit})]

    def rejected(
        self, *, tenant_id: int, reason: str | None = None, limit: int = 100, after: object = None
    ) -> list[dict[str, Any]]:
        """List refused messages, newest first, from the place `after` on.

        Only the platform may see messages that belong to no tenant.
        """
        check_limit(limit, most=MAX_LISTED)
        further, place = beyond(NEWEST_FIRST, after)
        query = text(
            "SELECT message_key::text, topic, payload, reason, detail, received_at, source_id, occurrences"
            " FROM rejected_message"
            " WHERE tenant_id = :tenant_id AND (CAST(:reason AS text) IS NULL OR reason = :reason)"
            f" AND {further} {NEWEST_FIRST.clause} LIMIT :limit"
        )

        values = {"tenant_id": tenant_id, "reason": reason, "limit": limit, **place}
        with self._database.of(tenant_id) as connection:
            found = [dict(row._mapping) for row in connection.execute(query, values)]

        return [{**row, "payload": bytes(row["payload"])} for row in found]


def _readings_of(row: BatchedFamily) -> Any:
    pairs = ", ".join(f"'{name}', {name}" for name in row.columns)
    return text(
        f"SELECT recorded_at, received_at, clock_suspect, json_build_object({pairs}) AS values FROM {row.table}"
        f" WHERE tenant_id = :tenant_id AND {row.source_column} = :source_id"
        " AND recorded_at >= :since AND recorded_at < :until ORDER BY recorded_at DESC LIMIT :limit"
    )
