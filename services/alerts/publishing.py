"""Publishing of alerts' changes: to the control room first, then as events.

The row is committed before anything is published, and marked after the feed and the events have it.
A sweeper publishes unmarked rows again. Neither a crash nor an absent Redis or RabbitMQ can keep an
alarm from the control room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
import structlog

from services.alerts.store import AlertChange, AlertStore
from services.contracts.errors import Unavailable
from services.contracts.events import (
    Alert,
    AlertEvent,
    AlertFrame,
    AlertStatus,
    Receipt,
    Severity,
    TimelineEntry,
)

log = structlog.get_logger(__name__)

TOLD_TO_SOURCE = {
    "raised": "stored",
    "acknowledged": "acknowledged",
    "resolved": "resolved",
    "false_alarm": "resolved",
}


class AlertSortKey(NamedTuple):
    """Sort key of an alert: the order in which transactions take the rows of several alerts."""

    tenant_id: int
    dedup_key: str
    alert_id: str


class AlertFeed(Protocol):
    def publish(
        self,
        tenant_id: int,
        type: str,  # noqa: A002
        data: object,
        *,
        arrived: datetime | None = None,
    ) -> int: ...


class AlertEvents(Protocol):
    def publish(self, event_type: str, body: msgspec.Struct) -> None: ...


def frame_type(alert: Alert, *, is_new: bool) -> str:
    if not is_new:
        return "alert_updated"
    return "critical_alert" if alert.severity in (Severity.CRITICAL, Severity.HIGH) else "alert_created"


def merged_changes(changes: Sequence[AlertChange | None]) -> list[AlertChange]:
    """Merge the changes of one alert, so that it is published once with all its rows."""
    merged: dict[str, AlertChange] = {}
    for change in changes:
        if change is None or not change.entry_ids:
            continue

        before = merged.get(change.alert.id)
        if before is None:
            merged[change.alert.id] = change
            continue

        timeline = before.alert.timeline + change.alert.timeline
        merged[change.alert.id] = AlertChange(
            msgspec.structs.replace(change.alert, timeline=timeline),
            before.entry_ids + change.entry_ids,
            before.is_new or change.is_new,
        )

    return list(merged.values())


def receipts_of(change: AlertChange) -> list[Receipt]:
    """Return the receipts for the source of an alert, one for each row that concerns it.

    An alert of a rule has no such source. The source of a silent alert gets no receipt at all: an
    attacker beside the guard would see the phone light up too.
    """
    alert, first = change.alert, change.first
    if first is None or alert.silent:
        return []
    told = [(line, _told_to_source(line, alert)) for line in alert.timeline]
    return [
        Receipt(alert.source_id, first.msg_id, status, line.at, alert.id, _who(line))
        for line, status in told
        if status is not None
    ]


def _told_to_source(line: TimelineEntry, alert: Alert) -> str | None:
    if line.action == "cleared":
        return "resolved" if line.status is AlertStatus.RESOLVED else None
    if line.action == "started":
        # The start of work on an alert that nobody had acknowledged acknowledges it.
        return "acknowledged" if alert.acknowledged_at == line.at else None
    if line.action == "notified":
        return "notified" if alert.notified_at == line.at else None  # only the first
    return TOLD_TO_SOURCE.get(line.action)


def _who(line: TimelineEntry) -> str | None:
    return None if line.action in ("raised", "notified") else line.by


class AlertPublisher:
    """Publisher of changes. `events` belongs to the running handler, so it comes with each call.

    The feed and the events are two outlets. The publisher remembers the rows that one outlet took
    while the other was away. While Redis is away, the sweeper must not repeat an event every
    second. While RabbitMQ is away, it must not repeat a frame on websocket sessions.
    """

    def __init__(self, store: AlertStore, feed: AlertFeed) -> None:
        self._store = store
        self._feed = feed
        self._shown: set[int] = set()
        self._published: set[int] = set()
        self._frames: dict[str, int] = {}
        self._unmarked: list[int] = []
        self._unmarked_frames: dict[AlertSortKey, int] = {}
        self._is_marking = False

    def publish_changes(
        self, changes: Sequence[AlertChange], events: AlertEvents, *, receipts: dict[str, list[Receipt]]
    ) -> None:
        """Publish changes that were just committed. The sweeper publishes those that fail.

        Args:
            receipts: the receipts by alert id.
        """
        told: list[int] = []
        frames: dict[AlertSortKey, int] = {}
        shut: dict[str, Unavailable] = {}
        for change in changes:
            if not change.entry_ids:
                continue

            its_receipts = receipts.get(change.alert.id, [])
            try:
                frame_id = self._tell_one(change, events, receipts=its_receipts, shut=shut)
            except Unavailable as error:
                log.warning("alert_not_published", alert_id=change.alert.id, error=str(error))
            else:
                told += change.entry_ids
                if frame_id is not None:
                    alert = change.alert
                    frames[AlertSortKey(alert.tenant_id, alert.dedup_key, alert.id)] = frame_id

        if told:
            self._mark(told, frames)

    def publish_pending(self, events: AlertEvents, *, before: datetime, alert_id: str | None = None) -> int:
        """Publish rows that are older than `before` and not yet published, of one alert or of all.

        Returns:
            The number of rows that were published.

        Raises:
            Exception: the first error, after the other alerts were published.
        """
        shut: dict[str, Unavailable] = {}
        done = self._store.publish_pending(
            lambda change: self._tell_one(change, events, receipts=receipts_of(change), shut=shut),
            before=before,
            alert_id=alert_id,
        )

        self._forget(done.told)
        if done.failure is not None:
            raise done.failure

        if alert_id is None and not done.told:
            # Nothing is left to publish: rows that another process published instead can be
            # forgotten as well.
            self._shown.clear()
            self._published.clear()
            self._frames.clear()

        return len(done.told)

    def _tell_one(
        self,
        change: AlertChange,
        events: AlertEvents,
        *,
        receipts: list[Receipt],
        shut: dict[str, Unavailable],
    ) -> int | None:
        """Publish a change to the feed first, and then as an event, even when Redis is away.

        Args:
            shut: the outlets that failed in this round, with their errors. Each can cost seconds,
                and is not tried twice.

        Returns:
            The frame that shows a new alert.

        Raises:
            Unavailable: the feed or the events failed.
        """
        alert, ids = change.alert, frozenset(change.entry_ids)
        frame = frame_type(alert, is_new=change.is_new)
        event = "alert_raised" if change.is_new else "alert_updated"

        def done(way: str, heard: set[int], send: Callable[[], object]) -> bool:
            if ids <= heard:
                return True
            if way in shut:
                return False

            try:
                send()
            except Unavailable as error:
                shut[way] = error
                return False

            heard.update(ids)
            return True

        def show() -> None:
            frame_id = self._feed.publish(
                alert.tenant_id,
                frame,
                AlertFrame.of(alert, event=max(ids)),
                arrived=alert.received_at if change.is_new else None,
            )
            if change.is_new:
                self._frames[alert.id] = frame_id

        shown = done("feed", self._shown, show)
        published = done(
            "events", self._published, lambda: events.publish(event, AlertEvent(alert, receipts))
        )
        if not shown or not published:
            raise shut["events" if shown else "feed"]

        return self._frames.pop(alert.id, None)

    def _mark(self, ids: Sequence[int], frames: dict[AlertSortKey, int]) -> None:
        """Mark rows as published.

        While one handler marks, other handlers leave their rows to it: many marks are one
        transaction.
        """
        self._unmarked += ids
        self._unmarked_frames |= frames
        if self._is_marking:
            return

        self._is_marking = True
        try:
            while self._unmarked:
                told, self._unmarked = self._unmarked, []
                shown, self._unmarked_frames = self._unmarked_frames, {}
                # In the order in which alerts are merged: two transactions must not wait for each
                # other.
                self._mark_now(told, {place.alert_id: shown[place] for place in sorted(shown)})
        finally:
            self._is_marking = False

    def _mark_now(self, ids: Sequence[int], frames: dict[str, int]) -> None:
        try:
            self._store.mark_published(ids, frames)
        except Unavailable as error:
            # Both outlets have the rows. The sweeper finds that, and only marks them.
            log.warning("alert_publication_not_recorded", entry_ids=list(ids), error=str(error))
        else:
            self._forget(ids)

    def _forget(self, ids: Sequence[int]) -> None:
        self._shown.difference_update(ids)
        self._published.difference_update(ids)
