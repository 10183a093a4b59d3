"""The notifications service. It decides and records what is to be sent; it has no channels to send by yet.

A row in state `recorded` says that nothing was sent, so nothing is counted as sent either.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import structlog

from services.bus import Publisher, Resource, event_handler, rpc
from services.config import Config
from services.messages import AlertEvent, NotificationFinished
from services.notifications.policy import notices, split_list
from services.notifications.store import NotificationStore
from services.providers import Database

log = structlog.get_logger(__name__)


class Parts:
    """What the service works with, made once a process."""

    def __init__(self, config: Config) -> None:
        self.store = NotificationStore(Database(config, name="notifications"))
        self.channels = config.notifications.channels
        emails = split_list(config.notifications.email_recipients)
        phones = split_list(config.notifications.sms_recipients)
        self.recipients = {"email": emails, "sms": phones, "digest": emails, "push": ["noc"]}


class NotificationsService:
    name = "notifications"

    events = Publisher(optional=["notification_finished"])
    parts = Resource(Parts)

    @event_handler("alerts", "alert_raised", AlertEvent, vital=True)
    def record_notifications(self, event: AlertEvent) -> None:
        alert = event.alert
        now = datetime.now(UTC)
        wanted = notices(alert, channels=self.parts.channels, recipients=self.parts.recipients)
        new = self.parts.store.record(tenant_id=alert.tenant_id, alert_id=alert.id, notices=wanted, now=now)
        log.info("notifications_recorded", alert_id=alert.id, severity=alert.severity, new=len(new), sent=0)
        self.events.publish_all(
            [
                (
                    "notification_finished",
                    NotificationFinished(
                        alert.tenant_id, alert.id, notice.channel, notice.recipient, "recorded", now
                    ),
                )
                for notice in wanted
            ]
        )

    @rpc
    def list_notifications(
        self, *, tenant_id: int, alert_id: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """What was recorded for a tenant or for one alert, newest first. Raises `NotFound`, `Refused`."""
        return self.parts.store.list_notifications(tenant_id=tenant_id, alert_id=alert_id, limit=limit)
