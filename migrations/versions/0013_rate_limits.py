"""Refused messages that stand for many: how many of its source were refused within the same minute.

One row holds the first of them and the count, so that a flood fills no disk.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE rejected_message ADD COLUMN occurrences integer NOT NULL DEFAULT 1")
    op.execute(
        "COMMENT ON COLUMN rejected_message.occurrences IS"
        " 'messages of its source and minute that it stands for; its bytes are those of the first'"
    )
    op.execute("GRANT UPDATE (occurrences) ON rejected_message TO vigil_ingest")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (occurrences) ON rejected_message FROM vigil_ingest")
    op.execute("ALTER TABLE rejected_message DROP COLUMN occurrences")
