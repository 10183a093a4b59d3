"""Partitions that are made ahead; what is too old, dropped; shifts of guards; erasures of persons.

Services own no table. What they need done to partitions they have done by functions with the owner's rights, which
take no name that they have not checked, and no age but what `retention_policy` says or what is above a floor: a service
that was taken over can erase nothing that is younger. Each call is one short transaction:
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

TABLES = """
CREATE TABLE retention_policy (
    tenant_id  integer NOT NULL REFERENCES tenant ON DELETE CASCADE,
    class      text NOT NULL CHECK (class <> 'seen'),  -- identities of messages have no tenant
    days       integer NOT NULL CHECK (days BETWEEN 1 AND 36500),
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, class)
);
COMMENT ON TABLE retention_policy IS 'where a tenant differs from config.yaml in how long what is kept';

CREATE TABLE retention_run (
    started_at  timestamptz PRIMARY KEY,
    finished_at timestamptz NOT NULL,
    removed     jsonb NOT NULL
);
COMMENT ON TABLE retention_run IS 'each run that came to its end, and what it removed by class';

CREATE TABLE guard_shift (
    shift_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    guard_id  text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    CHECK (ends_at > starts_at AND ends_at <= starts_at + interval '48 hours'),
    FOREIGN KEY (tenant_id, guard_id) REFERENCES guard (tenant_id, guard_id) ON DELETE CASCADE,
    CONSTRAINT guard_shift_no_overlap
        EXCLUDE USING gist (tenant_id WITH =, guard_id WITH =, tstzrange(starts_at, ends_at) WITH &&)
);
COMMENT ON TABLE guard_shift IS 'when a guard is on duty; tenants may want positions of no other time';
CREATE INDEX guard_shift_guard ON guard_shift (tenant_id, guard_id, ends_at);
CREATE TRIGGER guard_shift_changed AFTER INSERT OR UPDATE OR DELETE ON guard_shift
    FOR EACH STATEMENT EXECUTE FUNCTION vigil_registry_changed();

CREATE TABLE alert_hold (
    alert_id  uuid PRIMARY KEY,
    tenant_id integer NOT NULL,
    reason    text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES mqtt_device_alert (tenant_id, alert_id)
);
COMMENT ON TABLE alert_hold IS 'alerts that are evidence somewhere: the foreign key refuses their deletion';

CREATE TABLE alert_track (
    tenant_id          integer NOT NULL,
    alert_id           uuid NOT NULL,
    message_key        uuid NOT NULL,
    guard_id           text NOT NULL,
    recorded_at        timestamptz NOT NULL,
    received_at        timestamptz NOT NULL,
    clock_suspect      boolean NOT NULL,
    lat double precision NOT NULL, lon double precision NOT NULL,
    accuracy real, speed real, heading real, source text, mock boolean NOT NULL,
    in_geofence        boolean NOT NULL,
    geofence_violation boolean NOT NULL,
    PRIMARY KEY (alert_id, message_key),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES mqtt_device_alert (tenant_id, alert_id) ON DELETE CASCADE
);
COMMENT ON TABLE alert_track IS 'positions around an alert that retention has taken out of mqtt_guard_location';

CREATE TABLE erasure (
    erasure_id uuid PRIMARY KEY,
    tenant_id  integer NOT NULL REFERENCES tenant,
    kind       text NOT NULL CHECK (kind IN ('guard', 'contact', 'user')),
    pseudonym  text NOT NULL,
    erased_at  timestamptz NOT NULL DEFAULT now(),
    counts     jsonb NOT NULL
);
COMMENT ON TABLE erasure IS 'that somebody was erased, when, and how many rows of which tables; nothing of the person';
"""

GRANTS = {
    "vigil_tenant": {
        "retention_policy": "SELECT",
        "guard_shift": "SELECT, INSERT, UPDATE, DELETE",
        "erasure": "SELECT",
        "alert_hold": "SELECT",
        "alert_track": "SELECT",
    },
    "vigil_ingest": {"retention_policy": "SELECT", "guard_shift": "SELECT"},
}
NEW_TABLES = ("alert_hold", "alert_track", "erasure", "guard_shift", "retention_policy")

RETENTION = """
CREATE FUNCTION vigil_retention_classes() RETURNS TABLE (
    class text, policy text, table_name text, aged_by text, condition text, floor_days integer
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- What is kept how long: by which policy, by which time of a row, and of which rows of the table (`r`) it is true.
-- No default of the configuration goes below the floor; identities of messages outlive what devices may still send.
    VALUES
        ('telemetry', 'telemetry', 'mqtt_device_telemetry', 'recorded_at', 'true', 1),
        ('positions', 'positions', 'mqtt_guard_location', 'recorded_at', 'true', 1),
        ('readings', 'readings', 'mqtt_sensor_reading', 'recorded_at', 'true', 1),
        ('health', 'health', 'mqtt_system_health', 'recorded_at', 'true', 1),
        ('rejected', 'rejected', 'rejected_message', 'received_at', 'true', 1),
        ('alerts', 'alerts', 'mqtt_device_alert', 'closed_at', $c$r.status IN ('RESOLVED', 'FALSE_ALARM')
            AND NOT EXISTS (SELECT FROM alert_hold h WHERE h.alert_id = r.alert_id)$c$, 30),
        ('storms', 'alerts', 'alert_group', 'last_at', $c$NOT EXISTS (SELECT FROM mqtt_device_alert a
            WHERE a.tenant_id = r.tenant_id AND a.group_id = r.group_id)$c$, 30),
        ('presence', 'presence', 'operator_presence', 'minute', 'true', 1),
        ('shifts', 'positions', 'guard_shift', 'ends_at', $c$r.ends_at < now() - interval '10 days'$c$, 10),
        ('sessions', 'sessions', 'user_session', 'expires_at', 'true', 1),
        ('seen', 'seen', 'message_seen', 'received_at', 'true', 8)
$$;

CREATE FUNCTION vigil_retention_days(of_class text, default_days integer, OUT usual integer, OUT shortest integer,
                                     OUT longest integer)
LANGUAGE plpgsql STABLE {owners} AS $$
-- Days for tenants without a policy of their own, and the fewest and the most that anybody has.
BEGIN
    SELECT greatest(default_days, c.floor_days) INTO usual FROM vigil_retention_classes() c WHERE c.class = of_class;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no class % of retention', of_class USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT least(usual, min(p.days)), greatest(usual, max(p.days)) INTO shortest, longest
    FROM retention_policy p JOIN vigil_retention_classes() c ON c.policy = p.class WHERE c.class = of_class;
END $$;

CREATE FUNCTION vigil_retention_work(of_class text, default_days integer) RETURNS TABLE (
    relation text, whole boolean, blocks bigint, bytes bigint
) LANGUAGE plpgsql STABLE {owners} AS $$
-- What may hold rows that are too old: partitions that nobody needs any more (`whole`), and tables to go through. Of
-- partitions that somebody still needs, those only in which some tenant has a row that is too old: tenants are looked
-- up by leaps in the index, so that what one tenant keeps for years is not read each night.
DECLARE
    days record := vigil_retention_days(of_class, default_days);
    class record;
    part record;
    found_one boolean;
    partitioned boolean := false;
    this_monday timestamptz := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
BEGIN
    SELECT * INTO class FROM vigil_retention_classes() c WHERE c.class = of_class;
    FOR part IN SELECT p.* FROM vigil_partitions() p WHERE p.table_name = class.table_name LOOP
        partitioned := true;
        relation := part.relation;
        whole := coalesce(part.upper_at <= now() - make_interval(days => days.longest)
                          AND part.upper_at <= this_monday - interval '14 days', false);
        IF NOT whole THEN
            CONTINUE WHEN part.lower_at >= now() - make_interval(days => days.shortest);
            EXECUTE format(
                'WITH RECURSIVE tenants AS (
                    SELECT min(tenant_id) AS tenant_id FROM %1$I
                    UNION ALL
                    SELECT (SELECT min(r.tenant_id) FROM %1$I r WHERE r.tenant_id > t.tenant_id) FROM tenants t
                    WHERE t.tenant_id IS NOT NULL)
                 SELECT EXISTS (
                    SELECT FROM tenants t LEFT JOIN retention_policy p ON p.tenant_id = t.tenant_id AND p.class = $1
                    WHERE EXISTS (SELECT FROM %1$I r WHERE r.tenant_id = t.tenant_id
                                  AND r.%2$I < now() - make_interval(days => coalesce(p.days, $2))))',
                relation, class.aged_by) INTO found_one USING class.policy, days.usual;
            CONTINUE WHEN NOT found_one;
        END IF;
        bytes := pg_total_relation_size(quote_ident(relation));
        blocks := pg_relation_size(quote_ident(relation)) / current_setting('block_size')::integer;
        RETURN NEXT;
    END LOOP;
    IF NOT partitioned THEN
        relation := class.table_name;
        whole := false;
        bytes := pg_total_relation_size(quote_ident(relation));
        blocks := pg_relation_size(quote_ident(relation)) / current_setting('block_size')::integer;
        RETURN NEXT;
    END IF;
END $$;

CREATE FUNCTION vigil_track_span(alert mqtt_device_alert) RETURNS tstzrange LANGUAGE sql STABLE PARALLEL SAFE AS $$
-- The window of an evidence pack (services/alerts/evidence.py): 15 minutes around the alert, 24 hours at the most.
    SELECT tstzrange(least(alert.recorded_at, alert.received_at) - interval '15 minutes',
                     least(coalesce(alert.closed_at, 'infinity') + interval '15 minutes',
                           least(alert.recorded_at, alert.received_at) + interval '1425 minutes'), '[]')
$$;

CREATE FUNCTION vigil_put_by_tracks(relation text, first_block bigint, end_block bigint, before timestamptz)
RETURNS void LANGUAGE plpgsql {owners} AS $$
-- Positions around alerts, before they go: they stay as long as their alert. Alerts lead, by the index on positions.
BEGIN
    EXECUTE format(
        'INSERT INTO alert_track
         SELECT a.tenant_id, a.alert_id, f.message_key, f.guard_id, f.recorded_at, f.received_at, f.clock_suspect,
                f.lat, f.lon, f.accuracy, f.speed, f.heading, f.source, f.mock, f.in_geofence, f.geofence_violation
         FROM (SELECT DISTINCT a.tenant_id, a.alert_id, vigil_track_span(a) AS span, g.guard_id
               FROM mqtt_device_alert a, unnest(ARRAY[a.carried_by, a.source_id]) g (guard_id)
               WHERE g.guard_id IS NOT NULL AND lower(vigil_track_span(a)) < $3) a
         JOIN ONLY %I f ON f.tenant_id = a.tenant_id AND f.guard_id = a.guard_id
              AND f.recorded_at BETWEEN lower(a.span) AND upper(a.span)
         WHERE f.recorded_at < $3 AND f.ctid >= $1 AND f.ctid < $2 ON CONFLICT DO NOTHING', relation)
        USING format('(%s,0)', first_block)::tid, format('(%s,0)', end_block)::tid, before;
END $$;

CREATE FUNCTION vigil_retire_rows(
    of_class text, relation text, default_days integer, first_block bigint, blocks integer, dry_run boolean
) RETURNS bigint LANGUAGE plpgsql {owners} AS $$
-- Deletes (with dry_run: counts) what is too old in some blocks of a table. By blocks, not by a LIMIT: a table is gone
-- through once, whatever was deleted before, and every call is short.
DECLARE
    days record := vigil_retention_days(of_class, default_days);
    class record;
    latest timestamptz := now() - make_interval(days => days.usual);
    own_limit text := '';
    gone bigint;
BEGIN
    SELECT * INTO class FROM vigil_retention_classes() c WHERE c.class = of_class;
    IF relation <> class.table_name AND NOT EXISTS (
        SELECT FROM vigil_partitions() p
        WHERE p.table_name = class.table_name AND p.relation = vigil_retire_rows.relation)
    THEN
        RAISE EXCEPTION '% holds nothing of class %', relation, of_class USING ERRCODE = 'wrong_object_type';
    END IF;
    IF EXISTS (SELECT FROM retention_policy p WHERE p.class = class.policy) THEN
        own_limit := format('AND r.%I < coalesce((SELECT now() - make_interval(days => p.days) FROM retention_policy p
                             WHERE p.tenant_id = r.tenant_id AND p.class = $4), $5)', class.aged_by);
        latest := now() - make_interval(days => days.shortest);
    END IF;
    IF class.table_name = 'mqtt_guard_location' AND NOT dry_run THEN
        PERFORM vigil_put_by_tracks(relation, first_block, first_block + blocks, latest);
    END IF;
    EXECUTE format('%s ONLY %I r WHERE r.ctid >= $1 AND r.ctid < $2 AND r.%I < $3 AND (%s) %s',
                   CASE WHEN dry_run THEN 'SELECT FROM' ELSE 'DELETE FROM' END,
                   relation, class.aged_by, class.condition, own_limit)
        USING format('(%s,0)', first_block)::tid, format('(%s,0)', first_block + blocks)::tid, latest,
              class.policy, now() - make_interval(days => days.usual);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

CREATE FUNCTION vigil_drop_partition(of_class text, relation text, default_days integer) RETURNS boolean
LANGUAGE plpgsql {owners} AS $$
-- Drops a partition that nobody's policy needs; false when it is not there any more.
DECLARE
    days record := vigil_retention_days(of_class, default_days);
    ends_at timestamptz;
BEGIN
    {lock}
    SELECT p.upper_at INTO ends_at FROM vigil_partitions() p JOIN vigil_retention_classes() c USING (table_name)
    WHERE c.class = of_class AND p.relation = vigil_drop_partition.relation;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF ends_at IS NULL OR ends_at > now() - make_interval(days => days.longest)
       OR ends_at > date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '14 days' THEN
        RAISE EXCEPTION '% is still needed', relation USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF of_class = 'positions' THEN
        PERFORM vigil_put_by_tracks(relation, 0, 4294967295, ends_at);
    END IF;
    EXECUTE format('DROP TABLE %I', relation);
    RETURN true;
END $$;
"""

FUNCTIONS = (
    "vigil_drop_partition(text, text, integer)",
    "vigil_retire_rows(text, text, integer, bigint, integer, boolean)",
    "vigil_put_by_tracks(text, bigint, bigint, timestamptz)",
    "vigil_track_span(mqtt_device_alert)",
    "vigil_retention_work(text, integer)",
    "vigil_retention_days(text, integer)",
    "vigil_retention_classes()",
    "vigil_make_partition(text, date)",
    "vigil_partitions_wanted(integer)",
    "vigil_partition_report()",
    "vigil_partitions()",
)
OF_THE_OWNER = (
    "vigil_put_by_tracks(text, bigint, bigint, timestamptz)",
    "vigil_track_span(mqtt_device_alert)",
)
"""Called by the others only."""

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
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    _run(TABLES)
    for script in (PARTITIONS, RETENTION):
        _run(script.replace("{owners}", OWNERS).replace("{lock}", LOCK).replace("{schema}", schema))
    for table in NEW_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT, INSERT ON retention_run TO vigil_ingest")
    for role, tables in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        for table, rights in tables.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")
            op.execute(f"CREATE POLICY {role} ON {table} TO {role} USING ({mine}) WITH CHECK ({mine})")
    _run(CHILDREN.replace("{verb}", "ENABLE"))
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        if function not in OF_THE_OWNER:
            op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO vigil_ingest")
    op.execute("SELECT vigil_make_partitions(4)")


def downgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    _run(CHILDREN.replace("{verb}", "DISABLE"))
    _run(OLD_MAKE.replace("{schema}", schema))
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    # The extension btree_gist stays, as PostGIS does: perhaps it was there before.
    for table in (*NEW_TABLES, "retention_run"):
        op.execute(f"DROP TABLE {table}")


def _run(script: str) -> None:
    """As it stands: neither `:name` nor `%` means anything here."""
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
