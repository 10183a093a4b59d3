"""Telling what happened to an alert: the control room first, then everybody else, then the record of it.

The row is committed before anybody is told, and marked when all have heard. What is not marked is told again by a
sweeper: neither a crash nor an absent Redis or RabbitMQ can keep an alarm from the control room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec
import structlog

from services.alerts.store import AlertStore, Change
from services.errors import Unavailable
from services.messages import Alert, AlertEvent, AlertStatus, Receipt, Severity

log = structlog.get_logger(__name__)

TOLD_TO_SOURCE = {
    AlertStatus.ACKNOWLEDGED: "acknowledged",
    AlertStatus.RESOLVED: "resolved",
    AlertStatus.FALSE_ALARM: "resolved",
}


class Feed(Protocol):
    def publish(self, tenant_id: int, type: str, data: object) -> int: ...  # noqa: A002


class Events(Protocol):
    def publish(self, event_type: str, body: msgspec.Struct) -> None: ...


def frame_type(alert: Alert, *, is_new: bool) -> str:
    if not is_new:
        return "alert_updated"
    return "critical_alert" if alert.severity in (Severity.CRITICAL, Severity.HIGH) else "alert_created"


def together(changes: Sequence[Change | UUID | None]) -> list[Change]:
    """Several findings about one alert are told once, with all their rows."""
    merged: dict[str, Change] = {}
    for change in changes:
        if not isinstance(change, Change):
            continue
        before = merged.get(change.alert.id)
        if before is None:
            merged[change.alert.id] = change
            continue
        timeline = before.alert.timeline + change.alert.timeline
        merged[change.alert.id] = Change(
            msgspec.structs.replace(change.alert, timeline=timeline),
            before.entry_ids + change.entry_ids,
            before.is_new or change.is_new,
        )
    return list(merged.values())


class Teller:
    """Tells changes. `events` belongs to the running handler, so it comes with each call."""

    def __init__(self, store: AlertStore, feed: Feed) -> None:
        self._store = store
        self._feed = feed

    def tell(self, changes: Sequence[Change], events: Events, *, receipts: dict[str, list[Receipt]]) -> None:
        """Tell changes that were just committed; `receipts` by alert id. What fails is left to the sweeper."""
        told: list[int] = []
        for change in changes:
            if not change.entry_ids:
                continue
            try:
                self.tell_one(change, events, receipts=receipts.get(change.alert.id, []))
            except Unavailable as error:
                log.warning("alert_untold", alert_id=change.alert.id, error=str(error))
            else:
                told += change.entry_ids
        if told:
            self._store.mark_told(told)

    def tell_one(self, change: Change, events: Events, *, receipts: list[Receipt]) -> None:
        """Feed first; RabbitMQ is tried even when Redis is away. Raises `Unavailable` when either was."""
        away: Unavailable | None = None
        alert = change.alert
        try:
            self._feed.publish(alert.tenant_id, frame_type(alert, is_new=change.is_new), alert)
        except Unavailable as error:
            away = error
        events.publish("alert_raised" if change.is_new else "alert_updated", AlertEvent(alert, receipts))
        if away is not None:
            raise away

    def step_receipts(self, alert: Alert) -> list[Receipt]:
        """What the source of an alert is told of the step that was taken last."""
        status = TOLD_TO_SOURCE.get(alert.status)
        line = alert.timeline[-1] if alert.timeline else None
        if line is None or line.action == "repeated" or status is None:
            return []
        from_device, msg_id = self._store.first_msg_id(alert.id)
        return [Receipt(alert.source_id, msg_id, status, line.at, alert.id, line.by)] if from_device else []

    def tell_again(self, change: Change, events: Events) -> None:
        """For the sweeper: with the receipts that the rows call for, as far as they can still be known."""
        receipts = self.step_receipts(change.alert)
        if change.is_new:
            from_device, msg_id = self._store.first_msg_id(change.alert.id)
            if from_device:
                stored = Receipt(
                    change.alert.source_id, msg_id, "stored", change.alert.received_at, change.alert.id
                )
                receipts.insert(0, stored)
        self.tell_one(change, events, receipts=receipts)
