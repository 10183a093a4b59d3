"""Tests of the alerts service with plain fakes around it.

They cover what is published, in which order, and what happens when a receiver is away.
"""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from services.alerts.publishing import AlertPublisher, merged_changes, receipts_of
from services.alerts.service import AlertsService
from services.alerts.store import AlertChange, DeviceMessage, PublishingRound
from services.contracts.errors import Refused, Unavailable
from services.contracts.events import (
    Alert,
    AlertStatus,
    AlertType,
    Condition,
    ConditionsEvent,
    DeviceAlert,
    Severity,
    TimelineEntry,
)
from services.contracts.families import Origin
from services.ingestion.source_registry import Source

AT = datetime(2026, 1, 1, tzinfo=UTC)


def alert(**changes: Any) -> Alert:
    base: dict[str, Any] = {
        "id": str(uuid4()),
        "tenant_id": 1,
        "alert_type": AlertType.PANIC,
        "severity": Severity.CRITICAL,
        "status": AlertStatus.NEW,
        "source_id": "guard-1",
        "dedup_key": "k",
        "message": "help",
        "occurrences": 1,
        "recorded_at": AT,
        "received_at": AT,
        "last_seen_at": AT,
        "timeline": (TimelineEntry(AT, "raised", AlertStatus.NEW, "guard-1"),),
    }
    return Alert(**{**base, **changes})


class FakeStore:
    def __init__(self, changes: list[Any]) -> None:
        self.changes = changes
        self.told: list[int] = []
        self.refused: list[Any] = []
        self.recorded: list[Any] = []
        self.untold: list[AlertChange] = []
        self.swept: list[Any] = []
        self.mark_fails = False
        self.frames: dict[str, int] = {}

    def record(self, occurrences: Any, *, now: datetime) -> list[Any]:  # noqa: ARG002
        self.recorded += occurrences
        return self.changes

    def mark_published(self, ids: Any, frames: Any) -> None:
        if self.mark_fails:
            raise Unavailable("PostgreSQL is away")
        self.told += ids
        self.frames.update(frames)

    def keep_rejected(self, message: Any) -> bool:
        self.refused.append(message)
        return True

    def act(self, *_: Any, **__: Any) -> AlertChange:
        [change] = self.changes
        return change

    def publish_pending(self, tell: Any, *, before: datetime, alert_id: str | None = None) -> PublishingRound:
        """Do as the real store does: an exception of `tell` affects only its own alert."""
        told: list[int] = []
        failure: Exception | None = None
        self.swept.append((before, alert_id))
        for change in self.untold:
            try:
                tell(change)
            except Unavailable as error:
                failure = failure or error
            else:
                told += change.entry_ids
        self.told += told
        return PublishingRound(tuple(told), failure)


class FakeWire:
    """Feed and events in one list, so that their order is visible."""

    def __init__(self, *, away: tuple[str, ...] = ()) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.tried: list[str] = []
        self.away = away
        self.feed = SimpleNamespace(publish=lambda _tenant, kind, data, **_: self._hear("feed", kind, data))
        self.events = SimpleNamespace(publish=lambda kind, body: self._hear("events", kind, body))

    def _hear(self, where: str, kind: str, data: Any) -> int:
        self.tried.append(where)
        if where in self.away:
            raise Unavailable(f"{where} is away")
        self.heard.append((f"{where} {kind}", data))
        return 1


followed: list[str] = []
"""Alerts that the service asked to be followed at once, in all tests."""


def service(store: FakeStore, wire: FakeWire, source: Source | None) -> AlertsService:
    made = AlertsService()
    registry = SimpleNamespace(lookup_any=lambda _: source)
    parts = SimpleNamespace(
        store=store,
        registry=registry,
        teller=AlertPublisher(store, wire.feed),
        default_tenant_id=1,
        follower=SimpleNamespace(follow=lambda alert_id, _events, **_: followed.append(alert_id)),
    )  # type: ignore[arg-type]
    from services.alerts.service import AlertsParts

    parts.source_entry = lambda source_id: AlertsParts.source_entry(parts, source_id)  # type: ignore[arg-type]
    made.parts = parts  # type: ignore[assignment]
    made.events = wire.events  # type: ignore[assignment]
    return made


def panic(kind: AlertType = AlertType.PANIC) -> DeviceAlert:
    topic = f"alert/{kind.lower()}/guard-1"
    origin = Origin("guard-1", b"0" * 16, "m1", topic, AT, AT, False, (), None, "{}")
    return DeviceAlert(origin, kind, None, "help")


def test_the_control_room_hears_first_then_everybody_and_then_it_is_marked() -> None:
    change = AlertChange(alert(), (7,), True)
    store, wire = FakeStore([change]), FakeWire()
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == ["feed critical_alert", "events alert_raised"]
    [receipt] = wire.heard[1][1].receipts
    assert (receipt.msg_id, receipt.status, receipt.alert_id) == ("m1", "stored", change.alert.id)
    assert store.told == [7]
    assert store.frames == {change.alert.id: 1}, "the frame that showed it is kept"
    assert followed[-1] == change.alert.id


@pytest.mark.parametrize(
    ("away", "heard"), [(("feed",), ["events alert_raised"]), (("events",), ["feed critical_alert"])]
)
def test_when_one_way_is_shut_the_other_is_used_and_the_sweeper_gets_the_row(
    away: tuple[str], heard: list[str]
) -> None:
    store, wire = FakeStore([AlertChange(alert(), (7,), True)]), FakeWire(away=away)
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == heard
    assert store.told == []


def test_a_change_that_another_process_shows_again_bears_the_same_event_and_the_next_one_another() -> None:
    # Given a change that was shown, and a process that ended before it could mark that
    shown, next_one = AlertChange(alert(), (7, 8), True), AlertChange(alert(), (9,), False)
    wire = FakeWire()
    for changes in ([shown], [shown, next_one]):
        # When a process of today, and one after it, shows what is not marked
        store = FakeStore([])
        store.untold = changes
        AlertPublisher(store, wire.feed).publish_pending(wire.events, before=AT)  # type: ignore[arg-type]

    # Then readers can tell a repeated frame from a new one
    events = [frame.event for what, frame in wire.heard if what.startswith("feed ")]
    assert events == [8, 8, 9]


def test_a_stranger_s_panic_is_recorded_with_a_flag_and_another_alert_is_refused_and_raised_as_unreadable() -> (
    None
):
    store, wire = FakeStore([AlertChange(alert(), (1,), True)]), FakeWire()
    strange = service(store, wire, None)
    strange.process_device_alert(panic())
    assert store.recorded[0].flags == ("unknown_source",)
    strange.process_device_alert(panic(AlertType.EQUIPMENT_FAILURE))
    assert [message.reason for message in store.refused] == ["unknown_source"]
    stand_in = store.recorded[1]
    assert (stand_in.alert_type, stand_in.severity) == (AlertType.UNREADABLE_ALERT, Severity.HIGH)
    assert "equipment_failure" in stand_in.message


def test_what_a_disabled_source_sends_is_refused_without_an_alert_unless_a_life_is_at_stake() -> None:
    store, wire = FakeStore([AlertChange(alert(), (1,), True)]), FakeWire()
    disabled = service(store, wire, Source("guard-1", 1, None, "guard", False))
    disabled.process_device_alert(panic(AlertType.INTRUSION))
    assert ([message.reason for message in store.refused], store.recorded) == (["source_disabled"], [])
    disabled.process_device_alert(panic(AlertType.MAN_DOWN))
    assert store.recorded[0].flags == ("source_disabled",)


@pytest.mark.parametrize("entry_ids", [(7,), ()], ids=["new", "seen before"])
def test_the_source_of_a_silent_alert_gets_no_receipt_whatever_was_recorded(
    entry_ids: tuple[int, ...],
) -> None:
    change = AlertChange(alert(silent=True), entry_ids, bool(entry_ids))
    store, wire = FakeStore([change]), FakeWire()
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [body.receipts for what, body in wire.heard if what.startswith("events")] == [[]]
    for action in ("raised", "notified", "acknowledged", "resolved", "cleared"):
        line = TimelineEntry(AT, action, AlertStatus.RESOLVED, "ann")
        silent = alert(silent=True, notified_at=AT, timeline=(line,))
        assert receipts_of(AlertChange(silent, (1,), False, DeviceMessage("m1"))) == []


def test_a_small_alert_is_created_and_a_repeat_is_an_update() -> None:
    small = AlertChange(alert(severity=Severity.MEDIUM), (1,), True)
    again = AlertChange(alert(), (2,), False)
    store, wire = FakeStore([small, again]), FakeWire()
    condition = Condition(1, "d", AlertType.LOW_BATTERY, "k", AT, b"0" * 16, "low")
    service(store, wire, None).open_for_telemetry(ConditionsEvent([condition]))
    feed = [what for what, _ in wire.heard if what.startswith("feed")]
    assert feed == ["feed alert_created", "feed alert_updated"]


def test_several_findings_of_one_event_about_one_alert_are_told_once_with_all_rows() -> None:
    first = alert()
    later = msgspec.structs.replace(first, occurrences=2)
    [merged] = merged_changes(
        [AlertChange(first, (1,), True), None, AlertChange(later, (2,), False), AlertChange(later, (), False)]
    )
    assert (merged.entry_ids, merged.is_new, merged.alert.occurrences) == ((1, 2), True, 2)
    assert len(merged.alert.timeline) == 2


def test_a_message_that_came_before_changes_nothing_and_its_source_is_told_stored_again() -> None:
    known = alert(timeline=())
    store, wire = FakeStore([AlertChange(known, (), False)]), FakeWire()
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == ["events alert_updated"]
    [receipt] = wire.heard[0][1].receipts
    assert (receipt.msg_id, receipt.status, receipt.alert_id) == ("m1", "stored", known.id)


def test_a_message_that_came_before_is_told_at_once_when_nobody_had_heard_of_it() -> None:
    known = alert()
    store, wire = FakeStore([AlertChange(known, (), False)]), FakeWire()
    store.untold = [AlertChange(known, (7,), True, DeviceMessage("m1"))]
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == [
        "feed critical_alert",
        "events alert_raised",
        "events alert_updated",
    ]
    assert [alert_id for _, alert_id in store.swept] == [known.id]


def test_a_device_that_sends_again_gets_its_receipt_even_while_redis_is_away() -> None:
    known = alert()
    store, wire = FakeStore([AlertChange(known, (), False)]), FakeWire(away=("feed",))
    store.untold = [AlertChange(known, (7,), True, DeviceMessage("m1"))]
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == ["events alert_raised", "events alert_updated"]
    assert store.told == []


@pytest.mark.parametrize(("away", "other"), [("feed", "events"), ("events", "feed")])
def test_for_as_long_as_one_way_is_shut_the_other_is_not_told_every_second(away: str, other: str) -> None:
    store, wire = FakeStore([AlertChange(alert(), (7,), True)]), FakeWire(away=(away,))
    alerts = service(store, wire, Source("guard-1", 1, None, "guard", True))
    alerts.process_device_alert(panic())
    store.untold = store.changes
    for _ in range(3):
        with pytest.raises(Unavailable):
            alerts.tell_untold()
    assert [what.split()[0] for what, _ in wire.heard] == [other]
    wire.away = ()
    alerts.tell_untold()
    assert [what.split()[0] for what, _ in wire.heard] == [other, away]
    assert store.told == [7]


def test_a_way_that_is_shut_is_tried_once_a_round_and_every_alert_goes_the_other_way() -> None:
    store, wire = FakeStore([]), FakeWire(away=("feed",))
    store.untold = [AlertChange(alert(), (number,), True) for number in range(3)]
    with pytest.raises(Unavailable):
        service(store, wire, None).tell_untold()
    assert wire.tried == ["feed", "events", "events", "events"]


def test_a_step_stands_when_only_the_mark_that_it_was_told_cannot_be_made() -> None:
    line = TimelineEntry(AT, "acknowledged", AlertStatus.ACKNOWLEDGED, "ann")
    change = AlertChange(
        alert(status=AlertStatus.ACKNOWLEDGED, timeline=(line,)), (8,), False, DeviceMessage("m1")
    )
    store, wire = FakeStore([change]), FakeWire()
    store.mark_fails = True
    alerts = service(store, wire, None)
    assert alerts.acknowledge_alert(tenant_id=1, alert_id=change.alert.id, by="ann") == change.alert
    [receipt] = wire.heard[1][1].receipts
    assert (receipt.status, receipt.by, receipt.msg_id) == ("acknowledged", "ann", "m1")
    store.untold = [change]
    alerts.tell_untold()
    assert len(wire.heard) == 2
    assert store.told == [8]


@pytest.mark.parametrize("note", ["a\0b", "x" * 2001])
def test_a_note_that_cannot_be_kept_is_refused(note: str) -> None:
    alerts = service(FakeStore([]), FakeWire(), None)
    with pytest.raises(Refused, match="note"):
        alerts.resolve_alert(tenant_id=1, alert_id=str(uuid4()), by="ann", note=note)


def test_findings_are_recorded_in_one_order_whatever_order_they_come_in() -> None:
    store = FakeStore([])
    findings = [Condition(1, "d", AlertType.LOW_BATTERY, key, AT, b"0" * 16, "low") for key in "bca"]
    service(store, FakeWire(), None).open_for_location(ConditionsEvent(findings))
    assert [occurrence.dedup_key for occurrence in store.recorded] == ["a", "b", "c"]


LATER = AT + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("action", "status", "acknowledged_at", "told"),
    [
        ("raised", AlertStatus.NEW, None, [("stored", None)]),
        ("repeated", AlertStatus.NEW, None, []),
        ("acknowledged", AlertStatus.ACKNOWLEDGED, LATER, [("acknowledged", "ann")]),
        ("started", AlertStatus.IN_PROGRESS, LATER, [("acknowledged", "ann")]),
        ("started", AlertStatus.IN_PROGRESS, AT, []),
        ("cleared", AlertStatus.ACKNOWLEDGED, AT, []),
        ("cleared", AlertStatus.RESOLVED, None, [("resolved", "ann")]),
        ("false_alarm", AlertStatus.FALSE_ALARM, AT, [("resolved", "ann")]),
    ],
)
def test_a_source_is_told_of_the_steps_that_concern_it(
    action: str, status: AlertStatus, acknowledged_at: datetime | None, told: list[tuple[str, str | None]]
) -> None:
    line = TimelineEntry(LATER, action, status, "ann")
    changed = alert(status=status, acknowledged_at=acknowledged_at, timeline=(line,))
    receipts = receipts_of(AlertChange(changed, (1,), False, DeviceMessage("m1")))
    assert [(receipt.status, receipt.by) for receipt in receipts] == told
    assert receipts_of(AlertChange(changed, (1,), False)) == []
