"""Alerts on a real PostgreSQL: merged by the database, followed, and told until heard."""

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from services.alerts.intake import Occurrence
from services.alerts.lifecycle import Action
from services.alerts.store import AlertStore, Change
from services.errors import Conflict, NotFound, Unavailable
from services.messages import AlertStatus, AlertType, Severity

NOW = datetime.now(UTC)


def occurrence(**changes: object) -> Occurrence:
    base = {
        "key": os.urandom(16),
        "tenant_id": 1,
        "site_id": None,
        "alert_type": AlertType.PANIC,
        "severity": Severity.HIGH,
        "source_id": "guard-1",
        "dedup_key": "PANIC:guard-1",
        "message": "help <script>",
        "recorded_at": NOW,
        "received_at": NOW,
        "by": "guard-1",
        "topic": "alert/panic/guard-1",
    }
    return Occurrence(**{**base, **changes})  # type: ignore[arg-type]


@pytest.fixture
def store(engine: Engine) -> AlertStore:
    return AlertStore(engine)


def raised(store: AlertStore, **changes: object) -> Change:
    [change] = store.record([occurrence(**changes)], now=datetime.now(UTC))
    assert isinstance(change, Change)
    return change


def test_a_repeat_counts_on_the_open_alert_and_raises_its_severity(store: AlertStore) -> None:
    first = raised(store, flags=("a",))
    again = raised(store, severity=Severity.CRITICAL, flags=("b",), lat=1.0, lon=2.0)
    calmer = raised(store, severity=Severity.LOW)
    assert first.is_new
    assert not again.is_new
    assert again.alert.id == first.alert.id
    assert (calmer.alert.occurrences, calmer.alert.severity) == (3, Severity.CRITICAL)
    assert calmer.alert.flags == ("a", "b")
    assert (calmer.alert.lat, calmer.alert.lon) == (1.0, 2.0)
    whole = store.get(tenant_id=1, alert_id=first.alert.id)
    assert [line.action for line in whole.timeline] == ["raised", "repeated", "repeated"]


def test_the_same_message_twice_has_one_effect(store: AlertStore) -> None:
    one = occurrence()
    first, second = store.record([one, one], now=NOW)
    assert isinstance(first, Change)
    assert str(second) == first.alert.id
    assert store.get(tenant_id=1, alert_id=first.alert.id).occurrences == 1


def test_fifty_repeats_from_two_workers_are_one_open_alert(store: AlertStore, engine: Engine) -> None:
    workers = [
        threading.Thread(target=lambda: [store.record([occurrence()], now=NOW) for _ in range(25)])
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with engine.connect() as connection:
        found = connection.execute(text("SELECT occurrences FROM mqtt_device_alert")).scalars().all()
        counted = connection.execute(text("SELECT count(*) FROM alert_occurrence")).scalar_one()
    assert (found, counted) == ([50], 50)


def test_after_it_is_closed_the_next_one_is_a_new_alert(store: AlertStore) -> None:
    first = raised(store)
    done = store.act(Action.RESOLVE, tenant_id=1, alert_id=first.alert.id, by="ann", note="fine", now=NOW)
    assert (done.alert.status, done.alert.acknowledged_by) == (AlertStatus.RESOLVED, "ann")
    assert raised(store).alert.id != first.alert.id


def test_of_two_people_who_acknowledge_one_is_told_who_has_it(store: AlertStore) -> None:
    first = raised(store)
    store.act(Action.ACKNOWLEDGE, tenant_id=1, alert_id=first.alert.id, by="ann", note="", now=NOW)
    with pytest.raises(Conflict, match="ann"):
        store.act(Action.ACKNOWLEDGE, tenant_id=1, alert_id=first.alert.id, by="bob", note="", now=NOW)


@pytest.mark.parametrize("alert_id", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_alert_that_is_not_there_and_one_of_another_tenant_are_not_found(
    store: AlertStore, alert_id: str
) -> None:
    with pytest.raises(NotFound):
        store.get(tenant_id=1, alert_id=alert_id)
    with pytest.raises(NotFound):
        store.act(Action.START, tenant_id=2, alert_id=raised(store).alert.id, by="eve", note="", now=NOW)


def test_what_is_over_resolves_a_small_alert_and_marks_a_grave_one(store: AlertStore) -> None:
    small = raised(store, severity=Severity.MEDIUM, dedup_key="a")
    grave = raised(store, severity=Severity.HIGH, dedup_key="b")
    later = NOW + timedelta(seconds=1)
    for key in ("a", "b", "a", "unknown"):
        store.clear(tenant_id=1, dedup_key=key, at=later, note="over", now=later)
    assert store.get(tenant_id=1, alert_id=small.alert.id).status is AlertStatus.RESOLVED
    found = store.get(tenant_id=1, alert_id=grave.alert.id)
    assert (found.status, found.cleared_at) == (AlertStatus.NEW, later)
    assert [line.action for line in found.timeline] == ["raised", "cleared"]


def test_an_old_all_clear_does_not_end_what_was_seen_after_it(store: AlertStore) -> None:
    raised(store, severity=Severity.MEDIUM, dedup_key="a", recorded_at=NOW)
    assert store.clear(tenant_id=1, dedup_key="a", at=NOW - timedelta(seconds=5), note="", now=NOW) is None


def test_what_nobody_heard_is_told_once_and_again_when_telling_failed(store: AlertStore) -> None:
    raised(store)
    soon = datetime.now(UTC) + timedelta(seconds=1)

    def fail(_change: Change) -> None:
        raise Unavailable("Redis is away")

    with pytest.raises(Unavailable):
        store.tell_untold(fail, before=soon)
    told: list[Change] = []
    assert store.tell_untold(told.append, before=soon) == 1
    assert [change.is_new for change in told] == [True]
    assert store.tell_untold(told.append, before=soon) == 0
