"""Clock offsets of sources, and limits of silence by source."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# ---- guards: begin ----
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
# ---- guards: end ----


def upgrade() -> None:
    """Add the clocks of guards, and the reason `no_fix`."""
    op.get_bind().exec_driver_sql(GUARDS)


def downgrade() -> None:
    """Take away what `upgrade` added."""
    op.get_bind().exec_driver_sql(GUARDS_DOWN)
