"""Tests of alerts on a real PostgreSQL.

The database merges them. They are followed, and notified until somebody acknowledges.
"""

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from services.alerts.escalation_worker import EscalationPolicies
from services.alerts.grouping import AlertGrouping
from services.alerts.lifecycle import AlertAction
from services.alerts.occurrences import Occurrence, RepeatedMessages
from services.alerts.store import AlertChange, AlertStore, PersonAction
from services.contracts.errors import Conflict, NotFound, Refused, Unavailable
from services.contracts.events import AlertStatus, AlertType, Severity
from services.platform.config import Config
from services.platform.database import Database

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
def store(database: Database, config: Config) -> AlertStore:
    return AlertStore(
        database,
        ladder=EscalationPolicies.from_config(config).ladder,
        storms=AlertGrouping(config.alerts.storm),
    )


def raised(store: AlertStore, **changes: object) -> AlertChange:
    [change] = store.record([occurrence(**changes)], now=datetime.now(UTC))
    assert change is not None
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
    assert first is not None
    assert second is not None
    assert (second.alert.id, second.entry_ids) == (first.alert.id, ())
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
    done = store.act(
        PersonAction(AlertAction.RESOLVE, "ann", "fine"), tenant_id=1, alert_id=first.alert.id, now=NOW
    )
    assert (done.alert.status, done.alert.acknowledged_by) == (AlertStatus.RESOLVED, "ann")
    assert raised(store).alert.id != first.alert.id


def test_of_two_people_who_acknowledge_one_is_told_who_has_it(store: AlertStore) -> None:
    first = raised(store)
    store.act(PersonAction(AlertAction.ACKNOWLEDGE, "ann", ""), tenant_id=1, alert_id=first.alert.id, now=NOW)
    with pytest.raises(Conflict, match="ann"):
        store.act(
            PersonAction(AlertAction.ACKNOWLEDGE, "bob", ""), tenant_id=1, alert_id=first.alert.id, now=NOW
        )


@pytest.mark.parametrize("alert_id", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_alert_that_is_not_there_and_one_of_another_tenant_are_not_found(
    store: AlertStore, alert_id: str
) -> None:
    with pytest.raises(NotFound):
        store.get(tenant_id=1, alert_id=alert_id)
    with pytest.raises(NotFound):
        store.act(
            PersonAction(AlertAction.START, "eve", ""), tenant_id=2, alert_id=raised(store).alert.id, now=NOW
        )


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


BEGINNING, END = NOW + timedelta(seconds=5), NOW + timedelta(seconds=9)


def finding(key: bytes, *, at: datetime = BEGINNING, severity: Severity = Severity.MEDIUM) -> Occurrence:
    return occurrence(
        key=key, dedup_key="c", topic=None, by="rule", severity=severity, recorded_at=at, site_id=None
    )


@pytest.mark.parametrize("severity", [Severity.MEDIUM, Severity.HIGH])
@pytest.mark.parametrize("order", ["mmcc", "ccmm", "mcmc", "cmcm", "cmmc", "mccm"])
def test_of_a_beginning_and_its_end_either_may_be_heard_first_and_twice(
    store: AlertStore, order: str, severity: Severity
) -> None:
    key = os.urandom(16)
    for heard in order:
        if heard == "m":
            store.record([finding(key, severity=severity)], now=NOW)
        else:
            store.clear(tenant_id=1, dedup_key="c", at=END, note="over", now=NOW)
    [alert] = store.list_alerts(tenant_id=1, status="all", limit=10)
    closed = severity is Severity.MEDIUM
    assert (alert.status, alert.cleared_at, alert.occurrences) == (
        AlertStatus.RESOLVED if closed else AlertStatus.NEW,
        END,
        1,
    )
    lines = store.get(tenant_id=1, alert_id=alert.id).timeline
    assert [(line.action, line.by) for line in lines] == [
        ("raised", "rule"),
        ("cleared", "vigil" if closed else "rule"),
    ]
    assert store.due(now=NOW + timedelta(days=1)) == ([] if closed else [alert.id])


def test_the_end_that_was_heard_first_is_told_with_the_alert(store: AlertStore) -> None:
    assert store.clear(tenant_id=1, dedup_key="c", at=END, note="it is over", now=NOW) is None
    [change] = store.record([finding(os.urandom(16))], now=NOW)
    assert change is not None
    assert change.is_new
    assert len(change.entry_ids) == 2
    assert [(line.action, line.note) for line in change.alert.timeline] == [
        ("raised", "help <script>"),
        ("cleared", "it is over"),
    ]


def test_what_begins_after_the_newest_end_is_open_whatever_older_ends_come(store: AlertStore) -> None:
    later = END + timedelta(seconds=1)
    for at in (END, BEGINNING):
        store.clear(tenant_id=1, dedup_key="c", at=at, note="over", now=NOW)
    store.record([finding(os.urandom(16), at=END)], now=NOW)
    store.record([finding(os.urandom(16), at=later), finding(os.urandom(16), at=BEGINNING)], now=NOW)
    store.clear(tenant_id=1, dedup_key="c", at=END, note="over", now=NOW)
    found = store.list_alerts(tenant_id=1, status="all", limit=10)
    assert sorted((alert.status, alert.cleared_at, alert.occurrences) for alert in found) == [
        (AlertStatus.NEW, None, 2),
        (AlertStatus.RESOLVED, END, 1),
    ]


def test_no_end_of_a_condition_clears_what_a_device_sent_later(store: AlertStore) -> None:
    store.clear(tenant_id=1, dedup_key="c", at=END, note="over", now=NOW)
    assert (
        raised(store, dedup_key="c", severity=Severity.MEDIUM, recorded_at=BEGINNING).alert.cleared_at is None
    )


def test_a_beginning_and_its_end_from_two_workers_at_once_leave_nothing_open(store: AlertStore) -> None:
    """Neither worker may miss the other's row.

    Both run forty times, each pair with a condition of its own.
    """
    keys = [f"c{number}" for number in range(40)]

    def begin() -> None:
        for key in keys:
            store.record([occurrence(dedup_key=key, topic=None, severity=Severity.MEDIUM)], now=NOW)

    def end() -> None:
        for key in keys:
            store.clear(tenant_id=1, dedup_key=key, at=END, note="over", now=NOW)

    workers = [threading.Thread(target=work) for work in (begin, end)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = store.list_alerts(tenant_id=1, status="all", limit=100)
    assert [alert.status for alert in found] == [AlertStatus.RESOLVED] * 40


def test_a_panic_whose_data_the_database_cannot_hold_as_json_is_kept_as_bytes(
    store: AlertStore, engine: Engine
) -> None:
    raw = '{"battery": 1e-20000}'
    change = raised(store, raw=raw, flags=("severity",))
    assert change.alert.flags == ("severity", "raw_unstorable")
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT raw_data, unreadable FROM alert_occurrence")).one()
    assert (kept.raw_data, bytes(kept.unreadable)) == (None, raw.encode())


def test_a_step_knows_the_message_that_its_source_is_to_be_told_of(store: AlertStore) -> None:
    panic = raised(store, msg_id="m1")
    raised(store, msg_id="m2")
    found = raised(store, dedup_key="rule", topic=None, by="rule")
    steps = [
        store.act(PersonAction(AlertAction.ACKNOWLEDGE, "ann", ""), tenant_id=1, alert_id=alert_id, now=NOW)
        for alert_id in (panic.alert.id, found.alert.id)
    ]
    assert [step.first and step.first.msg_id for step in steps] == ["m1", None]


def test_a_list_is_open_all_or_of_one_status_and_of_one_tenant(store: AlertStore) -> None:
    kept = raised(store, dedup_key="a")
    ended = raised(store, dedup_key="b")
    store.act(PersonAction(AlertAction.FALSE_ALARM, "ann", ""), tenant_id=1, alert_id=ended.alert.id, now=NOW)

    def listed(status: str, *, tenant_id: int = 1) -> set[str]:
        return {alert.id for alert in store.list_alerts(tenant_id=tenant_id, status=status, limit=10)}

    assert listed("open") == {kept.alert.id}
    assert listed("FALSE_ALARM") == {ended.alert.id}
    assert listed("all") == {kept.alert.id, ended.alert.id}
    assert listed("all", tenant_id=2) == set()
    with pytest.raises(Refused, match="status"):
        listed("nonsense")
    with pytest.raises(Refused, match="limit"):
        store.list_alerts(tenant_id=1, status="all", limit=-1)


def test_what_must_not_be_missed_is_listed_first_however_much_came_later(store: AlertStore) -> None:
    def at(seconds: int, severity: Severity) -> str:
        now = NOW + timedelta(seconds=seconds)
        return raised(
            store, dedup_key=str(seconds), severity=severity, received_at=now, recorded_at=now
        ).alert.id

    had, old, new = (at(n, Severity.CRITICAL) for n in (0, 1, 2))
    low, high = at(3, Severity.LOW), at(4, Severity.HIGH)
    store.act(PersonAction(AlertAction.ACKNOWLEDGE, "ann", ""), tenant_id=1, alert_id=had, now=NOW)
    ended = at(5, Severity.CRITICAL)
    store.act(PersonAction(AlertAction.FALSE_ALARM, "ann", ""), tenant_id=1, alert_id=ended, now=NOW)

    def gravest(limit: int) -> list[str]:
        return [alert.id for alert in store.list_gravest(tenant_id=1, limit=limit)]

    assert gravest(10) == [new, old, had, high, low]
    assert gravest(2) == [new, old]
    assert store.list_gravest(tenant_id=2, limit=10) == []


def test_an_alert_that_cannot_be_told_holds_up_no_other_and_is_told_once_it_can(store: AlertStore) -> None:
    for key in "abc":
        raised(store, dedup_key=key)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    tried: list[str] = []

    def tell(change: AlertChange) -> None:
        tried.append(change.alert.dedup_key)
        if change.alert.dedup_key == "b":
            raise Unavailable("away")

    first = store.publish_pending(tell, before=soon)
    assert isinstance(first.failure, Unavailable)
    assert len(first.told) == 2
    store.publish_pending(tell, before=soon)
    assert tried == ["a", "b", "c", "b"]
    told: list[AlertChange] = []
    assert store.publish_pending(told.append, before=soon).failure is None
    assert [(change.alert.dedup_key, change.is_new) for change in told] == [("b", True)]
    assert store.publish_pending(told.append, before=soon).told == ()


def test_what_is_not_old_enough_and_what_is_of_another_alert_is_left_alone(store: AlertStore) -> None:
    one, other = raised(store, dedup_key="a"), raised(store, dedup_key="b")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    told: list[AlertChange] = []
    assert store.publish_pending(told.append, before=NOW - timedelta(seconds=5)).told == ()
    store.publish_pending(told.append, before=soon, alert_id=other.alert.id)
    assert [change.alert.id for change in told] == [other.alert.id]
    assert store.publish_pending(told.append, before=soon).told == one.entry_ids


def test_two_sweepers_at_once_tell_nothing_twice(store: AlertStore) -> None:
    for number in range(20):
        raised(store, dedup_key=str(number))
    soon = datetime.now(UTC) + timedelta(seconds=1)
    meeting = threading.Barrier(2, timeout=30)
    heard: list[str] = []

    def sweep() -> None:
        met: list[bool] = []

        def tell(change: AlertChange) -> None:
            if not met:  # each holds its rows while the other looks for some
                met.append(True)
                meeting.wait()
            heard.append(change.alert.dedup_key)

        store.publish_pending(tell, before=soon, limit=10)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join()
    assert sorted(heard, key=int) == [str(number) for number in range(20)]


def test_many_repeats_are_one_row_on_the_timeline_and_each_has_its_occurrence(
    store: AlertStore, engine: Engine
) -> None:
    # Given an open alert, and many repeats of it, some only counted, some delivered before
    first = occurrence()
    [change] = store.record([first], now=NOW)
    assert change is not None
    repeats = [
        occurrence(
            message=f"press {n}",
            msg_id=f"m{n}",
            raw=f'{{"n": {n}}}',
            received_at=NOW + timedelta(seconds=n),
        )
        for n in range(40)
    ]
    group = RepeatedMessages([first, *repeats], {b"a" * 16: 100, b"b" * 16: 7}, NOW)

    # When they are merged, and merged again
    [changes] = store.record_repeats([group], now=NOW)
    [again] = store.record_repeats([group], now=NOW)

    # Then the alert counts each of them once
    whole = store.get(tenant_id=1, alert_id=change.alert.id)
    assert whole.occurrences == 1 + 40 + 107
    assert [line.action for line in whole.timeline] == ["raised", "repeated"]
    said = whole.timeline[1].note
    assert said.startswith("147 messages from ")
    assert said.endswith("; the last: press 39")
    assert sum(len(change.entry_ids) for change in changes) == 1
    assert [change.entry_ids for change in again if change.entry_ids] == []
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*), count(DISTINCT msg_id) FROM alert_occurrence")).one()
    assert tuple(kept) == (41, 40)


def test_repeats_of_what_is_closed_meanwhile_are_one_new_alert(store: AlertStore) -> None:
    # Given an alert that was resolved
    first = raised(store)
    store.act(PersonAction(AlertAction.RESOLVE, "ann", "fine"), tenant_id=1, alert_id=first.alert.id, now=NOW)

    # When repeats arrive that were on their way
    [[change]] = store.record_repeats(
        [RepeatedMessages([occurrence() for _ in range(10)], {b"c" * 16: 5}, NOW)], now=NOW
    )

    # Then they are an alert of their own, which notifies people
    assert change.is_new
    assert change.alert.id != first.alert.id
    assert change.alert.occurrences == 15
    assert store.due(now=datetime.now(UTC)) == [change.alert.id]


def test_the_gravest_of_many_repeats_calls_people_again(store: AlertStore) -> None:
    first = raised(store, severity=Severity.MEDIUM, topic="alert/tamper/x")
    store.act(PersonAction(AlertAction.ACKNOWLEDGE, "ann"), tenant_id=1, alert_id=first.alert.id, now=NOW)
    grave = [
        occurrence(severity=severity, topic="alert/tamper/x", lat=lat, lon=lat)
        for severity, lat in (
            (Severity.LOW, None),
            (Severity.HIGH, 1.0),
            (Severity.LOW, None),
            (Severity.LOW, None),
        )
    ]
    [[change]] = store.record_repeats([RepeatedMessages(grave, {}, NOW)], now=NOW)
    assert (change.alert.status, change.alert.severity) == (AlertStatus.NEW, Severity.HIGH)
    assert (change.alert.lat, change.alert.occurrences) == (1.0, 5)
    assert [line.action for line in change.alert.timeline] == ["repeated", "re_raised"]


def test_a_few_repeats_keep_a_row_each_with_their_own_text(store: AlertStore) -> None:
    first = raised(store)
    [changes] = store.record_repeats(
        [RepeatedMessages([occurrence(message=f"press {n}") for n in range(3)], {}, NOW)], now=NOW
    )
    assert [line.note for change in changes for line in change.alert.timeline] == [
        "press 0",
        "press 1",
        "press 2",
    ]
    assert store.get(tenant_id=1, alert_id=first.alert.id).occurrences == 4


def test_many_repeats_whose_data_the_database_cannot_hold_as_json_are_kept(
    store: AlertStore, engine: Engine
) -> None:
    bad = [occurrence(raw='{"n": 1e999999}') for _ in range(6)]
    [[change]] = store.record_repeats([RepeatedMessages(bad, {}, NOW)], now=NOW)
    assert change.alert.occurrences == 6
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*) FROM alert_occurrence WHERE unreadable IS NOT NULL"))
        assert kept.scalar_one() == 6
