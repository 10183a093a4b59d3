"""SQL of tenants' own templates. Each is checked before it is kept, by writing messages with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.contracts.errors import NotFound
from services.notifications.texts.templates import check_template, fault_of
from services.platform.database import Database

SELECT = text(
    "SELECT channel, language, part, source FROM message_template WHERE tenant_id = :tenant_id ORDER BY 1, 2, 3"
)
PUT = text(
    "INSERT INTO message_template (tenant_id, channel, language, part, source)"
    " VALUES (:tenant_id, :channel, :language, :part, :source)"
    " ON CONFLICT (tenant_id, channel, language, part) DO UPDATE SET source = excluded.source"
)
REMOVE = text(
    "DELETE FROM message_template WHERE tenant_id = :tenant_id AND channel = :channel AND language = :language"
    " AND part = :part"
)


class TemplateStore:
    """Templates of tenants in the database.

    Each method is one transaction. Raises `Unavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_tenant(self, tenant_id: int) -> dict[tuple[str, str, str], str]:
        """Return a tenant's templates by (channel, language, part)."""
        with self._database.across() as connection:
            found = connection.execute(SELECT, {"tenant_id": tenant_id})
            return {(row.channel, row.language, row.part): row.source for row in found}

    def list_templates(self, *, tenant_id: int) -> list[dict[str, Any]]:
        """Return a tenant's templates. One with a `fault` is not used for messages."""
        with self._database.of(tenant_id) as connection:
            rows = [dict(row._mapping) for row in connection.execute(SELECT, {"tenant_id": tenant_id})]
        return [{**row, "fault": fault_of(**row)} for row in rows]

    def set_template(self, *, tenant_id: int, channel: str, language: str, part: str, source: str) -> None:
        """Add or replace a template. Raises `Refused`, `NotFound`."""
        check_template(channel=channel, language=language, part=part, source=source)
        values = {"channel": channel, "language": language, "part": part, "source": source}
        try:
            with self._database.of(tenant_id) as connection:
                connection.execute(PUT, {"tenant_id": tenant_id, **values})
        except IntegrityError as error:
            raise NotFound(f"there is no tenant {tenant_id}") from error

    def remove_template(self, *, tenant_id: int, channel: str, language: str, part: str) -> None:
        """Remove a template: the built-in one holds again. Raises `NotFound`."""
        missing = NotFound(f"tenant {tenant_id} has no template {channel} {language} {part} of its own")
        values = {"channel": channel, "language": language, "part": part}
        if not all(isinstance(value, str) and value.isprintable() for value in values.values()):
            raise missing
        with self._database.of(tenant_id) as connection:
            if connection.execute(REMOVE, {"tenant_id": tenant_id, **values}).rowcount == 0:
                raise missing
