"""The alerts service without its shell, for tests that choose the time themselves."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from services.alerts.escalation_worker import EscalationPolicies, EscalationWorker
from services.alerts.grouping import AlertGrouping
from services.alerts.lifecycle import AlertAction
from services.alerts.occurrences import Occurrence
from services.alerts.policy_store import PolicyStore
from services.alerts.response_report import ReportStore
from services.alerts.store import AlertChange, AlertStore, PersonAction
from services.contracts.errors import Unavailable
from services.contracts.events import Alert, AlertType, NotificationRequest, Severity
from services.platform.config import Config
from services.platform.database import Database

T0 = datetime.now(UTC).replace(microsecond=0)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class PublishRecorder:
    """A receiver of what is published. It may be away, or die after it has taken a message."""

    def __init__(self) -> None:
        self.requests: list[NotificationRequest] = []
        self.away = False
        self.dies_after = False

    def publish(self, event_type: str, body: Any) -> None:
        assert event_type == "notification_requested"
        if self.away:
            raise Unavailable("RabbitMQ is away")
        self.requests.append(body)
        if self.dies_after:
            raise SystemExit("killed between the confirm and the commit")

    def steps(self) -> list[tuple[int, int]]:
        return [(request.round, request.step) for request in self.requests]


class AlertsDomain:
    """The alerts service without its shell, at the time that the test sets."""

    def __init__(self, database: Database, config: Config) -> None:
        guidance = EscalationPolicies.from_config(config)
        self.store = AlertStore(
            database,
            ladder=guidance.ladder,
            storms=AlertGrouping(config.alerts.storm),
            press_again_s=config.alerts.press_again_s,
        )
        self.follower = EscalationWorker(self.store, guidance)
        self.plans = PolicyStore(database, guidance)
        self.numbers = ReportStore(database)
        self.wire = PublishRecorder()
        self.told: list[AlertChange] = []

    def raise_alert(self, *, at: datetime = T0, **changes: Any) -> AlertChange:
        base: dict[str, Any] = {
            "key": os.urandom(16),
            "tenant_id": 1,
            "site_id": None,
            "alert_type": AlertType.PANIC,
            "severity": Severity.CRITICAL,
            "source_id": "guard-1",
            "dedup_key": "PANIC:guard-1",
            "message": "help",
            "recorded_at": at,
            "received_at": at,
            "by": "guard-1",
            "topic": "alert/panic/guard-1",
        }
        [change] = self.store.record([Occurrence(**{**base, **changes})], now=at)
        assert change is not None
        return change

    def follow(self, seconds: float) -> None:
        self.follower.follow_due(self.wire, now=after(seconds), tell=self.told.append)

    def act(self, alert_id: str, action: AlertAction, *, at: float = 0, **further: Any) -> AlertChange:
        deed = PersonAction(action, further.pop("by", "ann"), **further)
        return self.store.act(deed, tenant_id=1, alert_id=alert_id, now=after(at))

    def assign(self, alert_id: str, to: str, *, at: float = 0, by: str = "ann") -> AlertChange:
        name = self.plans.find_person(to, tenant_id=1, by=by, now=after(at))
        deed = PersonAction(AlertAction.ASSIGN, by, to=name)
        return self.store.act(
            deed,
            tenant_id=1,
            alert_id=alert_id,
            now=after(at),
            beside=lambda connection, alert, rounds: self.follower.assign(
                connection, alert, self.wire, by=by, rounds=rounds
            ),
        )

    def get(self, alert_id: str) -> Alert:
        return self.store.get(tenant_id=1, alert_id=alert_id)

    def actions(self, alert_id: str) -> list[str]:
        return [line.action for line in self.store.get(tenant_id=1, alert_id=alert_id).timeline]
