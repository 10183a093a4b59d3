"""SQL of alerts. The database itself holds that there is one open alert a dedup key, under any concurrency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DataError

from services.admission import keep_rejected
from services.alerts.intake import Occurrence, raw_set_aside
from services.alerts.lifecycle import OPEN as OPEN_STATUSES
from services.alerts.lifecycle import Action, step
from services.alerts.records import ALERT_COLUMNS, alert_of, as_uuid, line_of
from services.alerts.statements import (
    ADD_LINE,
    CLEAR,
    FIND_BY_KEY,
    FIRST_MESSAGE,
    LOCK_ONE,
    MERGE,
    OPEN,
    SELECT_LINES,
    SELECT_OF_TENANT,
    SELECT_ONE,
    SET_STATUS,
    TOLD,
    UNTOLD,
)
from services.errors import NotFound, Refused
from services.messages import Alert, AlertStatus, RejectedMessage
from services.paging import check_limit
from services.providers import Database

MAX_LISTED = 1000


class DeviceMessage(NamedTuple):
    """The message by which a device raised an alert."""

    msg_id: str | None


class Change(NamedTuple):
    """An alert after a change, and the timeline rows that are still to be told: none when nothing changed.

    `first` is the device's message behind the alert, where its source may have to be told of the change.
    """

    alert: Alert
    entry_ids: tuple[int, ...]
    is_new: bool
    first: DeviceMessage | None = None


class Round(NamedTuple):
    """What a round of telling came to: the rows that were told, and the first error of those that were not."""

    told: tuple[int, ...]
    failure: Exception | None


class AlertStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, occurrences: Sequence[Occurrence], *, now: datetime) -> list[Change | None]:
        """Merge occurrences in one transaction, in order.

        For each: the change it made; when it was seen before, its alert without rows (None if that is gone).
        Raw data that the database cannot hold as JSON is kept as bytes: no alarm is lost for its trimmings.
        """
        try:
            return self._record_all(occurrences, now)
        except DataError:
            return self._record_all([raw_set_aside(occurrence) for occurrence in occurrences], now)

    def _record_all(self, occurrences: Sequence[Occurrence], now: datetime) -> list[Change | None]:
        with self._database.across() as connection:
            return [self._record(connection, occurrence, now) for occurrence in occurrences]

    def _record(self, connection: Connection, occurrence: Occurrence, now: datetime) -> Change | None:
        key = str(UUID(bytes=occurrence.key))
        values = {name: getattr(occurrence, name) for name in occurrence.__struct_fields__}
        values |= {"key": key, "alert_id": uuid4(), "now": now, "flags": list(occurrence.flags)}
        row = connection.execute(MERGE, values).one_or_none()
        if row is not None:
            return Change(alert_of(row, [line_of(row)]), (row.entry_id,), row.is_new)
        known = connection.execute(FIND_BY_KEY, {"key": key}).one_or_none()
        return None if known is None else Change(alert_of(known, []), (), False)

    def act(
        self, action: Action, *, tenant_id: int, alert_id: str, by: str, note: str, now: datetime
    ) -> Change:
        """A person's step. Raises `NotFound`, `Conflict`. No entry ids when there was nothing to do."""
        with self._database.of(tenant_id) as connection:
            row = connection.execute(
                LOCK_ONE, {"alert_id": as_uuid(alert_id), "tenant_id": tenant_id}
            ).one_or_none()
            if row is None:
                raise NotFound(f"no alert {alert_id}")
            taken = step(action, status=AlertStatus(row.status), by=by, acknowledged_by=row.acknowledged_by)
            if not taken.changes:
                return Change(alert_of(row, []), (), False)
            closed = taken.status in (AlertStatus.RESOLVED, AlertStatus.FALSE_ALARM)
            values = {"status": taken.status, "by": by, "now": now, "closed": closed, "human": True}
            changed = connection.execute(SET_STATUS, {**values, "alert_id": row.alert_id}).one()
            return self._with_line(connection, changed, action=action, by=by, note=note, now=now)

    def clear(
        self, *, tenant_id: int, dedup_key: str, at: datetime, note: str, now: datetime
    ) -> Change | None:
        """The condition is over: small alerts are resolved with it, graver ones wait for a person."""
        with self._database.across() as connection:
            values = {"tenant_id": tenant_id, "dedup_key": dedup_key, "at": at, "now": now}
            row = connection.execute(CLEAR, values).one_or_none()
            if row is None:
                return None
            by = "rule" if AlertStatus(row.status) in OPEN_STATUSES else "vigil"
            return self._with_line(connection, row, action="cleared", by=by, note=note, now=now)

    def _with_line(
        self, connection: Connection, row: Row[Any], *, action: str, by: str, note: str, now: datetime
    ) -> Change:
        values = {"alert_id": row.alert_id, "tenant_id": row.tenant_id, "at": now, "action": action}
        line = connection.execute(ADD_LINE, {**values, "status": row.status, "by": by, "note": note}).one()
        first = self._first_message(connection, row.alert_id)
        return Change(alert_of(row, [line_of(line)]), (line.entry_id,), False, first)

    def _first_message(self, connection: Connection, alert_id: UUID) -> DeviceMessage | None:
        row = connection.execute(FIRST_MESSAGE, {"alert_id": alert_id}).one_or_none()
        return None if row is None else DeviceMessage(row.msg_id)

    def tell_untold(
        self,
        tell: Callable[[Change], None],
        *,
        before: datetime,
        alert_id: str | None = None,
        limit: int = 100,
    ) -> Round:
        """Hand rows that nobody heard of to `tell`, alert by alert; each is told by one process only.

        What `tell` raises leaves the rows of that alert untold, and of no other.
        """
        told: list[int] = []
        failure: Exception | None = None
        with self._database.across() as connection:
            for change in self._untold(connection, before=before, alert_id=alert_id, limit=limit):
                try:
                    tell(change)
                except Exception as error:
                    failure = failure or error
                else:
                    told += change.entry_ids
            if told:
                connection.execute(TOLD, {"ids": told})
        return Round(tuple(told), failure)

    def _untold(
        self, connection: Connection, *, before: datetime, alert_id: str | None, limit: int
    ) -> Iterator[Change]:
        """Each alert is read only when its turn has come: an old state must not be shown after a newer one."""
        values = {"before": before, "alert_id": alert_id, "limit": limit}
        by_alert: dict[UUID, list[Row[Any]]] = {}
        for line in connection.execute(UNTOLD, values):
            by_alert.setdefault(line.alert_id, []).append(line)
        for its_id, lines in by_alert.items():
            row = connection.execute(SELECT_ONE, {"alert_id": its_id}).one()
            ids = tuple(line.entry_id for line in lines)
            is_new = any(line.action == "raised" for line in lines)
            first = self._first_message(connection, its_id)
            yield Change(alert_of(row, [line_of(line) for line in lines]), ids, is_new, first)

    def mark_told(self, entry_ids: Sequence[int]) -> None:
        with self._database.across() as connection:
            connection.execute(TOLD, {"ids": list(entry_ids)})

    def get(self, *, tenant_id: int, alert_id: str) -> Alert:
        """One alert with its whole timeline. Raises `NotFound`."""
        values = {"id": as_uuid(alert_id), "tenant_id": tenant_id}
        with self._database.of(tenant_id) as connection:
            row = connection.execute(SELECT_OF_TENANT, values).one_or_none()
            if row is None:
                raise NotFound(f"no alert {alert_id}")
            return alert_of(row, [line_of(line) for line in connection.execute(SELECT_LINES, values)])

    def list_alerts(self, *, tenant_id: int, status: str, limit: int) -> list[Alert]:
        """Newest first. `status`: open, all, or one status. Raises `Refused` for any other word."""
        wanted = {"open": f"status IN {OPEN}", "all": "true"}.get(status, "status = :status")
        if status not in ("open", "all", *AlertStatus):
            raise Refused(f"status is open, all, or one of {', '.join(AlertStatus)}, not {status!r}")
        check_limit(limit, most=MAX_LISTED)
        query = text(
            f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND {wanted}"
            " ORDER BY received_at DESC LIMIT :limit"
        )
        with self._database.of(tenant_id) as connection:
            found = connection.execute(query, {"tenant_id": tenant_id, "status": status, "limit": limit})
            return [alert_of(row, []) for row in found]

    def count_open(self) -> dict[str, int]:
        query = text(
            f"SELECT severity, count(*) FROM mqtt_device_alert WHERE status IN {OPEN} GROUP BY severity"
        )
        with self._database.across() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def keep_rejected(self, message: RejectedMessage) -> bool:
        """Keep a refused message; False when it was kept before."""
        with self._database.across() as connection:
            return keep_rejected(connection, [message]) > 0
