"""Going up again: kept data are put back at the revision that they were taken from.

Rows that the older version wrote in between stay:

- A value that it changed stays changed.
- A row that it deleted stays deleted, with the rows that belong to it.
- A row that it did not touch is as it was before the rollback.

Triggers are off meanwhile, because the rows have passed them before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from sqlalchemy import Connection, text

from ops.data.schema.rollback import catalog, timeline
from ops.data.schema.rollback.data_loss import Schema, TableLoss, TableShape, digest, equal, quoted
from ops.data.schema.rollback.keep_rows import DIGEST, KEPT, RollbackRecord

RETURNED = text(
    f"UPDATE {KEPT}.record SET returned_at = now(), outcome = CAST(:outcome AS jsonb) WHERE record_id = :record_id"
)
REGISTRY_CHANGED = "UPDATE registry_version SET version = version + 1"


class RestoredTable(msgspec.Struct, frozen=True, kw_only=True):
    """Result for one table's kept rows.

    Attributes:
        kept: number of kept rows.
        orphans: number of rows whose parents were deleted in between.
        in_the_way: number of rows whose place a row of the older version has taken. They stay in
            `vigil_kept`.
    """

    table: str
    kept: int
    orphans: int = 0
    in_the_way: int = 0
    left_in: str = ""


def remember(connection: Connection, record: RollbackRecord) -> None:
    """Note before the upgrade how the older version left the rows.

    The migrations may write to the same rows.
    """
    for loss in _remembered(record):
        columns = ", ".join(map(quoted, [*loss.key, *loss.merged, *loss.common]))
        if loss.common:
            columns += f", {digest(loss.common)} AS {DIGEST}"
        connection.exec_driver_sql(
            f"CREATE TEMP TABLE {_theirs(loss)} ON COMMIT DROP AS SELECT {columns} FROM {quoted(loss.table)}"
        )


def put_back(connection: Connection, record: RollbackRecord) -> list[RestoredTable]:
    """Put the rows back, after the upgrade to the record's revision, parents first."""
    schema = catalog.read(connection)
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    for loss in record.losses:
        connection.exec_driver_sql(f"ALTER TABLE {quoted(loss.table)} DISABLE TRIGGER USER")

    outcomes = [_put_back(connection, record, loss, schema) for loss in record.losses]
    if any(timeline.concerns(loss) for loss in record.losses):
        [chained] = [loss for loss in record.losses if timeline.concerns(loss)]
        timeline.join(connection, chain=record.copy(chained), heads=_heads(record))

    for loss in record.losses:
        connection.exec_driver_sql(f"ALTER TABLE {quoted(loss.table)} ENABLE TRIGGER USER")

    connection.exec_driver_sql(REGISTRY_CHANGED)
    for loss in record.losses:
        connection.exec_driver_sql(f"DROP TABLE {record.copy(loss)}")

    for loss in _remembered(record):
        after = [record.copy_after(loss)] if loss.merged else []
        connection.exec_driver_sql(f"DROP TABLE {', '.join([_theirs(loss), *after])}")

    outcome = msgspec.json.encode(outcomes).decode()
    connection.execute(RETURNED, {"outcome": outcome, "record_id": record.record_id})
    return outcomes


def _put_back(
    connection: Connection, record: RollbackRecord, loss: TableLoss, schema: Schema
) -> RestoredTable:
    if loss.gone:
        _remove_backfilled(connection, record, loss, schema)
        if loss.key:
            connection.exec_driver_sql(_update_whole(record, loss))
        inserted_from = record.copy(loss)
    else:
        if timeline.concerns(loss):
            timeline.clear(connection)
        connection.exec_driver_sql(_update_columns(record, loss))
        inserted_from = _deleted_by_downgrade(record, loss) if loss.merged else ""

    if not inserted_from:
        return RestoredTable(table=loss.table, kept=record.rows[loss.table])

    connection.exec_driver_sql(_insert(loss, inserted_from, schema[loss.table]))
    for column, value in record.sequences.get(loss.table, {}).items():
        _set_sequence(connection, loss.table, column, value)

    return _left(connection, record, loss, inserted_from, schema[loss.table])


def _remove_backfilled(
    connection: Connection, record: RollbackRecord, loss: TableLoss, schema: Schema
) -> None:
    """Delete rows that the migration has just made for parents that were there at the rollback.

    The rows that those parents had were kept.
    """
    kept = {other.table: other for other in record.losses}
    for reference in schema[loss.table].references:
        parent = kept.get(reference.parent)
        if parent is None or not set(reference.parent_columns) <= set(parent.held):
            continue

        same = " AND ".join(
            f"p.{quoted(theirs)} = t.{quoted(ours)}"
            for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True)
        )
        connection.exec_driver_sql(
            f"DELETE FROM {quoted(loss.table)} t WHERE EXISTS (SELECT FROM {record.copy(parent)} p WHERE {same})"
        )


def _update_whole(record: RollbackRecord, loss: TableLoss) -> str:
    others = [column for column in loss.held if column not in loss.key]
    assignments = ", ".join(f"{quoted(c)} = k.{quoted(c)}" for c in others or loss.key)
    same = equal("t", "k", loss.key)
    return f"UPDATE {quoted(loss.table)} t SET {assignments} FROM {record.copy(loss)} k WHERE {same}"


def _update_columns(record: RollbackRecord, loss: TableLoss) -> str:
    """Return SQL that restores lost columns and unchanged values.

    A value that the older version changed stays changed.
    """
    assignments = [f"{quoted(c)} = k.{quoted(c)}" for c in loss.lost]
    joined = ""
    if loss.common:
        assignments += [
            f"{quoted(c)} = CASE WHEN o.{DIGEST} = k.{DIGEST} THEN o.{quoted(c)} ELSE t.{quoted(c)} END"
            for c in loss.common
        ]
        joined = f" LEFT JOIN {_theirs(loss)} o ON {equal('o', 'k', loss.key)}"

    if loss.merged:
        # As text, because not every type has an equality (json).
        assignments += [
            f"{quoted(c)} = CASE WHEN a.{quoted(loss.key[0])} IS NOT NULL AND o.{quoted(loss.key[0])} IS NOT NULL"
            f" AND a.{quoted(c)}::text IS NOT DISTINCT FROM o.{quoted(c)}::text"
            f" THEN k.{quoted(c)} ELSE t.{quoted(c)} END"
            for c in loss.merged
        ]

        joined = (
            f" LEFT JOIN {record.copy_after(loss)} a ON {equal('a', 'k', loss.key)}"
            f" LEFT JOIN {_theirs(loss)} o ON {equal('o', 'k', loss.key)}"
        )

    return (
        f"UPDATE {quoted(loss.table)} t SET {', '.join(assignments)} FROM {record.copy(loss)} k{joined}"
        f" WHERE {equal('t', 'k', loss.key)}"
    )


def _deleted_by_downgrade(record: RollbackRecord, loss: TableLoss) -> str:
    return (
        f"(SELECT k.* FROM {record.copy(loss)} k WHERE NOT EXISTS"
        f" (SELECT FROM {record.copy_after(loss)} a WHERE {equal('a', 'k', loss.key)}))"
    )


def _insert(loss: TableLoss, source: str, table: TableShape) -> str:
    columns = ", ".join(quoted(c) for c in loss.held)
    parents = "".join(f" AND {condition}" for condition in _parents_there(table))
    return (
        f"INSERT INTO {quoted(loss.table)} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {source} k"
        f" WHERE true{parents} ON CONFLICT DO NOTHING"
    )


def _parents_there(table: TableShape) -> Iterator[str]:
    """Yield SQL conditions that the rows which a kept row k refers to still exist."""
    for reference in table.references:
        nothing = " OR ".join(f"k.{quoted(column)} IS NULL" for column in reference.columns)
        same = " AND ".join(
            f"p.{quoted(theirs)} = k.{quoted(ours)}"
            for ours, theirs in zip(reference.columns, reference.parent_columns, strict=True)
        )
        yield f"({nothing} OR EXISTS (SELECT FROM {quoted(reference.parent)} p WHERE {same}))"


def _set_sequence(connection: Connection, table: str, column: str, kept: int) -> None:
    setting = text(
        "SELECT setval(pg_get_serial_sequence(:table, :column), greatest(:kept, (SELECT max("
        f"{quoted(column)}) FROM {quoted(table)})))"
    )
    connection.execute(setting, {"table": quoted(table), "column": column, "kept": kept})


def _left(
    connection: Connection, record: RollbackRecord, loss: TableLoss, source: str, table: TableShape
) -> RestoredTable:
    """Return the rows that could not be put back, and their place."""
    outcome = RestoredTable(table=loss.table, kept=record.rows[loss.table])
    if not loss.key:
        return outcome

    missing = f"FROM {source} k WHERE NOT EXISTS (SELECT FROM {quoted(loss.table)} t WHERE {equal('t', 'k', loss.key)})"
    parents = " AND ".join(_parents_there(table)) or "true"

    counted = connection.exec_driver_sql(
        f"SELECT count(*) FILTER (WHERE NOT ({parents})), count(*) FILTER (WHERE {parents}) {missing}"
    ).one()
    left_in = ""
    if counted[1]:
        left_in = f"{KEPT}.left_{record.record_id}_{loss.table}"
        connection.exec_driver_sql(f"CREATE TABLE {left_in} AS SELECT k.* {missing} AND {parents}")

    return msgspec.structs.replace(outcome, orphans=counted[0], in_the_way=counted[1], left_in=left_in)


def _heads(record: RollbackRecord) -> str | None:
    copies: Mapping[str, str] = {loss.table: record.copy(loss) for loss in record.losses if loss.gone}
    return copies.get(timeline.HEADS)


def _remembered(record: RollbackRecord) -> list[TableLoss]:
    return [loss for loss in record.losses if loss.merged or loss.common]


def _theirs(loss: TableLoss) -> str:
    return f"pg_temp.{quoted(f'theirs_{loss.table}')}"
