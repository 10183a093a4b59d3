"""Clock offsets of sources, the order of their readings, and limits of silence that are on by default."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# An untimed reading was stored with the time of receipt as its own: that is how older rows are known.
STATES = """
ALTER TABLE source_state
    ADD COLUMN clock bytea,
    ADD COLUMN clock_suspect boolean NOT NULL DEFAULT false,
    ADD COLUMN judged_at timestamptz,
    ADD COLUMN rule_times jsonb,
    ADD COLUMN heard_at timestamptz;
UPDATE source_state SET clock_suspect = true WHERE recorded_at = received_at;
COMMENT ON COLUMN source_state.clock IS 'measured offset of the source''s clock: MessagePack; null: it is right';
COMMENT ON COLUMN source_state.clock_suspect IS 'recorded_at is a time of receipt, not of the device';
COMMENT ON COLUMN source_state.judged_at IS
    'newest time that a condition was judged at, when it is after recorded_at: conditions end after they began';
COMMENT ON COLUMN source_state.rule_times IS
    'life-safety rule to the time of the newest reading that met or ended it; null: none';
COMMENT ON COLUMN source_state.heard_at IS 'newest message that is no reading (an alert), as far as it was looked for';
COMMENT ON COLUMN source_state.reading IS 'the newest reading; {}: only other messages were heard, or none so far';
CREATE INDEX source_state_silent ON source_state (source_id) WHERE silent_since IS NOT NULL;
CREATE INDEX mqtt_device_alert_source ON mqtt_device_alert (tenant_id, source_id);
"""

# `watched_since` is the upgrade for devices that were there before it: nobody is OFFLINE for the time before.
LIMITS = """
ALTER TABLE device
    ADD COLUMN silence_limit_s double precision CHECK (silence_limit_s >= 0 AND silence_limit_s < 'infinity'),
    ADD COLUMN watched_since timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN device.silence_limit_s IS 'OFFLINE after so long without a message; null: as its family; 0: never';
COMMENT ON COLUMN device.watched_since IS 'silence counts from here at the earliest: registered, enabled, limit set';
CREATE FUNCTION vigil_watch_device_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.watched_since := now();
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION vigil_watch_device_anew() FROM PUBLIC;
CREATE TRIGGER device_watched_anew BEFORE UPDATE ON device FOR EACH ROW
    WHEN (NEW.enabled AND NOT OLD.enabled OR NEW.silence_limit_s IS DISTINCT FROM OLD.silence_limit_s)
    EXECUTE FUNCTION vigil_watch_device_anew();

CREATE TABLE offline_limit (
    family  text PRIMARY KEY,
    limit_s double precision NOT NULL,
    since   timestamptz NOT NULL
);
COMMENT ON TABLE offline_limit IS 'the limit of silence of each family, and since when it holds: counted from there';
ALTER TABLE offline_limit ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON offline_limit TO vigil_ingest;
CREATE POLICY vigil_ingest ON offline_limit TO vigil_ingest USING (true) WITH CHECK (true);
"""

DOWN = """
DROP TABLE offline_limit;
DROP TRIGGER device_watched_anew ON device;
DROP FUNCTION vigil_watch_device_anew();
ALTER TABLE device DROP COLUMN silence_limit_s, DROP COLUMN watched_since;
DROP INDEX mqtt_device_alert_source;
DROP INDEX source_state_silent;
ALTER TABLE source_state DROP COLUMN clock, DROP COLUMN clock_suspect, DROP COLUMN judged_at,
    DROP COLUMN rule_times, DROP COLUMN heard_at;
COMMENT ON COLUMN source_state.reading IS NULL;
"""

GUARDS = """
ALTER TABLE guard_state ADD COLUMN clock bytea, ADD COLUMN battery_low boolean NOT NULL DEFAULT false,
    ADD COLUMN jumps real NOT NULL DEFAULT 0, ADD COLUMN jumps_told boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN guard_state.jumps IS 'jumps to and fro that are not forgotten: two devices may report for the guard';
COMMENT ON COLUMN guard_state.jumps_told IS 'the alerts service was told of that, and not yet of its end';
COMMENT ON COLUMN guard_state.battery_low IS 'the alerts service was told of a low battery, and not yet of its end';
COMMENT ON COLUMN guard_state.clock IS
    'what was measured of the offset of the guard''s clock: MessagePack; null: it is right';
CREATE INDEX guard_state_told ON guard_state (guard_id) WHERE violation_told OR speeding_told <> '{}';
ALTER TABLE implausible_fix DROP CONSTRAINT implausible_fix_reason_check;
ALTER TABLE implausible_fix
    ADD CONSTRAINT implausible_fix_reason_check CHECK (reason IN ('mock', 'speed', 'teleport', 'no_fix'));
"""
# The older version has no word for a fix that is none; with these rows goes only why it was left out.
GUARDS_DOWN = """
DELETE FROM implausible_fix WHERE reason = 'no_fix';
ALTER TABLE implausible_fix DROP CONSTRAINT implausible_fix_reason_check;
ALTER TABLE implausible_fix
    ADD CONSTRAINT implausible_fix_reason_check CHECK (reason IN ('mock', 'speed', 'teleport'));
DROP INDEX guard_state_told;
ALTER TABLE guard_state DROP COLUMN clock, DROP COLUMN battery_low, DROP COLUMN jumps,
    DROP COLUMN jumps_told;
"""


def upgrade() -> None:
    """Add the columns; every row stays."""
    _run(STATES)
    _run(LIMITS)
    _run(GUARDS)


def downgrade() -> None:
    """Take the columns away."""
    _run(GUARDS_DOWN)
    _run(DOWN)


def _run(script: str) -> None:
    """Run a script as it stands: neither `:name` nor `%` means anything here."""
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
