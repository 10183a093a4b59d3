"""SQL of users who log in: their sessions, and the refresh tokens of each session."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from services.contracts.errors import NotAuthenticated, NotFound
from services.platform.database import Database

KEPT_AFTER_END = timedelta(days=30)
FIND_USER = text(
    "SELECT user_id, tenant_id, login, name, role, password_hash FROM app_user WHERE login = :login AND enabled"
)
OPEN = text(
    "INSERT INTO user_session (session_id, tenant_id, user_id, created_at, expires_at)"
    " VALUES (:session_id, :tenant_id, :user_id, :now, :expires_at)"
)
ADD_TOKEN = text(
    "INSERT INTO refresh_token (token_hash, tenant_id, session_id, created_at)"
    " VALUES (:token_hash, :tenant_id, :session_id, :now)"
)
FIND_TOKEN = text(
    "SELECT t.used_at, s.session_id, s.expires_at, s.revoked_at, u.enabled, u.changed_at, s.created_at,"
    " u.user_id, u.tenant_id, u.login, u.name, u.role"
    " FROM refresh_token t JOIN user_session s USING (session_id) JOIN app_user u ON u.user_id = s.user_id"
    " WHERE t.token_hash = :token_hash FOR UPDATE OF t, s"
)
USE_TOKEN = text("UPDATE refresh_token SET used_at = :now WHERE token_hash = :token_hash")
REVOKE = text(
    "UPDATE user_session SET revoked_at = :now, revoked_why = :why"
    " WHERE session_id = :session_id AND revoked_at IS NULL"
)
CHANGE = text(
    "UPDATE app_user SET password_hash = coalesce(:password_hash, password_hash), role = coalesce(:role, role),"
    " changed_at = now() WHERE login = :login AND tenant_id = :tenant_id"
)
CHANGED_USERS = text(
    "SELECT login, role, enabled, changed_at FROM app_user WHERE NOT enabled OR changed_at > :since"
)
REVOKED_SESSIONS = text("SELECT session_id FROM user_session WHERE revoked_at > :since")
FORGET = text("DELETE FROM user_session WHERE expires_at < :before")


class RefreshedSession(NamedTuple):
    """Session that goes on: its user, its id, and its final end."""

    user: dict[str, Any]
    session_id: str
    expires_at: datetime


class Reused(NotAuthenticated):
    """A refresh token came a second time: somebody has a copy. Its session is ended."""


class UserStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, login: str) -> dict[str, Any] | None:
        """Return an enabled user with the password's hash, or None."""
        with self._database.people() as connection:
            row = connection.execute(FIND_USER, {"login": login}).one_or_none()
            return None if row is None else dict(row._mapping)

    def open(
        self, user: dict[str, Any], *, token: str, now: datetime, lifetime: timedelta
    ) -> RefreshedSession:
        """Open a session that `token` can refresh."""
        session_id = uuid4()
        values = {"session_id": session_id, "tenant_id": user["tenant_id"], "user_id": user["user_id"]}
        with self._database.people() as connection:
            connection.execute(OPEN, {**values, "now": now, "expires_at": now + lifetime})
            connection.execute(ADD_TOKEN, {**values, "token_hash": token_hash(token), "now": now})
        return RefreshedSession(user, str(session_id), now + lifetime)

    def refresh(self, token: str, *, fresh: str, now: datetime) -> RefreshedSession:
        """Exchange a refresh token for the next one. Raises `NotAuthenticated`, `Reused`."""
        with self._database.people() as connection:
            row = connection.execute(FIND_TOKEN, {"token_hash": token_hash(token)}).one_or_none()
            if row is not None and row.used_at is None and self._lives(row, now):
                values = {"session_id": row.session_id, "tenant_id": row.tenant_id, "now": now}
                connection.execute(USE_TOKEN, {"token_hash": token_hash(token), "now": now})
                connection.execute(ADD_TOKEN, {**values, "token_hash": token_hash(fresh)})
                user = {
                    name: getattr(row, name) for name in ("user_id", "tenant_id", "login", "name", "role")
                }
                return RefreshedSession(user, str(row.session_id), row.expires_at)

            if row is not None and row.used_at is not None:
                self._revoke(connection, row.session_id, now=now, why="refresh token used twice")

        # Raise here: the revocation must be committed, not rolled back with the error.
        if row is not None and row.used_at is not None:
            raise Reused(f"a refresh token of {row.login} was used twice; the session is ended, log in again")

        raise NotAuthenticated("the session is unknown or has ended; log in again")

    def close(self, session_id: str, *, now: datetime, why: str) -> None:
        """End a session. A session that has ended or is unknown stays as it is."""
        with self._database.people() as connection:
            self._revoke(connection, UUID(session_id), now=now, why=why)

    def change(
        self, login: str, *, tenant_id: int, password_hash: str | None = None, role: str | None = None
    ) -> None:
        """Set a new password or role. Older tokens and sessions are void.

        It needs the owner's rights. Raises `NotFound`.
        """
        values = {"login": login, "tenant_id": tenant_id, "password_hash": password_hash, "role": role}
        with self._database.people() as connection:
            if connection.execute(CHANGE, values).rowcount == 0:
                raise NotFound(f"no user {login!r} in tenant {tenant_id}")

    def barred(self, *, since: datetime) -> tuple[dict[str, float | None], dict[str, str], list[str]]:
        """Return the changes since a time that void tokens.

        Returns:
            (login -> Unix second before which its tokens are void, None for all; login -> role;
            ended sessions).
        """
        with self._database.people() as connection:
            changed = connection.execute(CHANGED_USERS, {"since": since}).all()
            users = {row.login: row.changed_at.timestamp() if row.enabled else None for row in changed}
            roles = {row.login: row.role for row in changed}
            sessions = [str(row.session_id) for row in connection.execute(REVOKED_SESSIONS, {"since": since})]
        return users, roles, sessions

    def forget_old_sessions(self, *, now: datetime) -> None:
        with self._database.people() as connection:
            connection.execute(FORGET, {"before": now - KEPT_AFTER_END})

    def _lives(self, row: Any, now: datetime) -> bool:
        changed_since = row.changed_at > row.created_at
        return row.revoked_at is None and row.expires_at > now and row.enabled and not changed_since

    def _revoke(self, connection: Connection, session_id: UUID, *, now: datetime, why: str) -> None:
        connection.execute(REVOKE, {"session_id": session_id, "now": now, "why": why})


def token_hash(token: str) -> bytes:
    """Return the hash that is kept of a refresh token.

    A plain hash is enough: the token is random, so it cannot be guessed from its hash.
    """
    return hashlib.sha256(token.encode()).digest()
