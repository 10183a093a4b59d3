"""Tests of people and place: who sees what, what is overdue, and what nobody has entered."""

from datetime import date, timedelta

import pytest

from services.contracts.people import (
    CALL_ROLES,
    Callee,
    EmergencyContact,
    GuardOfAlert,
    GuardProfile,
    People,
    SiteOfAlert,
    SiteProfile,
    Telephone,
    missing,
    overdue,
    people_seen_by,
    seen_by,
    wrong,
)

TODAY = date(2026, 6, 1)
GUARD = GuardProfile(
    telephones=[Telephone(number="+919876543210", verified_on=TODAY)],
    emergency_contact=EmergencyContact(name="Ravi", number="+919876543299"),
)
SITE = SiteProfile(address="12 Mill Road", call_list=[Callee(name="Mia", number="+919876543288")])
PEOPLE = People(
    guard=GuardOfAlert(guard_id="guard-7", name="Asha", enabled=True, site_id=4, profile=GUARD),
    site=SiteOfAlert(site_id=4, name="Mill", time_zone="Asia/Kolkata", profile=SITE),
)


def test_a_viewer_sees_neither_emergency_contacts_nor_numbers_of_the_call_list() -> None:
    guard, hidden = seen_by(GUARD, role="viewer")
    assert (guard.emergency_contact, hidden) == (None, ["emergency_contact"])
    assert guard.telephones == GUARD.telephones
    shown, all_hidden = people_seen_by(PEOPLE, role="viewer")
    assert all_hidden == ["guard.emergency_contact", "site.call_list.number"]
    assert "+919876543288" not in repr(shown)
    assert "+919876543299" not in repr(shown)
    assert "Mia" in repr(shown)


@pytest.mark.parametrize("role", sorted(CALL_ROLES))
def test_roles_that_handle_alerts_see_all(role: str) -> None:
    assert people_seen_by(PEOPLE, role=role) == (PEOPLE, [])


def test_nothing_is_called_hidden_that_nobody_entered() -> None:
    assert seen_by(GuardProfile(), role="viewer") == (GuardProfile(), [])
    assert seen_by(SiteProfile(), role="viewer") == (SiteProfile(), [])


@pytest.mark.parametrize(("age", "is_overdue"), [(0, False), (180, False), (181, True)])
def test_an_entry_is_overdue_after_180_days(age: int, is_overdue: bool) -> None:
    profile = GuardProfile(
        telephones=[Telephone(number="+919876543210", verified_on=TODAY - timedelta(days=age))]
    )
    assert overdue(profile, today=TODAY) == (["telephones.0"] if is_overdue else [])


def test_an_entry_that_nobody_verified_is_overdue() -> None:
    assert overdue(GUARD, today=TODAY) == ["emergency_contact"]
    assert overdue(SITE, today=TODAY) == ["call_list.0"]


def test_wrong_numbers_are_named_by_their_place() -> None:
    entry = Callee(name="Mia", number="+919876543288", wrong_on=TODAY, wrong_by="Olga")
    assert wrong(SiteProfile(call_list=[SITE.call_list[0], entry])) == ["call_list.1"]


def test_what_nobody_entered_is_named() -> None:
    assert missing(PEOPLE) == ["guard.shift", "site.post_orders"]
    assert missing(People()) == ["source", "site"]
