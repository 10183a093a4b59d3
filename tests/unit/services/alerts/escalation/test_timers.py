"""Tests of the one timer of an alert: users' acts change it, and it has an effect when it runs out."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.alerts.escalation.policy import Ladder, Step
from services.alerts.escalation.timers import Timer, after, expired, off_the_shelf, told
from services.alerts.lifecycle import Action
from services.contracts.events import Alert, AlertStatus, AlertType, Severity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LADDER = Ladder(
    [Step(0, ["sms"], ["contacts"]), Step(120, ["sms"], ["contacts"])], repeat_s=60, expires_s=900
)
ESCALATING = Timer("escalate", 1, 1, NOW)


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
    found = after(Action.ACKNOWLEDGE, alert("ACKNOWLEDGED"), ESCALATING, LADDER, now=NOW)
    assert found == Timer("progress", 1, 0, s(900))
    forever = Ladder(LADDER.steps)
    assert after(Action.ACKNOWLEDGE, alert("ACKNOWLEDGED"), ESCALATING, forever, now=NOW) is None


def test_a_note_from_who_has_it_is_progress() -> None:
    waiting = Timer("progress", 1, 0, s(10))
    assert after(Action.NOTE, alert("ACKNOWLEDGED"), waiting, LADDER, now=s(5)) == Timer(
        "progress", 1, 0, s(905)
    )


def test_a_note_does_not_stop_the_telling_of_what_nobody_has() -> None:
    assert after(Action.NOTE, alert(), ESCALATING, LADDER, now=s(5)) == ESCALATING
    assert after(Action.ASSIGN, alert(), None, LADDER, now=s(5)) is None


def test_starting_and_closing_end_everything() -> None:
    for status in ("IN_PROGRESS", "RESOLVED", "FALSE_ALARM"):
        assert after(Action.START, alert(status), ESCALATING, LADDER, now=NOW) is None


def test_a_policy_may_go_on_telling_until_somebody_is_on_the_way() -> None:
    ladder = Ladder(LADDER.steps, until="in_progress", expires_s=900)
    assert after(Action.ACKNOWLEDGE, alert("ACKNOWLEDGED"), ESCALATING, ladder, now=NOW) == ESCALATING
    assert after(Action.START, alert("IN_PROGRESS"), ESCALATING, ladder, now=NOW) is None


def test_on_the_shelf_nobody_is_told_until_its_end_and_then_anew() -> None:
    shelved = alert(shelved_until=s(600))
    timer = after(Action.SHELVE, shelved, ESCALATING, LADDER, now=NOW)
    assert timer == Timer("unshelve", 1, 0, s(600))
    assert after(Action.NOTE, shelved, timer, LADDER, now=s(5)) == timer
    assert off_the_shelf(timer, now=s(600)).timer == Timer("escalate", 2, 0, s(600))
    assert after(Action.UNSHELVE, alert(), timer, LADDER, now=s(9)) == Timer("escalate", 2, 0, s(9))


def test_steps_follow_on_time_however_late_the_one_before_was() -> None:
    first = Timer("escalate", 1, 0, NOW)
    assert told(first, LADDER, note="", now=s(50)).timer == Timer("escalate", 1, 1, s(120))
    assert told(first, LADDER, note="", now=s(500)).timer == Timer("escalate", 1, 1, s(120))


def test_repeats_that_were_missed_are_not_made_up_for() -> None:
    last = Timer("escalate", 1, 1, s(120))
    assert told(last, LADDER, note="", now=s(121)).timer == Timer("escalate", 1, 2, s(180))
    assert told(last, LADDER, note="", now=s(9000)).timer == Timer("escalate", 1, 2, s(9000))
    assert told(last, Ladder(LADDER.steps), note="", now=NOW).timer is None


def test_an_acknowledgement_without_progress_raises_the_alert_again() -> None:
    verdict = expired(alert("ACKNOWLEDGED"), Timer("progress", 1, 0, NOW), now=s(1))
    assert verdict.status is AlertStatus.NEW
    assert verdict.timer == Timer("escalate", 2, 0, s(1))
    assert "ann" in verdict.note
    assert expired(alert("IN_PROGRESS"), Timer("progress", 1, 0, NOW), now=s(1)).action is None
