"""People around an alert: assignees, their contacts, and exclusions from silent alerts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Literal

import msgspec

from services.alerts.escalation.policy import ContactBook, PolicyContact
from services.contracts.errors import Refused

Kind = Literal["user", "guard", "contact", "operator"]
MAX_SUGGESTED = 3
MIN_LIKENESS = 0.5

ASSIGNED = {
    "en": "Assigned to you by {by}.",
    "hi": "यह अलर्ट आपको {by} ने सौंपा है।",
}
"""Text of an assignment, by the language of its reader."""


class Assignee(msgspec.Struct, frozen=True):
    """Person whom a tenant knows.

    Attributes:
        kind: "operator" is a user of an identity provider who had a websocket session open lately.
        registered: a login, a guard id or a contact's name.
        name: a name for readers.
    """

    kind: Kind
    registered: str
    name: str = ""


def find(wanted: str, people: Sequence[Assignee], *, tenant_id: int) -> Assignee:
    """Return the person that a text names.

    The text is the registered form, the number of a guard, or a name.

    Raises:
        Refused: nobody or more than one has this name. The text lists similar names, or the people
            of this name.
    """
    word = wanted.strip()
    for person in people:
        if person.registered == word:
            return person

    folded = {word.casefold(), f"guard-{word}" if word.isascii() and word.isdigit() else word.casefold()}
    for person in people:
        if person.registered.casefold() in folded:
            return person

    named = {p.registered: p for p in people if p.name.casefold() == word.casefold()}
    if len(named) == 1:
        return next(iter(named.values()))
    if named:
        raise Refused(f"to: {word!r} is the name of {' and '.join(sorted(named))}; name one of these")

    raise Refused(_unknown(word, people, tenant_id))


def _unknown(word: str, people: Sequence[Assignee], tenant_id: int) -> str:
    forms: dict[str, str] = {}
    for person in people:
        for form in (person.registered, person.name):
            if form:
                forms.setdefault(form.casefold(), person.registered)

    like = get_close_matches(word.casefold(), forms, n=MAX_SUGGESTED, cutoff=MIN_LIKENESS)
    names = list(dict.fromkeys(forms[form] for form in like))
    if not names:
        return f"to: tenant {tenant_id} has no user, guard or contact {word!r}, and none with a name like it"

    return f"to: tenant {tenant_id} has no user, guard or contact {word!r}; there is {', '.join(names)}"


def contact_of(forms: Collection[str], contacts: Sequence[PolicyContact]) -> PolicyContact | None:
    """Return the contact of a person: one of these forms is its name, else its e-mail address."""
    folded = {form.casefold() for form in forms if form}
    for contact in contacts:
        if contact.name.casefold() in folded:
            return contact
    for contact in contacts:
        if contact.addresses.get("email", "").casefold() in folded - {""}:
            return contact
    return None


def without(book: ContactBook, forms: Collection[str]) -> ContactBook:
    """Return the book without the people of these forms, and without their addresses.

    A silent alert must make no sound near a threatened person.
    """
    folded = {form.strip().casefold() for form in forms if form}
    muted = [contact for contact in (*book.contacts, *book.fallback) if _is_one(contact, folded)]
    if not muted:
        return book

    addresses = {pair for contact in muted for pair in contact.addresses.items()}

    def kept(contacts: Sequence[PolicyContact]) -> list[PolicyContact]:
        found = []
        for contact in contacts:
            if _is_one(contact, folded):
                continue
            left = {c: a for c, a in contact.addresses.items() if (c, a) not in addresses}
            if left:
                found.append(msgspec.structs.replace(contact, addresses=left))
        return found

    return msgspec.structs.replace(book, contacts=kept(book.contacts), fallback=kept(book.fallback))


def _is_one(contact: PolicyContact, folded: Collection[str]) -> bool:
    return contact.name.strip().casefold() in folded


def assigned_message(message: str, *, by: str, language: str) -> str:
    """Return an alert's message after a sentence that names the person who assigned the alert."""
    words = ASSIGNED.get(language) or ASSIGNED.get(language.partition("-")[0]) or ASSIGNED["en"]
    return f"{words.format(by=by)} {message}".strip()
