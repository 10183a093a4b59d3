"""SQL of notifications: one row before any call.

There is one row for each alert, round, step, channel and recipient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import Connection, Row, text

from services.contracts.errors import NotFound
from services.contracts.events import NotificationFinished
from services.contracts.ids import as_alert_id
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.notifications.process_lock import HELD
from services.notifications.retry_policy import FINAL, NextState
from services.outgoing.contact_addresses import masked_address
from services.platform.database import Database

MAX_LISTED = 1000
REPORTED_WITHIN = timedelta(days=4)
"""Time in which a report counts. Carriers report on an SMS within three days."""
NEWEST_FIRST = ListOrder((("notification_id", "bigint"),), descending=True)


class NotificationRow(msgspec.Struct, frozen=True, kw_only=True):
    """Row of a notification for the delivery.

    Attributes:
        attempts: the number of attempts, the one under way included.
        words: the values for templates.
        sealed: the text with its link and code, until the row is finished; see
            `services.notifications.replies.sealed_text`.
    """

    notification_id: int
    tenant_id: int
    alert_id: UUID
    round: int
    step: int
    channel: str
    recipient: str
    name: str
    language: str
    severity: str
    alert_type: str
    drill: bool
    life_safety: bool
    subject: str
    body: str
    html: str
    words: dict[str, Any]
    until: str
    template_id: str
    sealed: bytes | None
    failover: list[tuple[str, str]]
    reference: UUID
    provider: str | None
    attempts: int
    attempt_started_at: datetime | None
    possible_duplicate: bool
    created_at: datetime


COLUMNS = ", ".join(f"n.{name}" for name in NotificationRow.__struct_fields__)


class NewNotification(NamedTuple):
    """Values of a new row for one notice; see `NotificationRow`."""

    alert_id: UUID
    tenant_id: int
    round: int
    step: int
    channel: str
    recipient: str
    name: str
    language: str
    severity: str
    alert_type: str
    drill: bool
    life_safety: bool
    subject: str
    body: str
    html: str
    words: str
    until: str
    template_id: str
    sealed: bytes | None
    code_hash: bytes | None
    failover: str
    next_attempt_at: datetime
    reference: UUID


_VALUES = [
    f"CAST(:{name} AS jsonb)" if name in ("words", "failover") else f":{name}"
    for name in NewNotification._fields
]
# No row is written for an alert that somebody took while the request was on its way.
RECORD = text(
    f"""
    INSERT INTO notification ({", ".join(NewNotification._fields)}, state, created_at)
    SELECT {", ".join(_VALUES)}, 'pending', :now
    WHERE EXISTS (SELECT 1 FROM mqtt_device_alert WHERE alert_id = :alert_id AND NOT status = ANY(:ended))
    ON CONFLICT (alert_id, round, step, channel, recipient) DO NOTHING
    """
)
# The rate limit counts messages that were sent to the recipient, and those under way. Within the
# limit, rows are taken in the order of their due times. Tenants take turns: the first message of
# each goes before the second of any.
TAKE = text(
    f"""
    WITH due AS (
        SELECT notification_id, tenant_id, recipient, life_safety, next_attempt_at,
               row_number() OVER (PARTITION BY recipient, life_safety ORDER BY next_attempt_at, notification_id)
                   AS place
        FROM notification n WHERE state = 'pending' AND channel = :channel AND next_attempt_at <= :now
        AND NOT tenant_id = ANY(:full_tenants)
        AND NOT EXISTS (
            SELECT 1 FROM unnest(CAST(:of_tenants AS integer[]), CAST(:full_recipients AS text[])) AS f (t, r)
            WHERE f.t = n.tenant_id AND f.r = n.recipient)
    ),
    allowed AS (
        SELECT notification_id, life_safety, next_attempt_at,
               row_number() OVER (PARTITION BY tenant_id, life_safety ORDER BY next_attempt_at, notification_id)
                   AS turn
        FROM due
        WHERE life_safety OR :channel = 'digest' OR place <= :most - (
            SELECT count(*) FROM notification sent WHERE sent.channel = :channel AND sent.recipient = due.recipient
            AND (sent.accepted_at > :since OR sent.state = 'attempting'))
    ),
    next AS (
        SELECT notification_id FROM allowed WHERE turn <= :of_tenant
        ORDER BY life_safety DESC, turn, next_attempt_at LIMIT :limit
    ),
    mine AS (
        SELECT notification_id FROM notification WHERE notification_id IN (SELECT notification_id FROM next)
        AND state = 'pending' FOR UPDATE SKIP LOCKED
    )
    UPDATE notification n SET state = 'attempting', holder = :holder, attempts = attempts + 1,
        attempt_started_at = :now, provider = NULL
    FROM mine WHERE n.notification_id = mine.notification_id RETURNING {COLUMNS}
    """
)
BEGIN = text(
    """
    WITH row AS (
        UPDATE notification SET provider = :provider, attempt_started_at = :now
        WHERE notification_id = :id AND holder = :holder AND state = 'attempting'
        RETURNING notification_id, tenant_id, attempts, possible_duplicate
    )
    INSERT INTO notification_attempt (notification_id, tenant_id, number, provider, started_at, possible_duplicate)
    SELECT notification_id, tenant_id, attempts, :provider, :now, possible_duplicate FROM row
    """
)
FINISH = text(
    """
    UPDATE notification SET state = :state, next_attempt_at = :at, error = :error, holder = NULL,
        possible_duplicate = :possible_duplicate, provider_ref = coalesce(:provider_ref, provider_ref),
        accepted_at = CASE WHEN :state = 'accepted' THEN CAST(:now AS timestamptz) ELSE accepted_at END,
        finished_at = CASE WHEN :state = ANY(:final) THEN CAST(:now AS timestamptz) END,
        attempts = attempts - :unmade, sealed = CASE WHEN :state = ANY(:final) THEN NULL ELSE sealed END,
        failover = CASE WHEN :failed_over THEN '[]'::jsonb ELSE failover END
    WHERE notification_id = :id AND state = 'attempting'
    """
)
END_ATTEMPT = text(
    """
    UPDATE notification_attempt SET ended_at = :now, outcome = :outcome, error = :error
    WHERE notification_id = :id AND number = :number AND ended_at IS NULL
    """
)
ADOPT = text(
    f"""
    WITH orphan AS (
        SELECT notification_id FROM notification n
        WHERE state = 'attempting' AND NOT EXISTS ({HELD}) LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE notification n SET holder = :holder FROM orphan
    WHERE n.notification_id = orphan.notification_id RETURNING {COLUMNS}
    """
)
HEARD = text(
    "SELECT EXISTS (SELECT 1 FROM notification WHERE alert_id = :alert_id AND state IN ('accepted', 'delivered'))"
)
WITHDRAW = text(
    """
    UPDATE notification SET state = 'withdrawn', error = :error, finished_at = :now, sealed = NULL
    WHERE alert_id = :alert_id AND state = 'pending' AND until = ANY(:until)
    """
)
UNTOLD = text(
    """
    SELECT notification_id, tenant_id, alert_id, channel, recipient, state, coalesce(finished_at, now()) AS at,
           reference, name, coalesce(provider, '') AS provider, coalesce(provider_ref, '') AS provider_ref, error,
           possible_duplicate
    FROM notification WHERE told_state IS DISTINCT FROM state AND state = ANY(:final)
    ORDER BY notification_id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
TOLD = text("UPDATE notification SET told_state = state WHERE notification_id = ANY(:ids)")
# A report can come before Vigil's own record of the call that it is about. A report about another
# attempt than the accepted one says that a copy did not arrive. A report that comes days later is
# of no use.
REPORTED = text(
    f"""
    UPDATE notification n SET state = :state, error = :error, finished_at = :now, holder = NULL, sealed = NULL,
        accepted_at = coalesce(n.accepted_at, :now), provider_ref = coalesce(n.provider_ref, :provider_ref),
        failover = CASE WHEN :state = 'failed' THEN '[]'::jsonb ELSE n.failover END
    FROM (SELECT notification_id, failover FROM notification WHERE reference = :reference AND created_at > :since
          FOR UPDATE) AS old
    WHERE n.notification_id = old.notification_id AND n.state <> :state AND n.state <> 'delivered'
        AND (:state <> 'failed' OR n.provider_ref IS NULL OR n.provider_ref IS NOT DISTINCT FROM :provider_ref)
    RETURNING {COLUMNS.replace("n.failover", "old.failover")}
    """
)
BY_REFERENCE = text(
    "SELECT n.tenant_id, n.alert_id, n.name, n.recipient, n.channel, n.subject, n.body, n.link_used_at, n.words"
    " FROM notification n WHERE n.reference = :reference"
)
USE_LINK = text(
    "UPDATE notification SET link_used_at = :now WHERE reference = :reference AND link_used_at IS NULL"
)
COUNTS = text(
    "SELECT channel, count(*) FROM notification WHERE state IN ('pending', 'attempting') GROUP BY channel"
)
LIST = text(
    """
    SELECT notification_id, alert_id, round, step + 1 AS step, channel, recipient, name, state, provider, provider_ref,
           attempts, possible_duplicate, error, body, created_at, accepted_at, finished_at, next_attempt_at
    FROM notification
    WHERE tenant_id = :tenant_id AND (CAST(:alert_id AS uuid) IS NULL OR alert_id = CAST(:alert_id AS uuid))
      AND (CAST(:before AS bigint) IS NULL OR notification_id < :before)
    ORDER BY notification_id DESC LIMIT :limit
    """
)


class NotificationStore:
    """Notifications in the database.

    Each method is one transaction. Raises `Unavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, rows: Sequence[NewNotification], *, ended: Sequence[str], now: datetime) -> int:
        """Record notices of an alert, unless its status is in `ended`.

        Return the number of new ones.
        """
        with self._database.across() as connection:
            return _record(connection, rows, ended=ended, now=now)

    def take(
        self,
        channel: str,
        *,
        holder: int,
        now: datetime,
        limit: int,
        most: int,
        since: datetime,
        of_tenant: int | None = None,
        full_tenants: Sequence[int] = (),
        full_recipients: Sequence[tuple[int, str]] = (),
    ) -> list[NotificationRow]:
        """Take due notifications of a channel for this holder, and return them.

        Args:
            most: the limit for each recipient since `since`.
            of_tenant: the limit for each tenant.
            full_tenants: tenants that get none.
            full_recipients: (tenant, recipient) pairs that get none.
        """
        values = {
            "of_tenant": limit if of_tenant is None else of_tenant,
            "full_tenants": list(full_tenants),
            "of_tenants": [tenant_id for tenant_id, _ in full_recipients],
            "full_recipients": [recipient for _, recipient in full_recipients],
            "channel": channel,
            "holder": holder,
            "now": now,
            "limit": limit,
            "most": most,
            "since": since,
        }

        with self._database.across() as connection:
            return [_notification(row) for row in connection.execute(TAKE, values)]

    def adopt(self, *, holder: int, limit: int) -> list[NotificationRow]:
        """Take over attempts that a crash left, for this holder, and return them."""
        with self._database.across() as connection:
            found = connection.execute(ADOPT, {"holder": holder, "limit": limit})
            return [_notification(row) for row in found]

    def begin(self, row: NotificationRow, *, provider: str, holder: int, now: datetime) -> bool:
        """Record that this provider is called now.

        Return False when the row is no longer this holder's.
        """
        values = {"id": row.notification_id, "provider": provider, "holder": holder, "now": now}
        with self._database.across() as connection:
            return connection.execute(BEGIN, values).rowcount > 0

    def finish(
        self,
        row: NotificationRow,
        following: NextState,
        *,
        outcome: str,
        now: datetime,
        provider_ref: str | None = None,
        made: bool = True,
        failover: Sequence[NewNotification] = (),
        ended: Sequence[str] = (),
    ) -> None:
        """Record the result of an attempt, and the rows of the failover."""
        values = {
            "id": row.notification_id,
            "state": following.state,
            "at": following.at,
            "error": following.error[:1000],
            "possible_duplicate": following.possible_duplicate,
            "provider_ref": provider_ref,
            "now": now,
            "final": list(FINAL),
            "unmade": 0 if made else 1,
            "failed_over": following.failover,
        }

        attempt = {"id": row.notification_id, "number": row.attempts, "now": now}
        with self._database.across() as connection:
            connection.execute(FINISH, values)
            connection.execute(END_ATTEMPT, {**attempt, "outcome": outcome, "error": following.error[:1000]})
            _record(connection, failover, ended=ended, now=now)

    def was_accepted(self, alert_id: UUID) -> bool:
        """Return whether a notification of the alert was accepted."""
        with self._database.across() as connection:
            return bool(connection.execute(HEARD, {"alert_id": alert_id}).scalar_one())

    def withdraw(self, alert_id: str, *, until: Sequence[str], error: str, now: datetime) -> int:
        """Withdraw the pending notifications of an alert, and return their number."""
        values = {"alert_id": as_alert_id(alert_id), "until": list(until), "error": error, "now": now}
        with self._database.across() as connection:
            return connection.execute(WITHDRAW, values).rowcount

    def publish_pending(self, tell: Any, *, limit: int = 200) -> int:
        """Pass finished notifications that are not published yet to `tell`, as one list.

        An exception from `tell` leaves them unpublished. Return their number.
        """
        with self._database.across() as connection:
            rows = connection.execute(UNTOLD, {"final": list(FINAL), "limit": limit}).all()
            if rows:
                tell([_finished(row) for row in rows])
                connection.execute(TOLD, {"ids": [row.notification_id for row in rows]})
            return len(rows)

    def report(
        self, reference: UUID, *, state: str, error: str, provider_ref: str | None, now: datetime
    ) -> NotificationRow | None:
        """Record a later report of a provider.

        Returns:
            The row with its former failover; None when the report changes nothing.
        """
        values = {
            "reference": reference,
            "state": state,
            "error": error,
            "provider_ref": provider_ref,
            "since": now - REPORTED_WITHIN,
        }

        with self._database.across() as connection:
            row = connection.execute(REPORTED, {**values, "now": now}).one_or_none()
            return None if row is None else _notification(row)

    def find(self, reference: UUID) -> Row[Any]:
        """Return the row with this reference. Raises `NotFound`."""
        with self._database.across() as connection:
            row = connection.execute(BY_REFERENCE, {"reference": reference}).one_or_none()
        if row is None:
            raise NotFound("this message is no longer on record")
        return row

    def use_link(self, reference: UUID, *, now: datetime) -> bool:
        """Record the use of a link. Return False when it was used before."""
        with self._database.across() as connection:
            return connection.execute(USE_LINK, {"reference": reference, "now": now}).rowcount > 0

    def count_waiting(self) -> dict[str, int]:
        with self._database.across() as connection:
            return {row[0]: row[1] for row in connection.execute(COUNTS)}

    def list_notifications(
        self,
        *,
        tenant_id: int,
        alert_id: str | None = None,
        limit: int = 100,
        after: Sequence[Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Return notifications, newest first.

        Args:
            after: the place after which the list begins.

        Raises:
            NotFound: `alert_id` is no alert id.
            Refused: the limit or the place is not valid.
        """
        check_limit(limit, most=MAX_LISTED)
        wanted = None if alert_id is None else as_alert_id(alert_id)
        _, place = beyond(NEWEST_FIRST, after)
        values = {"tenant_id": tenant_id, "alert_id": wanted, "limit": limit, "before": place.get("after_0")}
        with self._database.of(tenant_id) as connection:
            return [_listed(row) for row in connection.execute(LIST, values)]


def _record(
    connection: Connection, rows: Sequence[NewNotification], *, ended: Sequence[str], now: datetime
) -> int:
    return sum(
        connection.execute(RECORD, {**row._asdict(), "ended": list(ended), "now": now}).rowcount
        for row in rows
    )


def _notification(row: Row[Any]) -> NotificationRow:
    return msgspec.convert(dict(row._mapping), NotificationRow)


def _finished(row: Row[Any]) -> NotificationFinished:
    values: Mapping[str, Any] = {
        name: value for name, value in row._mapping.items() if name in NotificationFinished.__struct_fields__
    }
    shown = masked_address(row.channel, row.recipient)

    return NotificationFinished(
        **{
            **values,
            "recipient": shown,
            "name": _shown_name(row),
            "alert_id": str(row.alert_id),
            "reference": str(row.reference),
        }
    )


def _listed(row: Row[Any]) -> dict[str, Any]:
    """Return a row for readers.

    A push token or a URL is a secret of the contact, so it is masked.
    """
    shown = masked_address(row.channel, row.recipient)
    return {**row._mapping, "recipient": shown, "name": _shown_name(row)}


def _shown_name(row: Row[Any]) -> str:
    return masked_address(row.channel, row.recipient) if row.name == row.recipient else str(row.name)


def new_reference() -> UUID:
    return uuid4()
