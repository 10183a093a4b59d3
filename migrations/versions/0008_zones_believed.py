"""Zones with versions, what guards' tracks came to, and which guards are silent.

`zone` is what holds now; every version that ever held is in `zone_version`, kept by triggers so that no way of changing
a zone goes round it. A change comes into force two seconds after it was made: by then every process knows of it
(`registry_version` is read once a second), and no two judge one moment by different zones.
"""

from alembic import op
from sqlalchemy import text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ZONES = """
ALTER TABLE zone DROP CONSTRAINT zone_kind_check, DROP CONSTRAINT zone_area_check;
ALTER TABLE zone
    ADD CONSTRAINT zone_kind_check CHECK (kind IN ('required', 'forbidden', 'speed')),
    ADD CONSTRAINT zone_area_check CHECK (GeometryType(area::geometry) IN ('POINT', 'POLYGON', 'MULTIPOLYGON')),
    ADD COLUMN group_id integer,
    ADD COLUMN guard_id text,
    ADD COLUMN speed_limit_mps double precision CHECK (speed_limit_mps > 0),
    ADD COLUMN schedule jsonb,
    ADD COLUMN confirmation jsonb,
    ADD COLUMN changed_by text NOT NULL DEFAULT '',
    ADD COLUMN in_force_from timestamptz NOT NULL DEFAULT clock_timestamp() + interval '2 seconds',
    ADD CONSTRAINT zone_speed_check CHECK (kind <> 'speed' OR speed_limit_mps IS NOT NULL),
    ADD CONSTRAINT zone_schedule_check CHECK (schedule IS NULL OR jsonb_typeof(schedule) = 'object'),
    ADD CONSTRAINT zone_confirmation_check CHECK (confirmation IS NULL OR jsonb_typeof(confirmation) = 'object'),
    ADD CONSTRAINT zone_of_tenant UNIQUE (tenant_id, zone_id),
    ADD CONSTRAINT zone_group_id_fkey FOREIGN KEY (tenant_id, group_id) REFERENCES guard_group (tenant_id, group_id),
    ADD CONSTRAINT zone_guard_id_fkey FOREIGN KEY (tenant_id, guard_id) REFERENCES guard (tenant_id, guard_id);
UPDATE zone SET in_force_from = created_at;
COMMENT ON COLUMN zone.area IS 'one or several polygons, or the centre of a circle of radius_m; an edge goes the
short way round, over the antimeridian too';
COMMENT ON COLUMN zone.group_id IS 'applies to this group and to guard_id; to all without either';
COMMENT ON COLUMN zone.schedule IS 'when it holds, in the time zone of its site; null: always (services/schedules.py)';
COMMENT ON COLUMN zone.confirmation IS 'where it differs from config.yaml in what confirms an entry or an exit';

CREATE TABLE zone_version (
    zone_id         integer NOT NULL,
    version         integer NOT NULL,
    tenant_id       integer NOT NULL,
    in_force_from   timestamptz NOT NULL,
    in_force_to     timestamptz,
    name            text NOT NULL,
    kind            text NOT NULL,
    site_id         integer,
    time_zone       text NOT NULL,
    group_id        integer,
    guard_id        text,
    area            geography(Geometry, 4326) NOT NULL,
    radius_m        double precision,
    speed_limit_mps double precision,
    schedule        jsonb,
    confirmation    jsonb,
    enabled         boolean NOT NULL,
    changed_by      text NOT NULL,
    PRIMARY KEY (zone_id, version),
    FOREIGN KEY (tenant_id, zone_id) REFERENCES zone (tenant_id, zone_id)
);
COMMENT ON TABLE zone_version IS 'what each zone was and when; triggers on zone and site write it, nobody else';
CREATE INDEX zone_version_tenant ON zone_version (tenant_id, in_force_from);
"""

VERSIONS = """
CREATE FUNCTION vigil_number_zone() RETURNS trigger LANGUAGE plpgsql AS $$
-- A version that says nothing new is none.
BEGIN
    NEW.version := OLD.version;
    NEW.in_force_from := OLD.in_force_from;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.version := OLD.version + 1;
        NEW.in_force_from := clock_timestamp() + interval '2 seconds';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION vigil_keep_zone_version() RETURNS trigger LANGUAGE plpgsql {owners} AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.version = OLD.version THEN
        RETURN NULL;
    END IF;
    UPDATE zone_version SET in_force_to = NEW.in_force_from WHERE zone_id = NEW.zone_id AND in_force_to IS NULL;
    INSERT INTO zone_version (zone_id, version, tenant_id, in_force_from, name, kind, site_id, time_zone, group_id,
                              guard_id, area, radius_m, speed_limit_mps, schedule, confirmation, enabled, changed_by)
    VALUES (NEW.zone_id, NEW.version, NEW.tenant_id, NEW.in_force_from, NEW.name, NEW.kind, NEW.site_id,
            coalesce((SELECT time_zone FROM site WHERE site_id = NEW.site_id), 'UTC'), NEW.group_id, NEW.guard_id,
            NEW.area, NEW.radius_m, NEW.speed_limit_mps, NEW.schedule, NEW.confirmation, NEW.enabled, NEW.changed_by);
    RETURN NULL;
END $$;
CREATE FUNCTION vigil_keep_zones_of_site() RETURNS trigger LANGUAGE plpgsql {owners} AS $$
-- Another time zone is another schedule.
BEGIN
    UPDATE zone SET changed_by = 'site ' || NEW.name || ': ' || NEW.time_zone WHERE site_id = NEW.site_id;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION vigil_number_zone(), vigil_keep_zone_version(), vigil_keep_zones_of_site() FROM PUBLIC;
INSERT INTO zone_version (zone_id, version, tenant_id, in_force_from, name, kind, site_id, time_zone, area, radius_m,
                          enabled, changed_by)
SELECT z.zone_id, z.version, z.tenant_id, z.in_force_from, z.name, z.kind, z.site_id, coalesce(s.time_zone, 'UTC'),
       z.area, z.radius_m, z.enabled, ''
FROM zone z LEFT JOIN site s USING (site_id);
CREATE TRIGGER zone_numbered BEFORE UPDATE ON zone FOR EACH ROW EXECUTE FUNCTION vigil_number_zone();
CREATE TRIGGER zone_kept AFTER INSERT OR UPDATE ON zone FOR EACH ROW EXECUTE FUNCTION vigil_keep_zone_version();
CREATE TRIGGER site_zones_kept AFTER UPDATE ON site FOR EACH ROW WHEN (OLD.time_zone <> NEW.time_zone)
    EXECUTE FUNCTION vigil_keep_zones_of_site();
"""

TRACKS = """
ALTER TABLE guard_state
    ADD COLUMN belief bytea,
    ADD COLUMN judged_at timestamptz,
    ADD COLUMN judged_key uuid,
    ADD COLUMN violation_told boolean NOT NULL DEFAULT false,
    ADD COLUMN repeat_told_at timestamptz,
    ADD COLUMN speeding_told integer[] NOT NULL DEFAULT '{}',
    ADD COLUMN settles_at timestamptz;
COMMENT ON COLUMN guard_state.belief IS 'what is held true after the fix (judged_at, judged_key): MessagePack';
COMMENT ON COLUMN guard_state.violation_told IS 'the alerts service was told of a violation and not yet of its end';
COMMENT ON COLUMN guard_state.speeding_told IS 'speed zones of which the alerts service was told, and not of the end';
COMMENT ON COLUMN guard_state.settles_at IS 'when to tell what the belief says, if it still stands; null: all is told';
UPDATE guard_state SET violation_told = geofence_violation;
CREATE INDEX guard_state_settles ON guard_state (settles_at) WHERE settles_at IS NOT NULL;

CREATE TABLE zone_transition (
    transition_id uuid PRIMARY KEY,
    tenant_id     integer NOT NULL REFERENCES tenant,
    guard_id      text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('entered', 'exited', 'violation_began', 'violation_ended',
                                                'speeding_began', 'speeding_ended')),
    zone_id       integer,
    zone_version  integer,
    at            timestamptz NOT NULL,
    confirmed_at  timestamptz NOT NULL,
    confirmed_key uuid,
    late          boolean NOT NULL DEFAULT false,
    superseded_at timestamptz,
    evidence      jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE zone_transition IS 'what guards'' tracks came to, each with its reasons';
COMMENT ON COLUMN zone_transition.at IS 'device time of the first fix that showed it';
COMMENT ON COLUMN zone_transition.confirmed_at IS 'device time of the fix that was enough';
COMMENT ON COLUMN zone_transition.confirmed_key IS 'and which one of that time';
COMMENT ON COLUMN zone_transition.late IS 'found by fixes that came late';
COMMENT ON COLUMN zone_transition.superseded_at IS 'when late fixes showed that it was not so; null: it stands';
CREATE INDEX zone_transition_guard ON zone_transition (tenant_id, guard_id, at DESC);
CREATE INDEX zone_transition_confirmed ON zone_transition (tenant_id, guard_id, confirmed_at);
CREATE INDEX zone_transition_zone ON zone_transition (tenant_id, zone_id, at DESC);

CREATE TABLE track_checkpoint (
    tenant_id   integer NOT NULL,
    guard_id    text NOT NULL,
    recorded_at timestamptz NOT NULL,
    message_key uuid NOT NULL,
    belief      bytea NOT NULL,
    PRIMARY KEY (guard_id, recorded_at, message_key)
);
COMMENT ON TABLE track_checkpoint IS 'beliefs on the way: from here fixes that came late are judged again';

CREATE TABLE implausible_fix (
    message_key uuid PRIMARY KEY,
    tenant_id   integer NOT NULL,
    guard_id    text NOT NULL,
    recorded_at timestamptz NOT NULL,
    reason      text NOT NULL CHECK (reason IN ('mock', 'speed', 'teleport')),
    detail      jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE implausible_fix IS 'fixes that no verdict was built on, for people to look at';
CREATE INDEX implausible_fix_tenant ON implausible_fix (tenant_id, recorded_at DESC);

CREATE TABLE guard_silence (
    guard_id  text PRIMARY KEY,
    tenant_id integer NOT NULL,
    since     timestamptz NOT NULL,
    told_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, guard_id) REFERENCES guard (tenant_id, guard_id) ON DELETE CASCADE
);
COMMENT ON TABLE guard_silence IS 'guards on shift of whom OFFLINE was told';
CREATE INDEX guard_shift_now ON guard_shift USING gist (tstzrange(starts_at, ends_at));
ALTER TABLE source_state ADD COLUMN silent_since timestamptz;
COMMENT ON COLUMN source_state.silent_since IS 'OFFLINE was told, and nothing was heard since; null: not so';

CREATE TABLE road_heard (
    service   text PRIMARY KEY,
    since     timestamptz NOT NULL,
    marked_at timestamptz NOT NULL
);
COMMENT ON TABLE road_heard IS 'since when a service has heard without a pause: silence is counted from there';

CREATE TABLE condition_clear (
    tenant_id  integer NOT NULL,
    dedup_key  text NOT NULL,
    cleared_at timestamptz NOT NULL,
    note       text NOT NULL,
    heard_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, dedup_key)
);
COMMENT ON TABLE condition_clear IS 'the newest end of each condition, for beginnings that are heard of after it';
"""

GRANTS = {
    "vigil_tenant": {
        "zone_version": "SELECT",
        "zone_transition": "SELECT",
        "implausible_fix": "SELECT",
        "guard_silence": "SELECT",
    },
    "vigil_ingest": {
        "zone_version": "SELECT",
        "zone_transition": "SELECT, INSERT, UPDATE",
        "track_checkpoint": "SELECT, INSERT, UPDATE, DELETE",
        "implausible_fix": "SELECT, INSERT, UPDATE, DELETE",
        "guard_silence": "SELECT, INSERT, UPDATE, DELETE",
        "road_heard": "SELECT, INSERT, UPDATE",
        "condition_clear": "SELECT, INSERT, UPDATE, DELETE",
    },
}
NEW_TABLES = (
    "condition_clear",
    "guard_silence",
    "implausible_fix",
    "road_heard",
    "track_checkpoint",
    "zone_transition",
    "zone_version",
)

OLD_CLASSES = """
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
        ('seen', 'seen', 'message_seen', 'received_at', 'true', 8)"""
# Evidence of a transition holds positions, and goes with them. A checkpoint is of use while fixes may come that late.
NEW_CLASSES = """,
        ('transitions', 'positions', 'zone_transition', 'at', 'true', 1),
        ('implausible', 'positions', 'implausible_fix', 'recorded_at', 'true', 1),
        ('checkpoints', 'seen', 'track_checkpoint', 'recorded_at', 'true', 8),
        ('clears', 'seen', 'condition_clear', 'heard_at', 'true', 8)"""
CLASSES = """
CREATE OR REPLACE FUNCTION vigil_retention_classes() RETURNS TABLE (
    class text, policy text, table_name text, aged_by text, condition text, floor_days integer
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- What is kept how long: by which policy, by which time of a row, and of which rows of the table (`r`) it is true.
-- No default of the configuration goes below the floor; identities of messages outlive what devices may still send.
    VALUES{classes}
$$;
"""

DOWN = """
DROP TRIGGER site_zones_kept ON site;
DROP TRIGGER zone_kept ON zone;
DROP TRIGGER zone_numbered ON zone;
DROP FUNCTION vigil_keep_zones_of_site();
DROP FUNCTION vigil_keep_zone_version();
DROP FUNCTION vigil_number_zone();
DROP INDEX guard_shift_now;
ALTER TABLE source_state DROP COLUMN silent_since;
ALTER TABLE guard_state DROP COLUMN belief, DROP COLUMN judged_at, DROP COLUMN judged_key,
    DROP COLUMN violation_told, DROP COLUMN repeat_told_at, DROP COLUMN speeding_told, DROP COLUMN settles_at;
"""
# The older version knows neither several polygons nor a limit of speed; it keeps its one kind of each.
DOWN_ZONES = """
UPDATE zone SET enabled = false, kind = 'required', speed_limit_mps = NULL WHERE kind = 'speed';
UPDATE zone SET enabled = false, area = ST_ConvexHull(area::geometry)::geography
    WHERE GeometryType(area::geometry) = 'MULTIPOLYGON';
ALTER TABLE zone DROP CONSTRAINT zone_kind_check, DROP CONSTRAINT zone_area_check, DROP COLUMN group_id,
    DROP COLUMN guard_id, DROP COLUMN speed_limit_mps, DROP COLUMN schedule, DROP COLUMN confirmation,
    DROP COLUMN changed_by, DROP COLUMN in_force_from, DROP CONSTRAINT zone_of_tenant;
ALTER TABLE zone
    ADD CONSTRAINT zone_kind_check CHECK (kind IN ('required', 'forbidden')),
    ADD CONSTRAINT zone_area_check CHECK (GeometryType(area::geometry) IN ('POINT', 'POLYGON'));
"""


def upgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    owners = f"SECURITY DEFINER SET search_path = {schema}, pg_temp"
    _run(ZONES)
    _run(VERSIONS.replace("{owners}", owners))
    _run(TRACKS)
    _run(CLASSES.replace("{classes}", OLD_CLASSES + NEW_CLASSES))
    for table in NEW_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for role, tables in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        for table, rights in tables.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")
            op.execute(f"CREATE POLICY {role} ON {table} TO {role} USING ({mine}) WITH CHECK ({mine})")
    # Late fixes change what earlier ones came to; nothing else of a position ever changes.
    op.execute("GRANT UPDATE (in_geofence, geofence_violation) ON mqtt_guard_location TO vigil_ingest")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (in_geofence, geofence_violation) ON mqtt_guard_location FROM vigil_ingest")
    _run(CLASSES.replace("{classes}", OLD_CLASSES))
    _run(DOWN)
    for table in NEW_TABLES:
        op.execute(f"DROP TABLE {table}")
    _run(DOWN_ZONES)


def _run(script: str) -> None:
    """As it stands: neither `:name` nor `%` means anything here."""
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
