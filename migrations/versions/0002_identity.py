"""Identity: tenancy held by the database, sessions of people, carriers of devices, groups and contacts.

Row-level security: each role of `services.providers.DATABASE_ROLES` sees what its policies say, and none of them owns a
table. `vigil_tenant` sees the tenant that the transaction names (nothing when it names none), `vigil_ingest` all
tenants' field messages and alerts, `vigil_login` people and their sessions. Foreign keys carry the tenant, so that a
row cannot refer to another tenant's.
"""

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLES = ("vigil_tenant", "vigil_ingest", "vigil_login")

NEW_TABLES = """
CREATE TABLE guard_group (
    group_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  integer NOT NULL REFERENCES tenant,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, group_id)
);
CREATE TABLE guard_group_member (
    tenant_id integer NOT NULL,
    group_id  integer NOT NULL,
    guard_id  text NOT NULL,
    PRIMARY KEY (group_id, guard_id),
    FOREIGN KEY (tenant_id, group_id) REFERENCES guard_group (tenant_id, group_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, guard_id) REFERENCES guard (tenant_id, guard_id) ON DELETE CASCADE
);
CREATE TABLE contact (
    contact_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  integer NOT NULL REFERENCES tenant,
    site_id    integer,
    name       text NOT NULL,
    email      text,
    phone      text,
    note       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    CHECK (email IS NOT NULL OR phone IS NOT NULL),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, site_id)
);
COMMENT ON COLUMN contact.phone IS 'E.164: + and digits';

CREATE TABLE device_carrier (
    carrier_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  integer NOT NULL,
    device_id  text NOT NULL,
    guard_id   text NOT NULL,
    since      timestamptz NOT NULL,
    until      timestamptz,
    CHECK (until >= since),
    FOREIGN KEY (tenant_id, device_id) REFERENCES device (tenant_id, device_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, guard_id) REFERENCES guard (tenant_id, guard_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX device_carrier_now ON device_carrier (tenant_id, device_id) WHERE until IS NULL;
CREATE INDEX device_carrier_history ON device_carrier (tenant_id, device_id, since DESC);
COMMENT ON TABLE device_carrier IS 'which guard carries which device, since when and until when';

CREATE TABLE user_session (
    session_id  uuid PRIMARY KEY,
    tenant_id   integer NOT NULL,
    user_id     integer NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    revoked_why text,
    FOREIGN KEY (tenant_id, user_id) REFERENCES app_user (tenant_id, user_id) ON DELETE CASCADE
);
CREATE INDEX user_session_user ON user_session (user_id);
CREATE INDEX user_session_revoked ON user_session (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE TABLE refresh_token (
    token_hash bytea PRIMARY KEY,
    tenant_id  integer NOT NULL,
    session_id uuid NOT NULL REFERENCES user_session ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
CREATE INDEX refresh_token_session ON refresh_token (session_id);
COMMENT ON TABLE refresh_token IS 'SHA-256 of each token; one that is used a second time ends its session';
"""

COLUMNS = """
ALTER TABLE guard ADD COLUMN credential text CHECK (credential IN ('password', 'certificate')),
                  ADD COLUMN credential_at timestamptz;
ALTER TABLE device ADD COLUMN credential text CHECK (credential IN ('password', 'certificate')),
                   ADD COLUMN credential_at timestamptz;
ALTER TABLE app_user ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN app_user.changed_at IS 'role, password or enabled changed: older tokens are void';
ALTER TABLE mqtt_device_alert ADD COLUMN carried_by text;
COMMENT ON COLUMN mqtt_device_alert.carried_by IS 'the guard who carried the source when the alert was raised';

-- Two people of one name would be one person on the record.
UPDATE app_user u SET name = u.name || ' (' || u.login || ')'
WHERE EXISTS (SELECT 1 FROM app_user o WHERE o.tenant_id = u.tenant_id AND o.name = u.name AND o.user_id < u.user_id);
ALTER TABLE app_user ADD CONSTRAINT app_user_name UNIQUE (tenant_id, name);
"""

# (table, column, further key columns): what may be referred to together with its tenant.
TENANT_KEYS = (
    ("site", "site_id"),
    ("guard", "guard_id"),
    ("device", "device_id"),
    ("app_user", "user_id"),
    ("mqtt_device_alert", "alert_id"),
)
# (table, column, referred table, on delete)
REFERENCES = (
    ("zone", "site_id", "site", ""),
    ("guard", "site_id", "site", ""),
    ("device", "site_id", "site", ""),
    ("mqtt_device_alert", "site_id", "site", ""),
    ("alert_occurrence", "alert_id", "mqtt_device_alert", "ON DELETE CASCADE"),
    ("alert_timeline", "alert_id", "mqtt_device_alert", "ON DELETE CASCADE"),
    ("notification", "alert_id", "mqtt_device_alert", "ON DELETE CASCADE"),
)

FIELD = ("mqtt_device_telemetry", "mqtt_guard_location", "mqtt_sensor_reading", "mqtt_system_health")
# What each role may do, table by table; everything that is not here, nobody may. No role may delete evidence.
GRANTS = {
    "vigil_tenant": {
        "tenant": "SELECT",
        "site": "SELECT, INSERT, UPDATE",
        "zone": "SELECT, INSERT, UPDATE",
        "guard": "SELECT, INSERT, UPDATE",
        "device": "SELECT, INSERT, UPDATE",
        "app_user": "SELECT (user_id, tenant_id, login, name, role, enabled, created_at)",
        "guard_group": "SELECT, INSERT, UPDATE, DELETE",
        "guard_group_member": "SELECT, INSERT, DELETE",
        "contact": "SELECT, INSERT, UPDATE, DELETE",
        "device_carrier": "SELECT, INSERT, UPDATE (until)",
        **dict.fromkeys(FIELD, "SELECT"),
        "guard_state": "SELECT",
        "source_state": "SELECT",
        "mqtt_device_alert": "SELECT, UPDATE",
        "alert_occurrence": "SELECT",
        "alert_timeline": "SELECT, INSERT",
        "notification": "SELECT",
        "rejected_message": "SELECT",
    },
    "vigil_ingest": {
        "tenant": "SELECT",
        "site": "SELECT",
        "zone": "SELECT",
        "guard": "SELECT, INSERT",
        "device": "SELECT, INSERT",
        "guard_group": "SELECT",
        "guard_group_member": "SELECT",
        "contact": "SELECT",
        "device_carrier": "SELECT",
        **dict.fromkeys(FIELD, "SELECT, INSERT"),
        "guard_state": "SELECT, INSERT, UPDATE",
        "source_state": "SELECT, INSERT, UPDATE",
        "mqtt_device_alert": "SELECT, INSERT, UPDATE",
        "alert_occurrence": "SELECT, INSERT",
        "alert_timeline": "SELECT, INSERT, UPDATE (announced_at)",
        "notification": "SELECT, INSERT, UPDATE",
        "rejected_message": "SELECT, INSERT",
    },
    "vigil_login": {
        "app_user": "SELECT, UPDATE (password_hash, changed_at)",
        "user_session": "SELECT, INSERT, UPDATE, DELETE",
        "refresh_token": "SELECT, INSERT, UPDATE, DELETE",
    },
}
# Without a tenant: identities of messages, and the one number that caches look at.
PLAIN_GRANTS = {
    "vigil_ingest": {"message_seen": "SELECT, INSERT", "registry_version": "SELECT"},
    "vigil_tenant": {"registry_version": "SELECT"},
}
TENANT_TABLES = sorted({table for tables in GRANTS.values() for table in tables})
CHANGES_REGISTRY = ("guard_group", "guard_group_member", "contact", "device_carrier")

TENANT_OF_TRANSACTION = """
CREATE FUNCTION vigil_tenant_id() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
RETURN nullif(current_setting('vigil.tenant_id', true), '')::integer;
COMMENT ON FUNCTION vigil_tenant_id() IS 'the tenant that this transaction was opened for; null when none was named';
"""


def upgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    _roles()
    for table, column in TENANT_KEYS:
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_of_tenant UNIQUE (tenant_id, {column})")
    for table, column, to, on_delete in REFERENCES:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_fkey FOREIGN KEY (tenant_id, {column})"
            f" REFERENCES {to} (tenant_id, {column}) {on_delete}"
        )
    op.execute(COLUMNS)
    op.execute(NEW_TABLES)
    for table in CHANGES_REGISTRY:
        op.execute(
            f"CREATE TRIGGER {table}_changed AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION vigil_registry_changed()"
        )
    op.execute(TENANT_OF_TRANSACTION)
    # Both do what their callers may not do themselves, and nothing else.
    for function in ("vigil_registry_changed()", "vigil_make_partitions(integer)"):
        op.execute(f"ALTER FUNCTION {function} SECURITY DEFINER SET search_path = {schema}, pg_temp")
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION vigil_make_partitions(integer) TO vigil_ingest")
    for role in ROLES:
        op.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for role, tables in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        for table, rights in tables.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")
            op.execute(f"CREATE POLICY {role} ON {table} TO {role} USING ({mine}) WITH CHECK ({mine})")
    for role, tables in PLAIN_GRANTS.items():
        for table, rights in tables.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")


def downgrade() -> None:
    schema = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    for role, tables in (*GRANTS.items(), *PLAIN_GRANTS.items()):
        for table in tables:
            op.execute(f"REVOKE ALL ON {table} FROM {role}")
    for role, tables in GRANTS.items():
        for table in tables:
            op.execute(f"DROP POLICY {role} ON {table}")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute("REVOKE ALL ON FUNCTION vigil_make_partitions(integer) FROM vigil_ingest")
    for role in ROLES:
        op.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM {role}")
    for function in ("vigil_registry_changed()", "vigil_make_partitions(integer)"):
        op.execute(f"ALTER FUNCTION {function} SECURITY INVOKER RESET search_path")
    for table in (
        "refresh_token",
        "user_session",
        "device_carrier",
        "contact",
        "guard_group_member",
        "guard_group",
    ):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION vigil_tenant_id()")
    op.execute("ALTER TABLE app_user DROP CONSTRAINT app_user_name, DROP COLUMN changed_at")
    op.execute("ALTER TABLE mqtt_device_alert DROP COLUMN carried_by")
    for table in ("guard", "device"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN credential, DROP COLUMN credential_at")
    for table, column, to, on_delete in REFERENCES:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_fkey FOREIGN KEY ({column})"
            f" REFERENCES {to} ({column}) {on_delete}"
        )
    for table, _ in TENANT_KEYS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_of_tenant")


def _roles() -> None:
    """Roles belong to the whole server: made when it has none, and left when this database goes."""
    for role in ROLES:
        op.execute(
            f"""
            DO $$ BEGIN
                IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN
                    BEGIN
                        CREATE ROLE {role} NOLOGIN;
                    EXCEPTION
                        WHEN duplicate_object OR unique_violation THEN NULL;
                        WHEN insufficient_privilege THEN
                            RAISE EXCEPTION 'role {role} is missing and this user may not make it'
                                USING HINT = 'As a superuser: CREATE ROLE {role} NOLOGIN; GRANT {role} TO '
                                             'the logins in DATABASE_URL and VIGIL_OWNER_DATABASE_URL.';
                    END;
                    EXECUTE format('GRANT {role} TO %I', current_user);
                END IF;
            END $$
            """
        )
