"""Tests of the one timer of an alert: users' acts change it, and it has an effect when it runs out."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.alerts.escalation.policy import Ladder, LadderStep
from services.alerts.escalation.timers import AlertTimer, after, after_step, expired, unshelved
from services.alerts.lifecycle import AlertAction
from services.contracts.events import Alert, AlertStatus, AlertType, Severity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LADDER = Ladder(
    [LadderStep(0, ["sms"], ["contacts"]), LadderStep(120, ["sms"], ["contacts"])], repeat_s=60, expires_s=900
)
ESCALATING = AlertTimer("escalate", 1, 1, NOW)


def alert(status: str = "NEW", **changes: Any) -> Alert:
    return Alert(
        id="a",
        tenant_id=1,
        alert_type=AlertType.FIRE,
        severity=Severity.CRITICAL,
        status=AlertStatus(status),
        source_id="s",
        dedup_key="k",
        message="",
        occurrences=1,
        recorded_at=NOW,
        received_at=NOW,
        last_seen_at=NOW,
        acknowledged_by="ann",
        **changes,
    )


def s(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_acknowledging_ends_the_telling_and_starts_the_wait_for_progress() -> None:
    found = after(AlertAction.ACKNOWLEDGE, alert("ACKNOWLEDGED"), ESCALATING, LADDER, now=NOW)
    assert found == AlertTimer("progress", 1, 0, s(900))
    forever = Ladder(LADDER.steps)
    assert after(AlertAction.ACKNOWLEDGE, alert("ACKNOWLEDGED"), ESCALATING, forever, now=NOW) is None


def test_a_note_from_who_has_it_is_progress() -> None:
    waiting = AlertTimer("progress", 1, 0, s(10))
    assert after(AlertAction.NOTE, alert("ACKNOWLEDGED"), waiting, LADDER, now=s(5)) == AlertTimer(
        "progress", 1, 0, s(905)
    )


def test_a_note_does_not_stop_the_telling_of_what_nobody_has() -> None:
    assert after(AlertAction.NOTE, alert(), ESCALATING, LADDER, now=s(5)) == ESCALATING
    assert after(AlertAction.ASSIGN, alert(), None, LADDER, now=s(5)) is None


def test_starting_and_closing_end_everything() -> None:
    for status in ("IN_PROGRESS", "RESOLVED", "FALSE_ALARM"):
        assert after(AlertAction.START, alert(status), ESCALATING, LADDER, now=NOW) is None


def test_a_policy_may_go_on_telling_until_somebody_is_on_the_way() -> None:
    ladder = Ladder(LADDER.steps, until="in_progress", expires_s=900)
    assert after(AlertAction.ACKNOWLEDGE, alert("ACKNOWLEDGED"), ESCALATING, ladder, now=NOW) == ESCALATING
    assert after(AlertAction.START, alert("IN_PROGRESS"), ESCALATING, ladder, now=NOW) is None


def test_on_the_shelf_nobody_is_told_until_its_end_and_then_anew() -> None:
    shelved = alert(shelved_until=s(600))
    timer = after(AlertAction.SHELVE, shelved, ESCALATING, LADDER, now=NOW)
    assert timer == AlertTimer("unshelve", 1, 0, s(600))
    assert after(AlertAction.NOTE, shelved, timer, LADDER, now=s(5)) == timer
    assert unshelved(timer, now=s(600)).timer == AlertTimer("escalate", 2, 0, s(600))
    assert after(AlertAction.UNSHELVE, alert(), timer, LADDER, now=s(9)) == AlertTimer("escalate", 2, 0, s(9))


def test_steps_follow_on_time_however_late_the_one_before_was() -> None:
    first = AlertTimer("escalate", 1, 0, NOW)
    assert after_step(first, LADDER, note="", now=s(50)).timer == AlertTimer("escalate", 1, 1, s(120))
    assert after_step(first, LADDER, note="", now=s(500)).timer == AlertTimer("escalate", 1, 1, s(120))


def test_repeats_that_were_missed_are_not_made_up_for() -> None:
    last = AlertTimer("escalate", 1, 1, s(120))
    assert after_step(last, LADDER, note="", now=s(121)).timer == AlertTimer("escalate", 1, 2, s(180))
    assert after_step(last, LADDER, note="", now=s(9000)).timer == AlertTimer("escalate", 1, 2, s(9000))
    assert after_step(last, Ladder(LADDER.steps), note="", now=NOW).timer is None


def test_an_acknowledgement_without_progress_raises_the_alert_again() -> None:
    verdict = expired(alert("ACKNOWLEDGED"), AlertTimer("progress", 1, 0, NOW), now=s(1))
    assert verdict.status is AlertStatus.NEW
    assert verdict.timer == AlertTimer("escalate", 2, 0, s(1))
    assert "ann" in verdict.note
    assert expired(alert("IN_PROGRESS"), AlertTimer("progress", 1, 0, NOW), now=s(1)).action is None
