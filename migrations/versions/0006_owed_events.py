"""What telemetry and location owe the alerts service: conditions that are committed and perhaps not yet told."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The clock of the insert, not of the transaction's beginning: of one source, a later row must not look older.
OWED = """
CREATE TABLE owed_event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    service   text NOT NULL CHECK (service IN ('telemetry', 'location')),
    event     text NOT NULL,
    sources   text[] NOT NULL,
    body      bytea NOT NULL,
    owed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE owed_event IS 'events of a commit, until RabbitMQ has them: what is left was left by a crash';
COMMENT ON COLUMN owed_event.sources IS 'whom it is about: what is owed of a source is told in the order of ids';
ALTER TABLE owed_event ENABLE ROW LEVEL SECURITY;
"""
RIGHTS = {"vigil_ingest": ("SELECT, INSERT, UPDATE (owed_at), DELETE", "true")}
"""Only the road has to do with it. PostgreSQL lets nobody lock a row who may not update any of its columns."""


def upgrade() -> None:
    op.execute(OWED)
    for role, (rights, mine) in RIGHTS.items():
        op.execute(f"GRANT {rights} ON owed_event TO {role}")
        op.execute(f"CREATE POLICY {role} ON owed_event TO {role} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    op.execute("DROP TABLE owed_event")
