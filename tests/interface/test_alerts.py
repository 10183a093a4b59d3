"""The alerts service with plain fakes around it: what is told, in which order, and what happens when nobody listens."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from services.alerts.service import AlertsService
from services.alerts.store import Change
from services.alerts.telling import Teller, together
from services.errors import Unavailable
from services.messages import (
    Alert,
    AlertStatus,
    AlertType,
    Condition,
    ConditionsEvent,
    DeviceAlert,
    Origin,
    Severity,
    TimelineEntry,
)
from services.registry import Source

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

    def record(self, occurrences: Any, *, now: datetime) -> list[Any]:  # noqa: ARG002
        self.recorded += occurrences
        return self.changes

    def mark_told(self, ids: Any) -> None:
        self.told += ids

    def keep_rejected(self, message: Any) -> None:
        self.refused.append(message)


class FakeWire:
    """Feed and events in one list, so that their order shows."""

    def __init__(self, *, away: tuple[str, ...] = ()) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._away = away
        self.feed = SimpleNamespace(publish=lambda _tenant, kind, data: self._hear("feed", kind, data))
        self.events = SimpleNamespace(publish=lambda kind, body: self._hear("events", kind, body))

    def _hear(self, where: str, kind: str, data: Any) -> int:
        if where in self._away:
            raise Unavailable(f"{where} is away")
        self.heard.append((f"{where} {kind}", data))
        return 1


def service(store: FakeStore, wire: FakeWire, source: Source | None) -> AlertsService:
    made = AlertsService()
    registry = SimpleNamespace(lookup_any=lambda _: source)
    parts = SimpleNamespace(
        store=store, registry=registry, teller=Teller(store, wire.feed), default_tenant_id=1
    )  # type: ignore[arg-type]
    from services.alerts.service import Parts

    parts.whose = lambda source_id: Parts.whose(parts, source_id)  # type: ignore[arg-type]
    made.parts = parts  # type: ignore[assignment]
    made.events = wire.events  # type: ignore[assignment]
    return made


def panic(kind: AlertType = AlertType.PANIC) -> DeviceAlert:
    origin = Origin("guard-1", b"0" * 16, "m1", "alert/panic/guard-1", AT, AT, False, (), None, "{}")
    return DeviceAlert(origin, kind, None, "help")


def test_the_control_room_hears_first_then_everybody_and_then_it_is_marked() -> None:
    change = Change(alert(), (7,), True)
    store, wire = FakeStore([change]), FakeWire()
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == ["feed critical_alert", "events alert_raised"]
    [receipt] = wire.heard[1][1].receipts
    assert (receipt.msg_id, receipt.status, receipt.alert_id) == ("m1", "stored", change.alert.id)
    assert store.told == [7]


@pytest.mark.parametrize(
    ("away", "heard"), [(("feed",), ["events alert_raised"]), (("events",), ["feed critical_alert"])]
)
def test_when_one_way_is_shut_the_other_is_used_and_the_sweeper_gets_the_row(
    away: tuple[str], heard: list[str]
) -> None:
    store, wire = FakeStore([Change(alert(), (7,), True)]), FakeWire(away=away)
    service(store, wire, Source("guard-1", 1, None, "guard", True)).process_device_alert(panic())
    assert [what for what, _ in wire.heard] == heard
    assert store.told == []


def test_a_stranger_s_panic_is_recorded_with_a_flag_and_another_alert_is_refused() -> None:
    store, wire = FakeStore([Change(alert(), (1,), True)]), FakeWire()
    strange = service(store, wire, None)
    strange.process_device_alert(panic())
    assert store.recorded[0].flags == ("unknown_source",)
    strange.process_device_alert(panic(AlertType.EQUIPMENT_FAILURE))
    assert [message.reason for message in store.refused] == ["unknown_source"]
    assert len(store.recorded) == 1


def test_a_small_alert_is_created_and_a_repeat_is_an_update() -> None:
    small = Change(alert(severity=Severity.MEDIUM), (1,), True)
    again = Change(alert(), (2,), False)
    store, wire = FakeStore([small, again]), FakeWire()
    condition = Condition(1, "d", AlertType.LOW_BATTERY, "k", AT, b"0" * 16, "low")
    service(store, wire, None).open_for_telemetry(ConditionsEvent([condition]))
    feed = [what for what, _ in wire.heard if what.startswith("feed")]
    assert feed == ["feed alert_created", "feed alert_updated"]


def test_several_findings_of_one_event_about_one_alert_are_told_once_with_all_rows() -> None:
    first = alert()
    later = msgspec.structs.replace(first, occurrences=2)
    [merged] = together([Change(first, (1,), True), None, Change(later, (2,), False), uuid4()])
    assert (merged.entry_ids, merged.is_new, merged.alert.occurrences) == ((1, 2), True, 2)
    assert len(merged.alert.timeline) == 2
