"""Timers of alerts: when to notify further, raise again or unshelve. Pure.

An alert has at most one timer. The timer is a row, so it survives restarts. The process that holds
the alert's row may change it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from services.alerts.escalation.policy import Ladder, next_step
from services.alerts.lifecycle import OPEN, AlertAction, expire
from services.contracts.events import Alert, AlertStatus

Kind = Literal["escalate", "progress", "unshelve"]


class AlertTimer(NamedTuple):
    """Timer of an alert.

    `round` counts the times that the alert was raised, from 1. `step` counts the steps of this
    round, from 0.
    """

    kind: Kind
    round: int
    step: int
    due_at: datetime


class TimerResult(NamedTuple):
    """Result of a timer that ran out: the next timer, and the action of the timeline's row.

    `action` is None when no row is written.
    """

    timer: AlertTimer | None
    action: str | None = None
    note: str = ""
    status: AlertStatus | None = None


def after(
    action: AlertAction,
    alert: Alert,
    timer: AlertTimer | None,
    ladder: Ladder,
    *,
    rounds: int = 1,
    now: datetime,
) -> AlertTimer | None:
    """Return the timer after a person's action.

    A round takes a number that no round before it had, even when the alert had no timer any more.

    Args:
        alert: the alert after the action.
        rounds: the number of rounds that the alert has had.
    """
    if alert.status not in OPEN:
        return None

    latest = max(rounds, timer.round if timer else 1)
    if action is AlertAction.SHELVE and alert.shelved_until is not None:
        return AlertTimer("unshelve", latest, 0, alert.shelved_until)
    if alert.shelved_until is not None:
        return timer  # until the alert is unshelved
    if not ladder.ended_by(alert.status):
        if action is AlertAction.UNSHELVE:
            return AlertTimer("escalate", latest + 1, 0, now)
        return timer
    if alert.status is AlertStatus.ACKNOWLEDGED and ladder.expires_s:
        # Each action of a person gives the whole time again.
        return AlertTimer("progress", latest, 0, now + timedelta(seconds=ladder.expires_s))

    return None


def after_step(timer: AlertTimer, ladder: Ladder, *, note: str, now: datetime) -> TimerResult:
    """Return the verdict after a step was notified.

    The next step follows at its own time, even when this one was late. Repeats that were missed
    while no process ran are not made up for.
    """
    following = next_step(ladder, timer.step)
    if following is None:
        return TimerResult(None, "escalated", note)
    number, wait_s = following
    due_at = timer.due_at + timedelta(seconds=wait_s)
    if number >= len(ladder.steps):
        due_at = max(due_at, now)
    return TimerResult(AlertTimer("escalate", timer.round, number, due_at), "escalated", note)


def expired(alert: Alert, timer: AlertTimer, *, now: datetime) -> TimerResult:
    """Return the verdict when nobody went on after the acknowledgement.

    The alert is raised again, from the first step.
    """
    status = expire(alert.status)
    if status is alert.status:
        return TimerResult(None)
    note = f"no progress since {alert.acknowledged_by} acknowledged it"
    return TimerResult(AlertTimer("escalate", timer.round + 1, 0, now), "re_raised", note, status)


def unshelved(timer: AlertTimer, *, now: datetime) -> TimerResult:
    """Return the verdict at the end of a shelving: notification starts again at the first step."""
    return TimerResult(
        AlertTimer("escalate", timer.round + 1, 0, now), AlertAction.UNSHELVE, "the shelving has ended"
    )
