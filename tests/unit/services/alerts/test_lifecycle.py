import itertools
from datetime import UTC, datetime, timedelta

import pytest

from services.alerts.lifecycle import (
    FALSE_ALARM_REASONS,
    MAX_NOTE_LENGTH,
    OPEN,
    AlertAction,
    check_name,
    check_note,
    check_reason,
    check_shelving,
    expire,
    step,
)
from services.contracts.errors import Conflict, Refused
from services.contracts.events import NEVER_HELD_BACK, AlertStatus, AlertType

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_usual_way_through() -> None:
    status = AlertStatus.NEW
    for action, after in (
        (AlertAction.ACKNOWLEDGE, AlertStatus.ACKNOWLEDGED),
        (AlertAction.START, AlertStatus.IN_PROGRESS),
        (AlertAction.RESOLVE, AlertStatus.RESOLVED),
    ):
        taken = step(action, status=status, by="ann", acknowledged_by="ann")
        assert taken.changes
        status = taken.status
        assert status is after


def test_acknowledging_twice_is_harmless_for_the_same_person_and_refused_to_another() -> None:
    again = step(AlertAction.ACKNOWLEDGE, status=AlertStatus.ACKNOWLEDGED, by="ann", acknowledged_by="ann")
    assert not again.changes
    with pytest.raises(Conflict, match="ann has this alert"):
        step(AlertAction.ACKNOWLEDGE, status=AlertStatus.ACKNOWLEDGED, by="bob", acknowledged_by="ann")


@pytest.mark.parametrize("action", sorted(set(AlertAction) - {AlertAction.NOTE, AlertAction.CALL}))
@pytest.mark.parametrize("closed", [AlertStatus.RESOLVED, AlertStatus.FALSE_ALARM])
def test_a_closed_alert_takes_notes_and_calls_and_nothing_else(
    action: AlertAction, closed: AlertStatus
) -> None:
    with pytest.raises(Conflict, match="closed"):
        step(action, status=closed, by="ann", acknowledged_by="ann")
    for kept in (AlertAction.NOTE, AlertAction.CALL):
        assert step(kept, status=closed, by="ann", acknowledged_by="ann").changes


def test_no_step_ever_goes_back() -> None:
    order = list(AlertStatus)
    for action, status in itertools.product(AlertAction, OPEN):
        taken = step(action, status=status, by="ann", acknowledged_by="ann")
        assert order.index(taken.status) >= order.index(status)


def test_a_note_has_a_length_and_no_nul() -> None:
    assert check_note("n" * MAX_NOTE_LENGTH) == "n" * MAX_NOTE_LENGTH
    for note in ("n" * (MAX_NOTE_LENGTH + 1), "a\0"):
        with pytest.raises(Refused):
            check_note(note)


def test_vigil_itself_takes_back_an_acknowledgement_and_nothing_else() -> None:
    assert expire(AlertStatus.ACKNOWLEDGED) is AlertStatus.NEW
    assert all(expire(status) is status for status in AlertStatus if status is not AlertStatus.ACKNOWLEDGED)


def shelve(
    kind: AlertType = AlertType.LOW_BATTERY, *, reason: str = "battery ordered", hours: float = 2
) -> str:
    until = NOW + timedelta(hours=hours)
    return check_shelving(kind, reason=reason, until=until, now=NOW, longest_s=12 * 3600)


def test_a_shelving_has_a_reason_and_an_end() -> None:
    assert shelve() == "until 2026-01-01 02:00:00 +0000: battery ordered"
    for fault, said in (({"reason": " "}, "reason"), ({"hours": 0}, "passed"), ({"hours": 13}, "12 hours")):
        with pytest.raises(Refused, match=said):
            shelve(**fault)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(NEVER_HELD_BACK))
def test_what_is_never_held_back_is_never_shelved(kind: AlertType) -> None:
    with pytest.raises(Refused, match="cannot be shelved: acknowledge or resolve it"):
        shelve(kind)


def test_words_of_people_are_checked_at_the_door() -> None:
    assert all(check_reason(reason) == reason for reason in FALSE_ALARM_REASONS)
    with pytest.raises(Refused, match="reason must be one of accident"):
        check_reason("boredom")
    assert check_name(" Asha ", what="to") == "Asha"
    with pytest.raises(Refused, match="^to must be a name"):
        check_name("", what="to")
    with pytest.raises(Refused, match="note is required"):
        check_note(" ", required=True)
