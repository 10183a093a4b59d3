"""Alerts that are followed until a named human has them: timers, policies, rotas, groups, and notifications that are
rows before they are calls.
"""

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ALERT_COLUMNS = """
ALTER TABLE mqtt_device_alert
    ADD COLUMN assigned_to        text,
    ADD COLUMN shelved_until      timestamptz,
    ADD COLUMN false_alarm_reason text,
    ADD COLUMN group_id           uuid,
    ADD COLUMN frame_id           bigint,
    ADD COLUMN shown_at           timestamptz,
    ADD COLUMN notified_at        timestamptz,
    ADD COLUMN accepted_at        timestamptz;
COMMENT ON COLUMN mqtt_device_alert.frame_id IS 'the frame of the feed that first showed it';
COMMENT ON COLUMN mqtt_device_alert.shown_at IS 'when that frame was first written to a screen';
COMMENT ON COLUMN mqtt_device_alert.notified_at IS 'when a provider first accepted a notification of it';
COMMENT ON COLUMN mqtt_device_alert.accepted_at IS 'when a human first took it, even if that acknowledgement expired';
UPDATE mqtt_device_alert SET accepted_at = acknowledged_at;
CREATE INDEX mqtt_device_alert_frame ON mqtt_device_alert (tenant_id, frame_id) WHERE shown_at IS NULL;
CREATE INDEX mqtt_device_alert_storm ON mqtt_device_alert (tenant_id, site_id, received_at) WHERE site_id IS NOT NULL;
"""

TABLES = """
CREATE TABLE alert_timer (
    alert_id  uuid PRIMARY KEY,
    tenant_id integer NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('escalate', 'progress', 'unshelve')),
    round     integer NOT NULL DEFAULT 1,
    step      integer NOT NULL DEFAULT 0,
    due_at    timestamptz NOT NULL,
    FOREIGN KEY (tenant_id, alert_id) REFERENCES mqtt_device_alert (tenant_id, alert_id) ON DELETE CASCADE
);
CREATE INDEX alert_timer_due ON alert_timer (due_at);
COMMENT ON TABLE alert_timer IS 'what happens next to an open alert, and when: at most one thing';

CREATE TABLE alert_group (
    group_id  uuid PRIMARY KEY,
    tenant_id integer NOT NULL,
    site_id   integer NOT NULL,
    opened_at timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    severity  text NOT NULL,
    UNIQUE (tenant_id, group_id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, site_id)
);
CREATE INDEX alert_group_site ON alert_group (tenant_id, site_id, last_at DESC);
COMMENT ON TABLE alert_group IS 'a storm: many alerts of one site within a window';
COMMENT ON COLUMN alert_group.severity IS 'the gravest that somebody was told of; graver members are told of at once';
ALTER TABLE mqtt_device_alert ADD CONSTRAINT mqtt_device_alert_group_id_fkey
    FOREIGN KEY (tenant_id, group_id) REFERENCES alert_group (tenant_id, group_id);

CREATE TABLE escalation_policy (
    policy_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  integer NOT NULL REFERENCES tenant,
    site_id    integer,
    policy     jsonb NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    UNIQUE NULLS NOT DISTINCT (tenant_id, site_id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, site_id)
);
COMMENT ON COLUMN escalation_policy.site_id IS 'null: of the whole tenant';

CREATE TABLE rota (
    rota_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  integer NOT NULL REFERENCES tenant,
    name       text NOT NULL,
    rota       jsonb NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

CREATE TABLE message_template (
    tenant_id integer NOT NULL REFERENCES tenant,
    channel   text NOT NULL CHECK (channel IN ('sms', 'email', 'push', 'url')),
    language  text NOT NULL,
    part      text NOT NULL CHECK (part IN ('subject', 'text', 'html', 'template_id')),
    source    text NOT NULL,
    PRIMARY KEY (tenant_id, channel, language, part)
);
COMMENT ON COLUMN message_template.part IS 'template_id: what the operator registered it as (DLT in India)';

ALTER TABLE contact ADD COLUMN push_token text,
                    ADD COLUMN url text,
                    ADD COLUMN language text NOT NULL DEFAULT 'en',
                    DROP CONSTRAINT contact_check,
                    ADD CONSTRAINT contact_check CHECK (coalesce(email, phone, push_token, url) IS NOT NULL);

CREATE TABLE operator_presence (
    tenant_id integer NOT NULL REFERENCES tenant,
    minute    timestamptz NOT NULL,
    name      text NOT NULL,
    PRIMARY KEY (tenant_id, minute, name)
);
COMMENT ON TABLE operator_presence IS 'who had a control-room screen open, minute by minute';
"""

NOTIFICATIONS = """
UPDATE notification SET state = 'withdrawn';
ALTER TABLE notification
    DROP CONSTRAINT notification_alert_id_channel_recipient_key,
    ADD COLUMN round              integer NOT NULL DEFAULT 1,
    ADD COLUMN step               integer NOT NULL DEFAULT 0,
    ADD COLUMN reference          uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    ADD COLUMN name               text NOT NULL DEFAULT '',
    ADD COLUMN language           text NOT NULL DEFAULT 'en',
    ADD COLUMN severity           text NOT NULL DEFAULT 'MEDIUM',
    ADD COLUMN alert_type         text NOT NULL DEFAULT 'UNKNOWN',
    ADD COLUMN drill              boolean NOT NULL DEFAULT false,
    ADD COLUMN life_safety        boolean NOT NULL DEFAULT false,
    ADD COLUMN subject            text NOT NULL DEFAULT '',
    ADD COLUMN html               text NOT NULL DEFAULT '',
    ADD COLUMN words              jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN until              text NOT NULL DEFAULT 'acknowledged',
    ADD COLUMN template_id        text NOT NULL DEFAULT '',
    ADD COLUMN code               text NOT NULL DEFAULT '',
    ADD COLUMN failover           jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN provider           text,
    ADD COLUMN provider_ref       text,
    ADD COLUMN attempts           integer NOT NULL DEFAULT 0,
    ADD COLUMN next_attempt_at    timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN holder             integer,
    ADD COLUMN attempt_started_at timestamptz,
    ADD COLUMN possible_duplicate boolean NOT NULL DEFAULT false,
    ADD COLUMN error              text NOT NULL DEFAULT '',
    ADD COLUMN accepted_at        timestamptz,
    ADD COLUMN finished_at        timestamptz,
    ADD COLUMN told_state         text,
    ADD COLUMN link_used_at       timestamptz,
    ADD CONSTRAINT notification_once UNIQUE (alert_id, round, step, channel, recipient),
    ADD CONSTRAINT notification_of_tenant UNIQUE (tenant_id, notification_id),
    ADD CONSTRAINT notification_state CHECK
        (state IN ('pending', 'attempting', 'accepted', 'delivered', 'failed', 'unknown', 'withdrawn'));
UPDATE notification SET told_state = state;
COMMENT ON COLUMN notification.reference IS 'ours, the same for each attempt: what a provider is asked by';
COMMENT ON COLUMN notification.holder IS 'the advisory lock of the process that attempts it; free: it died';
COMMENT ON COLUMN notification.failover IS 'channels and addresses of the same person, for when this one fails';
COMMENT ON COLUMN notification.told_state IS 'the state that the alerts service has heard of';
CREATE INDEX notification_due ON notification (channel, next_attempt_at) WHERE state = 'pending';
CREATE INDEX notification_attempting ON notification (holder) WHERE state = 'attempting';
CREATE INDEX notification_untold ON notification (notification_id) WHERE told_state IS DISTINCT FROM state;
CREATE INDEX notification_recipient ON notification (channel, recipient, accepted_at);
CREATE INDEX notification_alert ON notification (alert_id);

CREATE TABLE notification_attempt (
    attempt_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notification_id    bigint NOT NULL,
    tenant_id          integer NOT NULL,
    number             integer NOT NULL,
    provider           text NOT NULL,
    started_at         timestamptz NOT NULL,
    ended_at           timestamptz,
    outcome            text NOT NULL DEFAULT 'attempting',
    error              text NOT NULL DEFAULT '',
    possible_duplicate boolean NOT NULL DEFAULT false,
    FOREIGN KEY (tenant_id, notification_id) REFERENCES notification (tenant_id, notification_id) ON DELETE CASCADE
);
CREATE INDEX notification_attempt_notification ON notification_attempt (notification_id, number);
COMMENT ON TABLE notification_attempt IS 'every call to a provider, written before it is made';
"""

GRANTS = {
    "vigil_tenant": {
        "alert_timer": "SELECT, INSERT, UPDATE, DELETE",
        "alert_group": "SELECT",
        "escalation_policy": "SELECT, INSERT, UPDATE, DELETE",
        "rota": "SELECT, INSERT, UPDATE, DELETE",
        "message_template": "SELECT, INSERT, UPDATE, DELETE",
        "operator_presence": "SELECT, INSERT",
        "notification_attempt": "SELECT",
    },
    "vigil_ingest": {
        "alert_timer": "SELECT, INSERT, UPDATE, DELETE",
        "alert_group": "SELECT, INSERT, UPDATE",
        "escalation_policy": "SELECT",
        "rota": "SELECT",
        "message_template": "SELECT",
        "operator_presence": "SELECT",
        "notification_attempt": "SELECT, INSERT, UPDATE",
    },
}
NEW_TABLES = sorted(GRANTS["vigil_tenant"])

DOWN = """
DROP TABLE notification_attempt, operator_presence, message_template, rota, escalation_policy, alert_timer;
ALTER TABLE mqtt_device_alert DROP COLUMN group_id;
DROP TABLE alert_group;
DELETE FROM contact WHERE coalesce(email, phone) IS NULL;
ALTER TABLE contact DROP CONSTRAINT contact_check,
                    DROP COLUMN push_token, DROP COLUMN url, DROP COLUMN language,
                    ADD CONSTRAINT contact_check CHECK (email IS NOT NULL OR phone IS NOT NULL);
DROP INDEX mqtt_device_alert_storm;
ALTER TABLE mqtt_device_alert
    DROP COLUMN assigned_to, DROP COLUMN shelved_until, DROP COLUMN false_alarm_reason, DROP COLUMN frame_id,
    DROP COLUMN shown_at, DROP COLUMN notified_at, DROP COLUMN accepted_at;
-- What was told in later steps and rounds has no place in the older form, which knows one row a recipient.
DELETE FROM notification n WHERE EXISTS (
    SELECT 1 FROM notification o WHERE o.alert_id = n.alert_id AND o.channel = n.channel
        AND o.recipient = n.recipient AND o.notification_id < n.notification_id);
DROP INDEX notification_alert;
ALTER TABLE notification
    DROP CONSTRAINT notification_once, DROP CONSTRAINT notification_of_tenant, DROP CONSTRAINT notification_state,
    DROP COLUMN round, DROP COLUMN step, DROP COLUMN reference, DROP COLUMN name, DROP COLUMN language,
    DROP COLUMN severity, DROP COLUMN alert_type, DROP COLUMN drill, DROP COLUMN life_safety, DROP COLUMN subject,
    DROP COLUMN html, DROP COLUMN words, DROP COLUMN until, DROP COLUMN template_id, DROP COLUMN code,
    DROP COLUMN failover,
    DROP COLUMN provider, DROP COLUMN provider_ref, DROP COLUMN attempts, DROP COLUMN next_attempt_at,
    DROP COLUMN holder, DROP COLUMN attempt_started_at, DROP COLUMN possible_duplicate, DROP COLUMN error,
    DROP COLUMN accepted_at, DROP COLUMN finished_at, DROP COLUMN told_state, DROP COLUMN link_used_at,
    ADD CONSTRAINT notification_alert_id_channel_recipient_key UNIQUE (alert_id, channel, recipient);
"""


def upgrade() -> None:
    op.execute(ALERT_COLUMNS)
    op.execute(TABLES)
    op.execute(NOTIFICATIONS)
    # Alerts that are open now were not followed so far; from now on they are.
    op.execute(
        "INSERT INTO alert_timer (alert_id, tenant_id, kind, due_at)"
        " SELECT alert_id, tenant_id, 'escalate', now() FROM mqtt_device_alert WHERE status = 'NEW'"
    )
    for table in NEW_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for role, tables in GRANTS.items():
        mine = "tenant_id = vigil_tenant_id()" if role == "vigil_tenant" else "true"
        for table, rights in tables.items():
            op.execute(f"GRANT {rights} ON {table} TO {role}")
            op.execute(f"CREATE POLICY {role} ON {table} TO {role} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    op.execute(text(DOWN))
