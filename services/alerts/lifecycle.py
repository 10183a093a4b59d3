"""Life of an alert: the order of its states and actions. Pure.

    NEW -> ACKNOWLEDGED -> IN_PROGRESS -> RESOLVED or FALSE_ALARM

Users skip states forwards (a false alarm is often seen at once) and never go back. Vigil itself
goes back once: an acknowledgement without progress expires, and the alert is NEW again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from services.contracts.enum_words import as_words, inside
from services.contracts.errors import Conflict, Refused
from services.contracts.events import NEVER_HELD_BACK, AlertStatus, AlertType

MAX_NOTE_LENGTH = 2000
MAX_NAME_LENGTH = 200
OPEN = (AlertStatus.NEW, AlertStatus.ACKNOWLEDGED, AlertStatus.IN_PROGRESS)
FALSE_ALARM_REASONS = ("accident", "test", "equipment", "animal", "weather", "malice", "other")


class AlertAction(StrEnum):
    """Action of a person on an alert. The value is the timeline's word for it."""

    ACKNOWLEDGE = "acknowledged"
    START = "started"
    RESOLVE = "resolved"
    FALSE_ALARM = "false_alarm"
    ASSIGN = "assigned"
    NOTE = "noted"
    CALL = "called"
    SHELVE = "shelved"
    UNSHELVE = "unshelved"


_TARGET = {
    AlertAction.ACKNOWLEDGE: AlertStatus.ACKNOWLEDGED,
    AlertAction.START: AlertStatus.IN_PROGRESS,
    AlertAction.RESOLVE: AlertStatus.RESOLVED,
    AlertAction.FALSE_ALARM: AlertStatus.FALSE_ALARM,
}
_FROM = {
    AlertAction.ACKNOWLEDGE: (AlertStatus.NEW,),
    AlertAction.START: (AlertStatus.NEW, AlertStatus.ACKNOWLEDGED),
    AlertAction.RESOLVE: OPEN,
    AlertAction.FALSE_ALARM: OPEN,
}


class ActionResult(msgspec.Struct, frozen=True):
    """Result of an action.

    `changes` False: the same person did it before, and there is nothing to do.
    """

    status: AlertStatus
    changes: bool


def step(action: AlertAction, *, status: AlertStatus, by: str, acknowledged_by: str | None) -> ActionResult:
    """Judge an action on an alert.

    A second acknowledgement is harmless from the holder of the alert, and refused from anybody
    else. Two people who both believe that the alert is theirs are worse than one who gets an error.
    A closed alert takes notes and calls, and nothing else.

    Raises:
        Conflict: another person has the alert, or it is closed. The text names the person or the
            status.
    """
    if action in (AlertAction.NOTE, AlertAction.CALL):
        return ActionResult(status, changes=True)
    if status not in OPEN:
        raise Conflict(f"the alert is closed ({inside(status)}); a closed alert does not change")
    if action not in _TARGET:
        return ActionResult(status, changes=True)
    if status in _FROM[action]:
        return ActionResult(_TARGET[action], changes=True)
    if action is AlertAction.ACKNOWLEDGE and acknowledged_by != by:
        raise Conflict(f"{acknowledged_by} has this alert already ({inside(status)})")

    return ActionResult(status, changes=False)


def expire(status: AlertStatus) -> AlertStatus:
    """Return the status after an acknowledgement expired without progress.

    This is a step of Vigil, not of a person.
    """
    return AlertStatus.NEW if status is AlertStatus.ACKNOWLEDGED else status


def check_note(note: str, *, required: bool = False) -> str:
    """Return a note that can be kept. Raises `Refused`."""
    if not isinstance(note, str) or len(note) > MAX_NOTE_LENGTH or "\0" in note:
        raise Refused(f"a note has at most {MAX_NOTE_LENGTH} characters, and no NUL character")
    if required and not note.strip():
        raise Refused("note is required: write what happened")
    return note


def check_name(name: str, *, what: str) -> str:
    """Return a person's name without surrounding blanks. Raises `Refused` that names `what`."""
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_LENGTH or "\0" in name:
        raise Refused(f"{what} must be a name of at most {MAX_NAME_LENGTH} characters")
    return name.strip()


def check_reason(reason: str) -> str:
    """Return the reason of a false alarm. Raises `Refused` that lists the valid reasons."""
    if reason not in FALSE_ALARM_REASONS:
        raise Refused(f"reason must be one of {', '.join(FALSE_ALARM_REASONS)}, not {str(reason)[:50]!r}")
    return reason


def check_shelving(
    alert_type: AlertType, *, reason: str, until: datetime, now: datetime, longest_s: float
) -> str:
    """Check the shelving of an alert, and return the note for the timeline.

    A shelving has a reason and an end (ANSI/ISA-18.2). An alert type in `NEVER_HELD_BACK` cannot be
    shelved.

    Args:
        until: an aware time.

    Raises:
        Refused: the alert cannot be shelved so.
    """
    if alert_type in NEVER_HELD_BACK:
        raise Refused(
            f"an alert of type {as_words(alert_type)!r} cannot be shelved: acknowledge or resolve it"
        )
    if not reason.strip():
        raise Refused("reason is required: say why the alert is shelved")
    if until <= now:
        raise Refused("until has passed already; give a future time")
    if until > now + timedelta(seconds=longest_s):
        raise Refused(f"until is too late: an alert is shelved for at most {longest_s / 3600:g} hours")

    return check_note(f"until {until:%Y-%m-%d %H:%M:%S %z}: {reason.strip()}")
