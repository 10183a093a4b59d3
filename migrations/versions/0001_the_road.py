"""The tables of the road: registry, field messages, alerts.

Columns of the `mqtt_` tables bear the names of the payload's fields; units are in the comments.
Field messages are partitioned by week of `recorded_at`; that a message is stored once is held by
`message_seen`, because a unique index cannot span partitions without their key.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REGISTRY = """
CREATE TABLE tenant (
    tenant_id   integer PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    settings    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN tenant.tenant_id IS 'the client_id of payloads';

CREATE TABLE site (
    site_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   integer NOT NULL REFERENCES tenant,
    name        text NOT NULL,
    time_zone   text NOT NULL DEFAULT 'UTC',
    location    geography(Point, 4326),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

CREATE TABLE zone (
    zone_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   integer NOT NULL REFERENCES tenant,
    site_id     integer REFERENCES site,
    name        text NOT NULL,
    kind        text NOT NULL DEFAULT 'required' CHECK (kind IN ('required', 'forbidden')),
    area        geography(Geometry, 4326) NOT NULL,
    radius_m    double precision CHECK (radius_m > 0),
    version     integer NOT NULL DEFAULT 1,
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    CHECK ((GeometryType(area::geometry) = 'POINT') = (radius_m IS NOT NULL)),
    CHECK (GeometryType(area::geometry) IN ('POINT', 'POLYGON'))
);
COMMENT ON COLUMN zone.area IS 'a polygon, or the centre of a circle of radius_m';

CREATE TABLE guard (
    guard_id      text PRIMARY KEY,
    tenant_id     integer NOT NULL REFERENCES tenant,
    site_id       integer REFERENCES site,
    name          text NOT NULL,
    enabled       boolean NOT NULL DEFAULT true,
    registered_by text NOT NULL DEFAULT 'operator',
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE device (
    device_id     text PRIMARY KEY,
    tenant_id     integer NOT NULL REFERENCES tenant,
    site_id       integer REFERENCES site,
    name          text NOT NULL,
    family        text NOT NULL CHECK (family IN ('device', 'sensor', 'system', 'alert')),
    enabled       boolean NOT NULL DEFAULT true,
    registered_by text NOT NULL DEFAULT 'operator',
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN device.registered_by IS 'operator, or open: taken in because registration was open';

CREATE TABLE app_user (
    user_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     integer NOT NULL REFERENCES tenant,
    login         text NOT NULL UNIQUE,
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('viewer', 'operator', 'supervisor', 'admin', 'platform')),
    password_hash text NOT NULL,
    enabled       boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now()
);
"""

VERSION = """
CREATE TABLE registry_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO registry_version (version) VALUES (1);
COMMENT ON TABLE registry_version IS 'grows with every change of the registry; caches look here once a second';
-- A row, not a sequence: it must become visible with the change, not before it.
CREATE FUNCTION vigil_registry_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE registry_version SET version = version + 1;
    RETURN NULL;
END $$;
"""
REGISTRY_TABLES = ("tenant", "site", "zone", "guard", "device")

SEEN = """
CREATE TABLE message_seen (
    message_key uuid PRIMARY KEY,
    received_at timestamptz NOT NULL
);
COMMENT ON TABLE message_seen IS 'identities of stored messages: the same message has one effect';
CREATE INDEX message_seen_received_at ON message_seen USING brin (received_at);
"""

COMMON = """
    tenant_id     integer NOT NULL,
    {source}      text NOT NULL,
    message_key   uuid NOT NULL,
    msg_id        text,
    recorded_at   timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    clock_suspect boolean NOT NULL,
    quality       text[] NOT NULL,
"""

FIELD_TABLES = {
    "mqtt_device_telemetry": (
        "device_id",
        """
    battery real, signal real, temperature real, connectivity text,
    """,
        {"battery": "per cent", "signal": "dBm", "temperature": "degrees Celsius"},
    ),
    "mqtt_guard_location": (
        "guard_id",
        """
    location geography(Point, 4326) NOT NULL,
    lat double precision NOT NULL, lon double precision NOT NULL,
    accuracy real, speed real, heading real, source text, mock boolean NOT NULL,
    in_geofence boolean NOT NULL, geofence_violation boolean NOT NULL,
    """,
        {
            "accuracy": "metres",
            "speed": "metres a second",
            "heading": "degrees from north",
            "in_geofence": "inside at least one zone that applies",
            "geofence_violation": "zones apply, and the guard is outside all required ones or in a forbidden one",
        },
    ),
    "mqtt_sensor_reading": (
        "sensor_id",
        """
    kind text NOT NULL, type text NOT NULL, value double precision, state text,
    """,
        {"kind": "the last word of the topic: status, reading, alarm"},
    ),
    "mqtt_system_health": (
        "system_id",
        """
    cpu real, memory real, disk real, uptime double precision,
    """,
        {"cpu": "per cent", "memory": "per cent", "disk": "per cent", "uptime": "seconds"},
    ),
}

PARTITIONS = """
CREATE FUNCTION vigil_make_partitions(weeks_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
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

STATE = """
CREATE TABLE guard_state (
    guard_id           text PRIMARY KEY,
    tenant_id          integer NOT NULL,
    recorded_at        timestamptz NOT NULL,
    received_at        timestamptz NOT NULL,
    location           geography(Point, 4326) NOT NULL,
    lat double precision NOT NULL, lon double precision NOT NULL,
    accuracy real, speed real, heading real,
    in_geofence        boolean NOT NULL,
    geofence_violation boolean NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE guard_state IS 'the newest fix of each guard, by device time';
CREATE INDEX guard_state_tenant ON guard_state (tenant_id);

CREATE TABLE source_state (
    source_id    text PRIMARY KEY,
    tenant_id    integer NOT NULL,
    family       text NOT NULL,
    recorded_at  timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    reading      jsonb NOT NULL,
    conditions   text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
COMMENT ON TABLE source_state IS 'the newest reading of each device, sensor and system, and the conditions it shows';
CREATE INDEX source_state_tenant ON source_state (tenant_id);
"""

ALERTS = """
CREATE TABLE mqtt_device_alert (
    alert_id        uuid PRIMARY KEY,
    tenant_id       integer NOT NULL REFERENCES tenant,
    site_id         integer REFERENCES site,
    alert_type      text NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW')),
    status          text NOT NULL CHECK (status IN ('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS', 'RESOLVED', 'FALSE_ALARM')),
    source_id       text NOT NULL,
    dedup_key       text NOT NULL,
    message         text NOT NULL,
    occurrences     integer NOT NULL DEFAULT 1,
    recorded_at     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    location        geography(Point, 4326),
    silent          boolean NOT NULL DEFAULT false,
    drill           boolean NOT NULL DEFAULT false,
    clock_suspect   boolean NOT NULL DEFAULT false,
    flags           text[] NOT NULL DEFAULT '{}',
    raw_data        jsonb,
    acknowledged_by text,
    acknowledged_at timestamptz,
    cleared_at      timestamptz,
    closed_at       timestamptz
);
CREATE UNIQUE INDEX mqtt_device_alert_one_open ON mqtt_device_alert (tenant_id, dedup_key)
    WHERE status IN ('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS');
CREATE INDEX mqtt_device_alert_tenant ON mqtt_device_alert (tenant_id, received_at DESC);

CREATE TABLE alert_occurrence (
    message_key   uuid PRIMARY KEY,
    alert_id      uuid NOT NULL REFERENCES mqtt_device_alert ON DELETE CASCADE,
    tenant_id     integer NOT NULL,
    msg_id        text,
    topic         text,
    recorded_at   timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    clock_suspect boolean NOT NULL DEFAULT false,
    flags         text[] NOT NULL DEFAULT '{}',
    raw_data      jsonb,
    unreadable    bytea
);
COMMENT ON TABLE alert_occurrence IS 'every message or finding that stands behind an alert, each once';
CREATE INDEX alert_occurrence_alert ON alert_occurrence (alert_id);

CREATE TABLE alert_timeline (
    entry_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id     uuid NOT NULL REFERENCES mqtt_device_alert ON DELETE CASCADE,
    tenant_id    integer NOT NULL,
    at           timestamptz NOT NULL,
    action       text NOT NULL,
    status       text NOT NULL,
    by           text NOT NULL,
    note         text NOT NULL DEFAULT '',
    announced_at timestamptz
);
COMMENT ON COLUMN alert_timeline.announced_at IS 'when feed and events had it; null = still to be told';
CREATE INDEX alert_timeline_alert ON alert_timeline (alert_id, entry_id);
CREATE INDEX alert_timeline_untold ON alert_timeline (entry_id) WHERE announced_at IS NULL;

CREATE TABLE notification (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       integer NOT NULL,
    alert_id        uuid NOT NULL REFERENCES mqtt_device_alert ON DELETE CASCADE,
    channel         text NOT NULL,
    recipient       text NOT NULL,
    state           text NOT NULL,
    body            text NOT NULL,
    created_at      timestamptz NOT NULL,
    UNIQUE (alert_id, channel, recipient)
);

CREATE TABLE rejected_message (
    message_key uuid PRIMARY KEY,
    topic       text NOT NULL,
    payload     bytea NOT NULL,
    reason      text NOT NULL,
    detail      text NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL,
    source_id   text,
    tenant_id   integer
);
CREATE INDEX rejected_message_received_at ON rejected_message (received_at DESC);
"""

TABLES = [
    "rejected_message",
    "notification",
    "alert_timeline",
    "alert_occurrence",
    "mqtt_device_alert",
    "source_state",
    "guard_state",
    "mqtt_system_health",
    "mqtt_sensor_reading",
    "mqtt_guard_location",
    "mqtt_device_telemetry",
    "message_seen",
    "app_user",
    "device",
    "guard",
    "zone",
    "site",
    "tenant",
    "registry_version",
]


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    op.execute(REGISTRY)
    op.execute(VERSION)
    for table in REGISTRY_TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_changed AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION vigil_registry_changed()"
        )
    op.execute(SEEN)
    for table, (source, columns, comments) in FIELD_TABLES.items():
        op.execute(
            f"CREATE TABLE {table} ({COMMON.format(source=source)} {columns} raw_data json NOT NULL)"
            " PARTITION BY RANGE (recorded_at)"
        )
        op.execute(f"CREATE INDEX {table}_source ON {table} (tenant_id, {source}, recorded_at DESC)")
        op.execute(f"CREATE INDEX {table}_received_at ON {table} USING brin (received_at)")
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        for column, comment in comments.items():
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{comment}'")
    op.execute(PARTITIONS)
    op.execute("SELECT vigil_make_partitions(4)")
    op.execute(STATE)
    op.execute(ALERTS)


def downgrade() -> None:
    op.execute("DROP FUNCTION vigil_make_partitions(integer)")
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION vigil_registry_changed()")
