"""Alerts service: takes alarms from devices and rules, and the actions that users take on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from services.alerts import lifecycle
from services.alerts import occurrences as intake
from services.alerts.calls import call_note
from services.alerts.escalation_worker import EscalationPolicies, EscalationWorker
from services.alerts.evidence.export import EvidenceExporter
from services.alerts.grouping import AlertGrouping
from services.alerts.lifecycle import AlertAction
from services.alerts.occurrences import Occurrence, RepeatedMessages, SourceEntry
from services.alerts.policy_store import PolicyStore
from services.alerts.publishing import AlertPublisher, merged_changes, receipts_of
from services.alerts.response_report import ReportStore, ResponseReport
from services.alerts.store import Accompanies, AlertChange, AlertStore, PersonAction
from services.contracts.errors import InvalidMessage, Unavailable
from services.contracts.events import (
    Alert,
    AlertEvent,
    Condition,
    ConditionsEvent,
    DeviceAlert,
    NotificationFinished,
    Receipt,
    RepeatedAlert,
    Severity,
    SourceFlood,
)
from services.contracts.people import AlertInFull, AlertPeople
from services.contracts.time_range import as_time
from services.feed.stream import FeedWriter
from services.ingestion import admission
from services.ingestion.source_registry import Source, SourceRegistry
from services.messaging import (
    NOTHING_DUE,
    Publisher,
    Resource,
    RpcProxy,
    Sender,
    fair_handler,
    gathering_handler,
    rpc,
    rpc_of,
    timer,
)
from services.platform import metrics
from services.platform.config import Config
from services.platform.database import Database

log = structlog.get_logger(__name__)

UNTOLD_AFTER = timedelta(seconds=2)
FOLLOW_INTERVAL_S = 0.5
REST_S = 5.0
"""Seconds between two runs of a timer while there is no work.

Work that is due earlier is done in time.
"""
REPEATS_INTERVAL_S = 1.0
SHOWN_WITHIN = timedelta(hours=1)


class AlertsParts:
    """Stores and collaborators of the service, made once per process."""

    def __init__(self, config: Config) -> None:
        database = Database(config, name="alerts")
        guidance = EscalationPolicies.from_config(config)
        self.store = AlertStore(
            database,
            ladder=guidance.ladder,
            storms=AlertGrouping(config.alerts.storm),
            press_again_s=config.alerts.press_again_s,
        )

        self.plans = PolicyStore(database, guidance)
        self.numbers = ReportStore(database)
        self.evidence = EvidenceExporter(database, key_file=config.alerts.evidence_key_file)
        self.follower = EscalationWorker(self.store, guidance)
        self.registry = SourceRegistry.from_config(config)
        self.teller = AlertPublisher(self.store, FeedWriter.from_config(config))
        self.shelve_max_s = config.alerts.shelve_max_s
        self.default_tenant_id = config.default_tenant_id
        self.test_tenant_id = config.watchdog.tenant_id

    def senders(self, source_ids: Sequence[str]) -> list[Sender]:
        """Return the senders on whose behalf messages of the sources wait, one for each source."""
        tenant_ids = self.registry.tenants_of(source_ids)
        return [Sender(*named) for named in zip(tenant_ids, source_ids, strict=True)]

    def source_entry(self, source_id: str) -> SourceEntry:
        source = self.registry.lookup_any(source_id)
        if source is None:
            return SourceEntry(self.default_tenant_id, None, known=False, enabled=False)

        return SourceEntry(
            source.tenant_id,
            source.site_id,
            known=True,
            enabled=source.enabled,
            carried_by=source.carried_by,
            newcomer=source.newcomer,
            off_shift=_off_shift(source, datetime.now(UTC)),
        )


def _alert_named(event: RepeatedAlert) -> str:
    alert = event.alerts[0]
    return f"{alert.origin.source_id}\0{alert.alert_type}\0{alert.word}"


def _devices_behind(parts: AlertsParts, events: Sequence[DeviceAlert]) -> list[Sender]:
    return parts.senders([event.origin.source_id for event in events])


def _flooders_behind(parts: AlertsParts, events: Sequence[SourceFlood]) -> list[Sender]:
    return parts.senders([event.source_id for event in events])


def _conditions_behind(_parts: AlertsParts, events: Sequence[ConditionsEvent]) -> list[Sender]:
    """Return one sender for each event.

    An event holds conditions of one tenant, found in one transaction
    (`services.ingestion.transactional_outbox`).
    """
    return [Sender(event.conditions[0].tenant_id, event.conditions[0].source_id) for event in events]


def _alerts_behind(_parts: AlertsParts, events: Sequence[NotificationFinished]) -> list[Sender]:
    return [Sender(event.tenant_id, event.alert_id) for event in events]


def _off_shift(source: Source, now: datetime) -> bool:
    return source.shifts is not None and not any(starts <= now < ends for starts, ends in source.shifts)


class AlertsService:
    name = "alerts"

    events = Publisher()
    parts = Resource(AlertsParts)
    directory = RpcProxy("directory")

    list_alerts = rpc_of("store", AlertStore.list_alerts)
    list_gravest = rpc_of("store", AlertStore.list_gravest)
    get_policy = rpc_of("plans", PolicyStore.get_policy)
    set_policy = rpc_of("plans", PolicyStore.set_policy)
    remove_rota = rpc_of("plans", PolicyStore.remove_rota)

    @fair_handler(
        "mqtt_gateway",
        "device_alert_received",
        DeviceAlert,
        senders_of=_devices_behind,
        by_shard=True,
        vital=True,
    )
    def process_device_alert(self, event: DeviceAlert) -> None:
        occurrence = self._occurrence_of(event, self.parts.source_entry(event.origin.source_id))
        if occurrence is None:
            return

        [change] = self.parts.store.record([occurrence], now=datetime.now(UTC))
        if change is not None:
            waited = datetime.now(UTC) - event.origin.received_at
            metrics.end_to_end.labels("stored").observe(waited.total_seconds())
            log.info(
                "alert_stored",
                alert_id=change.alert.id,
                source_id=occurrence.source_id,
                rows=len(change.entry_ids),
            )

            admission.note_impostors(occurrence.flags)
            self._tell_of_device(change, [event.origin.msg_id], outbox=event.outbox)

    @gathering_handler(
        "mqtt_gateway",
        "device_alert_repeated",
        RepeatedAlert,
        key_of=_alert_named,
        every_s=REPEATS_INTERVAL_S,
        vital=True,
    )
    def process_repeated_alerts(self, events: list[RepeatedAlert]) -> None:
        """Merge the repeats of alerts that sources send again and again.

        Each alert gets one row, one frame and one round of receipts.
        """
        groups: dict[tuple[int, str], list[Occurrence]] = {}
        counted: dict[tuple[int, str], dict[bytes, int]] = {}
        msg_ids: dict[tuple[int, str], list[str | None]] = {}
        first_at: dict[tuple[int, str], datetime] = {}
        for event in events:
            whose = self.parts.source_entry(event.alerts[0].origin.source_id)
            found = [self._occurrence_of(alert, whose) for alert in event.alerts]

            occurrences = [occurrence for occurrence in found if occurrence is not None]
            if not occurrences:
                continue

            name = (whose.tenant_id, occurrences[0].dedup_key)
            for occurrence in occurrences:
                mine = (occurrence.tenant_id, occurrence.dedup_key)
                groups.setdefault(mine, []).append(occurrence)
                msg_ids.setdefault(mine, []).append(occurrence.msg_id)

            if event.counted:
                counted.setdefault(name, {})[event.key] = event.counted
                msg_ids[name] += event.msg_ids

            first_at[name] = min(event.first_at, first_at.get(name, event.first_at))

        names = sorted(groups)  # the same order for all workers, as in `_open`
        changes = self.parts.store.record_repeats(
            [RepeatedMessages(groups[name], counted.get(name, {}), first_at.get(name)) for name in names],
            now=datetime.now(UTC),
        )
        for name, mine_changed in zip(names, changes, strict=True):
            admission.note_impostors({flag for occurrence in groups[name] for flag in occurrence.flags})
            outbox = any(occurrence.outbox for occurrence in groups[name])
            for change in merged_changes(mine_changed) or mine_changed[-1:]:
                self._tell_of_device(change, list(dict.fromkeys(msg_ids[name])), outbox=outbox)

        log.info("repeats_stored", alerts=len(names), events=len(events))

    @fair_handler(
        "mqtt_gateway", "source_flood_changed", SourceFlood, senders_of=_flooders_behind, vital=True
    )
    def follow_flood(self, event: SourceFlood) -> None:
        """Open an alert for a source that sends more than its limit.

        Clear it when the flood ends.
        """
        condition = intake.of_flood(event, self.parts.source_entry(event.source_id))
        if event.is_over:
            self._clear([condition])
        else:
            self._open([condition])

    @fair_handler(
        "telemetry", "alert_condition_met", ConditionsEvent, senders_of=_conditions_behind, vital=True
    )
    def open_for_telemetry(self, event: ConditionsEvent) -> None:
        self._open(event.conditions)

    @fair_handler(
        "location", "alert_condition_met", ConditionsEvent, senders_of=_conditions_behind, vital=True
    )
    def open_for_location(self, event: ConditionsEvent) -> None:
        self._open(event.conditions)

    @fair_handler(
        "telemetry", "alert_condition_cleared", ConditionsEvent, senders_of=_conditions_behind, vital=True
    )
    def clear_for_telemetry(self, event: ConditionsEvent) -> None:
        self._clear(event.conditions)

    @fair_handler(
        "location", "alert_condition_cleared", ConditionsEvent, senders_of=_conditions_behind, vital=True
    )
    def clear_for_location(self, event: ConditionsEvent) -> None:
        self._clear(event.conditions)

    @rpc
    def get_alert(self, *, tenant_id: int, alert_id: str, role: str = "viewer") -> AlertInFull:
        """Return one alert with its whole timeline, and its people and place as a role sees them."""
        alert = self.parts.store.get(tenant_id=tenant_id, alert_id=alert_id)
        return AlertInFull.of(alert, self._people_of(alert, role=role))

    @rpc
    def acknowledge_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """Acknowledge an alert: `by` takes it."""
        return self._act(PersonAction(AlertAction.ACKNOWLEDGE, by, note), tenant_id, alert_id)

    @rpc
    def start_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """Set an alert in progress: somebody is on the way."""
        return self._act(PersonAction(AlertAction.START, by, note), tenant_id, alert_id)

    @rpc
    def resolve_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """Close an alert as resolved."""
        return self._act(PersonAction(AlertAction.RESOLVE, by, note), tenant_id, alert_id)

    @rpc
    def mark_false_alarm(
        self, *, tenant_id: int, alert_id: str, by: str, note: str = "", reason: str = "other"
    ) -> Alert:
        """Close an alert as a false alarm. `reason` is one of `lifecycle.FALSE_ALARM_REASONS`."""
        deed = PersonAction(AlertAction.FALSE_ALARM, by, note, reason=lifecycle.check_reason(reason))
        return self._act(deed, tenant_id, alert_id)

    @rpc
    def assign_alert(self, *, tenant_id: int, alert_id: str, by: str, to: str, note: str = "") -> Alert:
        """Assign an alert to a user, guard or contact, and notify the assignee.

        Escalation goes on until somebody acknowledges.

        Raises:
            Refused: the tenant has nobody of this name.
        """
        lifecycle.check_note(note)
        name = self.parts.plans.find_person(
            lifecycle.check_name(to, what="to"), tenant_id=tenant_id, by=by, now=datetime.now(UTC)
        )

        def notify(connection: Connection, alert: Alert, rounds: int) -> str:
            how = self.parts.follower.assign(connection, alert, self.events, by=by, rounds=rounds)
            return f"to {name}" + (f": {note}" if note else "") + f"; {how}"

        return self._act(PersonAction(AlertAction.ASSIGN, by, to=name), tenant_id, alert_id, beside=notify)

    @rpc
    def add_note(self, *, tenant_id: int, alert_id: str, by: str, note: str) -> Alert:
        """Add a note to the timeline of an alert. A closed alert takes notes too."""
        return self._act(
            PersonAction(AlertAction.NOTE, by, lifecycle.check_note(note, required=True)), tenant_id, alert_id
        )

    @rpc
    def record_call(
        self, *, tenant_id: int, alert_id: str, by: str, about: str, place: str, result: str, note: str = ""
    ) -> Alert:
        """Record a call to a person of an alert on its timeline. A closed alert takes calls too.

        A wrong number is marked in the profile first: a repetition of the request does no harm.

        Args:
            about: guard or site.
            place: the entry of the profile, such as `telephones.0`.
            result: one of `calls.CALL_RESULTS`.

        Raises:
            Refused: nobody is on record at this place.
            Unavailable: a number is wrong, and the directory service does not answer.
        """
        lifecycle.check_note(note)
        alert = self.parts.store.get(tenant_id=tenant_id, alert_id=alert_id)
        now = self._people_of(alert, role="operator").now
        said = call_note(now, about=about, place=place, result=result, note=note)

        if result == "wrong_number":
            subject = now.guard.guard_id if about == "guard" and now.guard else None
            subject = str(now.site.site_id) if about == "site" and now.site else subject
            self.directory.mark_wrong_number(
                tenant_id=tenant_id, kind=about, subject=subject, place=place, by=by
            )

        return self._act(PersonAction(AlertAction.CALL, by, lifecycle.check_note(said)), tenant_id, alert_id)

    @rpc
    def shelve_alert(
        self, *, tenant_id: int, alert_id: str, by: str, reason: str, until: datetime | str
    ) -> Alert:
        """Shelve an alert: nobody is notified of it until `until`.

        A life-safety alert cannot be shelved.
        """
        alert = self.parts.store.get(tenant_id=tenant_id, alert_id=alert_id)
        end = as_time(until, what="until")
        note = lifecycle.check_shelving(
            alert.alert_type,
            reason=reason,
            until=end,
            now=datetime.now(UTC),
            longest_s=self.parts.shelve_max_s,
        )

        return self._act(PersonAction(AlertAction.SHELVE, by, note, until=end), tenant_id, alert_id)

    @rpc
    def unshelve_alert(self, *, tenant_id: int, alert_id: str, by: str, note: str = "") -> Alert:
        """Unshelve an alert before its time."""
        return self._act(PersonAction(AlertAction.UNSHELVE, by, note), tenant_id, alert_id)

    @rpc
    def acknowledge_group(self, *, tenant_id: int, group_id: str, by: str, note: str = "") -> list[str]:
        """Acknowledge every open alert of a storm that nobody has taken.

        Return the ids of these alerts.
        """
        ids = self.parts.store.new_members(tenant_id=tenant_id, group_id=group_id)
        return [
            self._act(PersonAction(AlertAction.ACKNOWLEDGE, by, note), tenant_id, alert_id).id
            for alert_id in ids
        ]

    @rpc
    def mark_shown(self, *, tenant_id: int, frames: dict[int, datetime | str]) -> list[int]:
        """Record when websocket sessions received the frames of new alerts.

        Args:
            frames: the time of receipt by frame id.

        Returns:
            The ids of frames that marked no alert. A frame can belong to no alert, or to none yet.
        """
        times = {int(frame): as_time(at, what="at") for frame, at in frames.items()}
        since = datetime.now(UTC) - SHOWN_WITHIN
        return self.parts.store.mark_shown(tenant_id=tenant_id, frames=times, since=since)

    @rpc
    def note_presence(self, *, tenant_id: int, names: list[str]) -> None:
        """Record that these operators have a websocket session open in this minute."""
        self.parts.numbers.note_presence(tenant_id=tenant_id, names=names, now=datetime.now(UTC))

    @rpc
    def get_report(self, *, tenant_id: int, since: datetime | str, until: datetime | str) -> ResponseReport:
        """Return how alerts were answered and notifications delivered between two times.

        Drills are counted apart.
        """
        return self.parts.numbers.report(
            tenant_id=tenant_id,
            since=as_time(since, what="since"),
            until=as_time(until, what="until"),
        )

    @rpc
    def export_evidence(self, *, tenant_id: int, alert_id: str, by: str) -> dict[str, Any]:
        """Return the signed evidence of an alert as `json`, and its `page` to read.

        The answer also names the `faults`: the checks of the record that fail.

        Raises:
            NotFound: there is no such alert.
            Unavailable: this service has no key.
            Refused: the evidence is too large for an answer.
        """
        made = self.parts.evidence.export(alert_id, tenant_id=tenant_id, by=by, now=datetime.now(UTC))
        log.info("evidence_exported", alert_id=alert_id, tenant_id=tenant_id, by=by, sha256=made["sha256"])
        return made

    @rpc
    def preview_escalation(
        self,
        *,
        tenant_id: int,
        alert_type: str = "PANIC",
        severity: str | None = None,
        site_id: int | None = None,
        at: datetime | str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the recipients, step by step, of such an alert raised at `at` (default: now)."""
        return self.parts.plans.preview(
            tenant_id=tenant_id,
            alert_type=alert_type,
            severity=severity,
            site_id=site_id,
            at=datetime.now(UTC) if at is None else as_time(at, what="at"),
        )

    @rpc
    def list_rotas(self, *, tenant_id: int) -> list[dict[str, Any]]:
        """Return the tenant's rotas, each with the member who is on call now."""
        return self.parts.plans.list_rotas(tenant_id=tenant_id, at=datetime.now(UTC))

    @rpc
    def set_rota(self, *, tenant_id: int, name: str, rota: dict[str, Any]) -> None:
        """Add or replace a rota. Its members must be contacts."""
        self.parts.plans.set_rota(tenant_id=tenant_id, name=name, document=rota)

    @fair_handler(
        "notifications",
        "notification_finished",
        NotificationFinished,
        senders_of=_alerts_behind,
        vital=True,
    )
    def record_notification(self, event: NotificationFinished) -> None:
        """Record the result of a notification on the alert's timeline.

        The source of the alert gets a receipt when the first notification reached somebody.
        """
        line = intake.of_notification(event)
        if line is None:
            return
        change = self.parts.store.note_notification(
            key=line.key, alert_id=event.alert_id, reached=line.reached, note=line.note, now=datetime.now(UTC)
        )
        if change is not None:
            self._tell_of_step(change)

    # After a restart, the timers that ran out meanwhile come first.
    @timer(FOLLOW_INTERVAL_S, eager=True, rest_s=REST_S)
    def follow_due(self) -> float | None:
        return self.parts.follower.follow_due(self.events, now=datetime.now(UTC), tell=self._tell_of_step)

    @timer(1.0, rest_s=REST_S, awake_s=UNTOLD_AFTER.total_seconds())
    def tell_untold(self) -> float | None:
        told = self.parts.teller.publish_pending(self.events, before=datetime.now(UTC) - UNTOLD_AFTER)
        return None if told else NOTHING_DUE

    @timer(5.0)
    def count_open_alerts(self) -> None:
        counts = self.parts.store.count_open(besides=self.parts.test_tenant_id)
        for severity in Severity:
            metrics.alerts_open.labels(severity).set(counts.get(severity, 0))

    def _occurrence_of(self, event: DeviceAlert, whose: SourceEntry) -> Occurrence | None:
        """Return the occurrence of a device's alert; None when there is nothing to record.

        A refused alert is kept, and the occurrence that stands in for it is returned.
        """
        try:
            return intake.of_device(event, whose)
        except InvalidMessage as error:
            refused = admission.rejected(event.origin, error, tenant_id=whose.tenant_id)
            if self.parts.store.keep_rejected(refused):
                admission.count_rejected([refused])
            return intake.of_refused(event, whose, error)

    def _tell_of_device(self, change: AlertChange, msg_ids: list[str | None], *, outbox: bool) -> None:
        """Publish the change that a device's message made, with receipts for its source.

        The source gets a `stored` receipt even for a message that was stored before. The first
        receipt may not have arrived.

        The source of a silent alert gets no receipt, unless it has an outbox. An outbox shows
        nothing of a silent receipt.
        """
        now, alert = datetime.now(UTC), change.alert
        stored = [
            Receipt(alert.source_id, msg_id, "stored", now, alert.id, silent=alert.silent)
            for msg_id in msg_ids
        ]
        receipts = stored if outbox or not alert.silent else []

        if change.entry_ids:
            self.parts.teller.publish_changes([change], self.events, receipts={alert.id: receipts})
            self._follow_now([change])
            return

        try:
            self.parts.teller.publish_pending(self.events, before=now, alert_id=alert.id)
        except Unavailable as error:
            log.warning("alert_not_published", alert_id=alert.id, error=str(error))

        self.events.publish("alert_updated", AlertEvent(alert, receipts))

    def _open(self, conditions: list[Condition]) -> None:
        """Open alerts for conditions, in the same order for all workers.

        Two workers that merge into the same alerts must not wait for each other.
        """
        now = datetime.now(UTC)
        ordered = sorted(conditions, key=lambda condition: (condition.tenant_id, condition.dedup_key))
        occurrences = [intake.of_condition(condition, now=now) for condition in ordered]
        changes = merged_changes(self.parts.store.record(occurrences, now=now))
        self.parts.teller.publish_changes(changes, self.events, receipts={})
        self._follow_now(changes)

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

    def _people_of(self, alert: Alert, *, role: str) -> AlertPeople:
        today = datetime.now(UTC).date()
        return self.parts.store.get_people(
            tenant_id=alert.tenant_id, alert_id=alert.id, role=role, today=today
        )

    def _act(
        self, deed: PersonAction, tenant_id: int, alert_id: str, *, beside: Accompanies | None = None
    ) -> Alert:
        lifecycle.check_note(deed.note)
        change = self.parts.store.act(
            deed, tenant_id=tenant_id, alert_id=alert_id, now=datetime.now(UTC), beside=beside
        )
        self._tell_of_step(change)
        return change.alert

    def _follow_now(self, changes: list[AlertChange]) -> None:
        """Follow changed alerts at once: contacts are notified after the control room.

        An alert that cannot be followed now is followed by the timer, half a second later.
        """
        for change in changes:
            try:
                self.parts.follower.follow(
                    change.alert.id, self.events, now=datetime.now(UTC), tell=self._tell_of_step
                )
            except Unavailable as error:
                log.warning("escalation_not_advanced", alert_id=change.alert.id, error=str(error))

    def _tell_of_step(self, change: AlertChange) -> None:
        self.parts.teller.publish_changes(
            [change], self.events, receipts={change.alert.id: receipts_of(change)}
        )
