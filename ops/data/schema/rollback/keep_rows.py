"""Going down: data that the older schema cannot hold are first copied into the schema `vigil_kept`.

All steps are in one transaction:

1. The downgrade is tried within a savepoint.
2. The catalogs before and after it show what it takes away.
3. The trial is undone, and these data are copied.
4. The downgrade is run for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from ops.data.schema.rollback import catalog
from ops.data.schema.rollback.data_loss import Schema, TableLoss, digest, losses, quoted
from services.contracts.errors import Refused

KEPT = "vigil_kept"
DIGEST = "vigil_digest"
"""Column of a copy with a digest of the columns that stay.

It shows rows that the older version changed.
"""
Move = Callable[[Connection], None]
"""Changes the schema within the transaction of the connection."""

RECORDS = f"""
CREATE SCHEMA IF NOT EXISTS {KEPT};
REVOKE ALL ON SCHEMA {KEPT} FROM PUBLIC;
CREATE TABLE IF NOT EXISTS {KEPT}.record (
    record_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_revision text NOT NULL,
    to_revision   text NOT NULL,
    kept_at       timestamptz NOT NULL DEFAULT now(),
    losses        jsonb NOT NULL,
    sequences     jsonb NOT NULL,
    rows          jsonb NOT NULL,
    returned_at   timestamptz,
    outcome       jsonb
);
COMMENT ON SCHEMA {KEPT} IS 'what a downgrade had no place for; `vigil migrate up` puts it back';
"""
WAITING = text(f"SELECT * FROM {KEPT}.record WHERE returned_at IS NULL ORDER BY record_id DESC")
THERE = text("SELECT to_regclass(:name) IS NOT NULL")
NOTE = text(
    f"INSERT INTO {KEPT}.record (from_revision, to_revision, losses, sequences, rows)"
    " VALUES (:from_revision, :to_revision, CAST(:losses AS jsonb), CAST(:sequences AS jsonb), '{}')"
    " RETURNING record_id"
)
COUNTED = text(f"UPDATE {KEPT}.record SET rows = CAST(:rows AS jsonb) WHERE record_id = :record_id")


class RollbackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rollback: its two revisions, the kept data, and the number of rows of each table."""

    record_id: int
    from_revision: str
    to_revision: str
    losses: list[TableLoss]
    sequences: dict[str, dict[str, int]]
    rows: dict[str, int]

    def copy(self, loss: TableLoss) -> str:
        """Return the table that holds the rows as they were before the downgrade."""
        return f"{KEPT}.{quoted(f'{self.record_id}_{loss.table}')}"

    def copy_after(self, loss: TableLoss) -> str:
        """Return the table that holds the rows as they were right after the downgrade.

        A difference from these rows was written by the older version.
        """
        return f"{KEPT}.{quoted(f'{self.record_id}_{loss.table}_after')}"


def waiting(connection: Connection) -> list[RollbackRecord]:
    """Return the records that are not yet put back, newest first."""
    if not connection.execute(THERE, {"name": f"{KEPT}.record"}).scalar_one():
        return []

    return [
        RollbackRecord(
            record_id=row.record_id,
            from_revision=row.from_revision,
            to_revision=row.to_revision,
            losses=msgspec.convert(row.losses, list[TableLoss]),
            sequences=row.sequences,
            rows=row.rows,
        )
        for row in connection.execute(WAITING)
    ]


def go_down(
    connection: Connection,
    downgrade: Move,
    *,
    revision: Callable[[Connection], str | None],
) -> RollbackRecord | None:
    """Run the downgrade and keep the data that the older schema cannot hold.

    Returns:
        The record of the kept data, or None when there was nothing to keep.

    Raises:
        Refused: rows cannot be kept, or the downgrade leaves no schema at all.
    """
    started = str(revision(connection))
    before = catalog.read(connection)
    found = _tried(connection, downgrade, before, revision=revision)
    worth = any(_filled(connection, loss.table) for loss in found)
    record = _keep(connection, found, before, from_revision=started) if worth else None
    downgrade(connection)

    if record is None:
        return None

    for loss in record.losses:
        if loss.merged:
            _copy(connection, record.copy_after(loss), loss, [*loss.key, *loss.merged])

    arrived = revision(connection)
    connection.execute(
        text(f"UPDATE {KEPT}.record SET to_revision = :to WHERE record_id = :id"),
        {"to": arrived, "id": record.record_id},
    )

    return msgspec.structs.replace(record, to_revision=str(arrived))


def filled_tables(connection: Connection) -> list[str]:
    """Return the tables that hold at least one row, and the data kept of earlier rollbacks."""
    names = [name for name in sorted(catalog.read(connection)) if _filled(connection, name)]
    return names + [f"{KEPT} (from {r.from_revision})" for r in waiting(connection)]


def _tried(
    connection: Connection,
    downgrade: Move,
    before: Schema,
    *,
    revision: Callable[[Connection], str | None],
) -> list[TableLoss]:
    """Run the downgrade, undo it, and return what it would take away."""
    filled = filled_tables(connection)
    counts = catalog.written(connection)
    trial = connection.begin_nested()

    try:
        downgrade(connection)
        if revision(connection) is None and filled:
            raise Refused(
                f"going down to base would destroy the rows of {', '.join(filled)}. Back them up first "
                "(`vigil backup`), then run `vigil migrate down --destroy-data`"
            )

        after, touched = (
            catalog.read(connection),
            catalog.touched(counts, catalog.written(connection)),
        )
    finally:
        trial.rollback()

    return losses(before, after, touched)


def _keep(
    connection: Connection, found: Sequence[TableLoss], before: Schema, *, from_revision: str
) -> RollbackRecord:
    connection.exec_driver_sql(RECORDS)
    sequences = {
        loss.table: stands
        for loss in found
        if loss.gone and (stands := _sequences(connection, loss.table, before[loss.table].columns))
    }

    values: dict[str, str] = {
        "from_revision": from_revision,
        "to_revision": "",
        "losses": msgspec.json.encode(found).decode(),
        "sequences": msgspec.json.encode(sequences).decode(),
    }

    record = RollbackRecord(
        record_id=connection.execute(NOTE, values).scalar_one(),
        from_revision=from_revision,
        to_revision="",
        losses=list(found),
        sequences=sequences,
        rows={},
    )

    rows = {loss.table: _copy(connection, record.copy(loss), loss, loss.held) for loss in found}
    connection.execute(COUNTED, {"rows": msgspec.json.encode(rows).decode(), "record_id": record.record_id})
    return msgspec.structs.replace(record, rows=rows)


def _copy(connection: Connection, copy: str, loss: TableLoss, columns: Sequence[str]) -> int:
    """Copy the columns of a table and return the number of rows."""
    listed = ", ".join(map(quoted, columns))
    if loss.common:
        listed += f", {digest(loss.common)} AS {DIGEST}"
    made = connection.exec_driver_sql(f"CREATE TABLE {copy} AS SELECT {listed} FROM {quoted(loss.table)}")
    connection.exec_driver_sql(f"ANALYZE {copy}")
    return int(made.rowcount)


def _filled(connection: Connection, table: str) -> bool:
    return connection.exec_driver_sql(f"SELECT 1 FROM {quoted(table)} LIMIT 1").first() is not None


def _sequences(connection: Connection, table: str, columns: dict[str, Any]) -> dict[str, int]:
    """Return the values of the table's own sequences, so that no id is given out twice."""
    found = {}
    for column in columns:
        named = text("SELECT pg_get_serial_sequence(:table, :column)")
        sequence = connection.execute(named, {"table": quoted(table), "column": column}).scalar_one()
        if sequence is not None:
            found[column] = int(connection.exec_driver_sql(f"SELECT last_value FROM {sequence}").scalar_one())
    return found
