"""Tests of repeats of an alert on a real PostgreSQL, at times that the test sets.

They cover who is called again, and what is kept.
"""

import os
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.alerts.lifecycle import AlertAction
from services.contracts.errors import Refused
from services.contracts.events import Alert, AlertStatus, AlertType, Severity
from services.platform.config import Config
from services.platform.database import Database
from tests.support.alerts_domain import AlertsDomain, after
from tests.support.commands import run_vigil

DOOR: dict[str, Any] = {
    "alert_type": AlertType.INTRUSION,
    "severity": Severity.MEDIUM,
    "source_id": "door-1",
    "dedup_key": "INTRUSION:door-1",
    "topic": "alert/intrusion/door-1",
}
SMOKE: dict[str, Any] = {
    "alert_type": AlertType.FIRE,
    "source_id": "smoke-1",
    "dedup_key": "FIRE:smoke-1",
    "topic": None,
    "by": "rule",
}


def called(desk: AlertsDomain, alert: Alert, *, at: float) -> int:
    """Return the number of notification requests that an alert has led to by then."""
    desk.follow(at)
    return len([request for request in desk.wire.requests if request.alert.id == alert.id])


def rounds(desk: AlertsDomain) -> list[tuple[int, int]]:
    return desk.wire.steps()


def test_each_repeat_keeps_its_text_and_place_and_the_newest_text_is_shown(desk: AlertsDomain) -> None:
    alert = desk.raise_alert(message="panic button").alert
    desk.raise_alert(at=after(5), message="two men with knives at gate 4", lat=12.97123, lon=77.59012)
    found = desk.raise_alert(at=after(6), message="PANIC from guard-1", spoken=False).alert
    assert (found.message, found.occurrences) == ("two men with knives at gate 4", 3)
    assert (round(found.lat or 0, 5), round(found.lon or 0, 5)) == (12.97123, 77.59012)
    assert [(line.action, line.note) for line in desk.get(alert.id).timeline] == [
        ("raised", "panic button"),
        ("repeated", "two men with knives at gate 4 (12.97123, 77.59012)"),
        ("repeated", ""),
    ]


def test_what_a_device_kept_for_a_while_does_not_replace_newer_words_and_a_newer_place(
    desk: AlertsDomain,
) -> None:
    alert = desk.raise_alert(at=after(60), message="at the gate", lat=1.0, lon=2.0).alert
    late = {"recorded_at": after(0), "received_at": after(70), "buffered": True, "lat": 8.0, "lon": 9.0}
    found = desk.raise_alert(at=after(70), message="on the stairs", **late).alert
    assert (found.message, found.lat, found.lon) == ("at the gate", 1.0, 2.0)
    assert desk.get(alert.id).timeline[-1].note == "on the stairs (8.00000, 9.00000)"


@pytest.mark.parametrize("taken", [AlertAction.ACKNOWLEDGE, AlertAction.START])
def test_a_graver_repeat_returns_the_alert_to_new_and_calls_its_holder_and_the_others(
    desk: AlertsDomain, engine: Engine, taken: AlertAction
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO contact (tenant_id, name, phone) VALUES (1, 'Bob', '+919876543211')")
        )
    policy = {"CRITICAL": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contact:Asha"]}]}}
    desk.plans.set_policy(tenant_id=1, site_id=None, policy=policy, by="ann")
    alert = desk.raise_alert(**DOOR, message="motion at fence").alert
    assert called(desk, alert, at=0) == 1
    desk.act(alert.id, taken, at=5, by="bob")
    worse = {**DOOR, "severity": Severity.CRITICAL, "message": "three men inside, armed"}
    found = desk.raise_alert(at=after(10), **worse).alert
    assert (found.status, found.acknowledged_by, found.previous_holder) == (AlertStatus.NEW, None, "bob")
    assert (found.message, found.severity) == ("three men inside, armed", Severity.CRITICAL)
    assert [line.action for line in found.timeline] == ["repeated", "re_raised"]
    assert found.timeline[-1].note == "severity increased; acknowledged before by bob"
    assert called(desk, alert, at=10) == 2
    assert [target.name for target in desk.wire.requests[-1].targets] == ["Asha", "Bob"]
    assert len(set(rounds(desk))) == 2, (
        "a round of a number of before would be taken for one notified already"
    )


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        (AlertType.PANIC, "alert/panic/guard-1"),
        (AlertType.SOS, "alert/sos/guard-1"),
        (AlertType.MAN_DOWN, "alert/man_down/guard-1"),
        (AlertType.FIRE, "alert/fire/guard-1"),
        (AlertType.CHECK_IN_MISSED, "alert/check_in_missed/guard-1"),
    ],
)
def test_a_second_press_calls_again_after_thirty_seconds_and_not_before(
    desk: AlertsDomain, config: Config, kind: AlertType, topic: str
) -> None:
    again_s = config.alerts.press_again_s
    press = {"alert_type": kind, "dedup_key": f"{kind}:guard-1", "topic": topic}
    alert = desk.raise_alert(**press).alert
    desk.follow(0)
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=1)
    desk.act(alert.id, AlertAction.START, at=2)
    soon = desk.raise_alert(at=after(again_s), **press).alert
    assert (soon.status, soon.occurrences) == (AlertStatus.IN_PROGRESS, 2)
    assert called(desk, alert, at=again_s) == 1
    later = desk.raise_alert(at=after(again_s + 1), **press, lat=1.0, lon=2.0).alert
    assert (later.status, later.previous_holder, later.lat) == (AlertStatus.NEW, "ann", 1.0)
    assert called(desk, alert, at=again_s + 1) == 2
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=again_s + 2, by="bob")
    third = desk.raise_alert(at=after(2 * again_s), **press).alert
    assert third.status is AlertStatus.ACKNOWLEDGED, "the time counts from the last press that called people"
    assert called(desk, alert, at=2 * again_s) == 2


def test_a_second_press_of_an_alert_that_nobody_has_begins_a_new_round(desk: AlertsDomain) -> None:
    alert = desk.raise_alert().alert
    desk.follow(0)
    again = desk.raise_alert(at=after(40)).alert
    assert [line.action for line in again.timeline] == ["repeated"], "it was NEW all the time"
    assert called(desk, alert, at=40) == 2
    assert rounds(desk) == [(1, 0), (2, 0)]


@pytest.mark.parametrize("severity", [Severity.HIGH, Severity.MEDIUM, Severity.LOW])
def test_a_repeat_of_what_is_no_life_safety_alert_calls_nobody_again(
    desk: AlertsDomain, severity: Severity
) -> None:
    alert = desk.raise_alert(**{**DOOR, "severity": Severity.HIGH}).alert
    desk.follow(0)
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=1)
    found = desk.raise_alert(at=after(600), **{**DOOR, "severity": severity}, message="again").alert
    assert (found.status, found.occurrences, found.message) == (AlertStatus.ACKNOWLEDGED, 2, "again")
    assert called(desk, alert, at=600) == 1


@pytest.mark.parametrize("taken", [AlertAction.ACKNOWLEDGE, AlertAction.START])
def test_a_second_fire_after_the_first_was_over_calls_again(desk: AlertsDomain, taken: AlertAction) -> None:
    alert = desk.raise_alert(**SMOKE).alert
    desk.follow(0)
    desk.act(alert.id, taken, at=1)
    desk.raise_alert(at=after(2), **SMOKE)
    assert called(desk, alert, at=2) == 1, "a rule that goes on finding the same is no press"
    desk.store.clear(tenant_id=1, dedup_key="FIRE:smoke-1", at=after(3), note="NORMAL", now=after(3))
    found = desk.raise_alert(at=after(5), **SMOKE).alert
    assert (found.status, found.cleared_at, found.previous_holder) == (AlertStatus.NEW, None, "ann")
    assert found.timeline[-1].note == "condition began again; acknowledged before by ann"
    assert called(desk, alert, at=5) == 2


def test_a_beginning_of_before_the_end_that_comes_late_calls_nobody_again(desk: AlertsDomain) -> None:
    alert = desk.raise_alert(at=after(0), **SMOKE).alert
    desk.follow(0)
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=1)
    desk.store.clear(tenant_id=1, dedup_key="FIRE:smoke-1", at=after(30), note="NORMAL", now=after(30))
    found = desk.raise_alert(at=after(40), **SMOKE, recorded_at=after(20), received_at=after(40)).alert
    assert (found.status, found.cleared_at) == (AlertStatus.ACKNOWLEDGED, after(30))
    assert desk.actions(alert.id).count("cleared") == 1
    assert called(desk, alert, at=40) == 1


def test_a_beginning_that_is_heard_of_after_its_end_is_raised_called_and_marked_over(
    desk: AlertsDomain,
) -> None:
    desk.store.clear(tenant_id=1, dedup_key="FIRE:smoke-1", at=after(50), note="NORMAL", now=after(50))
    alert = desk.raise_alert(at=after(60), **SMOKE, recorded_at=after(0), received_at=after(60)).alert
    assert (alert.status, alert.cleared_at) == (AlertStatus.NEW, after(50))
    assert [line.action for line in alert.timeline] == ["raised", "cleared"]
    assert called(desk, alert, at=60) == 1


def test_of_a_new_alert_that_is_over_and_begins_again_people_are_called_once_the_ladder_has_ended(
    desk: AlertsDomain,
) -> None:
    policy = {"HIGH": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contact:Asha"]}]}}
    desk.plans.set_policy(tenant_id=1, site_id=None, policy=policy, by="ann")
    door = {**DOOR, "severity": Severity.HIGH, "topic": None}
    alert = desk.raise_alert(**door).alert
    for seconds in (0, 10):
        desk.follow(seconds)
        desk.store.clear(
            tenant_id=1, dedup_key=DOOR["dedup_key"], at=after(seconds + 1), note="", now=after(seconds + 1)
        )
        desk.raise_alert(at=after(seconds + 2), **door)
    assert called(desk, alert, at=12) == 3
    assert rounds(desk) == [(1, 0), (2, 0), (3, 0)]


def test_on_the_shelf_a_graver_repeat_calls_at_once_and_one_after_the_end_when_the_shelving_ends(
    desk: AlertsDomain,
) -> None:
    alert = desk.raise_alert(**DOOR).alert
    desk.follow(0)
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=1)
    desk.act(alert.id, AlertAction.SHELVE, at=2, note="being repaired", until=after(600))
    high = {**DOOR, "severity": Severity.HIGH}
    found = desk.raise_alert(at=after(3), **high).alert
    assert (found.status, found.shelved_until) == (AlertStatus.NEW, None)
    assert called(desk, alert, at=3) == 2

    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=4)
    desk.act(alert.id, AlertAction.SHELVE, at=5, note="being repaired", until=after(600))
    desk.store.clear(tenant_id=1, dedup_key=DOOR["dedup_key"], at=after(6), note="closed", now=after(6))
    muted = desk.raise_alert(at=after(7), **high).alert
    assert (muted.status, muted.shelved_until) == (AlertStatus.NEW, after(600))
    assert called(desk, alert, at=599) == 2
    assert called(desk, alert, at=600) == 2
    assert called(desk, alert, at=600) == 3


def test_a_life_safety_alert_that_was_shelved_before_an_upgrade_comes_off_the_shelf(
    desk: AlertsDomain,
) -> None:
    alert = desk.raise_alert(**SMOKE).alert
    desk.follow(0)
    desk.act(alert.id, AlertAction.SHELVE, at=1, note="being repaired", until=after(3600))
    found = desk.raise_alert(at=after(2), **SMOKE).alert
    assert (found.shelved_until, found.status) == (None, AlertStatus.NEW)
    assert called(desk, alert, at=2) == 2


def test_a_storm_holds_back_neither_a_fire_nor_what_cannot_be_read_nor_a_graver_repeat(
    desk: AlertsDomain, config: Config
) -> None:
    for number in range(config.alerts.storm.alerts + 2):
        desk.raise_alert(at=after(number / 10), site_id=1, **{**DOOR, "dedup_key": f"k{number}"})
    quiet = desk.raise_alert(at=after(5), site_id=1, **{**DOOR, "dedup_key": "quiet"}).alert
    fire = desk.raise_alert(at=after(6), site_id=1, **SMOKE).alert
    unreadable = desk.raise_alert(
        at=after(7),
        site_id=1,
        alert_type=AlertType.UNREADABLE_ALERT,
        dedup_key="UNREADABLE_ALERT:guard-1:panic",
        word="panic",
    ).alert
    assert called(desk, quiet, at=8) == 0
    assert called(desk, fire, at=8) == called(desk, unreadable, at=8) == 1
    assert desk.get(fire.id).group_id is desk.get(unreadable.id).group_id is None
    desk.raise_alert(at=after(9), site_id=1, **{**DOOR, "dedup_key": "quiet", "severity": Severity.CRITICAL})
    assert called(desk, quiet, at=9) == 1


def test_an_unreadable_panic_that_is_sent_again_calls_again_and_other_words_are_other_alerts(
    desk: AlertsDomain,
) -> None:
    base = {"alert_type": AlertType.UNREADABLE_ALERT, "topic": "alert/x/guard-1"}
    panic = {**base, "dedup_key": "UNREADABLE_ALERT:guard-1:panic", "word": "panic"}
    battery = {**base, "dedup_key": "UNREADABLE_ALERT:guard-1:low_battery", "word": "low_battery"}
    first = desk.raise_alert(**battery, severity=Severity.HIGH).alert
    desk.act(first.id, AlertAction.ACKNOWLEDGE, at=1)
    second = desk.raise_alert(at=after(2), **panic).alert
    assert second.id != first.id
    desk.follow(2)
    desk.act(second.id, AlertAction.ACKNOWLEDGE, at=3)
    assert desk.raise_alert(at=after(60), **panic).alert.status is AlertStatus.NEW
    assert (
        desk.raise_alert(at=after(60), **battery, severity=Severity.HIGH).alert.status
        is AlertStatus.ACKNOWLEDGED
    )


@pytest.mark.parametrize("msg_id", ["1", None])
@pytest.mark.parametrize(
    ("clock_suspect", "recorded"),
    [(True, 0.0), (False, -3600.0), (False, -61.0)],
    ids=["none", "last fix", "61 s"],
)
def test_the_same_bytes_without_a_live_time_after_the_end_are_a_second_alert(
    desk: AlertsDomain, msg_id: str | None, clock_suspect: bool, recorded: float
) -> None:
    key = os.urandom(16)
    sent = {"key": key, "msg_id": msg_id, "clock_suspect": clock_suspect, "recorded_at": after(recorded)}
    first = desk.raise_alert(**sent).alert
    desk.act(first.id, AlertAction.RESOLVE, at=1)
    second = desk.raise_alert(at=after(2), **sent).alert
    assert second.id != first.id
    assert (second.status, second.flags) == (AlertStatus.NEW, ("seen_before",))
    again = desk.raise_alert(at=after(2), **sent)
    assert (again.alert.id, again.entry_ids) == (second.id, ()), "our own redelivery of the second"
    own = desk.raise_alert(at=after(0), **sent)
    assert (own.alert.id, own.entry_ids) == (first.id, ()), "our own redelivery of the first"


@pytest.mark.parametrize(("msg_id", "within_s"), [("1", 600), (None, 5)])
def test_while_the_alert_is_open_the_same_bytes_count_again_after_a_while(
    desk: AlertsDomain, msg_id: str | None, within_s: float
) -> None:
    sent = {"key": os.urandom(16), "msg_id": msg_id, "clock_suspect": True}
    desk.raise_alert(**sent)
    assert desk.raise_alert(at=after(within_s), **sent).alert.occurrences == 1
    found = desk.raise_alert(at=after(within_s + 1), **sent).alert
    assert (found.occurrences, found.flags) == (2, ("seen_before",))


@pytest.mark.parametrize("late_s", [0.5, 20, 59])
def test_a_redelivery_with_a_live_time_has_one_effect_even_after_the_end(
    desk: AlertsDomain, late_s: float
) -> None:
    sent = {"key": os.urandom(16), "recorded_at": after(0)}
    first = desk.raise_alert(**sent).alert
    desk.act(first.id, AlertAction.RESOLVE, at=0)
    again = desk.raise_alert(at=after(late_s), **sent)
    assert (again.alert.id, again.entry_ids) == (first.id, ())


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (AlertType.UNREADABLE_ALERT, True),
        (AlertType.FIRE, True),
        (AlertType.DURESS, True),
        (AlertType.INTRUSION, False),
        (AlertType.LOW_BATTERY, False),
    ],
)
def test_only_where_a_life_may_be_at_stake_doubt_ends_in_a_second_alert(
    desk: AlertsDomain, kind: AlertType, counts: bool
) -> None:
    sent = {"key": os.urandom(16), "clock_suspect": True, "alert_type": kind, "dedup_key": f"{kind}:guard-1"}
    first = desk.raise_alert(**sent).alert
    desk.act(first.id, AlertAction.RESOLVE, at=1)
    second = desk.raise_alert(at=after(2), **sent)
    assert (second.alert.id != first.id, bool(second.entry_ids)) == (counts, counts)


def test_an_alert_that_was_erased_does_not_hide_the_next_press(desk: AlertsDomain, engine: Engine) -> None:
    sent = {"key": os.urandom(16), "clock_suspect": True}
    desk.raise_alert(**sent)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM mqtt_device_alert"))
    assert desk.raise_alert(at=after(1), **sent).is_new


@pytest.fixture
def crew(desk: AlertsDomain, engine: Engine) -> AlertsDomain:
    """Write guards, a button that one of them carries, a user, and their contacts."""
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-1', 1, 'Ravi'), ('guard-2', 1, 'Meena')",
            "INSERT INTO device (device_id, tenant_id, name, family) VALUES ('button-1', 1, 'Button', 'alert')",
            "INSERT INTO app_user (tenant_id, login, name, role, password_hash)"
            " VALUES (1, 'bob@x.org', 'Bob', 'operator', ''), (1, 'gone@x.org', 'Gone', 'operator', '')",
            "UPDATE app_user SET enabled = false WHERE login = 'gone@x.org'",
            "INSERT INTO contact (tenant_id, name, phone) VALUES (1, 'ravi', '+919876543212'),"
            " (1, 'Bob', '+919876543213'), (1, 'Shared', '+919876543212')",
            "INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')",
            "INSERT INTO contact (tenant_id, name, phone) VALUES (2, 'Stranger', '+919876543219')",
        ):
            connection.execute(text(statement))
    return desk


@pytest.mark.parametrize(
    "source",
    [
        {"source_id": "guard-1"},
        {"source_id": "button-1", "carried_by": "guard-1"},
        {"source_id": "RAVI"},
    ],
    ids=str,
)
def test_a_silent_alert_is_sent_to_nobody_who_is_its_source_nor_to_their_phone(
    crew: AlertsDomain, source: dict[str, str]
) -> None:
    crew.raise_alert(**source, silent=True)
    crew.follow(0)
    [request] = crew.wire.requests
    assert {target.name for target in request.targets} == {"Asha", "Bob"}
    assert "+919876543212" not in {a for target in request.targets for a in target.addresses.values()}


def test_a_silent_alert_whose_only_contact_is_its_source_goes_to_others_all_the_same(
    crew: AlertsDomain,
) -> None:
    policy = {"PANIC": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contact:ravi"]}]}}
    crew.plans.set_policy(tenant_id=1, site_id=None, policy=policy, by="ann")
    crew.raise_alert(silent=True)
    crew.follow(0)
    assert {target.name for target in crew.wire.requests[0].targets} == {"Asha", "Bob"}


def test_with_nobody_but_its_source_a_silent_alert_is_sent_to_nobody_and_the_record_says_so(
    crew: AlertsDomain, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM contact WHERE name <> 'ravi'"))
    alert = crew.raise_alert(silent=True).alert
    crew.follow(0)
    assert crew.wire.requests == []
    assert "no contact to notify" in crew.get(alert.id).timeline[-1].note


def test_a_loud_alert_is_sent_to_its_source_too_and_from_the_repeat_on_that_makes_it_silent_no_more(
    crew: AlertsDomain,
) -> None:
    crew.raise_alert()
    crew.follow(0)
    crew.raise_alert(at=after(1), silent=True)
    crew.follow(200)
    assert ["ravi" in {t.name for t in r.targets} for r in crew.wire.requests] == [True, False]


def test_an_alert_is_assigned_to_somebody_who_is_registered_in_the_registered_form(
    crew: AlertsDomain,
) -> None:
    alert = crew.raise_alert().alert
    for said, registered in (
        ("bob@x.org", "bob@x.org"),
        ("BOB@X.ORG", "bob@x.org"),
        ("guard-2", "guard-2"),
        ("2", "guard-2"),
        ("Meena", "guard-2"),
        ("asha", "Asha"),
        (" Asha ", "Asha"),
        ("ann", "ann"),
    ):
        assert crew.assign(alert.id, said).alert.assigned_to == registered


def test_an_alert_is_not_assigned_to_a_name_that_nobody_has(crew: AlertsDomain) -> None:
    alert = crew.raise_alert().alert
    for said, hint in (
        ("gaurd-2", "guard-2"),
        ("Meenna", "guard-2"),
        ("bob@x.com", "bob@x.org"),
        ("Stranger", "no user, guard or contact"),
        ("gone@x.org", "no user, guard or contact"),
        ("guard-77", "guard-"),
    ):
        with pytest.raises(Refused, match=hint):
            crew.assign(alert.id, said)
    assert crew.get(alert.id).assigned_to is None


def test_who_is_assigned_is_notified_by_all_that_they_have_and_each_time_anew(crew: AlertsDomain) -> None:
    alert = crew.raise_alert(message="help").alert
    for at in (1, 2):
        note = crew.assign(alert.id, "bob@x.org", at=at).alert.timeline[-1].note
        assert note == "notified by SMS"
    assert crew.assign(alert.id, "guard-2", at=3).alert.timeline[-1].note == (
        "no notification was sent: there is no contact of guard-2"
    )
    assert rounds(crew) == [(1, -1), (1, -2)]
    request = crew.wire.requests[0]
    assert ([t.name for t in request.targets], request.until) == (["Bob"], "closed")
    assert request.alert.message == "Assigned to you by ann. help"


def test_of_a_silent_alert_its_source_is_not_notified_of_an_assignment_either(crew: AlertsDomain) -> None:
    alert = crew.raise_alert(silent=True).alert
    assert "no notification was sent" in crew.assign(alert.id, "guard-1").alert.timeline[-1].note
    assert crew.wire.requests == []


@pytest.mark.parametrize("holder", ["bob@x.org", "Bob", "guard-1"])
def test_who_had_the_alert_is_called_by_login_by_name_or_as_a_guard(crew: AlertsDomain, holder: str) -> None:
    policy = {"PANIC": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["contact:Asha"]}]}}
    crew.plans.set_policy(tenant_id=1, site_id=None, policy=policy, by="ann")
    alert = crew.raise_alert().alert
    crew.act(alert.id, AlertAction.ACKNOWLEDGE, at=1, by=holder)
    crew.raise_alert(at=after(60))
    crew.follow(60)
    names = {target.name for target in crew.wire.requests[-1].targets}
    assert names == {"Asha", "ravi" if holder == "guard-1" else "Bob"}


def test_a_digest_never_holds_back_what_may_be_about_a_life(crew: AlertsDomain) -> None:
    digest = {"steps": [{"after_s": 0, "channels": ["digest"], "who": ["contacts"]}]}
    policy = dict.fromkeys(("PANIC", "UNREADABLE_ALERT", "LOW", "HIGH", "MEDIUM"), digest)
    crew.plans.set_policy(tenant_id=1, site_id=None, policy=policy, by="ann")
    crew.raise_alert()
    crew.raise_alert(
        alert_type=AlertType.UNREADABLE_ALERT, severity=Severity.HIGH, dedup_key="UNREADABLE_ALERT:guard-1:x"
    )
    crew.raise_alert(**{**DOOR, "severity": Severity.LOW})
    crew.follow(0)
    channels = {request.alert.alert_type: request.channels for request in crew.wire.requests}
    assert "digest" not in channels[AlertType.PANIC] + channels[AlertType.UNREADABLE_ALERT]
    assert "sms" in channels[AlertType.UNREADABLE_ALERT]
    assert channels[AlertType.INTRUSION] == ["digest"]


def test_an_alert_of_before_the_upgrade_is_followed_on_and_its_next_round_is_a_new_one(
    environment: dict[str, str], config: Config, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO contact (tenant_id, name, phone) VALUES (1, 'Asha', '+919876543210')")
        )
    engine.dispose()
    run_vigil(environment, "migrate", "down", "--to", "0008")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id,"
                " dedup_key, message, recorded_at, received_at, last_seen_at, acknowledged_by, acknowledged_at)"
                " VALUES (gen_random_uuid(), 1, 'PANIC', 'CRITICAL', 'IN_PROGRESS', 'guard-1', 'PANIC:guard-1',"
                " 'help', :at, :at, :at, 'ann', :at)"
            ),
            {"at": after(-3600)},
        )
        connection.execute(
            text(
                "INSERT INTO notification (tenant_id, alert_id, channel, recipient, state, body, created_at, round)"
                " SELECT 1, alert_id, 'sms', '+919876543210', 'delivered', 'help', :at, 3 FROM mqtt_device_alert"
            ),
            {"at": after(-3600)},
        )
    engine.dispose()
    run_vigil(environment, "migrate", "up")
    database = Database(config, name="upgraded", pool_size=4)
    desk = AlertsDomain(database, config)
    found = desk.raise_alert().alert
    assert (found.status, found.occurrences, found.previous_holder) == (AlertStatus.NEW, 2, "ann")
    desk.follow(0)
    assert rounds(desk) == [(4, 0)], "a fourth round: three of them were notified before the upgrade"
    database.close()
