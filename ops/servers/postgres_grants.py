"""Brings the grants of a database to the declaration in `ops.servers.privileges`.

Missing privileges are granted, and all others are revoked. This is a part of `vigil migrate up`,
after the migrations. Where nothing differs, the server is only queried, and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from ops.servers.privileges import PRIVILEGES, Grants, database_role, database_roles

REVISION = "0014"
"""Older schemas have no roles of processes."""
KNOWS_ROLES = text("SELECT to_regclass('alembic_version')")
PRIVILEGE = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([a-z_, ]+)\))?")
HELD = text(
    """
    SELECT 'TABLE' AS kind, c.relname::text AS name, '' AS part, r.rolname AS role, a.privilege_type AS privilege
    FROM pg_class c CROSS JOIN aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND r.rolname = ANY(:roles)
    UNION ALL
    SELECT 'TABLE', c.relname::text, t.attname::text, r.rolname, a.privilege_type
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid CROSS JOIN aclexplode(t.attacl) a
    JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.attisdropped AND r.rolname = ANY(:roles)
    UNION ALL
    SELECT 'FUNCTION', p.oid::regprocedure::text, '', r.rolname, a.privilege_type
    FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE p.pronamespace = current_schema()::regnamespace AND r.rolname = ANY(:roles)
    UNION ALL
    SELECT 'SCHEMA', n.nspname::text, '', r.rolname, a.privilege_type
    FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = current_schema() AND r.rolname = ANY(:roles)
    """
)
FUNCTIONS = text(
    "SELECT p.proname, p.oid::regprocedure::text FROM pg_proc p"
    " WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'vigil\\_%'"
)
TABLES = text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')"
)
# Policies of tables that a later migration made for the three roles of all processes.
POLICIES = text(
    """
    SELECT tablename, policyname, roles[1] FROM pg_policies
    WHERE schemaname = current_schema() AND array_length(roles, 1) = 1
      AND roles[1] IN ('vigil_tenant', 'vigil_ingest', 'vigil_login')
    """
)


class TablePrivilege(NamedTuple):
    """One privilege of a role. `part` is the column of a privilege on one column."""

    kind: str
    name: str
    part: str
    role: str
    privilege: str


def apply(connection: Connection) -> list[str]:
    """Bring the grants to the declaration, in the caller's transaction.

    Return the statements used.
    """
    statements = differences(connection)
    for statement in statements:
        connection.exec_driver_sql(statement)
    return statements


def differences(connection: Connection) -> list[str]:
    """Return the statements that would bring the grants to the declaration.

    Declared objects that this schema does not have belong to a later revision, and are skipped.
    """
    if connection.execute(KNOWS_ROLES).scalar_one() is None:
        return []

    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is None or revision < REVISION:
        return []

    statements = list(_policies(connection))
    held = {TablePrivilege(*row) for row in connection.execute(HELD, {"roles": database_roles()})}
    wanted = set(_wanted(connection))
    statements += [_statement("REVOKE", right) for right in sorted(held - wanted)]

    return statements + [_statement("GRANT", right) for right in sorted(wanted - held)]


def privileges_of(grants: str) -> Iterator[tuple[str, str]]:
    """Yield (privilege, column or "") from words such as `SELECT, UPDATE (a, b)`."""
    for privilege, columns in PRIVILEGE.findall(grants):
        for column in columns.split(",") if columns else [""]:
            yield privilege, column.strip()


def rows_role(role: str) -> str:
    """Return the role that gives its policies, but no grants, to the roles of processes."""
    return f"{role}_rows"


def _policies(connection: Connection) -> Iterator[str]:
    for table, policy, role in connection.execute(POLICIES):
        yield f"ALTER POLICY {policy} ON {table} TO {role}, {rows_role(role)}"


def _wanted(connection: Connection) -> Iterator[TablePrivilege]:
    tables = set(connection.execute(TABLES).scalars())
    functions: dict[str, str] = dict(connection.execute(FUNCTIONS).all())
    schema: Any = connection.execute(text("SELECT current_schema()")).scalar_one()

    for process, privileges in PRIVILEGES.items():
        for access, grants in privileges.tables.items():
            role = database_role(process, access)
            yield TablePrivilege("SCHEMA", schema, "", role, "USAGE")
            yield from _of_tables(role, {t: grants[t] for t in grants if t in tables})
            for function in privileges.functions.get(access, ()):
                if function in functions:
                    yield TablePrivilege("FUNCTION", functions[function], "", role, "EXECUTE")


def _of_tables(role: str, grants: Grants | Mapping[str, str]) -> Iterator[TablePrivilege]:
    for table, words in grants.items():
        for privilege, column in privileges_of(words):
            yield TablePrivilege("TABLE", table, column, role, privilege)


def _statement(verb: str, right: TablePrivilege) -> str:
    column = f" ({right.part})" if right.part else ""
    towards = "TO" if verb == "GRANT" else "FROM"
    return f"{verb} {right.privilege}{column} ON {right.kind} {right.name} {towards} {right.role}"
