"""Databases that met an earlier text of a revision get what was added to it later.

Until revision 0015 some revisions were changed after they had been on the main line. A database that had run the
earlier text counted as up to date, and lacked tables and columns that the code reads. `mend` looks at what is there
and adds what is missing, for each such change; on any other database it changes nothing. Besides this revision,
`migrations/env.py` calls it before the migrations of an older database, because some of them need what it adds.
From here on a test holds each revision to its first text.

The way down changes nothing: what was added belongs to the revisions that it completes, and goes with them.
"""

import re
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from alembic import context, op
from sqlalchemy import text

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COLUMN_TYPE = text(
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
    " WHERE attrelid = to_regclass(:table) AND attname = :column AND NOT attisdropped"
)
FIELD_TABLES = ("mqtt_device_telemetry", "mqtt_guard_location", "mqtt_sensor_reading", "mqtt_system_health")
CARRIER_COLUMNS = text("SELECT indnatts FROM pg_index WHERE indexrelid = to_regclass('device_carrier_now')")
CARRIER = """
DROP INDEX device_carrier_now;
CREATE UNIQUE INDEX device_carrier_now ON device_carrier (tenant_id, device_id) WHERE until IS NULL;
"""
# The older column held the same words under another name.
WORDS = """
ALTER TABLE notification RENAME COLUMN data TO words;
ALTER TABLE notification ADD COLUMN until text NOT NULL DEFAULT 'acknowledged';
"""
HOLDS = """
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
"""
HOLDING_FUNCTIONS = ("vigil_track_span", "vigil_put_by_tracks", "vigil_retire_rows", "vigil_drop_partition")
TRACKS = """
ALTER TABLE guard_state
    ADD COLUMN IF NOT EXISTS speeding_told integer[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS settles_at timestamptz;
COMMENT ON COLUMN guard_state.speeding_told IS 'speed zones of which the alerts service was told, and not of the end';
COMMENT ON COLUMN guard_state.settles_at IS 'when to tell what the belief says, if it still stands; null: all is told';
ALTER TABLE zone_transition ADD COLUMN IF NOT EXISTS confirmed_key uuid;
COMMENT ON COLUMN zone_transition.confirmed_key IS 'and which one of that time';
ALTER TABLE source_state ADD COLUMN IF NOT EXISTS silent_since timestamptz;
COMMENT ON COLUMN source_state.silent_since IS 'OFFLINE was told, and nothing was heard since; null: not so';
CREATE INDEX IF NOT EXISTS guard_state_settles ON guard_state (settles_at) WHERE settles_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS zone_transition_confirmed ON zone_transition (tenant_id, guard_id, confirmed_at);
CREATE INDEX IF NOT EXISTS guard_shift_now ON guard_shift USING gist (tstzrange(starts_at, ends_at));
"""
HEARD = """
CREATE TABLE road_heard (
    service   text PRIMARY KEY,
    since     timestamptz NOT NULL,
    marked_at timestamptz NOT NULL
);
COMMENT ON TABLE road_heard IS 'since when a service has heard without a pause: silence is counted from there';
ALTER TABLE road_heard ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON road_heard TO vigil_ingest;
CREATE POLICY vigil_ingest ON road_heard TO vigil_ingest USING (true) WITH CHECK (true);
"""
CLAIM = "vigil_claim_source_id"
CLAIM_SOURCE = text("SELECT prosrc FROM pg_proc WHERE oid = to_regproc(:name)")


def upgrade() -> None:
    mend(down_revision)


def downgrade() -> None:
    """Nothing to take away."""


def mend(current: str) -> None:
    """Complete what a database at this revision should have by the revisions that it has run."""
    for one in MENDS:
        if one.revision <= current:
            one.mend()


def _json() -> None:
    """A payload is kept byte for byte; jsonb is another writing of it."""
    for table in FIELD_TABLES:
        if _type(table, "raw_data") == "jsonb":
            op.execute(f"ALTER TABLE {table} ALTER COLUMN raw_data TYPE json USING raw_data::json")


def _carriers() -> None:
    """Two tenants may have a device of one id."""
    if op.get_bind().execute(CARRIER_COLUMNS).scalar() == 1:
        op.execute(CARRIER)


def _rules() -> None:
    """Revision 0005 once followed 0002; 0003 came in between later."""
    if not _type("rule_override", "rule"):
        _module("0003").upgrade()


def _chain() -> None:
    """As for the rules: 0004 came in between later."""
    if not _type("timeline_head", "hash"):
        _module("0004").upgrade()


def _words() -> None:
    if not _type("notification", "words") and _type("notification", "data"):
        op.execute(WORDS)


def _holds() -> None:
    if _type("alert_hold", "alert_id"):
        return
    op.execute(HOLDS)
    for table in ("alert_hold", "alert_track"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"GRANT SELECT ON {table} TO vigil_tenant")
        mine = "tenant_id = vigil_tenant_id()"
        op.execute(
            f"CREATE POLICY vigil_tenant ON {table} TO vigil_tenant USING ({mine}) WITH CHECK ({mine})"
        )
    retention = _module("0007")
    owners = retention.OWNERS.replace("{schema}", _schema())
    for name in HOLDING_FUNCTIONS:
        _run(
            _function(retention.RETENTION, name).replace("{owners}", owners).replace("{lock}", retention.LOCK)
        )
    for function in retention.OF_THE_OWNER:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    _classes()


def _classes() -> None:
    """The classes of retention that do not pass over alerts on hold, as 0007 has them; 0008 replaces them."""
    if not _type("zone_version", "zone_id"):
        _run(_function(_module("0007").RETENTION, "vigil_retention_classes"))


def _tracks() -> None:
    _run(TRACKS)
    if not _type("road_heard", "service"):
        op.execute(HEARD)


def _repeated_alerts() -> None:
    if not _type("mqtt_device_alert", "previous_holder"):
        _module("0009").upgrade()


def _sealed_notifications() -> None:
    if not _type("notification", "sealed"):
        _module("0010").upgrade()


def _clocks() -> None:
    """Revision 0011 did nothing at first, then all but the part about guards, then all of it."""
    clocks = _module("0011")
    if not _type("source_state", "clock"):
        _run(clocks.STATES)
        _run(clocks.LIMITS)
    if not _type("guard_state", "clock"):
        _run(clocks.GUARDS)


def _claims() -> None:
    """Two workers that register one new source at once both go on."""
    wanted = _function(_module("0012").TRIGGERS, CLAIM)
    found = op.get_bind().execute(CLAIM_SOURCE, {"name": CLAIM}).scalar_one()
    if found.strip() != wanted.partition("$$")[2].rpartition("$$")[0].strip():
        _run(wanted.replace("{owners}", f"SECURITY DEFINER SET search_path = {_schema()}, pg_temp"))


class Mend(NamedTuple):
    """What was added to a revision after databases had run it."""

    revision: str
    mend: Callable[[], None]


MENDS = (
    Mend("0001", _json),
    Mend("0002", _carriers),
    Mend("0003", _rules),
    Mend("0004", _chain),
    Mend("0005", _words),
    Mend("0007", _holds),
    Mend("0008", _tracks),
    Mend("0009", _repeated_alerts),
    Mend("0010", _sealed_notifications),
    Mend("0011", _clocks),
    Mend("0012", _claims),
)


def _type(table: str, column: str) -> str | None:
    """Return the type of a column; None when it, or its table, is not there."""
    values = {"table": table, "column": column}
    found: str | None = op.get_bind().execute(COLUMN_TYPE, values).scalar_one_or_none()
    return found


def _schema() -> str:
    name: str = op.get_bind().execute(text("SELECT current_schema()")).scalar_one()
    return name


def _module(of: str) -> ModuleType:
    """An earlier revision, whose text is held to what it is now."""
    script = context.script.get_revision(of)
    assert script is not None
    return script.module


def _function(script: str, name: str) -> str:
    """Cut one function out of a script, to be made or replaced."""
    found = re.search(rf"CREATE (?:OR REPLACE )?FUNCTION ({name}\(.*?\$\$.*?\$\$;)", script, re.DOTALL)
    assert found is not None, name
    return f"CREATE OR REPLACE FUNCTION {found[1]}"


def _run(script: str) -> None:
    """As it stands: neither `:name` nor `%` means anything here."""
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
