"""The alerts service: takes alarms from devices and rules, and people's steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from services import admission, metrics
from services.alerts import intake
from services.alerts.intake import Whose
from services.alerts.lifecycle import Action, check_note
from services.alerts.store import AlertStore, Change
from services.alerts.telling import Teller, receipts_of, together
from services.bus import Publisher, Resource, event_handler, rpc, timer
from services.config import Config
from services.errors import InvalidMessage, Unavailable
from services.feed import FeedWriter
from services.messages import Alert, AlertEvent, Condition, ConditionsEvent, DeviceAlert, Receipt, Severity
from services.providers import Database
from services.registry import Registry

log = structlog.get_logger(__name__)

UNTOLD_AFTER = timedelta(seconds=2)


class Parts:
    """What the service works with, made once a process."""

    def __init__(self, config: Config) -> None:
        self.store = AlertStore(Database(config, name="alerts"))
        self.registry = Registry.from_config(config)
        self.teller = Teller(self.store, FeedWriter.from_config(config))
        self.default_tenant_id = config.default_tenant_id

    def whose(self, source_id: str) -> Whose:
        source = self.registry.lookup_any(source_id)
        if source is None:
            return Whose(self.default_tenant_id, None, known=False, enabled=False)
        return Whose(
            source.tenant_id,
            source.site_id,
            known=True,
            enabled=source.enabled,
            carried_by=source.carried_by,
        )


class AlertsService:
    name = "alerts"

    events = Publisher()
    parts = Resource(Parts)

    @event_handler("mqtt_gateway", "device_alert_received", DeviceAlert, vital=True)
    def process_device_alert(self, event: DeviceAlert) -> None:
        whose = self.parts.whose(event.origin.source_id)
        try:
            occurrence = intake.of_device(event, whose)
        except InvalidMessage as error:
            refused = admission.rejected(event.origin, error, tenant_id=whose.tenant_id)
            if self.parts.store.keep_rejected(refused):
                admission.count_rejected([refused])
            return
        [change] = self.parts.store.record([occurrence], now=datetime.now(UTC))
        if change is not None:
            waited = datetime.now(UTC) - event.origin.received_at
            metrics.end_to_end.labels("stored").observe(waited.total_seconds())
            admission.note_impostors(occurrence.flags)
            self._tell_of_device(event, change)

    @event_handler("telemetry", "alert_condition_met", ConditionsEvent, vital=True)
    def open_for_telemetry(self, event: ConditionsEvent) -> None:
        self._open(event.conditions)

    @event_handler("location", "alert_condition_met", ConditionsEvent, vital=True)
    def open_for_location(self, event: ConditionsEvent) -> None:
        self._open(event.conditions)

    @event_handler("telemetry", "alert_condition_cleared", ConditionsEvent, vital=True)
    def clear_for_telemetry(self, event: ConditionsEvent) -> None:
        self._clear(event.conditions)

    @event_handler("location", "alert_condition_cleared", ConditionsEvent, vital=True)
    def clear_for_location(self, event: ConditionsEvent) -> None:
        self._clear(event.conditions)

    @rpc
    def list_alerts(self, *, tenant_id: int, status: str = "open", limit: int = 100) -> list[Alert]:
        """Newest first; `status` is open, all, or one status."""
        return self.parts.store.list_alerts(tenant_id=tenant_id, status=status, limit=limit)

    @rpc
    def get_alert(self, *, tenant_id: int, alert_id: str) -> Alert:
        """One alert with its whole timeline."""
        return self.parts.store.get(tenant_id=tenant_id, alert_id=alert_id)

    @rpc
    def acknowledge_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """A named human has it."""
        return self._act(Action.ACKNOWLEDGE, tenant_id=tenant_id, alert_id=alert_id, by=by, note=note)

    @rpc
    def start_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """Somebody is on the way."""
        return self._act(Action.START, tenant_id=tenant_id, alert_id=alert_id, by=by, note=note)

    @rpc
    def resolve_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """It is over."""
        return self._act(Action.RESOLVE, tenant_id=tenant_id, alert_id=alert_id, by=by, note=note)

    @rpc
    def mark_false_alarm(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """It never was one."""
        return self._act(Action.FALSE_ALARM, tenant_id=tenant_id, alert_id=alert_id, by=by, note=note)

    @timer(1.0)
    def tell_untold(self) -> None:
        self.parts.teller.tell_untold(self.events, before=datetime.now(UTC) - UNTOLD_AFTER)

    @timer(5.0)
    def count_open_alerts(self) -> None:
        counts = self.parts.store.count_open()
        for severity in Severity:
            metrics.alerts_open.labels(severity).set(counts.get(severity, 0))

    def _tell_of_device(self, event: DeviceAlert, change: Change) -> None:
        """The source is told `stored` even of what was stored before: it may not have heard the first time."""
        now, origin, alert = datetime.now(UTC), event.origin, change.alert
        receipt = Receipt(origin.source_id, origin.msg_id, "stored", now, alert.id)
        if change.entry_ids:
            self.parts.teller.tell([change], self.events, receipts={alert.id: [receipt]})
            return
        try:
            self.parts.teller.tell_untold(self.events, before=now, alert_id=alert.id)
        except Unavailable as error:
            log.warning("alert_untold", alert_id=alert.id, error=str(error))
        self.events.publish("alert_updated", AlertEvent(alert, [receipt]))

    def _open(self, conditions: list[Condition]) -> None:
        """In one order for all workers: two that merge into the same alerts must not wait for each other."""
        now = datetime.now(UTC)
        ordered = sorted(conditions, key=lambda condition: (condition.tenant_id, condition.dedup_key))
        occurrences = [intake.of_condition(condition, now=now) for condition in ordered]
        changes = self.parts.store.record(occurrences, now=now)
        self.parts.teller.tell(together(changes), self.events, receipts={})

    def _clear(self, conditions: list[Condition]) -> None:
        for condition in conditions:
            change = self.parts.store.clear(
                tenant_id=condition.tenant_id,
                dedup_key=condition.dedup_key,
                at=condition.at,
                note=condition.message,
                now=datetime.now(UTC),
            )
            if change is not None:
                self._tell_of_step(change)

    def _act(self, action: Action, *, tenant_id: int, alert_id: str, by: str, note: str) -> Alert:
        change = self.parts.store.act(
            action,
            tenant_id=tenant_id,
            alert_id=alert_id,
            by=by,
            note=check_note(note),
            now=datetime.now(UTC),
        )
        self._tell_of_step(change)
        return change.alert

    def _tell_of_step(self, change: Change) -> None:
        self.parts.teller.tell([change], self.events, receipts={change.alert.id: receipts_of(change)})
