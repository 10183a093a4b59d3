"""SQL of notifications: a row before any call, one for each alert, channel and recipient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.errors import NotFound
from services.notifications.policy import Notice
from services.paging import check_limit
from services.providers import Database

MAX_LISTED = 1000
RECORD = text(
    """
    INSERT INTO notification (tenant_id, alert_id, channel, recipient, state, body, created_at)
    VALUES (:tenant_id, :alert_id, :channel, :recipient, 'recorded', :body, :now)
    ON CONFLICT (alert_id, channel, recipient) DO NOTHING
    """
)


class NotificationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, *, tenant_id: int, alert_id: str, notices: Sequence[Notice], now: datetime
    ) -> list[Notice]:
        """Keep notices; returns those that were new."""
        with self._database.across() as connection:
            common = {"tenant_id": tenant_id, "alert_id": UUID(alert_id), "now": now}
            return [
                notice
                for notice in notices
                if connection.execute(
                    RECORD,
                    common | {"channel": notice.channel, "recipient": notice.recipient, "body": notice.body},
                ).rowcount
            ]

    def list_notifications(self, *, tenant_id: int, alert_id: str | None, limit: int) -> list[dict[str, Any]]:
        """Newest first. Raises `NotFound` for what is no alert id, `Refused` for a limit out of range."""
        check_limit(limit, most=MAX_LISTED)
        wanted = None if alert_id is None else as_uuid(alert_id)
        query = text(
            "SELECT notification_id, alert_id, channel, recipient, state, body, created_at FROM notification"
            " WHERE tenant_id = :tenant_id AND (CAST(:alert_id AS uuid) IS NULL OR alert_id = CAST(:alert_id AS uuid))"
            " ORDER BY notification_id DESC LIMIT :limit"
        )
        values = {"tenant_id": tenant_id, "alert_id": wanted, "limit": limit}
        with self._database.of(tenant_id) as connection:
            return [dict(row._mapping) for row in connection.execute(query, values)]


def as_uuid(text_form: str) -> UUID:
    try:
        return UUID(text_form)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotFound(f"no alert {text_form!r}") from error
