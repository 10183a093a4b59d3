"""The life of an alert: which step may follow which. Pure.

    NEW -> ACKNOWLEDGED -> IN_PROGRESS -> RESOLVED or FALSE_ALARM

Steps may be skipped forwards (a false alarm is often seen at once), never taken back.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from services.errors import Conflict, Refused
from services.messages import AlertStatus

MAX_NOTE_LENGTH = 2000
OPEN = (AlertStatus.NEW, AlertStatus.ACKNOWLEDGED, AlertStatus.IN_PROGRESS)


class Action(StrEnum):
    ACKNOWLEDGE = "acknowledged"
    START = "started"
    RESOLVE = "resolved"
    FALSE_ALARM = "false_alarm"


_TARGET = {
    Action.ACKNOWLEDGE: AlertStatus.ACKNOWLEDGED,
    Action.START: AlertStatus.IN_PROGRESS,
    Action.RESOLVE: AlertStatus.RESOLVED,
    Action.FALSE_ALARM: AlertStatus.FALSE_ALARM,
}
_FROM = {
    Action.ACKNOWLEDGE: (AlertStatus.NEW,),
    Action.START: (AlertStatus.NEW, AlertStatus.ACKNOWLEDGED),
    Action.RESOLVE: OPEN,
    Action.FALSE_ALARM: OPEN,
}


class Step(msgspec.Struct, frozen=True):
    """What an action comes to. `changes` False: it was done before by the same person, nothing to do."""

    status: AlertStatus
    changes: bool


def step(action: Action, *, status: AlertStatus, by: str, acknowledged_by: str | None) -> Step:
    """Judge an action on an alert. Raises `Conflict` saying who has the alert or how it ended.

    Acknowledging twice is harmless for the one who has the alert, and refused to anybody else: two people
    who both believe that it is theirs are worse than one who is told.
    """
    if status not in OPEN:
        raise Conflict(f"the alert is closed ({status}); a closed alert does not change")
    if status in _FROM[action]:
        return Step(_TARGET[action], changes=True)
    if action is Action.ACKNOWLEDGE and acknowledged_by != by:
        raise Conflict(f"{acknowledged_by} has this alert already ({status})")
    return Step(status, changes=False)


def check_note(note: str) -> str:
    """A note that can be kept. Raises `Refused`."""
    if len(note) > MAX_NOTE_LENGTH or "\0" in note:
        raise Refused(f"a note has at most {MAX_NOTE_LENGTH} characters, and no NUL among them")
    return note
