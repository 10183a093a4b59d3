"""Profiles of guards, sites and devices, their changes, and the snapshot that an alert keeps.

A profile is one JSON object in a row of its own (docs/adr/0062). It is read and written whole, and
the order of its lists matters. The services check it before they write it. A picture is beside it
in the row, so that it goes with its guard or device. `alert_people` is written once, in the
transaction that raises the alert.
"""

from alembic import op
from sqlalchemy import text

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# (table, its parent, key column, type of the key, word for the picture or "")
PROFILES = (
    ("guard_profile", "guard", "guard_id", "text", "photo"),
    ("site_profile", "site", "site_id", "integer", ""),
    ("device_profile", "device", "device_id", "text", "picture"),
)
PROFILE = """
CREATE TABLE {table} (
    tenant_id  integer NOT NULL,
    {key}      {kind} NOT NULL,
    profile    jsonb NOT NULL DEFAULT '{{}}' CHECK (jsonb_typeof(profile) = 'object'),
    version    integer NOT NULL DEFAULT 1,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    {picture}
    PRIMARY KEY (tenant_id, {key}),
    FOREIGN KEY (tenant_id, {key}) REFERENCES {parent} (tenant_id, {key}) ON DELETE CASCADE
);
COMMENT ON TABLE {table} IS 'what an operator must know of a {parent}: numbers, notes, order of calls; one row each';
"""
PICTURE = """
    {word}        bytea CHECK (octet_length({word}) <= 524288),
    {word}_type   text CHECK ({word}_type IN ('image/jpeg', 'image/png', 'image/webp')),
    {word}_sha256 text,
    CHECK (num_nulls({word}, {word}_type, {word}_sha256) IN (0, 3)),
"""
TABLES = """
CREATE TABLE profile_change (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    kind      text NOT NULL CHECK (kind IN ('guard', 'site', 'device')),
    subject   text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    by        text NOT NULL,
    before    jsonb NOT NULL,
    after     jsonb NOT NULL
);
COMMENT ON TABLE profile_change IS 'every change of a profile, with the fields that changed: as they were, as they are';
CREATE INDEX profile_change_subject ON profile_change (tenant_id, kind, subject, change_id);

CREATE TABLE alert_people (
    alert_id  uuid PRIMARY KEY,
    tenant_id integer NOT NULL,
    taken_at  timestamptz NOT NULL,
    content   jsonb NOT NULL,
    FOREIGN KEY (tenant_id, alert_id) REFERENCES mqtt_device_alert (tenant_id, alert_id) ON DELETE CASCADE
);
COMMENT ON TABLE alert_people IS 'guard, site and device of an alert as they were on record when it was raised';
"""
GRANTS = {
    "vigil_tenant": {
        "guard_profile": "SELECT, INSERT, UPDATE",
        "site_profile": "SELECT, INSERT, UPDATE",
        "device_profile": "SELECT, INSERT, UPDATE",
        "profile_change": "SELECT, INSERT",
        "alert_people": "SELECT",
    },
    "vigil_ingest": {
        "guard_profile": "SELECT (tenant_id, guard_id, profile, photo_sha256)",
        "site_profile": "SELECT (tenant_id, site_id, profile)",
        "device_profile": "SELECT (tenant_id, device_id, profile, picture_sha256)",
        "alert_people": "SELECT, INSERT",
    },
}
NEW_TABLES = ("guard_profile", "site_profile", "device_profile", "profile_change", "alert_people")

CLASSES = """
CREATE OR REPLACE FUNCTION vigil_retention_classes() RETURNS TABLE (
    class text, policy text, table_name text, aged_by text, condition text, floor_days integer
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
-- What is kept how long: by which policy, by which time of a row, and of which rows of the table (`r`) it is true.
-- No default of the configuration goes below the floor; identities of messages outlive what devices may still send.
    VALUES{classes}
$$;
"""
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
        ('seen', 'seen', 'message_seen', 'received_at', 'true', 8),
        ('transitions', 'positions', 'zone_transition', 'at', 'true', 1),
        ('implausible', 'positions', 'implausible_fix', 'recorded_at', 'true', 1),
        ('checkpoints', 'seen', 'track_checkpoint', 'recorded_at', 'true', 8),
        ('clears', 'seen', 'condition_clear', 'heard_at', 'true', 8)"""
NEW_CLASSES = """,
        ('profile_changes', 'profile_changes', 'profile_change', 'at', 'true', 30)"""


def upgrade() -> None:
    for table, parent, key, kind, word in PROFILES:
        picture = PICTURE.format(word=word) if word else ""
        _run(PROFILE.format(table=table, parent=parent, key=key, kind=kind, picture=picture))
    _run(TABLES)
    _run(CLASSES.replace("{classes}", OLD_CLASSES + NEW_CLASSES))
    for table in NEW_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for role, tables in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        # Where each process has a role of its own, this second role holds its rows.
        holders = ", ".join([role, *_there(f"{role}_rows")])
        for table, rights in tables.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")
            op.execute(f"CREATE POLICY {role} ON {table} TO {holders} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    _run(CLASSES.replace("{classes}", OLD_CLASSES))
    for table in reversed(NEW_TABLES):
        op.execute(f"DROP TABLE {table}")


def _run(script: str) -> None:
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))


def _there(role: str) -> list[str]:
    query = text("SELECT rolname FROM pg_roles WHERE rolname = :role")
    return list(op.get_bind().execute(query, {"role": role}).scalars())
