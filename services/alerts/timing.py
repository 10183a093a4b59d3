"""What happens next to an alert, and when: told further, raised again, taken off the shelf. Pure.

An alert has at most one timer, which is a row: it survives restarts, and whoever holds the alert's row may change it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from services.alerts.escalation import Ladder, next_step
from services.alerts.lifecycle import OPEN, Action, expire
from services.messages import Alert, AlertStatus

Kind = Literal["escalate", "progress", "unshelve"]


class Timer(NamedTuple):
    """`round` counts the times that an alert was raised (again), `step` the steps told in this round, from 0."""

    kind: Kind
    round: int
    step: int
    due_at: datetime


class Verdict(NamedTuple):
    """What a timer that ran out comes to: the next timer, and the timeline's row (None: none)."""

    timer: Timer | None
    action: str | None = None
    note: str = ""
    status: AlertStatus | None = None


def after(
    action: Action, alert: Alert, timer: Timer | None, ladder: Ladder, *, rounds: int = 1, now: datetime
) -> Timer | None:
    """The timer after a person's action; `alert` is how it is after it, `rounds` how many it has had.

    A round takes a number that no round before it had, also where the alert had no timer any more.
    """
    if alert.status not in OPEN:
        return None
    latest = max(rounds, timer.round if timer else 1)
    if action is Action.SHELVE and alert.shelved_until is not None:
        return Timer("unshelve", latest, 0, alert.shelved_until)
    if alert.shelved_until is not None:
        return timer  # until it is off the shelf
    if not ladder.ended_by(alert.status):
        if action is Action.UNSHELVE:
            return Timer("escalate", latest + 1, 0, now)
        return timer
    if alert.status is AlertStatus.ACKNOWLEDGED and ladder.expires_s:
        # Each sign of life from people gives them the whole time again.
        return Timer("progress", latest, 0, now + timedelta(seconds=ladder.expires_s))
    return None


def told(timer: Timer, ladder: Ladder, *, note: str, now: datetime) -> Verdict:
    """A step was told: the next one follows in its own time, whatever held this one up.

    Repeats that were missed while nobody was there to tell them are not made up for.
    """
    following = next_step(ladder, timer.step)
    if following is None:
        return Verdict(None, "escalated", note)
    number, wait_s = following
    due_at = timer.due_at + timedelta(seconds=wait_s)
    if number >= len(ladder.steps):
        due_at = max(due_at, now)
    return Verdict(Timer("escalate", timer.round, number, due_at), "escalated", note)


def expired(alert: Alert, timer: Timer, *, now: datetime) -> Verdict:
    """Nobody went on after the acknowledgement: the alert is raised again, from the first step."""
    status = expire(alert.status)
    if status is alert.status:
        return Verdict(None)
    note = f"no progress since {alert.acknowledged_by} acknowledged it"
    return Verdict(Timer("escalate", timer.round + 1, 0, now), "re_raised", note, status)


def off_the_shelf(timer: Timer, *, now: datetime) -> Verdict:
    """A shelving ended: who is told, is told anew."""
    return Verdict(Timer("escalate", timer.round + 1, 0, now), Action.UNSHELVE, "the shelving has ended")
