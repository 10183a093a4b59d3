"""Reader of a database's schema: every object by name, with its shape in words.

All versions of PostgreSQL share these words. Left out are partitions, whose number grows; rights,
which `ops.servers.postgres_grants` holds; comments; and the order of columns. A test asks for the
exact definitions besides, which servers of one version write alike.
"""

from __future__ import annotations

from sqlalchemy import Connection, TextClause, text

from services.platform.schema.differences import Catalog

OWN = """
    n.nspname = current_schema() AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = '{class}'::regclass AND d.objid = {object} AND d.deptype = 'e')
"""
TABLE = f"""
    c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND c.relname <> 'alembic_version'
    AND {OWN.format(**{"class": "pg_class", "object": "c.oid"})}
"""
KEYS = """
    (SELECT string_agg(a.attname, ', ' ORDER BY k.place) FROM unnest({keys}) WITH ORDINALITY k (attnum, place)
     JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.attnum)
"""
QUERIES = (
    f"""
    SELECT 'table ' || c.relname,
           concat_ws(', ', CASE c.relkind WHEN 'p' THEN 'partitioned' WHEN 'r' THEN 'table' ELSE 'view' END,
                     CASE WHEN c.relrowsecurity THEN 'row security' END), pg_get_partkeydef(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {TABLE}
    """,
    f"""
    SELECT 'column ' || c.relname || '.' || a.attname,
           concat_ws(', ', regexp_replace(format_type(a.atttypid, a.atttypmod), '^.*\\.', ''),
                     CASE WHEN a.attnotnull THEN 'not null' END,
                     CASE WHEN a.atthasdef OR a.attidentity <> '' THEN 'default' END),
           concat_ws(' ', a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE {TABLE}
    """,
    f"""
    SELECT 'constraint ' || c.relname || '.' || k.conname,
           concat_ws(' ', CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'c' THEN 'check'
                                         WHEN 'f' THEN 'foreign key' ELSE 'other' END,
                     '(' || CASE WHEN k.contype <> 'c' THEN {KEYS.format(keys="k.conkey", table="c.oid")} END || ')'),
           pg_get_constraintdef(k.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'f', 'x') AND k.conparentid = 0
    WHERE {TABLE}
    """,
    f"""
    SELECT 'index ' || x.relname,
           concat_ws(' ', 'on ' || c.relname, '(' || {KEYS.format(keys="i.indkey::int2[]", table="c.oid")} || ')',
                     CASE WHEN i.indisunique THEN 'unique' END, CASE WHEN i.indpred IS NOT NULL THEN 'partial' END,
                     CASE WHEN NOT i.indisvalid THEN 'not valid' END), pg_get_indexdef(x.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
    WHERE {TABLE} AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
    """,
    f"""
    SELECT 'policy ' || c.relname || '.' || p.polname,
           concat_ws(' ', CASE p.polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
                                        WHEN 'w' THEN 'update' ELSE 'delete' END,
                     'to', (SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) FROM pg_roles r
                            WHERE r.oid = ANY(p.polroles))),
           concat_ws(' / ', pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_policy p ON p.polrelid = c.oid WHERE {TABLE}
    """,
    f"""
    SELECT 'trigger ' || c.relname || '.' || t.tgname,
           'calls ' || f.proname || CASE t.tgenabled WHEN 'D' THEN ', disabled' ELSE '' END, pg_get_triggerdef(t.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal JOIN pg_proc f ON f.oid = t.tgfoid WHERE {TABLE}
    """,
    f"""
    SELECT 'function ' || f.proname || '(' || pg_get_function_identity_arguments(f.oid) || ')',
           concat_ws(', ', CASE WHEN f.prosecdef THEN 'as its owner' END,
                     'body ' || left(encode(sha256(convert_to(f.prosrc, 'UTF8')), 'hex'), 12)),
           pg_get_functiondef(f.oid)
    FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE f.prokind <> 'a' AND {OWN.format(**{"class": "pg_proc", "object": "f.oid"})}
    """,
)
HELD = """
    coalesce((SELECT string_agg(coalesce(r.rolname, 'everybody') || ' ' || a.privilege_type, ', '
                                ORDER BY r.rolname, a.privilege_type)
              FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) a
              LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> {owner}), 'no rights')
"""
"""The rights of roles other than the owner."""
PARTITIONS = f"""
    SELECT DISTINCT 'partitions of ' || c.relname || ': ' || concat_ws(', ',
               CASE WHEN pg_get_expr(p.relpartbound, p.oid) = 'DEFAULT' THEN 'default' ELSE 'range' END,
               CASE WHEN p.relrowsecurity THEN 'row security' END,
               {HELD.format(acl="p.relacl", kind="r", owner="p.relowner")}),
           coalesce((SELECT string_agg(
               regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX .* USING', ' INDEX USING'), '; '
               ORDER BY regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX .* USING', ' INDEX USING'))
             FROM pg_index i WHERE i.indrelid = p.oid), '')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_inherits h ON h.inhparent = c.oid
    JOIN pg_class p ON p.oid = h.inhrelid WHERE c.relkind = 'p' AND {TABLE}
"""
RIGHTS = f"""
    SELECT 'rights on ' || c.relname, {HELD.format(acl="c.relacl", kind="r", owner="c.relowner")}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {TABLE}
    UNION ALL
    SELECT 'rights on ' || c.relname || '.' || t.attname,
           {HELD.format(acl="t.attacl", kind="c", owner="c.relowner")}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped WHERE {TABLE}
    UNION ALL
    SELECT 'rights on ' || f.proname || '(' || pg_get_function_identity_arguments(f.oid) || ')',
           {HELD.format(acl="f.proacl", kind="f", owner="f.proowner")}
    FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE {OWN.format(**{"class": "pg_proc", "object": "f.oid"})}
"""


def read(connection: Connection) -> Catalog:
    """Return every object of the schema with its shape."""
    return {row[0]: row[1] for query in QUERIES for row in connection.execute(_as_it_stands(query))}


def read_exactly(connection: Connection) -> Catalog:
    """Return the same with definitions, rights and the shapes of partitions.

    The definitions are as this server writes them.
    """
    found = {
        row[0]: f"{row[1]}: {row[2] or ''}"
        for query in QUERIES
        for row in connection.execute(_as_it_stands(query))
    }
    further = [connection.execute(_as_it_stands(query)) for query in (PARTITIONS, RIGHTS)]
    return found | {row[0]: row[1] for rows in further for row in rows}


def _as_it_stands(query: str) -> TextClause:
    """Return a query whose colons are PostgreSQL's casts, not parameters."""
    return text(query.replace(":", r"\:"))
