"""The notifications service without its shell, for tests that choose its settings.

Its pauses are short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import eventlet
import msgspec
from greenlet import GreenletExit
from sqlalchemy import Engine, text

from services.contracts.events import NotificationFinished, NotificationRequest, Target
from services.notifications.delivery import CHANNELS
from services.notifications.planning import ENDED_BY
from services.notifications.service import NotificationsParts
from services.platform import config as configuration
from tests.support.alerts_domain import AlertsDomain

ADDRESSES = {"sms": "+919876543210", "email": "asha@example.com", "push": "token-of-ashas-phone"}
ASHA = Target("Asha", ADDRESSES)
QUICK = {
    "public_url": "https://noc.example.com",
    "call_deadline_s": 0.5,
    "first_retry_s": 0.05,
    "longest_retry_s": 0.2,
    "circuit_reset_s": 1.0,
}


class NotificationsDomain:
    """One installation. `changes` are changes of the settings of notifications."""

    def __init__(
        self, desk: AlertsDomain, engine: Engine, environment: dict[str, str], **changes: Any
    ) -> None:
        config = configuration.load(environ=environment)
        notifications = msgspec.structs.replace(config.notifications, **{**QUICK, **changes})
        self.parts = NotificationsParts(msgspec.structs.replace(config, notifications=notifications))
        self.engine = engine
        self.desk = desk
        self.told: list[NotificationFinished] = []
        self.sealed: dict[UUID, bytes | None] = {}
        self._threads = [eventlet.spawn(self.parts.delivery.run, channel) for channel in CHANNELS]
        self._threads.append(eventlet.spawn(self.parts.delivery.publish_finished, self.told.extend))

    def request(
        self,
        *channels: str,
        targets: tuple[Target, ...] = (ASHA,),
        until: str = "acknowledged",
        step: int = 0,
        **changes: Any,
    ) -> NotificationRequest:
        """Request notifications of a new alert, and return the request."""
        alert = self.desk.raise_alert(**changes).alert
        request = NotificationRequest(
            alert, 1, step, list(channels), list(targets), "Dock", "Asia/Kolkata", until
        )
        self.take(request)
        return request

    def take(self, request: NotificationRequest) -> int:
        now = datetime.now(UTC)
        rows = self.parts.writer.rows(request, now=now)
        self.sealed |= {row.reference: row.sealed for row in rows}
        new = self.parts.store.record(rows, ended=ENDED_BY[request.until], now=now)
        self.parts.delivery.wake()
        return new

    def rows(self, alert_id: str | None = None, *, tenant_id: int = 1) -> list[dict[str, Any]]:
        """Return the notifications of a tenant, oldest first."""
        return self.parts.store.list_notifications(tenant_id=tenant_id, alert_id=alert_id, limit=1000)[::-1]

    def until(self, condition: Callable[[], Any], timeout_s: float = 15) -> Any:
        deadline_s = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, self.rows()
            eventlet.sleep(0.02)
        return found

    def until_states(self, *states: str, timeout_s: float = 15) -> list[dict[str, Any]]:
        """Return the rows once they have these states, in order."""

        def came() -> list[dict[str, Any]] | None:
            rows = self.rows()
            return rows if [row["state"] for row in rows] == list(states) else None

        return self.until(came, timeout_s)

    def attempts(self) -> list[tuple[str, str]]:
        """Return (provider, outcome) of each attempt, in order."""
        with self.engine.connect() as connection:
            query = "SELECT provider, outcome FROM notification_attempt ORDER BY started_at, number"
            return [tuple(row) for row in connection.execute(text(query))]

    def close(self) -> None:
        for thread in self._threads:
            thread.kill()
        for thread in self._threads:
            with suppress(GreenletExit):
                thread.wait()
        self.parts.close()
