"""The notifications service with plain fakes around it: what is recorded, and that it is recorded once."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from services.errors import Unavailable
from services.messages import Alert, AlertEvent, AlertStatus, AlertType, NotificationFinished, Severity
from services.notifications.policy import Notice
from services.notifications.service import NotificationsService

AT = datetime(2026, 1, 1, tzinfo=UTC)
ALERT = Alert(
    id="00000000-0000-0000-0000-000000000001",
    tenant_id=1,
    alert_type=AlertType.PANIC,
    severity=Severity.CRITICAL,
    status=AlertStatus.NEW,
    source_id="guard-1",
    dedup_key="k",
    message="help",
    occurrences=1,
    recorded_at=AT,
    received_at=AT,
    last_seen_at=AT,
)


class FakeStore:
    """Keeps one row for each alert, channel and recipient, as the real one does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], Notice] = {}
        self.asked: dict[str, Any] = {}

    def record(self, *, tenant_id: int, alert_id: str, notices: list[Notice], now: datetime) -> list[Notice]:  # noqa: ARG002
        new = [n for n in notices if (alert_id, n.channel, n.recipient) not in self.rows]
        self.rows |= {(alert_id, n.channel, n.recipient): n for n in new}
        return new

    def list_notifications(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked = asked
        return [{"channel": "sms"}]


def service(store: FakeStore, published: list[Any], **recipients: list[str]) -> NotificationsService:
    made = NotificationsService()
    channels = {"CRITICAL": ["sms", "email", "push"], "LOW": ["digest"]}
    made.parts = SimpleNamespace(store=store, channels=channels, recipients={"push": ["noc"], **recipients})  # type: ignore[assignment]
    made.events = SimpleNamespace(publish_all=published.extend)  # type: ignore[assignment]
    return made


def test_a_raised_alert_is_recorded_for_each_channel_and_recipient_of_its_severity() -> None:
    store = FakeStore()
    published: list[Any] = []
    notifier = service(store, published, sms=["+911"], email=["a@x", "b@x"])
    notifier.record_notifications(AlertEvent(ALERT))
    wanted = [("sms", "+911"), ("email", "a@x"), ("email", "b@x"), ("push", "noc")]
    assert [(channel, recipient) for _, channel, recipient in store.rows] == wanted
    assert published == [
        (
            "notification_finished",
            NotificationFinished(1, ALERT.id, channel, recipient, "recorded", body.at),
        )
        for (channel, recipient), (_, body) in zip(wanted, published, strict=True)
    ]


def test_an_alert_told_twice_is_recorded_once() -> None:
    store = FakeStore()
    published: list[Any] = []
    notifier = service(store, published, sms=["+911"])
    notifier.record_notifications(AlertEvent(ALERT))
    before = dict(store.rows)
    notifier.record_notifications(AlertEvent(ALERT))
    assert store.rows == before


def test_when_the_event_cannot_be_published_the_step_is_repeated_and_the_rows_stay() -> None:
    store = FakeStore()
    notifier = service(store, [])

    def away(_events: Any) -> None:
        raise Unavailable("RabbitMQ is away")

    notifier.events = SimpleNamespace(publish_all=away)  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        notifier.record_notifications(AlertEvent(ALERT))
    assert len(store.rows) == 1


def test_the_list_is_asked_for_one_tenant_and_perhaps_one_alert() -> None:
    store = FakeStore()
    assert service(store, []).list_notifications(tenant_id=1, limit=5) == [{"channel": "sms"}]
    assert store.asked == {"tenant_id": 1, "alert_id": None, "limit": 5}
