"""Rows for every table of the schema, made from the types of its columns.

A new table is filled as well. Row n of each table belongs to tenant n, and refers to the rows n of
other tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ops.data.schema.rollback import catalog
from ops.data.schema.rollback.data_loss import TableColumn, TableShape, in_order, quoted

ROWS = (1, 2)
FIRST_DAY = datetime(2026, 1, 5, 12, tzinfo=UTC)
FILLED_BY_TRIGGERS = {"timeline_head", "timeline_erased", "zone_version", "source_id"}
HINTS: Mapping[tuple[str, str], Any] = {
    # The commit assigns the place of a row of the timeline.
    ("alert_timeline", "seq"): None,
    ("alert_timeline", "prev_hash"): None,
    ("alert_timeline", "hash"): None,
}
"""Values that a constraint or a trigger requires.

The type and the CHECK's list do not show these.
"""
IDENTITIES = text(
    "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    f" WHERE {catalog.OWN} AND a.attidentity <> ''"
)
CHECKS = text(
    "SELECT c.relname, pg_get_constraintdef(k.oid) AS said FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid"
    f" WHERE {catalog.OWN} AND k.contype = 'c'"
)
ONE_OF = re.compile(r"\(?(?P<column>\w+)\)? = ANY \(ARRAY\[(?P<values>[^\]]+)\]")


def fill(connection: Connection) -> None:
    """Write two rows into each table."""
    schema = catalog.read(connection)
    identities = {(row.relname, row.attname) for row in connection.execute(IDENTITIES)}
    lists = _lists(connection)
    made: dict[tuple[str, int], Mapping[str, Any]] = {}
    for name in ["tenant", *(name for name in in_order(schema) if name != "tenant")]:
        for n in ROWS if name not in FILLED_BY_TRIGGERS else ():
            values = {
                column: _value(name, column, shape, n, place, lists)
                for place, (column, shape) in enumerate(schema[name].columns.items())
                if (name, column) not in identities and not shape.generated
            }
            values |= _references(schema[name], made, n, own=name)
            made[name, n] = _insert(connection, name, schema[name], values)


def rows_of(connection: Connection) -> dict[str, list[str]]:
    """Return every row of every table as JSON, in order."""
    return {
        name: sorted(
            row[0] for row in connection.exec_driver_sql(f"SELECT row_to_json(t)::text FROM {quoted(name)} t")
        )
        for name in sorted(catalog.read(connection))
    }


def _references(
    table: TableShape, made: Mapping[tuple[str, int], Mapping[str, Any]], n: int, *, own: str
) -> dict[str, Any]:
    if own == "tenant":
        return {}
    found: dict[str, Any] = {}
    if "tenant_id" in table.columns:
        found["tenant_id"] = made["tenant", n]["tenant_id"]
    for reference in table.references:
        for column, theirs in zip(reference.columns, reference.parent_columns, strict=True):
            # A column that refers to its own table begins with NULL.
            found[column] = made[reference.parent, n][theirs] if reference.parent != own else None
    return found


def _insert(
    connection: Connection, name: str, table: TableShape, values: Mapping[str, Any]
) -> Mapping[str, Any]:
    columns = ", ".join(quoted(column) for column in values)
    places = ", ".join(f"CAST(:{column} AS {table.columns[column].type})" for column in values)
    statement = text(f"INSERT INTO {quoted(name)} ({columns}) VALUES ({places}) RETURNING *")
    return dict(connection.execute(statement, dict(values)).mappings().one())


def _lists(connection: Connection) -> dict[tuple[str, str], list[str]]:
    """Return the values that CHECK constraints of the form `column IN (...)` allow."""
    found = {}
    for row in connection.execute(CHECKS):
        for match in ONE_OF.finditer(row.said):
            if texts := re.findall(r"'([^']*)'", match["values"]):
                found[row.relname, match["column"]] = texts
    return found


def _value(
    table: str,
    column: str,
    shape: TableColumn,
    n: int,
    place: int,
    lists: Mapping[tuple[str, str], list[str]],
) -> Any:
    if (table, column) in HINTS:
        return HINTS[table, column]
    if (table, column) in lists:
        allowed = lists[table, column]
        return allowed[n % len(allowed)]
    kind = shape.type.partition("(")[0]
    later = FIRST_DAY + timedelta(days=n, minutes=place)
    by_type: dict[str, Any] = {
        "text": f"{column} {n}",
        "character varying": f"{column} {n}",
        "integer": 1000 + n,
        "smallint": n,
        "bigint": 10_000 + n,
        "numeric": n,
        "real": n + 0.5,
        "double precision": n + 0.5,
        "boolean": n % 2 == 0,
        "uuid": str(UUID(int=n * 1_000_000 + place + sum(map(ord, table + column)) * 1000)),
        "timestamp with time zone": later,
        "timestamp without time zone": later,
        "date": later.date(),
        "time without time zone": f"{n:02}:30",
        "interval": f"{n} hours",
        "jsonb": json.dumps({column: n}),
        "json": json.dumps({column: n, "spaced": "as sent"}),
        "bytea": f"{column} {n}".encode(),
        "text[]": [column, str(n)],
        "integer[]": [n],
        "inet": f"127.0.0.{n}",
        "geography": f"SRID=4326;POINT(77.{n} 12.{n})",
        "geometry": f"SRID=4326;POINT(77.{n} 12.{n})",
        "tstzrange": f"[{later.isoformat()},)",
    }
    if kind not in by_type:
        raise AssertionError(
            f"{table}.{column} is of type {shape.type}: say in tests/support/table_rows.py how to fill it"
        )
    return by_type[kind]
