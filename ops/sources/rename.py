"""Gives a guard or device a new id, where several sources share an id, or it was entered wrong.

The row moves to the new id. The rows that refer to it by a foreign key (shifts, groups, carriers,
zones) and its present state move too. Recorded rows stay under the id that they were recorded
under.

Nothing is changed at the broker. The source needs a credential under its new id, and the credential
of the old id may belong to another source.

It works with every revision of the schema, because a migration that refuses shared ids requires it.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from ops.data.schema.rollback import catalog
from ops.data.schema.rollback.data_loss import TableShape, quoted
from services.contracts.errors import Conflict, NotFound
from services.directory.registry.source_ids import NOT_FREE, check_source_id
from services.platform.database import Database

Kind = Literal["guard", "device"]
KEYS = {"guard": "guard_id", "device": "device_id"}
STATES = {
    "guard": (("guard_state", "guard_id"), ("track_checkpoint", "guard_id")),
    "device": (("source_state", "source_id"),),
}
"""Tables with the present state of a source.

Rows left under the old id would go to its next holder.
"""
NOT_COPIED = ("credential", "credential_at")
FREE = text(
    "SELECT NOT EXISTS (SELECT FROM guard WHERE guard_id = ANY(:ids))"
    " AND NOT EXISTS (SELECT FROM device WHERE device_id = ANY(:ids))"
)


def rename(database: Database, kind: Kind, old: str, entered: str, *, tenant_id: int) -> str:
    """Give a source of the tenant another id, in one transaction, and return the new id.

    Args:
        database: a connection with the owner's rights.
        kind: guard or device.
        old: the present id.
        entered: the new id, as the operator entered it.
        tenant_id: the tenant of the source.

    Raises:
        Refused: the new id is not valid.
        NotFound: the tenant has no such source.
        Conflict: the new id is not free.
    """
    new = check_source_id(entered, family="guard" if kind == "guard" else "device")
    try:
        with database.across() as connection:
            _move(connection, kind, old, new, tenant_id)
    except IntegrityError as error:
        if type(error.orig).__name__ == "UniqueViolation":
            raise Conflict(NOT_FREE) from error
        raise
    return new


def _move(connection: Connection, kind: Kind, old: str, new: str, tenant_id: int) -> None:
    schema, key = catalog.read(connection), KEYS[kind]
    values = {"old": old, "new": new, "tenant_id": tenant_id}

    # Older schemas have no common key over all sources, so only this check refuses an id of the
    # other kind.
    number = new.removeprefix("guard-")
    spellings = [number, f"guard-{number}"] if number.isdigit() else [new]
    if not connection.execute(FREE, {"ids": spellings}).scalar_one():
        raise Conflict(NOT_FREE)

    copied = [name for name in schema[kind].columns if name not in (key, *NOT_COPIED)]
    listed = ", ".join(map(quoted, copied))

    inserted = connection.execute(
        text(
            f"INSERT INTO {kind} ({key}, {listed}) SELECT CAST(:new AS text), {listed} FROM {kind}"
            f" WHERE tenant_id = :tenant_id AND {key} = :old"
        ),
        values,
    )
    if inserted.rowcount == 0:
        raise NotFound(f"no {kind} {old!r} in tenant {tenant_id}; `vigil {kind} list` shows them")

    moved = [(name, column) for name, table in schema.items() for column in _references(table, kind, key)]
    for name, column in (*moved, *STATES[kind]):
        if name != "source_id":  # written by triggers
            connection.execute(
                text(
                    f"UPDATE {quoted(name)} SET {quoted(column)} = :new"
                    f" WHERE tenant_id = :tenant_id AND {quoted(column)} = :old"
                ),
                values,
            )

    connection.execute(text(f"DELETE FROM {kind} WHERE tenant_id = :tenant_id AND {key} = :old"), values)


def _references(table: TableShape, kind: Kind, key: str) -> list[str]:
    """Return the columns of a table that name a source of this kind."""
    return [
        column
        for reference in table.references
        if reference.parent == kind
        for column, theirs in zip(reference.columns, reference.parent_columns, strict=True)
        if theirs == key
    ]
