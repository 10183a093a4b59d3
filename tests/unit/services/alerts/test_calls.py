"""Tests of the timeline's text for a call."""

import pytest

from services.alerts.calls import call_note
from services.contracts.errors import Refused
from services.contracts.people import (
    Authority,
    Callee,
    GuardOfAlert,
    GuardProfile,
    People,
    SiteOfAlert,
    SiteProfile,
    Telephone,
)

NUMBERS = ("+919876543210", "+919876543211", "112")
PEOPLE = People(
    guard=GuardOfAlert(
        guard_id="guard-7",
        name="Asha",
        enabled=True,
        site_id=4,
        profile=GuardProfile(telephones=[Telephone(number=NUMBERS[0])]),
    ),
    site=SiteOfAlert(
        site_id=4,
        name="Mill",
        time_zone="UTC",
        profile=SiteProfile(
            call_list=[Callee(name="Mia Holt", number=NUMBERS[1])], police=Authority(number="112")
        ),
    ),
)


@pytest.mark.parametrize(
    ("about", "place", "result", "said"),
    [
        ("guard", "telephones.0", "no_answer", "Asha, telephone 1: no answer; twice"),
        ("site", "call_list.0", "voicemail", "Mia Holt: voicemail, which does not count as an answer; twice"),
        ("site", "police", "answered", "Mill, police: answered; twice"),
    ],
)
def test_a_call_names_the_person_and_not_the_number(about: str, place: str, result: str, said: str) -> None:
    note = call_note(PEOPLE, about=about, place=place, result=result, note="twice")
    assert note == said
    assert not any(number in note for number in NUMBERS)


@pytest.mark.parametrize(
    ("about", "place", "result"),
    [
        ("guard", "telephones.1", "answered"),
        ("device", "telephones.0", "answered"),
        ("guard", "telephones.0", "engaged"),
    ],
)
def test_a_call_to_nobody_is_refused(about: str, place: str, result: str) -> None:
    with pytest.raises(Refused):
        call_note(PEOPLE, about=about, place=place, result=result, note="")
