"""Batches of field messages as rows: one round trip, each message once.

A batch is one INSERT ... SELECT FROM unnest(...). It is joined with the identities that
message_seen did not have before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import psycopg2.errors
from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from services.contracts.errors import InvalidMessage
from services.contracts.families import Origin
from services.ingestion import raw_data
from services.platform.prepared_statements import PreparedStatement

T = TypeVar("T")


COMMON = {
    "message_key": "uuid",
    "tenant_id": "int",
    "{source}": "text",
    "msg_id": "text",
    "recorded_at": "timestamptz",
    "received_at": "timestamptz",
    "clock_suspect": "bool",
    "quality": "text",
    "raw_data": "text",
}
"""Columns of every field table, and the array types that they travel as."""

_CASTS = {"quality": "string_to_array(quality, ',')", "raw_data": "raw_data::json"}


def array(kind: str, values: Iterable[Any]) -> str:
    """Return PostgreSQL's text form of an array (its manual, 8.15.6).

    One string costs a fraction of the work of a list of a thousand constants, for the driver and
    for the server's parser.
    """
    elements = ",".join(map(_ELEMENTS[kind], values))
    if kind in _NUMBERS:
        elements = elements.replace("None", "NULL")
    return "{" + elements + "}"


def _quoted(value: str | None) -> str:
    if value is None:
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_ELEMENTS: dict[str, Callable[[Any], str]] = {
    "text": _quoted,
    "uuid": bytes.hex,
    "bytea": lambda value: f'"\\\\x{value.hex()}"',
    "timestamptz": datetime.isoformat,
    "timestamptz or null": lambda value: "NULL" if value is None else value.isoformat(),
    "bool": {True: "t", False: "f"}.__getitem__,
    "int": repr,
    "real": repr,
    "float8": repr,
}
_NUMBERS = frozenset({"int", "real", "float8"})
"""Kinds whose elements are all written at once. `repr` of a number never holds the word None."""


SEE = PreparedStatement(
    """
    INSERT INTO message_seen (message_key, received_at)
    SELECT * FROM unnest(CAST(:message_key AS uuid[]), CAST(:received_at AS timestamptz[]))
    ON CONFLICT DO NOTHING RETURNING uuid_send(message_key)
    """
)


def see(connection: Connection, origins: Sequence[Origin]) -> set[bytes]:
    """Return the keys of the messages that were never stored before.

    The caller stores these messages in the same transaction.
    """
    return see_keys(connection, [(origin.key, origin.received_at) for origin in origins])


def see_keys(connection: Connection, pairs: Sequence[tuple[bytes, datetime]]) -> set[bytes]:
    """Do as `see`, for pairs of a key and the time at which its message was received."""
    values = {
        "message_key": array("uuid", [key for key, _ in pairs]),
        "received_at": array("timestamptz", [received_at for _, received_at in pairs]),
    }
    return {bytes(key) for (key,) in SEE.run(connection, values)}


def bytes_of(key: object) -> bytes:
    """Return the 16 bytes of a UUID, given as the driver returns it."""
    return bytes.fromhex(str(key).replace("-", ""))


def insert_statement(
    table: str,
    source_column: str,
    columns: Mapping[str, str],
    *,
    seen: bool = False,
) -> PreparedStatement:
    """Return the statement for one field table; `columns` maps its own columns to array types.

    The statement returns how many messages were new. With `seen`, all are new: `see` has found
    them.
    """
    types = {name.format(source=source_column): kind for name, kind in COMMON.items()} | dict(columns)
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in types.items())
    targets = ", ".join(types)
    values = ", ".join(_CASTS.get(name, name) for name in types)
    given = f"SELECT * FROM unnest({arrays}) AS t ({', '.join(types)})"  # noqa: S608 - names from our own code

    if seen:
        return PreparedStatement(
            f"WITH input AS ({given}) INSERT INTO {table} ({targets}) SELECT {values} FROM input"
        )  # noqa: S608

    return PreparedStatement(
        f"""
        WITH input AS ({given}),
        fresh AS (
            INSERT INTO message_seen (message_key, received_at) SELECT message_key, received_at FROM input
            ON CONFLICT DO NOTHING RETURNING message_key
        ),
        stored AS (
            INSERT INTO {table} ({targets}) SELECT {values} FROM input JOIN fresh USING (message_key) RETURNING 1
        )
        SELECT count(*) FROM stored
        """  # noqa: S608 - names from our own code, never from a message
    )


def common_values(
    source_column: str, origins: Sequence[Origin], tenant_ids: Sequence[int]
) -> dict[str, list[Any]]:
    """Return the arrays for the common columns, in the order of `origins`."""
    return {
        "message_key": [origin.key for origin in origins],
        "tenant_id": list(tenant_ids),
        source_column: [origin.source_id for origin in origins],
        "msg_id": [origin.msg_id for origin in origins],
        "recorded_at": [origin.recorded_at for origin in origins],
        "received_at": [origin.received_at for origin in origins],
        "clock_suspect": [origin.clock_suspect for origin in origins],
        "quality": [",".join(origin.quality) or None for origin in origins],
        "raw_data": [raw_data.to_keep(source_column, origin) for origin in origins],
    }


def insert(
    connection: Connection,
    statement: PreparedStatement,
    types: Mapping[str, str],
    values: Mapping[str, Sequence[Any]],
) -> int:
    """Run an `insert_statement`; return how many messages were new.

    `types` are those of its own columns.
    """
    return int(statement.run(connection, arrays(types, values)).scalar_one())


def arrays(types: Mapping[str, str], values: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return each column as an array in text form; the common columns know their types."""
    kinds = COMMON | dict(types)
    return {name: array(kinds.get(name, "text"), column) for name, column in values.items()}


def store_or_isolate(
    items: Sequence[T], store: Callable[[Sequence[T]], Any], refuse: Callable[[T, InvalidMessage], Any]
) -> None:
    """Store a batch; when PostgreSQL cannot hold a value, refuse only the faulty items.

    JSON that passed the gateway can still hold a value that `jsonb` does not take, such as a number
    of a million digits.
    """
    if not items:
        return

    try:
        store(items)
    except DataError as error:
        if len(items) == 1:
            refuse(items[0], InvalidMessage("unstorable", _reason(error)))
            return
        middle = len(items) // 2
        store_or_isolate(items[:middle], store, refuse)
        store_or_isolate(items[middle:], store, refuse)


def _reason(error: DataError) -> str:
    original = error.orig
    name = type(original).__name__ if isinstance(original, psycopg2.errors.Error) else "DataError"
    return f"{name}: {str(original).split(chr(10), 1)[0]}"
