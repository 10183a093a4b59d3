import itertools

import pytest

from services.alerts.lifecycle import MAX_NOTE_LENGTH, OPEN, Action, check_note, step
from services.errors import Conflict, Refused
from services.messages import AlertStatus


def test_the_usual_way_through() -> None:
    status = AlertStatus.NEW
    for action, after in (
        (Action.ACKNOWLEDGE, AlertStatus.ACKNOWLEDGED),
        (Action.START, AlertStatus.IN_PROGRESS),
        (Action.RESOLVE, AlertStatus.RESOLVED),
    ):
        taken = step(action, status=status, by="ann", acknowledged_by="ann")
        assert taken.changes
        status = taken.status
        assert status is after


def test_acknowledging_twice_is_harmless_for_the_same_person_and_refused_to_another() -> None:
    again = step(Action.ACKNOWLEDGE, status=AlertStatus.ACKNOWLEDGED, by="ann", acknowledged_by="ann")
    assert not again.changes
    with pytest.raises(Conflict, match="ann has this alert"):
        step(Action.ACKNOWLEDGE, status=AlertStatus.ACKNOWLEDGED, by="bob", acknowledged_by="ann")


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("closed", [AlertStatus.RESOLVED, AlertStatus.FALSE_ALARM])
def test_a_closed_alert_does_not_change(action: Action, closed: AlertStatus) -> None:
    with pytest.raises(Conflict, match="closed"):
        step(action, status=closed, by="ann", acknowledged_by="ann")


def test_no_step_ever_goes_back() -> None:
    order = list(AlertStatus)
    for action, status in itertools.product(Action, OPEN):
        taken = step(action, status=status, by="ann", acknowledged_by="ann")
        assert order.index(taken.status) >= order.index(status)


def test_a_note_has_a_length_and_no_nul() -> None:
    assert check_note("n" * MAX_NOTE_LENGTH) == "n" * MAX_NOTE_LENGTH
    for note in ("n" * (MAX_NOTE_LENGTH + 1), "a\0"):
        with pytest.raises(Refused):
            check_note(note)
