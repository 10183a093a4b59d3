"""SQL of SMS replies: messages to a number, requests that were taken, and answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Row, text

from services.platform.database import Database

CLAIM_S = 30.0
"""Seconds after which a request is taken over when its process died."""
ONE_ANSWER = timedelta(hours=1)
MOST_ALERTS = 100
AUTOMATIC = ""
"""The `about` of an automatic answer."""

CLAIM = text(
    """
    INSERT INTO sms_reply AS r (message_id, claimed_at) VALUES (:message_id, :now)
    ON CONFLICT (message_id) DO UPDATE SET claimed_at = :now
        WHERE r.finished_at IS NULL AND r.claimed_at < :abandoned
    RETURNING r.message_id
    """
)
FINISH = text("UPDATE sms_reply SET finished_at = :now WHERE message_id = :message_id")
RELEASE = text("DELETE FROM sms_reply WHERE message_id = :message_id AND finished_at IS NULL")
# The newest message of each alert. A message that no provider ever got has no reply.
SENT_TO = text(
    """
    SELECT * FROM (
        SELECT DISTINCT ON (n.alert_id) n.reference, n.alert_id, n.tenant_id, n.round, n.name, n.recipient, n.language,
               n.code_hash IS NOT NULL AS has_code, n.created_at
        FROM notification n JOIN mqtt_device_alert a USING (tenant_id, alert_id)
        WHERE n.channel = 'sms' AND n.recipient = :phone AND n.created_at > :since AND n.attempts > 0
          AND a.status = ANY(:open)
        ORDER BY n.alert_id, n.created_at DESC
    ) newest ORDER BY created_at DESC LIMIT :most
    """
)
BY_CODE = text(
    """
    SELECT DISTINCT ON (alert_id) reference, alert_id, tenant_id, round, name, recipient, language, true AS has_code,
           created_at
    FROM notification
    WHERE channel = 'sms' AND recipient = :phone AND code_hash = ANY(:hashes) AND created_at > :since
    ORDER BY alert_id, created_at DESC
    """
)
ANSWER = text(
    """
    INSERT INTO sms_answer AS a (phone, about, answered_at) VALUES (:phone, :about, :now)
    ON CONFLICT (phone, about) DO UPDATE SET answered_at = :now WHERE a.answered_at <= :again_from
    RETURNING a.phone
    """
)
WAS_CONFIRMED = text("SELECT EXISTS (SELECT 1 FROM sms_answer WHERE phone = :phone AND about = :about)")
FORGET = text("DELETE FROM sms_answer WHERE answered_at < :before")


class SentMessage(NamedTuple):
    """Message that was sent to a number, with its alert, round and reader."""

    reference: UUID
    alert_id: UUID
    tenant_id: int
    round: int
    name: str
    recipient: str
    language: str
    has_code: bool


class ReplyStore:
    """Requests and answers in the database.

    Each method is one transaction. Raises `Unavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, message_id: str, *, now: datetime) -> bool:
        """Take a request. Return False when it was taken before, or another process works on it."""
        values = {"message_id": message_id, "now": now, "abandoned": now - timedelta(seconds=CLAIM_S)}
        with self._database.across() as connection:
            return connection.execute(CLAIM, values).one_or_none() is not None

    def finish(self, message_id: str, *, now: datetime) -> None:
        """Record that the request had its effect. It never has it again."""
        with self._database.across() as connection:
            connection.execute(FINISH, {"message_id": message_id, "now": now})

    def release(self, message_id: str) -> None:
        """Release a request that failed: it may come again at once."""
        with self._database.across() as connection:
            connection.execute(RELEASE, {"message_id": message_id})

    def sent_to(self, phone: str, *, statuses: Sequence[str], since: datetime) -> list[SentMessage]:
        """Return the newest message to this number for each alert in these statuses.

        The newest message comes first.
        """
        values = {"phone": phone, "open": list(statuses), "since": since, "most": MOST_ALERTS}
        with self._database.across() as connection:
            return [_sent(row) for row in connection.execute(SENT_TO, values)]

    def by_codes(self, phone: str, hashes: Sequence[bytes], *, since: datetime) -> list[SentMessage]:
        """Return the messages to this number with these codes, one for each alert."""
        if not hashes:
            return []
        values = {"phone": phone, "hashes": list(hashes), "since": since}
        with self._database.across() as connection:
            return [_sent(row) for row in connection.execute(BY_CODE, values)]

    def may_answer(self, phone: str, *, now: datetime) -> bool:
        """Return whether this number gets an automatic answer now, and record it: one an hour."""
        return self._answer(phone, AUTOMATIC, now=now, again_from=now - ONE_ANSWER)

    def may_confirm(self, sent: SentMessage, *, now: datetime) -> bool:
        """Return whether the confirmation is due: once for each number, alert and round."""
        return self._answer(
            sent.recipient, _confirmation(sent), now=now, again_from=datetime.min.replace(tzinfo=now.tzinfo)
        )

    def was_confirmed(self, sent: SentMessage) -> bool:
        """Return whether this number took the alert in this round already."""
        values = {"phone": sent.recipient, "about": _confirmation(sent)}
        with self._database.across() as connection:
            return bool(connection.execute(WAS_CONFIRMED, values).scalar_one())

    def forget_answers(self, *, before: datetime) -> int:
        """Remove the records of answers before a time, and return the number of rows."""
        with self._database.across() as connection:
            return connection.execute(FORGET, {"before": before}).rowcount

    def _answer(self, phone: str, about: str, *, now: datetime, again_from: datetime) -> bool:
        values = {"phone": phone, "about": about, "now": now, "again_from": again_from}
        with self._database.across() as connection:
            return connection.execute(ANSWER, values).one_or_none() is not None


def _confirmation(sent: SentMessage) -> str:
    """Return the `about` of the confirmation that somebody has an alert."""
    return f"{sent.alert_id}:{sent.round}"


def _sent(row: Row[tuple[object, ...]]) -> SentMessage:
    return SentMessage(*(getattr(row, name) for name in SentMessage._fields))
