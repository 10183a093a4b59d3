"""Partitions that are made ahead and dropped when nobody needs them.

Services own no table. What they need done to partitions they have done by functions with the owner's rights, which
take no name that they have not checked and no age that the policies forbid. Each call is one short transaction:
`lock_timeout` bounds how long messages queue behind it, and one advisory lock lets two instances take turns.
"""

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# 0x56494750: 'VIGP'. Attributes of each function that acts for a service.
LOCK = "PERFORM pg_advisory_xact_lock(1447642960);"
OWNERS = "SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '2s'"

PARTITIONS = """
CREATE FUNCTION vigil_partitions() RETURNS TABLE (
    table_name text, relation text, lower_at timestamptz, upper_at timestamptz
) LANGUAGE sql STABLE {owners} AS $$
-- All partitions; bounds are null for the default one.
    SELECT p.relname::text, c.relname::text, bound[1]::timestamptz, bound[2]::timestamptz
    FROM pg_partitioned_table t
    JOIN pg_class p ON p.oid = t.partrelid
    JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid
    LEFT JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), $re$FROM \\('(.+?)'\\) TO \\('(.+?)'\\)$re$)
        AS bound ON true
    WHERE p.relnamespace = current_schema()::regnamespace
    ORDER BY 1, 3
$$;

CREATE FUNCTION vigil_partition_report() RETURNS TABLE (
    table_name text, default_rows bigint, horizon timestamptz, partitions integer
) LANGUAGE plpgsql STABLE {owners} AS $$
-- For each partitioned table: rows that no partition wanted (counted up to 10,000), until when partitions follow each
-- other without a gap from now on (the beginning of this week when even that one is missing), and how many there are.
DECLARE
    stray text;
    upper_bound timestamptz;
BEGIN
    FOR table_name IN SELECT DISTINCT p.table_name FROM vigil_partitions() p ORDER BY 1 LOOP
        default_rows := 0;
        FOR stray IN SELECT p.relation FROM vigil_partitions() p
                     WHERE p.table_name = vigil_partition_report.table_name AND p.lower_at IS NULL LOOP
            EXECUTE format('SELECT count(*) FROM (SELECT FROM %I LIMIT 10000) s', stray) INTO default_rows;
        END LOOP;
        horizon := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        LOOP
            SELECT p.upper_at INTO upper_bound FROM vigil_partitions() p
            WHERE p.table_name = vigil_partition_report.table_name AND p.lower_at <= horizon AND p.upper_at > horizon;
            EXIT WHEN NOT FOUND;
            horizon := upper_bound;
        END LOOP;
        SELECT count(*) INTO partitions FROM vigil_partitions() p
        WHERE p.table_name = vigil_partition_report.table_name AND p.lower_at IS NOT NULL;
        RETURN NEXT;
    END LOOP;
END $$;

CREATE FUNCTION vigil_partitions_wanted(weeks_ahead integer) RETURNS TABLE (table_name text, monday date)
LANGUAGE plpgsql STABLE {owners} AS $$
-- Weeks without a partition: from two weeks back (devices may send what is up to seven days old), and older ones of
-- which rows lie in the default partition. What claims to be older than ten years, or of a time to come, stays there.
DECLARE
    this_monday date := date_trunc('week', now() AT TIME ZONE 'UTC')::date;
    stray text;
BEGIN
    FOR table_name, stray IN SELECT p.table_name, p.relation FROM vigil_partitions() p WHERE p.lower_at IS NULL LOOP
        FOR monday IN EXECUTE format(
            'SELECT $1 + 7 * n FROM generate_series(-2, $2) n UNION
             SELECT date_trunc(''week'', recorded_at AT TIME ZONE ''UTC'')::date FROM %I
             WHERE recorded_at >= now() - interval ''10 years'' AND recorded_at < $1 + 7 * ($2 + 1) ORDER BY 1', stray)
            USING this_monday, weeks_ahead
        LOOP
            IF NOT EXISTS (SELECT FROM vigil_partitions() p
                           WHERE p.table_name = vigil_partitions_wanted.table_name
                             AND p.lower_at <= monday::timestamp AT TIME ZONE 'UTC'
                             AND p.upper_at > monday::timestamp AT TIME ZONE 'UTC') THEN
                RETURN NEXT;
            END IF;
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION vigil_make_partition(parent text, monday date) RETURNS bigint LANGUAGE plpgsql {owners} AS $$
-- One week (Monday to Monday, UTC) of one table. Rows of that week that lie in the default partition move into it;
-- returns how many, null when there is such a partition already. A table is made first and attached then: that locks
-- out nobody who writes to other partitions, as CREATE TABLE ... PARTITION OF would.
DECLARE
    starts_at timestamptz := monday::timestamp AT TIME ZONE 'UTC';
    ends_at timestamptz := (monday + 7)::timestamp AT TIME ZONE 'UTC';
    child text := parent || '_' || to_char(monday, 'IYYY"w"IW');
    stray text;
    names text;
    moved bigint := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM vigil_partitions() p WHERE p.table_name = parent) THEN
        RAISE EXCEPTION '% is no partitioned table', parent USING ERRCODE = 'wrong_object_type';
    END IF;
    IF extract(isodow FROM monday) <> 1 OR monday > now() + interval '1 year' OR monday < now() - interval '11 years'
    THEN
        RAISE EXCEPTION '% is no Monday of a sensible time', monday USING ERRCODE = 'invalid_parameter_value';
    END IF;
    {lock}
    IF EXISTS (SELECT FROM vigil_partitions() p
               WHERE p.table_name = parent AND p.lower_at < ends_at AND p.upper_at > starts_at) THEN
        RETURN NULL;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', child);
    -- Whoever may see rows sees them through the parent, under its policies; whatever default privileges say.
    EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, vigil_tenant, vigil_ingest, vigil_login', child);
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(parent)) AND attnum > 0 AND NOT attisdropped;
    FOR stray IN SELECT p.relation FROM vigil_partitions() p WHERE p.table_name = parent AND p.lower_at IS NULL LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', stray);
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE recorded_at >= $1 AND recorded_at < $2 RETURNING %s)
                        INSERT INTO %I (%s) SELECT %s FROM moved', stray, names, child, names, names)
            USING starts_at, ends_at;
        GET DIAGNOSTICS moved = ROW_COUNT;
    END LOOP;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, starts_at, ends_at);
    RETURN moved;
END $$;

CREATE OR REPLACE FUNCTION vigil_make_partitions(weeks_ahead integer) RETURNS integer LANGUAGE plpgsql {owners} AS $$
-- All that are wanted, in one transaction; returns how many were made. The services make them one by one.
DECLARE
    wanted record;
    made integer := 0;
BEGIN
    FOR wanted IN SELECT * FROM vigil_partitions_wanted(weeks_ahead) LOOP
        IF vigil_make_partition(wanted.table_name, wanted.monday) IS NOT NULL THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
"""

FUNCTIONS = (
    "vigil_make_partition(text, date)",
    "vigil_partitions_wanted(integer)",
    "vigil_partition_report()",
    "vigil_partitions()",
)

# As migrations 0001 and 0002 had it.
OLD_MAKE = """
CREATE OR REPLACE FUNCTION vigil_make_partitions(weeks_ahead integer) RETURNS integer LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
-- One partition a week (Monday, UTC) for every partitioned table, from two weeks back: devices may send
-- what is up to seven days old. Returns how many were made.
DECLARE
    parent text;
    monday date;
    child text;
    made integer := 0;
BEGIN
    FOR parent IN SELECT relname FROM pg_class c JOIN pg_partitioned_table p ON p.partrelid = c.oid
                  WHERE c.relnamespace = current_schema()::regnamespace LOOP
        FOR week IN -2 .. weeks_ahead LOOP
            monday := (date_trunc('week', now() AT TIME ZONE 'UTC') + make_interval(weeks => week))::date;
            child := parent || '_' || to_char(monday, 'IYYY"w"IW');
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                               monday::text || ' 00:00:00+00', (monday + 7)::text || ' 00:00:00+00');
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
"""

# Of the partitions that there are: rows only through the parent.
CHILDREN = """
DO $$
DECLARE
    child text;
BEGIN
    FOR child IN SELECT relation FROM vigil_partitions() LOOP
        EXECUTE format('ALTER TABLE %I {verb} ROW LEVEL SECURITY', child);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    _run(PARTITIONS.replace("{owners}", OWNERS).replace("{lock}", LOCK).replace("{schema}", schema))
    _run(CHILDREN.replace("{verb}", "ENABLE"))
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO vigil_ingest")
    op.execute("SELECT vigil_make_partitions(4)")


def downgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    _run(CHILDREN.replace("{verb}", "DISABLE"))
    _run(OLD_MAKE.replace("{schema}", schema))
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")


def _run(script: str) -> None:
    """As it stands: neither `:name` nor `%` means anything here."""
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
