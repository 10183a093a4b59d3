"""Notifications without readable links and codes; SMS replies that have one effect and one answer.

Links and codes of older rows are cut out of every readable column. A row that is still to be sent gets its text written
again with its link, and without a code, because its code is known to nobody any more: `sealed` without content says so.
Replies with the codes of messages before this revision take nothing; they go on the timeline, and the next message has
a new code.
"""

from alembic import op
from sqlalchemy import text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LINK = r"[^[:space:]\"''<>]*/a/[A-Za-z0-9_-]{48}"
"""A link of a message: 36 bytes in URL-safe base64 after /a/."""

COLUMNS = """
ALTER TABLE notification
    ADD COLUMN sealed    bytea,
    ADD COLUMN code_hash bytea;
COMMENT ON COLUMN notification.sealed IS 'the text with its link and code, until it is finished; empty: written again';
COMMENT ON COLUMN notification.code_hash IS 'HMAC of the number and the code that a reply takes the alert by';
COMMENT ON COLUMN notification.body IS 'with [link] and **** for a link and a code';
"""

REDACT = f"""
UPDATE notification SET
    sealed = CASE WHEN state IN ('pending', 'attempting') THEN ''::bytea END,
    subject = regexp_replace(regexp_replace(subject, '{LINK}', '[link]', 'g'), code_pattern, '****', 'gi'),
    body = regexp_replace(regexp_replace(body, '{LINK}', '[link]', 'g'), code_pattern, '****', 'gi'),
    html = regexp_replace(regexp_replace(html, '{LINK}', '[link]', 'g'), code_pattern, '****', 'gi'),
    error = regexp_replace(error, '{LINK}', '[link]', 'g'),
    words = words - 'link' - 'code'
FROM (SELECT notification_id AS id, CASE WHEN code = '' THEN '(?=a)b' ELSE '\\m' || code || '\\M' END AS code_pattern
      FROM notification) codes
WHERE id = notification_id
  AND (code <> '' OR coalesce(words ->> 'link', '') <> '' OR coalesce(words ->> 'code', '') <> ''
       OR (subject || body || html || error) ~ '{LINK}');
UPDATE notification_attempt SET error = regexp_replace(error, '{LINK}', '[link]', 'g') WHERE error ~ '{LINK}';
ALTER TABLE notification DROP COLUMN code;
"""

TABLES = """
CREATE TABLE sms_reply (
    message_id  text PRIMARY KEY,
    claimed_at  timestamptz NOT NULL,
    finished_at timestamptz
);
COMMENT ON TABLE sms_reply IS 'inbound requests of the SMS provider: a signed request is good for one effect, for ever';

CREATE TABLE sms_answer (
    phone       text NOT NULL,
    about       text NOT NULL,
    answered_at timestamptz NOT NULL,
    PRIMARY KEY (phone, about)
);
COMMENT ON TABLE sms_answer IS 'when a number was answered automatically; kept for two days';
COMMENT ON COLUMN sms_answer.about IS 'alert:round of a confirmation; empty: any other answer';
GRANT SELECT, INSERT, UPDATE, DELETE ON sms_reply, sms_answer TO vigil_ingest;
"""

DOWN = """
DROP TABLE sms_answer, sms_reply;
ALTER TABLE notification DROP COLUMN sealed, DROP COLUMN code_hash, ADD COLUMN code text NOT NULL DEFAULT '';
COMMENT ON COLUMN notification.body IS NULL;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(text(REDACT.replace(":", r"\:")))
    op.execute(TABLES)


def downgrade() -> None:
    op.execute(text(DOWN))
