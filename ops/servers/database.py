"""Makes the objects that only a superuser of PostgreSQL may make.

These are the owner, the logins, the roles, the database and PostGIS.

The login of DATABASE_URL can take every role. Operators' commands use it, and so do all processes
where there is only one login. The login of one process can take only the roles of that process.
Without a role it may do nothing.

Everything is looked up first, so it may be run again at any time. Passwords are set to those in the
URLs, so a run also carries a changed password to the server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import psycopg2
from psycopg2 import sql
from sqlalchemy import URL
from sqlalchemy.engine import make_url

from ops.servers.postgres_grants import rows_role
from ops.servers.privileges import PRIVILEGES, database_role, database_roles
from services.contracts.errors import Misconfigured, Unavailable, VigilError
from services.platform.database import DATABASE_ROLES, database_url

CONNECT_TIMEOUT_S = 10
ALL_ROLES = (*DATABASE_ROLES, *map(rows_role, DATABASE_ROLES), *database_roles())
"""Every role that a database of Vigil knows, besides logins and the owner."""
MEMBER_OF = """
SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
WHERE l.rolname = %s
"""


def prepare(
    superuser_url: str,
    *,
    owner_url: str,
    service_url: str,
    process_urls: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Make what is missing.

    Args:
        superuser_url: the login of a superuser.
        owner_url: the login that owns the tables, and the database.
        service_url: the login of DATABASE_URL.
        process_urls: for each process, the URL with its own login.

    Returns:
        Names of what was made, in words.

    Raises:
        Misconfigured: the URLs do not fit together, or the superuser may not do it.
        Unavailable: the server does not answer.
    """
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

    processes = {process: _login(url, f"DATABASE_URL of {process}") for process, url in process_urls.items()}
    made: list[str] = []
    with _cursor(superuser_url) as cursor:
        made += _roles(cursor)
        made += _role(cursor, str(owner.username), "LOGIN CREATEDB", password=owner.password)
        made += _role(cursor, str(service.username), "LOGIN", password=service.password)
        for login in (owner, service):
            roles = sql.SQL(", ").join(map(sql.Identifier, ALL_ROLES))
            cursor.execute(sql.SQL("GRANT {} TO {}").format(roles, sql.Identifier(str(login.username))))
        for process, url in processes.items():
            made += _login_of_process(cursor, process, url)
        made += _database(cursor, str(owner.database), str(owner.username))

    make_postgis(make_url(database_url(superuser_url)).set(database=owner.database).render_as_string(False))
    return made


def make_postgis(superuser_url: str) -> None:
    """Add PostGIS to the database that the URL names, when it is not there."""
    with _cursor(superuser_url) as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS postgis")


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


def _roles(cursor: Any) -> list[str]:
    """Make the roles of all processes.

    The roles of one process see rows by the policies of the same access.
    """
    made = [line for role in ALL_ROLES for line in _role(cursor, role, "NOLOGIN")]
    for process, privileges in PRIVILEGES.items():
        for access in privileges.tables:
            lender, borrower = rows_role(f"vigil_{access}"), database_role(process, access)
            cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(lender), sql.Identifier(borrower)))
    return made


def _login_of_process(cursor: Any, process: str, url: URL) -> list[str]:
    """Make a login that inherits nothing: without a role of its process it may do nothing."""
    login = str(url.username)
    made = _role(cursor, login, "LOGIN NOINHERIT", password=url.password)
    wanted = {database_role(process, access) for access in PRIVILEGES[process].tables}
    cursor.execute(MEMBER_OF, (login,))

    held = {name for (name,) in cursor.fetchall()}
    for role in sorted(held - wanted):
        cursor.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), sql.Identifier(login)))

    for role in sorted(wanted - held):
        cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(login)))

    return made


def _database(cursor: Any, name: str, owner: str) -> list[str]:
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    if cursor.fetchone() is not None:
        return []
    # A superuser of a managed server may give databases only to roles that it is a member of.
    cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(owner)))
    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))
    return [f"database {name}"]


@contextmanager
def _cursor(url: str) -> Iterator[Any]:
    parsed = make_url(database_url(url)).set(drivername="postgresql")
    target = parsed.set(database=parsed.database or "postgres")

    try:
        connection = psycopg2.connect(
            target.render_as_string(hide_password=False), connect_timeout=CONNECT_TIMEOUT_S
        )
    except psycopg2.OperationalError as error:
        raise Unavailable(f"PostgreSQL as superuser at {target.host}: {str(error).strip()}") from error

    connection.autocommit = True  # a database cannot be made within a transaction
    try:
        yield connection.cursor()
    except psycopg2.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"{target.username} may not prepare the database: {str(error).strip()};"
            " VIGIL_SUPERUSER_DATABASE_URL must name a superuser"
        ) from error
    finally:
        connection.close()


def main() -> None:
    """Prepare a private server.

    Standard input holds its addresses, as `ops.local.servers` writes them.
    """
    wanted = json.load(sys.stdin)
    try:
        make_postgis(wanted["template_url"])
        prepare(
            wanted["admin_url"],
            owner_url=wanted["owner_url"],
            service_url=wanted["service_url"],
            process_urls=wanted["process_urls"],
        )
    except VigilError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
