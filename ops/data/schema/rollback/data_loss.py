"""Data that a downgrade takes away, from the schemas before and after it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter

import msgspec

from services.contracts.errors import Refused

FIELD_KEY = "message_key"
"""Field messages are partitioned and have no primary key.

`message_seen` ensures that each identity is stored once.
"""
WITH_CONTENT = frozenset({"alert_timeline"})
"""Tables that are kept with all their columns.

A link of the chain is proved by the content that it seals.
"""


class TableColumn(msgspec.Struct, frozen=True):
    type: str
    required: bool = False
    generated: bool = False


class ForeignKey(msgspec.Struct, frozen=True):
    """A foreign key: `columns` name a row of the parent by its `parent_columns`."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


class TableShape(msgspec.Struct, frozen=True):
    """Shape of a table. `key` is the columns that identify a row; empty when there are none."""

    columns: dict[str, TableColumn]
    key: tuple[str, ...]
    references: tuple[ForeignKey, ...] = ()


Schema = Mapping[str, TableShape]


class TableLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one table that is kept.

    Attributes:
        gone: the whole table vanishes.
        lost: columns that vanish or change their type.
        merged: columns that stay, where the downgrade itself changes or deletes rows.
        common: columns that stay, where it does not.
        held: the columns of the copy.
    """

    table: str
    key: list[str]
    gone: bool = False
    lost: list[str] = []
    merged: list[str] = []
    common: list[str] = []
    held: list[str] = []

    def __str__(self) -> str:
        if self.gone:
            return f"table {self.table}"
        parts = [f"columns {', '.join(self.lost)}"] if self.lost else []
        parts += ["rows that the older schema has no place for"] if self.merged else []
        return f"{' and '.join(parts)} of {self.table}"


def losses(before: Schema, after: Schema, touched: Collection[str]) -> list[TableLoss]:
    """Return the data that must be kept, parents before the tables that refer to them.

    `touched` holds the tables whose rows the downgrade inserted, changed or deleted.

    Raises:
        Refused: no key identifies the rows of a table.
    """
    found = [_loss(name, before, after, name in touched) for name in in_order(before)]
    return [loss for loss in found if loss is not None]


def in_order(schema: Schema) -> list[str]:
    """Return the tables, each after the tables that it refers to."""
    graph = {
        name: {r.parent for r in table.references if r.parent != name and r.parent in schema}
        for name, table in sorted(schema.items())
    }
    return list(TopologicalSorter(graph).static_order())


def _loss(name: str, before: Schema, after: Schema, touched: bool) -> TableLoss | None:
    table, later = before[name], after.get(name)
    stored = [column for column, shape in table.columns.items() if not shape.generated]

    if later is None:
        return TableLoss(table=name, key=list(table.key), gone=True, lost=stored, held=stored)

    lost = [c for c in stored if c not in later.columns or later.columns[c].type != table.columns[c].type]
    if not lost and not touched:
        return None

    if not table.key or set(table.key) & set(lost):
        raise Refused(
            f"the rows of {name} would lose {', '.join(lost) or 'values'}, and no key that stays distinguishes them: "
            "they cannot be kept and put back; restore a backup of the older version instead, or use --destroy-data"
        )

    stay = [c for c in stored if c not in lost and c not in table.key]
    whole = touched or name in WITH_CONTENT
    held = stored if whole else [c for c in stored if c in {*table.key, *lost, *_named(name, before)}]
    merged, common = (stay, []) if touched else ([], stay)

    return TableLoss(table=name, key=list(table.key), lost=lost, merged=merged, common=common, held=held)


def _named(name: str, schema: Schema) -> Iterator[str]:
    """Yield the columns of this table that foreign keys of other tables refer to."""
    for table in schema.values():
        for reference in table.references:
            if reference.parent == name:
                yield from reference.parent_columns


def equal(left: str, right: str, columns: Sequence[str]) -> str:
    """Return SQL that is true for the same row by these columns."""
    return " AND ".join(f"{left}.{quoted(c)} = {right}.{quoted(c)}" for c in columns)


def digest(columns: Sequence[str]) -> str:
    """Return SQL for a digest that shows whether a row is unchanged.

    Values are compared as text, because not every type has an equality (json).
    """
    values = ", ".join(f"{quoted(column)}::text" for column in columns)
    return f"md5(ROW({values})::text)::uuid"


def quoted(name: str) -> str:
    """Return an identifier for SQL."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
