"""Tests of people: who can be assigned, the owner of a contact, and who gets no silent alert."""

import pytest

from services.alerts.assignee import Assignee, assigned_message, contact_of, find, without
from services.alerts.escalation.policy import ContactBook, PolicyContact
from services.contracts.errors import Refused

PEOPLE = [
    Assignee("user", "bob@x.org", "Bob Roy"),
    Assignee("guard", "guard-12", "Ravi"),
    Assignee("guard", "guard-13", "Ravi"),
    Assignee("guard", "meena", "Meena Iyer"),
    Assignee("contact", "Asha", "Asha"),
    Assignee("contact", "Ravi", "Ravi"),
    Assignee("operator", "sub-7f3", "sub-7f3"),
]


@pytest.mark.parametrize(
    ("said", "registered"),
    [
        ("bob@x.org", "bob@x.org"),
        ("Bob@X.org", "bob@x.org"),
        ("bob roy", "bob@x.org"),
        ("guard-12", "guard-12"),
        ("12", "guard-12"),
        ("GUARD-13", "guard-13"),
        ("Meena Iyer", "meena"),
        ("ASHA", "Asha"),
        ("Ravi", "Ravi"),
        ("sub-7f3", "sub-7f3"),
    ],
)
def test_a_person_is_found_by_what_they_are_registered_as_or_by_a_name_that_is_theirs_alone(
    said: str, registered: str
) -> None:
    assert find(said, PEOPLE, tenant_id=1).registered == registered


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Meena Iyr", "there is meena"),
        ("gaurd-12", "guard-12"),
        ("99", "none with a name like it"),
        ("bob@y.org", "there is bob@x.org"),
        ("zzzzzz", "none with a name like it"),
    ],
)
def test_an_unknown_name_is_refused_with_the_names_that_are_like_it(said: str, hint: str) -> None:
    with pytest.raises(Refused, match=hint):
        find(said, PEOPLE, tenant_id=1)


def test_a_name_that_two_people_have_is_refused_with_both() -> None:
    two = [person for person in PEOPLE if person.kind == "guard"]
    with pytest.raises(Refused, match="the name of guard-12 and guard-13"):
        find("Ravi", two, tenant_id=1)


ASHA = PolicyContact("Asha", None, {"sms": "+1", "email": "asha@x.org"})
RAVI = PolicyContact("ravi ", None, {"sms": "+2", "push": "token"})
DESK = PolicyContact("Desk", None, {"sms": "+2", "email": "desk@x.org"})
PHONE = PolicyContact("Phone", None, {"push": "token"})
FALLBACK = PolicyContact("+2", None, {"sms": "+2"})
MAIL = PolicyContact("ops@x.org", None, {"email": "ops@x.org"})


@pytest.mark.parametrize(
    ("forms", "name"),
    [
        ({"Asha"}, "Asha"),
        ({"asha"}, "Asha"),
        ({"u-1", "Asha"}, "Asha"),
        ({"ASHA@X.ORG"}, "Asha"),
        ({"desk@x.org", "nobody"}, "Desk"),
        ({"nobody"}, None),
        ({""}, None),
        (set(), None),
    ],
)
def test_a_contact_is_found_by_its_name_and_else_by_its_address(forms: set[str], name: str | None) -> None:
    found = contact_of(forms, [DESK, ASHA])
    assert (found and found.name) == name


@pytest.mark.parametrize("forms", [{"Ravi"}, {"guard-1", "RAVI"}, {"", "ravi "}])
def test_a_silenced_person_cannot_be_named_nor_reached_by_an_address_of_theirs(forms: set[str]) -> None:
    book = without(ContactBook([ASHA, RAVI, DESK, PHONE], {}, [FALLBACK, MAIL]), forms)
    assert [(contact.name, contact.addresses) for contact in book.contacts] == [
        ("Asha", ASHA.addresses),
        ("Desk", {"email": "desk@x.org"}),
    ]
    assert list(book.fallback) == [MAIL]


@pytest.mark.parametrize("forms", [{"guard-1"}, {""}, set(), {"Rav"}, {"Ravi Kumar"}])
def test_nobody_else_is_silenced(forms: set[str]) -> None:
    book = ContactBook([ASHA, RAVI], {}, [MAIL])
    assert without(book, forms) is book


def test_an_assignment_says_who_made_it_in_the_language_of_its_reader() -> None:
    assert assigned_message("help", by="ann", language="en-IN") == "Assigned to you by ann. help"
    assert "ann" in assigned_message("help", by="ann", language="hi")
    assert assigned_message("", by="ann", language="fi") == "Assigned to you by ann."
