"""Tests of the lists about alert types: one list each, and every type has its place."""

from services.contracts.events import DEFAULT_SEVERITY, LIFE_SAFETY, NEVER_HELD_BACK, AlertType, Severity


def test_every_type_has_a_severity_and_life_safety_is_critical() -> None:
    assert set(DEFAULT_SEVERITY) == set(AlertType)
    assert {
        kind for kind, severity in DEFAULT_SEVERITY.items() if severity == Severity.CRITICAL
    } == LIFE_SAFETY


def test_what_may_have_been_a_panic_is_never_held_back() -> None:
    assert {AlertType.UNREADABLE_ALERT} == NEVER_HELD_BACK - LIFE_SAFETY


def test_the_wire_form_of_a_type_is_its_name() -> None:
    assert all(kind.value == kind.name for kind in AlertType)
