"""The schema from PostgreSQL's catalogs, and the tables that a transaction has written to."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, text

from ops.data.schema.rollback.data_loss import FIELD_KEY, ForeignKey, TableColumn, TableShape

OF_TOOLS = ("alembic_version", "registry_version")
"""Tables with version numbers only, and no data."""
OWN = f"""
    c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relname NOT IN {OF_TOOLS}
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e')
"""
COLUMNS = text(
    f"""
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
           a.attgenerated <> '' AS generated
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE {OWN} ORDER BY c.relname, a.attnum
    """
)
INDEXES = text(
    f"""
    SELECT c.relname, i.indisprimary, i.indpred IS NULL AND i.indexprs IS NULL AS plain,
           array_agg(a.attname::text ORDER BY a.attnum) AS columns, bool_and(a.attnotnull) AS required
    FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
    WHERE {OWN} GROUP BY c.relname, i.indexrelid, i.indisprimary, plain
    ORDER BY c.relname, i.indisprimary DESC, i.indexrelid
    """
)
REFERENCES = text(
    f"""
    SELECT c.relname, p.relname AS parent,
           (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(f.conkey) WITH ORDINALITY k(attnum, place)
            JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum) AS columns,
           (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(f.confkey) WITH ORDINALITY k(attnum, place)
            JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum) AS parent_columns
    FROM pg_class c JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f'
    JOIN pg_class p ON p.oid = f.confrelid
    WHERE {OWN} AND f.conparentid = 0 ORDER BY c.relname, f.conname
    """
)
# The counts of a partitioned table are at its partitions.
WRITTEN = text(
    f"""
    SELECT c.relname, sum(pg_stat_get_xact_tuples_inserted(p.relid) + pg_stat_get_xact_tuples_updated(p.relid)
                          + pg_stat_get_xact_tuples_deleted(p.relid)) AS rows
    FROM pg_class c, LATERAL (SELECT relid FROM pg_partition_tree(c.oid) UNION SELECT c.oid) p
    WHERE {OWN} GROUP BY c.relname
    """
)
COUNTING = text("SELECT current_setting('track_counts')::boolean")


def read(connection: Connection) -> dict[str, TableShape]:
    """Return every table of Vigil, except those with version numbers only."""
    columns: dict[str, dict[str, TableColumn]] = defaultdict(dict)
    for row in connection.execute(COLUMNS):
        columns[row.relname][row.attname] = TableColumn(row.type, row.attnotnull, row.generated)

    keys: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(INDEXES):
        if row.plain and row.required:
            keys.setdefault(row.relname, tuple(row.columns))

    references: dict[str, list[ForeignKey]] = defaultdict(list)
    for row in connection.execute(REFERENCES):
        reference = ForeignKey(tuple(row.columns), row.parent, tuple(row.parent_columns))
        references[row.relname].append(reference)

    return {
        name: TableShape(its, keys.get(name) or _field_key(its), tuple(references[name]))
        for name, its in columns.items()
    }


def written(connection: Connection) -> dict[str, int]:
    """Return the number of rows that this transaction has written so far, by table.

    Inserted, changed and deleted rows count. -1 means that rows are not counted, so all may be
    written.
    """
    counted = bool(connection.execute(COUNTING).scalar_one())
    return {row.relname: int(row.rows) if counted else -1 for row in connection.execute(WRITTEN)}


def touched(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Return the tables that were written to between two calls of `written`."""
    return {name for name, rows in after.items() if rows < 0 or rows != before.get(name, 0)}


def _field_key(columns: dict[str, TableColumn]) -> tuple[str, ...]:
    there = columns.get(FIELD_KEY)
    return (FIELD_KEY,) if there is not None and there.required else ()
