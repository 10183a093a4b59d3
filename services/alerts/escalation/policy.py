"""Escalation policies: recipients, channels, times and end of the steps for an alert. Pure.

A policy holds a ladder for each severity or alert type. A ladder of an alert type goes before one
of a severity. A site's policy goes before its tenant's, and this before the policy of config.yaml.
A policy needs to hold only the ladders that differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from services.alerts.escalation import on_call as rotas
from services.alerts.escalation.on_call import OnCallRota
from services.contracts.enum_words import inside
from services.contracts.errors import Misconfigured, Refused
from services.contracts.events import NEVER_HELD_BACK, AlertStatus, AlertType, Severity, Target
from services.outgoing.contact_addresses import masked_address

Channel = Literal["sms", "email", "push", "url", "digest"]
Until = Literal["acknowledged", "in_progress", "closed"]
MAX_STEPS = 20
MAX_WAIT_S = 7 * 86_400
MIN_REPEAT_S = 10

AT_ONCE: tuple[Channel, ...] = ("sms", "email", "push", "url")
"""Channels that do not wait for a digest."""
_GRAVER_THAN: dict[Severity, tuple[tuple[str], ...]] = {
    Severity.LOW: (("MEDIUM",), ("HIGH",), ("CRITICAL",)),
    Severity.MEDIUM: (("HIGH",), ("CRITICAL",)),
    Severity.HIGH: (("CRITICAL",),),
    Severity.CRITICAL: (),
}
"""Keys of the ladders that are tried in turn, from the next graver severity on."""
_ENDED_BY: dict[Until, frozenset[AlertStatus]] = {
    "acknowledged": frozenset(set(AlertStatus) - {AlertStatus.NEW}),
    "in_progress": frozenset(set(AlertStatus) - {AlertStatus.NEW, AlertStatus.ACKNOWLEDGED}),
    "closed": frozenset({AlertStatus.RESOLVED, AlertStatus.FALSE_ALARM}),
}


class LadderStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a ladder: notify `who` by `channels`, `after_s` seconds after the round began.

    `who` holds contacts, fallback, rota:NAME or contact:NAME.
    """

    after_s: float
    channels: list[Channel]
    who: list[str]


class Ladder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps of an escalation, in the order of their times.

    Attributes:
        repeat_s: seconds between repeats of the last step; 0: it comes once.
        expires_s: an acknowledgement without progress for this time is void, and a new round
            begins; 0: never.
        until: the ladder ends when the alert's status is this one or beyond.
    """

    steps: list[LadderStep]
    repeat_s: float = 0
    expires_s: float = 0
    until: Until = "acknowledged"

    def ended_by(self, status: AlertStatus) -> bool:
        return status in _ENDED_BY[self.until]


Policy = Mapping[str, Ladder]
"""Ladders by alert type or severity."""


class PolicyContact(msgspec.Struct, frozen=True):
    """Person who is notified of alerts.

    A contact with `site_id` None belongs to the whole tenant.
    """

    name: str
    site_id: int | None
    addresses: dict[str, str]
    language: str = "en"


class ContactBook(msgspec.Struct, frozen=True):
    """Contacts and rotas that a tenant's policies can name."""

    contacts: Sequence[PolicyContact]
    rotas: Mapping[str, OnCallRota]
    fallback: Sequence[PolicyContact] = ()


def parse(document: Any) -> dict[str, Ladder]:
    """Return a policy from plain data.

    Raises `Refused` naming the place, the fault and the remedy.
    """
    try:
        policy = msgspec.convert(document, dict[str, Ladder], strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"policy: {error}") from error

    for key, ladder in policy.items():
        if key not in Severity.__members__ and key not in AlertType.__members__:
            words = ", ".join([*Severity, *AlertType])
            raise Refused(f"policy: {key!r} is neither a severity nor an alert type; there are {words}")
        _check(key, ladder)

    return policy


def default_policy(document: Any) -> dict[str, Ladder]:
    """Return the policy of config.yaml, with a ladder for every severity.

    Raises `Misconfigured`.
    """
    try:
        policy = parse(document)
    except Refused as error:
        raise Misconfigured(f"config.yaml: alerts.{error}") from error
    missing = [severity for severity in Severity if severity not in policy]
    if missing:
        raise Misconfigured(f"config.yaml: alerts.policy has no ladder for {', '.join(missing)}")
    return policy


def _check(key: str, ladder: Ladder) -> None:
    if not 1 <= len(ladder.steps) <= MAX_STEPS:
        raise Refused(f"policy: {key} needs 1 to {MAX_STEPS} steps")

    before_s = -1.0
    for number, step in enumerate(ladder.steps, 1):
        where = f"policy: {key}, step {number}"
        if not before_s < step.after_s <= MAX_WAIT_S or step.after_s < 0:
            raise Refused(f"{where}: after_s must grow from step to step, from 0 to {MAX_WAIT_S}")
        if not step.channels or not step.who:
            raise Refused(f"{where}: name at least one of channels and one of who")

        for word in step.who:
            kind, _, name = word.partition(":")
            named = kind in ("rota", "contact") and bool(name.strip())
            if not named and word not in ("contacts", "fallback"):
                raise Refused(f"{where}: who is contacts, fallback, rota:NAME or contact:NAME, not {word!r}")

        before_s = step.after_s

    if ladder.repeat_s != 0 and not MIN_REPEAT_S <= ladder.repeat_s <= MAX_WAIT_S:
        raise Refused(f"policy: {key}: repeat_s must be 0 (never) or from {MIN_REPEAT_S} to {MAX_WAIT_S}")
    if not 0 <= ladder.expires_s <= MAX_WAIT_S:
        raise Refused(f"policy: {key}: expires_s must be from 0 (never) to {MAX_WAIT_S}")


def ladder_of(policies: Sequence[Policy], *, alert_type: AlertType, severity: Severity) -> Ladder:
    """Return the first ladder for this alert.

    An alert type in `NEVER_HELD_BACK` waits for no digest, whatever a policy says. Digests are left
    out of its ladder. When nothing else is in the ladder, the ladder of the next graver severity
    holds.

    Args:
        policies: from the nearest (site) to the default, which has a ladder for every alert.
    """
    first = _first_ladder(policies, alert_type.value, severity.value)
    if alert_type not in NEVER_HELD_BACK:
        return first

    for keys in ((alert_type.value, severity.value), (severity.value,), *_GRAVER_THAN[severity]):
        ladder = _first_ladder(policies, *keys)
        steps = [at_once for at_once in map(_without_digest, ladder.steps) if at_once is not None]
        if steps:
            return msgspec.structs.replace(ladder, steps=steps)

    steps = [msgspec.structs.replace(step, channels=list(AT_ONCE)) for step in first.steps]
    return msgspec.structs.replace(first, steps=steps)


def _first_ladder(policies: Sequence[Policy], *keys: str) -> Ladder:
    for policy in policies:
        for key in keys:
            if key in policy:
                return policy[key]
    raise Misconfigured(
        f"no policy says who is notified of a{keys[-1]} alert; correct alerts.policy in config.yaml"
    )


def _without_digest(step: LadderStep) -> LadderStep | None:
    channels = [channel for channel in step.channels if channel != "digest"]
    return msgspec.structs.replace(step, channels=channels) if channels else None


def next_step(ladder: Ladder, step: int) -> tuple[int, float] | None:
    """Return (number, wait in seconds) of the step after `step` (from 0), or None at the end."""
    if step + 1 < len(ladder.steps):
        return step + 1, ladder.steps[step + 1].after_s - ladder.steps[step].after_s
    return (step + 1, ladder.repeat_s) if ladder.repeat_s else None


def step_at(ladder: Ladder, step: int) -> LadderStep:
    """Return step `step` (from 0). Numbers beyond the last step give the last step again."""
    return ladder.steps[min(step, len(ladder.steps) - 1)]


def targets(step: LadderStep, book: ContactBook, *, site_id: int | None, at: datetime) -> list[Target]:
    """Return the recipients of a step at a time, each once.

    When the step has none, these are the contacts, else the fallback, else the contacts of other
    sites. Somebody must know of the alert.
    """
    found: dict[str, PolicyContact] = {}
    for word in step.who:
        for contact in _named(word, book, site_id=site_id, at=at):
            found.setdefault(contact.name, contact)
    if not found:
        instead = _named("contacts", book, site_id=site_id, at=at) or book.contacts
        found = {contact.name: contact for contact in instead}
    return [Target(c.name, c.addresses, c.language) for c in found.values()]


def _named(word: str, book: ContactBook, *, site_id: int | None, at: datetime) -> Sequence[PolicyContact]:
    kind, _, name = word.partition(":")
    if kind == "fallback":
        return book.fallback
    if kind == "contacts":
        of_site = [contact for contact in book.contacts if contact.site_id == site_id is not None]
        of_tenant = [contact for contact in book.contacts if contact.site_id is None]
        return of_site or of_tenant or book.fallback
    if kind == "rota":
        if name not in book.rotas:
            return ()
        name = rotas.on_call(book.rotas[name], at)

    return [contact for contact in book.contacts if contact.name == name]


def fallback_contacts(recipients: Mapping[str, Sequence[str]]) -> list[PolicyContact]:
    """Return the ALERT_..._RECIPIENTS as contacts.

    Each address of a channel is a contact of its own. The name of such a contact is its address, as
    far as lists may show it. Equal names get a number, because a step takes contacts of one name
    for one person.
    """
    found: dict[str, PolicyContact] = {}
    for channel, addresses in recipients.items():
        for address in dict.fromkeys(addresses):
            shown = name = masked_address(channel, address)
            number = 1
            while name in found:
                number += 1
                name = f"{shown} ({number})"
            found[name] = PolicyContact(name, None, {channel: address})

    return list(found.values())


def notified_note(step: int, told: Sequence[Target], channels: Sequence[str]) -> str:
    """Return the timeline's note about a step."""
    if not told:
        remedy = "add a contact (`vigil contact add`) or set ALERT_EMAIL_RECIPIENTS"
        return f"step {step + 1}: there is no contact to notify; {remedy}"
    names = ", ".join(target.name for target in told[:10]) + (", ..." if len(told) > 10 else "")
    return f"step {step + 1}: {', '.join(map(inside, channels))} to {names}"
