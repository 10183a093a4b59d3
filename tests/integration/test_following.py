"""Tests of following alerts on a real PostgreSQL.

Every step happens once, even if a worker dies or another one works beside it. Storms, shelves and
numbers are covered too.
"""

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, text

from services.alerts.lifecycle import AlertAction
from services.contracts.errors import Conflict, NotFound, Refused, Unavailable
from services.contracts.events import AlertStatus, AlertType, Severity
from services.platform.config import Config
from services.platform.database import Database
from tests.support.alerts_domain import T0, AlertsDomain, after
from tests.support.commands import run_vigil


def test_an_alert_is_told_step_by_step_until_somebody_takes_it(desk: AlertsDomain) -> None:
    alert = desk.raise_alert().alert
    for seconds in (0, 0, 1, 119, 120, 121, 239, 240, 360):
        desk.follow(seconds)
    assert desk.wire.steps() == [(1, 0), (1, 1), (1, 2), (1, 3)]
    [target] = desk.wire.requests[0].targets
    assert (target.name, target.addresses) == ("Asha", {"sms": "+919876543210", "email": "a@x.org"})
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=361)
    desk.follow(900)
    assert len(desk.wire.requests) == 4
    assert desk.actions(alert.id) == ["raised", *["escalated"] * 4, "acknowledged"]


def test_an_acknowledgement_without_progress_expires_and_a_new_round_begins(desk: AlertsDomain) -> None:
    alert = desk.raise_alert().alert
    desk.follow(0)
    desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=10)
    desk.act(alert.id, AlertAction.NOTE, at=500, note="on the phone with him")
    desk.follow(1399)
    assert desk.store.get(tenant_id=1, alert_id=alert.id).status is AlertStatus.ACKNOWLEDGED
    desk.follow(1400)
    again = desk.store.get(tenant_id=1, alert_id=alert.id)
    assert (again.status, again.acknowledged_by) == (AlertStatus.NEW, None)
    assert again.accepted_at == after(10), "the response clock keeps when a human first took it"
    desk.follow(1400)
    assert desk.wire.steps() == [(1, 0), (2, 0)]
    assert desk.act(alert.id, AlertAction.ACKNOWLEDGE, at=1500, by="bob").alert.acknowledged_by == "bob"
    desk.act(alert.id, AlertAction.START, at=1501, by="bob")
    desk.follow(90_000)
    assert len(desk.wire.requests) == 2, "who is on the way is not raised again"


def test_a_step_that_died_before_its_commit_is_told_again_as_the_same_step(desk: AlertsDomain) -> None:
    alert = desk.raise_alert().alert
    desk.wire.dies_after = True
    with pytest.raises(SystemExit):
        desk.follow(0)
    assert desk.actions(alert.id) == ["raised"]
    desk.wire.dies_after = False
    desk.follow(1)
    assert desk.wire.steps() == [(1, 0), (1, 0)], "(alert, round, step) says that it is the same"
    assert desk.actions(alert.id) == ["raised", "escalated"]


def test_while_rabbitmq_is_away_nothing_is_skipped(desk: AlertsDomain) -> None:
    desk.raise_alert()
    desk.wire.away = True
    for seconds in (0, 60):
        with pytest.raises(Unavailable):
            desk.follow(seconds)
    desk.wire.away = False
    for seconds in (130, 130, 131):
        desk.follow(seconds)
    assert desk.wire.steps() == [(1, 0), (1, 1)]


def test_two_workers_follow_each_step_once(desk: AlertsDomain, database: Database, config: Config) -> None:
    ids = [desk.raise_alert(dedup_key=f"k{number}").alert.id for number in range(20)]
    other = AlertsDomain(database, config)
    other.wire = desk.wire
    start = threading.Barrier(2)

    def work(worker: AlertsDomain) -> None:
        start.wait()
        for _ in range(3):
            worker.follow(0)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in (desk, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(request.alert.id for request in desk.wire.requests) == sorted(ids)


def test_with_nobody_to_tell_the_record_says_so(desk: AlertsDomain, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM contact"))
    alert = desk.raise_alert().alert
    desk.follow(0)
    [_, line] = desk.store.get(tenant_id=1, alert_id=alert.id).timeline
    assert "no contact to notify" in line.note
    assert desk.wire.requests == []


def test_a_plan_that_cannot_be_read_keeps_nobody_from_being_told(desk: AlertsDomain, engine: Engine) -> None:
    """The cause of the unreadable plan does not matter.

    People are notified by another plan, and the list shows the fault.
    """
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO rota (tenant_id, name, rota) VALUES (1, 'night', '{}')"))
        policy = '{"CRITICAL": {"steps": []}}'
        connection.execute(
            text("INSERT INTO escalation_policy (tenant_id, policy, changed_by) VALUES (1, :policy, 'x')"),
            {"policy": policy},
        )
    desk.raise_alert()
    desk.follow(0)
    [request] = desk.wire.requests
    assert [target.name for target in request.targets]
    [row] = desk.plans.list_rotas(tenant_id=1, at=T0)
    assert "members" in row["problem"]


def test_an_alert_that_grows_graver_is_told_anew_and_a_calmer_repeat_is_not(desk: AlertsDomain) -> None:
    desk.raise_alert(severity=Severity.MEDIUM)
    desk.follow(0)
    desk.raise_alert(at=after(5), severity=Severity.LOW)
    desk.follow(5)
    assert desk.wire.steps() == [(1, 0)]
    desk.raise_alert(at=after(6), severity=Severity.CRITICAL)
    desk.follow(6)
    assert desk.wire.steps() == [(1, 0), (2, 0)]
    assert desk.wire.requests[-1].alert.severity is Severity.CRITICAL


def test_what_is_cleared_by_itself_is_told_no_further(desk: AlertsDomain) -> None:
    desk.raise_alert(severity=Severity.MEDIUM, dedup_key="k", alert_type=AlertType.LOW_BATTERY)
    desk.follow(0)
    desk.store.clear(tenant_id=1, dedup_key="k", at=after(1), note="charged", now=after(1))
    desk.follow(100_000)
    assert desk.wire.steps() == [(1, 0)]


def test_on_the_shelf_nobody_is_told_and_at_its_end_everybody_again(desk: AlertsDomain) -> None:
    alert = desk.raise_alert(alert_type=AlertType.FIRE, dedup_key="f").alert
    desk.follow(0)
    shelved = desk.act(alert.id, AlertAction.SHELVE, at=1, note="being repaired", until=after(3600))
    assert shelved.alert.shelved_until == after(3600)
    desk.follow(3599)
    assert desk.wire.steps() == [(1, 0)]
    desk.follow(3600)
    desk.follow(3600)
    assert desk.wire.steps() == [(1, 0), (2, 0)]
    assert desk.actions(alert.id) == ["raised", "escalated", "shelved", "unshelved", "escalated"]
    assert desk.store.get(tenant_id=1, alert_id=alert.id).shelved_until is None


def test_a_storm_is_one_group_whose_members_are_kept_and_told_of_later(
    desk: AlertsDomain, config: Config
) -> None:
    limit = config.alerts.storm.alerts
    raised = [
        desk.raise_alert(
            at=after(number),
            site_id=1,
            dedup_key=f"k{number}",
            severity=Severity.MEDIUM,
            alert_type=AlertType.OFFLINE,
        ).alert
        for number in range(limit + 5)
    ]
    graver = desk.raise_alert(
        at=after(20), site_id=1, dedup_key="fire", severity=Severity.HIGH, alert_type=AlertType.INTRUSION
    ).alert
    panic = desk.raise_alert(at=after(21), site_id=1, dedup_key="panic").alert
    desk.follow(22)
    told = [request.alert.id for request in desk.wire.requests]
    assert told.count(graver.id) == 1, "graver than what was told of the storm"
    assert told.count(panic.id) == 1
    assert len(told) == limit + 2
    stored = {alert.id: alert for alert in desk.store.list_alerts(tenant_id=1, status="open", limit=100)}
    assert len(stored) == limit + 7, "each member is stored"
    groups = {stored[alert.id].group_id for alert in [*raised, graver]}
    assert len(groups) == 1
    assert None not in groups
    assert stored[panic.id].group_id is None, "a life-safety alert is never grouped away"
    assert "grouped" in desk.actions(raised[-1].id)
    [group_id] = groups
    assert group_id is not None
    desk.act(raised[-1].id, AlertAction.ACKNOWLEDGE, at=25)
    assert raised[-1].id not in desk.store.new_members(tenant_id=1, group_id=group_id)
    desk.wire.requests.clear()
    desk.follow(limit + 5 + config.alerts.storm.quiet_s)
    assert {alert.id for alert in raised[limit : limit + 4]} <= {r.alert.id for r in desk.wire.requests}
    with pytest.raises(NotFound):
        desk.store.new_members(tenant_id=2, group_id=group_id)


def test_alerts_of_one_site_at_once_end_in_one_group(desk: AlertsDomain, config: Config) -> None:
    def burst(first: int) -> None:
        for number in range(first, first + 15):
            desk.raise_alert(
                site_id=1, dedup_key=f"k{number}", alert_type=AlertType.OFFLINE, severity=Severity.MEDIUM
            )

    threads = [threading.Thread(target=burst, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    groups = {alert.group_id for alert in desk.store.list_alerts(tenant_id=1, status="open", limit=100)}
    assert len(groups - {None}) == 1
    assert config.alerts.storm.alerts < 30


def test_a_policy_of_a_site_goes_before_its_tenants_and_the_preview_shows_it(desk: AlertsDomain) -> None:
    tenant = {"PANIC": {"steps": [{"after_s": 0, "channels": ["email"], "who": ["contacts"]}]}}
    site = {
        "PANIC": {"steps": [{"after_s": 5, "channels": ["sms"], "who": ["contact:Asha"]}], "repeat_s": 30}
    }
    desk.plans.set_policy(tenant_id=1, site_id=None, policy=tenant, by="ann")
    desk.plans.set_policy(tenant_id=1, site_id=1, policy=site, by="ann")

    def preview(**changes: Any) -> list[dict[str, Any]]:
        asked = {"alert_type": "PANIC", "severity": None, "site_id": None, "at": T0, **changes}
        return desk.plans.preview(tenant_id=1, **asked)

    [row] = preview(site_id=1)
    assert (row["channels"], row["at"], row["repeat_s"], row["told"][0]["name"]) == (
        ["sms"],
        after(5),
        30,
        "Asha",
    )
    assert preview()[0]["channels"] == ["email"]
    assert len(preview(alert_type="FIRE")) == 2, "what neither speaks of is in config.yaml"
    desk.plans.set_policy(tenant_id=1, site_id=1, policy={}, by="ann")
    assert preview(site_id=1)[0]["channels"] == ["email"]
    for wrong in (
        {"PANIC": {"steps": [{"after_s": 0, "channels": ["sms"], "who": ["rota:night"]}]}},
        {"X": {}},
    ):
        with pytest.raises(Refused):
            desk.plans.set_policy(tenant_id=1, site_id=None, policy=wrong, by="ann")
    with pytest.raises(NotFound):
        desk.plans.set_policy(tenant_id=1, site_id=99, policy=tenant, by="ann")


def test_policies_and_rotas_by_command(environment: dict[str, str], engine: Engine, tmp_path: Path) -> None:
    engine.dispose()
    for name in ("Asha", "Ravi"):
        run_vigil(environment, "contact", "add", name, "--email", f"{name}@example.com", "--language", "hi")
    rota = {
        "members": ["Asha", "Ravi"],
        "time_zone": "Asia/Kolkata",
        "first_day": "2026-01-01",
        "turn_days": 1,
    }
    (tmp_path / "rota.yaml").write_text(yaml.safe_dump(rota))
    run_vigil(environment, "rota", "set", "night", str(tmp_path / "rota.yaml"))
    policy = {
        "PANIC": {"steps": [{"after_s": 0, "channels": ["email"], "who": ["rota:night"]}], "repeat_s": 60}
    }
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
    run_vigil(environment, "policy", "set", str(tmp_path / "policy.yaml"))
    at = ["policy", "preview", "--type", "panic", "--at"]
    assert "Asha" in run_vigil(environment, *at, "2026-01-01T12:00:00+05:30")
    assert "Ravi" in run_vigil(environment, *at, "2026-01-02T12:00:00+05:30")
    assert "rota:night" in run_vigil(environment, "policy", "show")
    assert '"on_call"' in run_vigil(environment, "rota", "list", "--json")
    rota["members"] = ["Nobody"]
    (tmp_path / "rota.yaml").write_text(yaml.safe_dump(rota))
    said = run_vigil(environment, "rota", "set", "night", str(tmp_path / "rota.yaml"), check=False)
    assert "no contact 'Nobody'" in said
    run_vigil(environment, "rota", "remove", "night")
    assert "no operator was logged in" in run_vigil(environment, "report")


def test_the_numbers_count_what_happened_and_drills_apart(desk: AlertsDomain) -> None:
    quick = desk.raise_alert(dedup_key="a").alert
    slow = desk.raise_alert(dedup_key="b").alert
    desk.raise_alert(dedup_key="c")
    desk.raise_alert(dedup_key="d:drill", drill=True)
    desk.act(quick.id, AlertAction.ACKNOWLEDGE, at=8)
    desk.act(slow.id, AlertAction.ACKNOWLEDGE, at=30)
    desk.act(slow.id, AlertAction.FALSE_ALARM, at=60, reason="test")
    for minute in range(30):
        desk.numbers.note_presence(tenant_id=1, names=["ann", "bob"], now=after(60 * minute))
    desk.numbers.note_presence(tenant_id=1, names=["ann"], now=after(5))
    report = desk.numbers.report(tenant_id=1, since=after(-60), until=after(3600))
    [row] = report.alerts
    assert (row["raised"], row["accepted"], row["accepted_within_10_s"], row["accepted_within_40_s"]) == (
        3,
        2,
        1,
        2,
    )
    assert (row["false_alarms"], row["accepted_p50_s"], row["resolved_p50_s"]) == (1, 19.0, 60.0)
    assert [drill["raised"] for drill in report.drills["alerts"]] == [1]
    assert (report.operators, report.operator_hours, report.alarms_per_operator_hour) == (2, 1.0, 3.0)
    with pytest.raises(Refused):
        desk.numbers.report(tenant_id=1, since=after(1), until=after(0))


def test_the_clock_knows_when_an_alert_stood_on_a_screen(desk: AlertsDomain) -> None:
    change = desk.raise_alert()
    shown = desk.store.mark_shown(tenant_id=1, frames={77: after(1)}, since=after(-60))
    assert shown == [77], "nobody knows the frame yet"
    desk.store.mark_published(change.entry_ids, {change.alert.id: 77})
    assert desk.store.mark_shown(tenant_id=2, frames={77: after(1)}, since=after(-60)) == [77]
    assert desk.store.mark_shown(tenant_id=1, frames={77: after(1)}, since=after(-60)) == []
    desk.store.mark_shown(tenant_id=1, frames={77: after(9)}, since=after(-60))
    assert desk.store.get(tenant_id=1, alert_id=change.alert.id).shown_at == after(1)


def test_a_closed_alert_takes_notes_and_a_shelved_one_can_be_closed(desk: AlertsDomain) -> None:
    alert = desk.raise_alert(alert_type=AlertType.FIRE).alert
    desk.act(alert.id, AlertAction.ASSIGN, to="Ravi", note="to Ravi")
    desk.act(alert.id, AlertAction.SHELVE, until=after(60), note="x")
    closed = desk.act(alert.id, AlertAction.FALSE_ALARM, at=2, reason="weather").alert
    assert (closed.assigned_to, closed.shelved_until, closed.false_alarm_reason) == ("Ravi", None, "weather")
    desk.act(alert.id, AlertAction.NOTE, at=3, note="fog")
    with pytest.raises(Conflict):
        desk.act(alert.id, AlertAction.ASSIGN, to="Asha")
    desk.follow(100_000)
    assert desk.wire.requests == []
