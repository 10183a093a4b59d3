"""A new id for a guard or device: for ids that several sources share, and for ids that were entered wrong.

The row moves to the new id, and so does what refers to it by a foreign key (shifts, groups, carriers, zones) and what
is known of it now. What was recorded stays under the id that it was recorded under. The broker is not told: the source
needs a credential under its new id, and the credential of the old id may belong to another source.

Works with every revision of the schema: a migration that refuses shared ids asks for it.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from ops.rollback import catalog
from ops.rollback.loss import Table, quoted
from services.directory.sources import NOT_FREE, check_source_id
from services.errors import Conflict, NotFound
from services.providers import Database

Kind = Literal["guard", "device"]
KEYS = {"guard": "guard_id", "device": "device_id"}
STATES = {
    "guard": (("guard_state", "guard_id"), ("track_checkpoint", "guard_id")),
    "device": (("source_state", "source_id"),),
}
"""Tables with the present state of a source. Rows left under the old id would go to its next holder."""
NOT_COPIED = ("credential", "credential_at")
FREE = text(
    "SELECT NOT EXISTS (SELECT FROM guard WHERE guard_id = ANY(:ids))"
    " AND NOT EXISTS (SELECT FROM device WHERE device_id = ANY(:ids))"
)


def rename(database: Database, kind: Kind, old: str, entered: str, *, tenant_id: int) -> str:
    """Give a source of the tenant another id, in one transaction; returns it as it is kept.

    `database` has the owner's rights. Raises `Refused`, `NotFound`, and `Conflict` when the id is not free.
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

    # Before the schema had one key over all sources, nothing else refused an id of the other kind.
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


def _references(table: Table, kind: Kind, key: str) -> list[str]:
    """Columns of a table that name a source of this kind."""
    return [
        column
        for reference in table.references
        if reference.parent == kind
        for column, theirs in zip(reference.columns, reference.parent_columns, strict=True)
        if theirs == key
    ]
