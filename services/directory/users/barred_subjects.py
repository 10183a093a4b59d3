"""Bars of token subjects that are not Vigil's users: users of an identity provider, and programs.

A bar voids every token of one issuer, subject and tenant. After its end, a bar still voids the
tokens that were issued before the end, for as long as a token may live. Then the bar is deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from services.contracts.errors import NotFound, Refused
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.platform.config import Config
from services.platform.database import Database

OWN_ISSUER = "vigil"
MAX_SUBJECT_LENGTH = 255
MAX_LISTED = 100_000
BAR = text(
    "INSERT INTO barred_subject (tenant_id, issuer, subject, until, by, reason)"
    " VALUES (:tenant_id, :issuer, :subject, :until, :by, :reason)"
    " ON CONFLICT (tenant_id, issuer, subject) DO UPDATE SET since = now(), until = excluded.until,"
    " by = excluded.by, reason = excluded.reason RETURNING bar_id"
)
LIFT = text(
    "UPDATE barred_subject SET until = now(), by = :by WHERE tenant_id = :tenant_id AND bar_id = :bar_id"
    " AND (until IS NULL OR until > now())"
)
LIST = (
    "SELECT bar_id, tenant_id, issuer, subject, since, until, by, reason FROM barred_subject"
    " WHERE tenant_id = :tenant_id"
)
ORDER = ListOrder((("bar_id", "bigint"),))
IN_FORCE = text(
    "SELECT tenant_id, issuer, subject, until FROM barred_subject WHERE until IS NULL OR until > :since"
)
FORGET = text("DELETE FROM barred_subject WHERE until < :before")


class BarredSubjects:
    """Bars in the database.

    Args:
        issuer: the issuer whose tokens are accepted besides Vigil's own; empty without an identity
            provider.
    """

    def __init__(self, database: Database, *, issuer: str = "") -> None:
        self._database = database
        self._issuer = issuer

    @classmethod
    def from_config(cls, config: Config, database: Database) -> BarredSubjects:
        return cls(database, issuer=config.noc.jwt_issuer if config.noc.jwt_jwks_url else "")

    def bar(
        self,
        subject: str,
        *,
        tenant_id: int,
        by: str,
        reason: str = "",
        issuer: str | None = None,
        until: datetime | None = None,
    ) -> int:
        """Void the tokens of a subject everywhere within two seconds. Return the bar's id.

        A second bar of a subject changes the first. Raises `Refused`.
        """
        if not subject.strip() or len(subject) > MAX_SUBJECT_LENGTH or "\0" in subject:
            raise Refused(f"subject must be the `sub` of the tokens, 1 to {MAX_SUBJECT_LENGTH} characters")

        believed = [name for name in (self._issuer, OWN_ISSUER) if name]
        if issuer is not None and issuer not in believed:
            raise Refused(
                f"issuer: tokens of {issuer[:100]!r} are not believed here; {' or '.join(believed)}"
            )
        if until is not None and until <= datetime.now(UTC):
            raise Refused("until must be in the future; leave it out for a bar without an end")

        values = {"tenant_id": tenant_id, "subject": subject, "until": until, "by": by, "reason": reason}
        with self._database.of(tenant_id) as connection:
            made = connection.execute(BAR, {**values, "issuer": issuer or believed[0]})
            return int(made.scalar_one())

    def lift(self, bar_id: int, *, tenant_id: int, by: str) -> None:
        """End a bar: new tokens of the subject are valid again. Tokens from before stay void.

        Raises `NotFound`.
        """
        with self._database.of(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "bar_id": bar_id, "by": by}
            if connection.execute(LIFT, values).rowcount == 0:
                raise NotFound(f"no bar {bar_id} is in force in tenant {tenant_id}")

    def list_rows(
        self, *, tenant_id: int, limit: int = 1000, after: list[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return bars in the order in which they were made."""
        check_limit(limit, most=MAX_LISTED)
        further, place = beyond(ORDER, after)
        query = text(f"SELECT * FROM ({LIST}) listed WHERE {further} {ORDER.clause} LIMIT :limit")
        with self._database.of(tenant_id) as connection:
            rows = connection.execute(query, {"tenant_id": tenant_id, "limit": limit, **place})
            return [dict(row._mapping) for row in rows]

    def in_force(self, *, since: datetime) -> list[tuple[int, str, str, float | None]]:
        """Return (tenant id, issuer, subject, second) of each bar that voids tokens.

        Tokens from before the second (Unix time) are void; all tokens are void when it is None.

        Args:
            since: no token that was issued earlier is still alive.
        """
        with self._database.people() as connection:
            return [
                (row.tenant_id, row.issuer, row.subject, row.until.timestamp() if row.until else None)
                for row in connection.execute(IN_FORCE, {"since": since})
            ]

    def forget(self, *, now: datetime, token_life: timedelta) -> None:
        """Delete bars whose tokens have all expired."""
        with self._database.people() as connection:
            connection.execute(FORGET, {"before": now - token_life})
