"""Repeated alerts: who held an alert that was raised again, and when people were last called."""

from alembic import op
from sqlalchemy import text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE mqtt_device_alert
    ADD COLUMN previous_holder   text,
    ADD COLUMN called_at         timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN called_occurrence integer NOT NULL DEFAULT 1,
    ADD COLUMN called_because    text NOT NULL DEFAULT 'raised'
        CHECK (called_because IN ('raised', 'graver', 'after_clear', 'pressed_again', 'off_shelf')),
    ADD COLUMN called_status     text NOT NULL DEFAULT 'NEW',
    ADD COLUMN rounds            integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN mqtt_device_alert.previous_holder IS 'who had it before it was last raised again';
COMMENT ON COLUMN mqtt_device_alert.called_at IS 'when the message came that people were last called for';
COMMENT ON COLUMN mqtt_device_alert.called_occurrence IS 'the occurrence that people were last called for';
COMMENT ON COLUMN mqtt_device_alert.called_because IS 'why that occurrence called people';
COMMENT ON COLUMN mqtt_device_alert.called_status IS 'the status that the alert had when that occurrence came';
COMMENT ON COLUMN mqtt_device_alert.rounds IS 'how many rounds of notifications were begun; never falls';
"""

# An alert of before this revision: people were called when it was raised. Its rounds are those that left a trace.
BACKFILL = """
UPDATE mqtt_device_alert a SET called_at = a.received_at, rounds = greatest(
    1,
    (SELECT max(t.round) FROM alert_timer t WHERE t.alert_id = a.alert_id),
    (SELECT max(n.round) FROM notification n WHERE n.alert_id = a.alert_id))
"""

# The contact of somebody who acts under a login is found by the name that goes with it.
RIGHTS = """
GRANT SELECT (tenant_id, login, name) ON app_user TO vigil_ingest;
CREATE POLICY vigil_ingest ON app_user FOR SELECT TO vigil_ingest USING (true);
"""

DOWN = """
DROP POLICY vigil_ingest ON app_user;
REVOKE SELECT (tenant_id, login, name) ON app_user FROM vigil_ingest;
ALTER TABLE mqtt_device_alert
    DROP COLUMN previous_holder, DROP COLUMN called_at, DROP COLUMN called_occurrence, DROP COLUMN called_because,
    DROP COLUMN called_status, DROP COLUMN rounds
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(text(BACKFILL))
    op.execute(RIGHTS)


def downgrade() -> None:
    op.execute(text(DOWN))
