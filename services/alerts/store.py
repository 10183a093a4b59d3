"""SQL of alerts.

The database itself ensures one open alert per dedup key, under any concurrency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DataError

from services.alerts import sql
from services.alerts.escalation import timers
from services.alerts.escalation.policy import Ladder
from services.alerts.escalation.timers import AlertTimer, TimerResult
from services.alerts.grouping import AlertGrouping
from services.alerts.lifecycle import OPEN as OPEN_STATUSES
from services.alerts.lifecycle import AlertAction, step
from services.alerts.occurrences import (
    Occurrence,
    RepeatedMessages,
    as_one,
    is_another,
    raw_set_aside,
    seen_before,
)
from services.alerts.rows import ALERT_COLUMNS, alert_of, line_of
from services.contracts.errors import NotFound, Refused
from services.contracts.events import Alert, AlertStatus, RejectedMessage
from services.contracts.ids import as_alert_id
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.contracts.people import AlertPeople, People, alert_people
from services.ingestion import bulk_insert as rows
from services.ingestion.admission import keep_rejected
from services.platform.database import Database

MAX_LISTED = 1000
NEWEST_FIRST = ListOrder((("received_at", "timestamptz"), ("alert_id", "uuid")), descending=True)

FindsLadder = Callable[[Connection, Alert], Ladder]
Decides = Callable[[Connection, Alert, AlertTimer], TimerResult]
Accompanies = Callable[[Connection, Alert, int], str]
"""Callback within the transaction of a person's action.

It takes the number of rounds so far, and returns the timeline's note.
"""
PRESS_AGAIN_S = 30.0
AS_THEY_ARE = ("msg_id", "topic", "recorded_at", "received_at", "clock_suspect")


class DeviceMessage(NamedTuple):
    """Message with which a device raised an alert."""

    msg_id: str | None


class AlertChange(NamedTuple):
    """Alert after a change, with the timeline rows that are still to be published.

    There are no rows when nothing changed. `first` is the device's message behind the alert, for
    when its source may have to receive a receipt.
    """

    alert: Alert
    entry_ids: tuple[int, ...]
    is_new: bool
    first: DeviceMessage | None = None


class PublishingRound(NamedTuple):
    """Result of a round of publishing: the published rows, and the first error of the others."""

    told: tuple[int, ...]
    failure: Exception | None


class PersonAction(NamedTuple):
    """Action of a person on an alert, with its details.

    Attributes:
        to: the new assignee of the alert.
        until: the end of the shelving.
        reason: the reason of a false alarm.
    """

    action: AlertAction
    by: str
    note: str = ""
    to: str | None = None
    until: datetime | None = None
    reason: str | None = None


def timer_of(connection: Connection, alert: Alert) -> AlertTimer | None:
    row = connection.execute(sql.TIMER_OF, {"alert_id": alert.id}).one_or_none()
    return None if row is None else AlertTimer(row.kind, row.round, row.step, row.due_at)


def put_timer(connection: Connection, alert: Alert, timer: AlertTimer | None) -> None:
    """Set the timer of an alert whose row the caller holds. None removes the timer."""
    if timer is None:
        connection.execute(sql.END_TIMER, {"alert_id": alert.id})
        return
    values = {"alert_id": alert.id, "tenant_id": alert.tenant_id, **timer._asdict()}
    connection.execute(sql.SET_TIMER, values)


def _both(change: AlertChange, more: AlertChange) -> AlertChange:
    """Return two changes of one alert in one transaction as one."""
    alert = msgspec.structs.replace(more.alert, timeline=change.alert.timeline + more.alert.timeline)
    return AlertChange(alert, change.entry_ids + more.entry_ids, change.is_new, change.first)


def _key(occurrence: Occurrence) -> str:
    return str(UUID(bytes=occurrence.key))


def _lock_condition(connection: Connection, tenant_id: int, dedup_key: str) -> None:
    connection.execute(sql.LOCK_CONDITION, {"tenant_id": str(tenant_id), "dedup_key": dedup_key})


class AlertStore:
    """Alerts in the database.

    Args:
        ladder: finds the ladder of an alert, from its row's tenant and site; see
            `EscalationWorker`.
        press_again_s: seconds since the last call after which a repeated life-safety alert notifies
            the contacts again.
    """

    def __init__(
        self,
        database: Database,
        *,
        ladder: FindsLadder,
        storms: AlertGrouping,
        press_again_s: float = PRESS_AGAIN_S,
    ) -> None:
        self._database = database
        self._ladder = ladder
        self._storms = storms
        self._press_again_s = press_again_s

    def record(self, occurrences: Sequence[Occurrence], *, now: datetime) -> list[AlertChange | None]:
        """Merge occurrences in one transaction, in order.

        Raw data that the database cannot hold as JSON is kept as bytes: no alarm is lost for its
        trimmings.

        Returns:
            For each occurrence, the change that it made. An occurrence that was seen before gives
            its alert without rows, or None if that alert is gone.
        """
        try:
            return self._record_all(occurrences, now)
        except DataError:
            return self._record_all([raw_set_aside(occurrence) for occurrence in occurrences], now)

    def _record_all(self, occurrences: Sequence[Occurrence], now: datetime) -> list[AlertChange | None]:
        with self._database.across() as connection:
            changes = [self._record(connection, occurrence, now) for occurrence in occurrences]
            # After the last merge: a worker that waits for a site must not block a worker that
            # waits for an alert.
            gathered = [self._gathered(connection, change, now) for change in changes]
            return [
                self._over_already(connection, change, occurrence, now)
                for change, occurrence in zip(gathered, occurrences, strict=True)
            ]

    def record_repeats(self, groups: Sequence[RepeatedMessages], *, now: datetime) -> list[list[AlertChange]]:
        """Merge messages that repeat alerts in one transaction.

        One statement merges all messages of a large group. A message that was seen before changes
        nothing, as in `record`.

        Returns:
            The changes of each group.
        """
        try:
            return self._record_groups(groups, now)
        except DataError:
            return self._record_groups([group.set_aside() for group in groups], now)

    def _record_groups(self, groups: Sequence[RepeatedMessages], now: datetime) -> list[list[AlertChange]]:
        with self._database.across() as connection:
            found = [self._record_group(connection, group, now) for group in groups]
            return [
                [self._gathered(connection, change, now) or change for change in changes] for changes in found
            ]

    def _record_group(
        self, connection: Connection, group: RepeatedMessages, now: datetime
    ) -> list[AlertChange]:
        if not group.is_many:
            each = [self._record(connection, occurrence, now) for occurrence in group.occurrences]
            return [change for change in each if change is not None]

        origins = [(item.key, item.received_at) for item in group.occurrences]
        counts = [(key, now) for key in group.counted]
        new = rows.see_keys(connection, [*origins, *counts])
        fresh = [item for item in group.occurrences if item.key in new]
        known = [item for item in group.occurrences if item.key not in new]
        changes = [self._record(connection, occurrence, now) for occurrence in known]
        more = sum(count for key, count in group.counted.items() if key in new)

        if fresh:
            changes.append(self._merge_many(connection, fresh, more, group.first_at or now, now))

        return [change for change in changes if change is not None]

    def _merge_many(
        self,
        connection: Connection,
        fresh: Sequence[Occurrence],
        more: int,
        first_at: datetime,
        now: datetime,
    ) -> AlertChange | None:
        """Merge occurrences that were not seen before as one, with `more` that are only counted.

        The caller has noted the identities of the occurrences in this transaction.
        """
        others = fresh[:-1]
        one = as_one(fresh, count=len(fresh) + more, first_at=first_at)

        change = self._merge(connection, one, now, more=len(others) + more, is_seen=True)
        if change is not None and others:
            values: dict[str, list[Any]] = {
                "message_key": [item.key for item in others],
                **{name: [getattr(item, name) for item in others] for name in AS_THEY_ARE},
                "flags": [msgspec.json.encode(item.flags).decode() for item in others],
                "raw_data": [item.raw for item in others],
                "unreadable": [None if item.unreadable is None else item.unreadable.hex() for item in others],
            }
            whose = {"alert_id": change.alert.id, "tenant_id": change.alert.tenant_id}
            connection.execute(sql.ADD_OCCURRENCES, whose | rows.arrays(sql.OCCURRENCES, values))

        return change

    def _record(self, connection: Connection, occurrence: Occurrence, now: datetime) -> AlertChange | None:
        if occurrence.of_rule:
            _lock_condition(connection, occurrence.tenant_id, occurrence.dedup_key)

        merged = self._merge(connection, occurrence, now)
        if merged is not None:
            return merged

        first = connection.execute(sql.FIRST_OF_KEY, {"key": _key(occurrence)}).one()
        first_is_open = first.status is not None and AlertStatus(first.status) in OPEN_STATUSES
        if is_another(occurrence, first_received_at=first.received_at, first_is_open=first_is_open):
            occurrence = seen_before(occurrence)
            merged = self._merge(connection, occurrence, now)
            if merged is not None:
                return merged

        known = connection.execute(sql.FIND_BY_KEY, {"key": _key(occurrence)}).one_or_none()
        return None if known is None else AlertChange(alert_of(known, []), (), False)

    def _merge(
        self,
        connection: Connection,
        occurrence: Occurrence,
        now: datetime,
        *,
        more: int = 0,
        is_seen: bool = False,
    ) -> AlertChange | None:
        """Merge an occurrence, and return its change; None when its identity was seen before.

        Args:
            more: the number of further messages that this occurrence stands for.
            is_seen: the identity was noted just now, in this transaction, and does not count as
                seen before.
        """
        values = {name: getattr(occurrence, name) for name in occurrence.__struct_fields__}
        values |= {"key": _key(occurrence), "alert_id": uuid4(), "now": now, "flags": list(occurrence.flags)}
        values |= {
            "note": occurrence.note,
            "pressed": occurrence.pressed,
            "never_held_back": occurrence.never_held_back,
            "press_again_s": self._press_again_s,
            "more": more,
            "is_seen": is_seen,
        }

        rows = sql.MERGE.run(connection, values).all()
        if not rows:
            return None

        lines = [line_of(row) for row in rows]
        return AlertChange(alert_of(rows[0], lines), tuple(row.entry_id for row in rows), rows[0].is_new)

    def _gathered(
        self, connection: Connection, change: AlertChange | None, now: datetime
    ) -> AlertChange | None:
        """Return the change, with the timeline row about the storm that its new alert joins."""
        if change is None or not change.is_new:
            return change
        joined = self._storms.join(connection, change.alert, now=now)
        if joined is None:
            return change
        return _both(
            change,
            self._with_line(connection, joined.row, action="grouped", by="vigil", note=joined.note, now=now),
        )

    def _over_already(
        self, connection: Connection, change: AlertChange | None, occurrence: Occurrence, now: datetime
    ) -> AlertChange | None:
        """Return the change, and with it the end of its condition when that end is known already.

        The end of a condition can arrive before its beginning.
        """
        if change is None or not change.entry_ids or not occurrence.of_rule:
            return change
        values = {"tenant_id": occurrence.tenant_id, "dedup_key": occurrence.dedup_key}
        end = connection.execute(sql.CLEARED_SINCE, {**values, "at": occurrence.recorded_at}).one_or_none()
        if end is None:
            return change
        cleared = self._clear(connection, {**values, "at": end.cleared_at, "now": now}, end.note)
        return change if cleared is None else _both(change, cleared)

    def act(
        self,
        deed: PersonAction,
        *,
        tenant_id: int,
        alert_id: str,
        now: datetime,
        beside: Accompanies | None = None,
    ) -> AlertChange:
        """Take a person's action on an alert.

        The change has no entry ids when there was nothing to do.

        Args:
            beside: runs after the action and before its commit. An exception from it leaves
                everything as it was.

        Raises:
            NotFound: there is no such alert.
            Conflict: the state of the alert does not allow the action.
            Refused: the action is not valid.
        """
        with self._database.of(tenant_id) as connection:
            values = {"alert_id": as_alert_id(alert_id), "tenant_id": tenant_id}
            row = connection.execute(sql.LOCK_ONE, values).one_or_none()
            if row is None:
                raise NotFound(f"no alert {alert_id}")

            taken = step(
                deed.action, status=AlertStatus(row.status), by=deed.by, acknowledged_by=row.acknowledged_by
            )
            if not taken.changes:
                return AlertChange(alert_of(row, []), (), False)

            changed = self._change(connection, row, deed, taken.status, now)
            alert = alert_of(changed, [])
            before = timer_of(connection, alert)
            put_timer(
                connection,
                alert,
                timers.after(
                    deed.action,
                    alert,
                    before,
                    self._ladder(connection, alert),
                    rounds=changed.rounds,
                    now=now,
                ),
            )

            note = deed.note if beside is None else beside(connection, alert, changed.rounds)
            return self._with_line(connection, changed, action=deed.action, by=deed.by, note=note, now=now)

    def _change(
        self, connection: Connection, row: Row[Any], deed: PersonAction, status: AlertStatus, now: datetime
    ) -> Row[Any]:
        match deed.action:
            case AlertAction.NOTE | AlertAction.CALL:
                return row
            case AlertAction.ASSIGN:
                return connection.execute(sql.ASSIGN, {"to": deed.to, "alert_id": row.alert_id}).one()
            case AlertAction.SHELVE | AlertAction.UNSHELVE:
                return connection.execute(sql.SHELVE, {"until": deed.until, "alert_id": row.alert_id}).one()

        values = {"status": status, "by": deed.by, "now": now, "closed": status not in OPEN_STATUSES}
        values |= {"reason": deed.reason, "alert_id": row.alert_id}
        return connection.execute(sql.SET_STATUS, values).one()

    def clear(
        self, *, tenant_id: int, dedup_key: str, at: datetime, note: str, now: datetime
    ) -> AlertChange | None:
        """End a condition, and return the change of its alert, if any.

        An alert of severity MEDIUM or LOW is resolved. A graver one waits for a person. The newest
        end is remembered for beginnings before it that arrive later.
        """
        with self._database.across() as connection:
            _lock_condition(connection, tenant_id, dedup_key)
            values = {"tenant_id": tenant_id, "dedup_key": dedup_key, "at": at}
            connection.execute(sql.REMEMBER_CLEAR, {**values, "note": note})
            return self._clear(connection, {**values, "now": now}, note)

    def _clear(self, connection: Connection, values: dict[str, Any], note: str) -> AlertChange | None:
        """Return the change; None when no open alert was last seen before that end."""
        row = connection.execute(sql.CLEAR, values).one_or_none()
        if row is None:
            return None
        if AlertStatus(row.status) in OPEN_STATUSES:
            by = "rule"
        else:
            by = "vigil"
            put_timer(connection, alert_of(row, []), None)
        return self._with_line(connection, row, action="cleared", by=by, note=note, now=values["now"])

    def _with_line(
        self, connection: Connection, row: Row[Any], *, action: str, by: str, note: str, now: datetime
    ) -> AlertChange:
        values = {"alert_id": row.alert_id, "tenant_id": row.tenant_id, "at": now, "action": action}
        line = connection.execute(
            sql.ADD_LINE, {**values, "status": row.status, "by": by, "note": note}
        ).one()
        first = self._first_message(connection, row.alert_id)
        return AlertChange(alert_of(row, [line_of(line)]), (line.entry_id,), False, first)

    def _first_message(self, connection: Connection, alert_id: UUID) -> DeviceMessage | None:
        row = connection.execute(sql.FIRST_MESSAGE, {"alert_id": alert_id}).one_or_none()
        return None if row is None else DeviceMessage(row.msg_id)

    def due(self, *, now: datetime, limit: int = 50) -> list[str]:
        """Return the ids of the alerts with timers that have run out, the longest overdue first."""
        with self._database.across() as connection:
            return [str(row[0]) for row in connection.execute(sql.DUE, {"now": now, "limit": limit})]

    def free_s(self, *, now: datetime) -> float:
        """Return for how many seconds no timer runs out; infinite when there is no timer."""
        with self._database.across() as connection:
            at = connection.execute(sql.NEXT_DUE).scalar_one_or_none()
        return float("inf") if at is None else max(0.0, (at - now).total_seconds())

    def follow(self, alert_id: str, decide: Decides, *, now: datetime) -> AlertChange | None:
        """Carry out an alert's timer that has run out, once for any number of workers.

        An exception from `decide` leaves everything as it was.

        Returns:
            The change; None when another worker does it or did it, or when there is nothing to
            record.
        """
        with self._database.across() as connection:
            row = connection.execute(sql.LOCK_DUE, {"alert_id": alert_id, "now": now}).one_or_none()
            if row is None:
                return None

            alert = alert_of(row, [])
            verdict = decide(connection, alert, AlertTimer(row.kind, row.round, row.step, row.due_at))
            put_timer(connection, alert, verdict.timer)

            if verdict.action is None:
                return None

            if verdict.action == "re_raised":
                row = connection.execute(
                    sql.EXPIRE, {"status": verdict.status, "alert_id": row.alert_id}
                ).one()
            elif verdict.action == AlertAction.UNSHELVE:
                row = connection.execute(sql.SHELVE, {"until": None, "alert_id": row.alert_id}).one()

            return self._with_line(
                connection, row, action=verdict.action, by="vigil", note=verdict.note, now=now
            )

    def note_notification(
        self, *, key: UUID, alert_id: str, reached: bool, note: str, now: datetime
    ) -> AlertChange | None:
        """Record the result of a notification on the alert's timeline.

        Returns:
            The change; None when the result is recorded already, or the alert is gone.
        """
        with self._database.across() as connection:
            if not connection.execute(sql.SEE, {"key": str(key), "now": now}).rowcount:
                return None
            values = {"reached": reached, "now": now, "alert_id": as_alert_id(alert_id)}
            row = connection.execute(sql.NOTIFIED, values).one_or_none()
            if row is None:
                return None
            action = "notified" if reached else "not_notified"
            return self._with_line(connection, row, action=action, by="vigil", note=note, now=now)

    def mark_shown(self, *, tenant_id: int, frames: Mapping[int, datetime], since: datetime) -> list[int]:
        """Record when frames were first written to a websocket session.

        Returns:
            The ids of frames that marked no alert. A frame can belong to no alert, or to none yet.
        """
        with self._database.of(tenant_id) as connection:
            return [
                frame_id
                for frame_id, at in frames.items()
                if not connection.execute(
                    sql.SHOWN, {"tenant_id": tenant_id, "frame_id": frame_id, "at": at, "since": since}
                ).rowcount
            ]

    def publish_pending(
        self,
        tell: Callable[[AlertChange], int | None],
        *,
        before: datetime,
        alert_id: str | None = None,
        limit: int = 100,
    ) -> PublishingRound:
        """Pass the timeline rows that are not published yet to `tell`, alert by alert.

        Each row is published by one process only. An exception from `tell` leaves the rows of that
        alert unpublished, and of no other.

        Args:
            tell: publishes a change, and returns the frame that shows a new alert.
        """
        told: list[int] = []
        frames: dict[str, int] = {}
        failure: Exception | None = None
        with self._database.across() as connection:
            for change in self._untold(connection, before=before, alert_id=alert_id, limit=limit):
                try:
                    frame_id = tell(change)
                except Exception as error:
                    failure = failure or error
                else:
                    told += change.entry_ids
                    if frame_id is not None:
                        frames[change.alert.id] = frame_id

            if told:
                connection.execute(sql.TOLD, {"ids": told})
                self._frame(connection, frames)

        return PublishingRound(tuple(told), failure)

    def _untold(
        self, connection: Connection, *, before: datetime, alert_id: str | None, limit: int
    ) -> Iterator[AlertChange]:
        """Yield the changes that are not published yet, alert by alert.

        Each alert is read only when its turn has come: an old state must not be shown after a newer
        one.
        """
        values = {"before": before, "alert_id": alert_id, "limit": limit}
        by_alert: dict[UUID, list[Row[Any]]] = {}
        for line in connection.execute(sql.UNTOLD, values):
            by_alert.setdefault(line.alert_id, []).append(line)

        for its_id, lines in by_alert.items():
            row = connection.execute(sql.SELECT_ONE, {"alert_id": its_id}).one()
            ids = tuple(line.entry_id for line in lines)
            is_new = any(line.action == "raised" for line in lines)
            first = self._first_message(connection, its_id)
            yield AlertChange(alert_of(row, [line_of(line) for line in lines]), ids, is_new, first)

    def mark_published(self, entry_ids: Sequence[int], frames: Mapping[str, int]) -> None:
        """Record that rows were published, and which frame shows each alert.

        Args:
            frames: the frame by alert id.
        """
        with self._database.across() as connection:
            connection.execute(sql.TOLD, {"ids": list(entry_ids)})
            self._frame(connection, frames)

    def _frame(self, connection: Connection, frames: Mapping[str, int]) -> None:
        for alert_id, frame_id in frames.items():
            connection.execute(sql.FRAMED, {"alert_id": alert_id, "frame_id": frame_id})

    def get(self, *, tenant_id: int, alert_id: str) -> Alert:
        """Return one alert with its whole timeline. Raises `NotFound`."""
        values = {"id": as_alert_id(alert_id), "tenant_id": tenant_id}
        with self._database.of(tenant_id) as connection:
            row = connection.execute(sql.SELECT_OF_TENANT, values).one_or_none()
            if row is None:
                raise NotFound(f"no alert {alert_id}")
            return alert_of(row, [line_of(line) for line in connection.execute(sql.SELECT_LINES, values)])

    def get_people(self, *, tenant_id: int, alert_id: str, role: str, today: date) -> AlertPeople:
        """Return the people and place of an alert, as a role sees them. Raises `NotFound`."""
        values = {"tenant_id": tenant_id, "alert_id": as_alert_id(alert_id)}
        with self._database.of(tenant_id) as connection:
            row = connection.execute(sql.PEOPLE_OF_ALERT, values).one_or_none()
        if row is None:
            raise NotFound(f"no alert {alert_id}")

        present = msgspec.convert(row.present, People)
        former = None if row.at_raise is None else msgspec.convert(row.at_raise, People)
        return alert_people(present, former, taken_at=row.taken_at, role=role, today=today)

    def list_alerts(
        self,
        *,
        tenant_id: int,
        status: str = "open",
        limit: int = 100,
        severity: str | None = None,
        source_id: str | None = None,
        site_id: int | None = None,
        after: Sequence[Any] | None = None,
    ) -> list[Alert]:
        """Return the alerts of a tenant, newest first.

        Args:
            status: "open", "all", or one status.
            after: the place after which the list begins.

        Raises:
            Refused: `status` is another word.
        """
        wanted = {"open": f"status IN {sql.OPEN}", "all": "true"}.get(status, "status = :status")
        if status not in ("open", "all", *AlertStatus):
            raise Refused(f"status is open, all, or one of {', '.join(AlertStatus)}, not {status!r}")

        narrow = {"severity": severity, "source_id": source_id, "site_id": site_id}
        given = {name: value for name, value in narrow.items() if value is not None}
        further, place = beyond(NEWEST_FIRST, after)
        conditions = " AND ".join([wanted, *(f"{name} = :{name}" for name in given), further])
        query = text(
            f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND {conditions}"
            f" {NEWEST_FIRST.clause} LIMIT :limit"
        )

        values = {"tenant_id": tenant_id, "status": status, "limit": check_limit(limit, most=MAX_LISTED)}
        with self._database.of(tenant_id) as connection:
            found = connection.execute(query, {**values, **given, **place})
            return [alert_of(row, []) for row in found]

    def list_gravest(self, *, tenant_id: int, limit: int = 1000) -> list[Alert]:
        """Return the open alerts: the gravest first, then those without a holder, then the newest.

        NEW comes first within a severity: nobody has such an alert.
        """
        query = text(
            f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND status IN {sql.OPEN}"
            f" ORDER BY {sql.rank('severity')} DESC, status <> 'NEW', received_at DESC, alert_id LIMIT :limit"
        )
        values = {"tenant_id": tenant_id, "limit": check_limit(limit, most=MAX_LISTED)}
        with self._database.of(tenant_id) as connection:
            return [alert_of(row, []) for row in connection.execute(query, values)]

    def new_members(self, *, tenant_id: int, group_id: str) -> list[str]:
        """Return the ids of a storm's alerts that nobody has taken yet. Raises `NotFound`."""
        with self._database.of(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "group_id": as_alert_id(group_id)}
            members = connection.execute(sql.MEMBERS, values).all()
        if not members:
            raise NotFound(f"no group {group_id}")
        return [str(row.alert_id) for row in members if row.status == AlertStatus.NEW]

    def count_open(self, *, besides: int) -> dict[str, int]:
        """Return the number of open alerts by severity, without those of the tenant `besides`."""
        query = text(
            f"SELECT severity, count(*) FROM mqtt_device_alert WHERE status IN {sql.OPEN}"
            " AND tenant_id <> :besides GROUP BY severity"
        )
        with self._database.across() as connection:
            return {row[0]: row[1] for row in connection.execute(query, {"besides": besides})}

    def keep_rejected(self, message: RejectedMessage) -> bool:
        """Keep a refused message. Return False when it was kept before."""
        with self._database.across() as connection:
            return keep_rejected(connection, [message]) > 0
