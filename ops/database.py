"""Makes what only a superuser of PostgreSQL may make: owner, services' login, their roles, the database, PostGIS.

Everything is looked at first, so it may be run again at any time; passwords are set to what the URLs say, so it
also carries a changed password to the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql
from sqlalchemy import URL
from sqlalchemy.engine import make_url

from services.errors import Misconfigured, Unavailable
from services.providers import DATABASE_ROLES, database_url

CONNECT_TIMEOUT_S = 10


def prepare(superuser_url: str, *, owner_url: str, service_url: str) -> list[str]:
    """Make what is missing; returns what was made, in words. Raises `Misconfigured`, `Unavailable`."""
    owner, service = _login(owner_url, "VIGIL_OWNER_DATABASE_URL"), _login(service_url, "DATABASE_URL")
    if owner.username == service.username:
        raise Misconfigured(
            "DATABASE_URL and VIGIL_OWNER_DATABASE_URL name the same login;"
            " the services must not own the tables: give them a login of their own"
        )
    if owner.database != service.database:
        raise Misconfigured(
            f"VIGIL_OWNER_DATABASE_URL names the database {owner.database} and DATABASE_URL {service.database}"
        )
    made: list[str] = []
    with _cursor(superuser_url) as cursor:
        for role in DATABASE_ROLES:
            made += _role(cursor, role, "NOLOGIN")
        made += _role(cursor, str(owner.username), "LOGIN CREATEDB", password=owner.password)
        made += _role(cursor, str(service.username), "LOGIN", password=service.password)
        for login in (owner, service):
            roles = sql.SQL(", ").join(map(sql.Identifier, DATABASE_ROLES))
            cursor.execute(sql.SQL("GRANT {} TO {}").format(roles, sql.Identifier(str(login.username))))
        made += _database(cursor, str(owner.database), str(owner.username))
    with _cursor(superuser_url, database=owner.database) as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    return made


def _login(url: str, variable: str) -> URL:
    if not url:
        raise Misconfigured(f"{variable} is not set; it says which login and password to make")
    parsed = make_url(database_url(url))
    if not (parsed.username and parsed.password and parsed.database):
        raise Misconfigured(f"{variable} must name a login, its password and the database")
    return parsed


def _role(cursor: Any, name: str, rights: str, *, password: str | None = None) -> list[str]:
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    there = cursor.fetchone() is not None
    verb = "ALTER" if there else "CREATE"
    secret = sql.SQL(" PASSWORD {}").format(sql.Literal(password)) if password else sql.SQL("")
    cursor.execute(sql.SQL(f"{verb} ROLE {{}} {rights}").format(sql.Identifier(name)) + secret)
    return [] if there else [f"role {name}"]


def _database(cursor: Any, name: str, owner: str) -> list[str]:
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    if cursor.fetchone() is not None:
        return []
    # A superuser of a managed server may give databases only to roles that it is a member of.
    cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(owner)))
    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))
    return [f"database {name}"]


@contextmanager
def _cursor(url: str, *, database: str | None = None) -> Iterator[Any]:
    parsed = make_url(database_url(url)).set(drivername="postgresql")
    target = parsed.set(database=database or parsed.database or "postgres")
    try:
        connection = psycopg2.connect(
            target.render_as_string(hide_password=False), connect_timeout=CONNECT_TIMEOUT_S
        )
    except psycopg2.OperationalError as error:
        raise Unavailable(f"PostgreSQL as superuser at {target.host}: {str(error).strip()}") from error
    connection.autocommit = True  # a database is not made within a transaction
    try:
        yield connection.cursor()
    except psycopg2.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"{target.username} may not prepare the database: {str(error).strip()};"
            " VIGIL_SUPERUSER_DATABASE_URL must name a superuser"
        ) from error
    finally:
        connection.close()
