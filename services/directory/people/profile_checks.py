"""Checks of profiles, and what Vigil itself writes into their entries. Pure.

No message of an error here holds a telephone number, because errors are logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, TypeVar

import msgspec

from services.contracts.errors import Refused
from services.contracts.people import (
    Authority,
    DeviceProfile,
    Entry,
    GuardProfile,
    Profile,
    SiteProfile,
    entries,
)
from services.outgoing.contact_addresses import phone_fault

P = TypeVar("P", GuardProfile, SiteProfile, DeviceProfile)
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
SHORT_NUMBER = re.compile(r"[0-9]{2,6}")
"""Number that only its own country has, such as 112 or 101."""
EARLIEST = date(2000, 1, 1)
UNSET_ENTRY: dict[str, Any] = {"verified_by": None, "wrong_on": None, "wrong_by": None}


def changed(before: P, changes: Mapping[str, Any], *, by: str, today: date) -> P:
    """Return a profile with some of its fields replaced, checked and signed.

    Args:
        before: the present profile.
        changes: the new values by field.
        by: the name of the person who makes the change.
        today: the day, in UTC.

    Raises:
        Refused: a value is wrong. The text names its place and the remedy.
    """
    try:
        after = msgspec.convert({**msgspec.to_builtins(before), **changes}, type(before))
    except msgspec.ValidationError as error:
        raise Refused(f"profile: {error}") from error
    check(after, today=today)
    return _signed(before, after, by=by)


def check(profile: Profile, *, today: date) -> None:
    """Check every value of a profile. Raises `Refused`, which names the place and the remedy."""
    for place, entry in entries(profile):
        _check_entry(place, entry, today=today)
    match profile:
        case GuardProfile():
            _check_guard(profile)
        case SiteProfile():
            _check_blanks("hazards", profile.hazards)
        case DeviceProfile():
            _check_device(profile, today=today)


def marked_wrong(profile: P, place: str, *, by: str, today: date) -> P:
    """Return a profile in which the entry at a place is marked as a wrong number.

    Raises:
        Refused: the profile has no entry at this place.
    """
    found = dict(entries(profile)).get(place)
    if found is None:
        raise Refused(f"there is no entry {place[:60]!r}; the profile lists them")
    return _with_entries(
        profile,
        {place: found if found.wrong_on else msgspec.structs.replace(found, wrong_on=today, wrong_by=by)},
    )


def differences(before: Profile, after: Profile) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that differ, with their values before and after."""
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    names = [name for name in new if old[name] != new[name]]
    return {name: old[name] for name in names}, {name: new[name] for name in names}


def _check_entry(place: str, entry: Entry, *, today: date) -> None:
    is_short = isinstance(entry, Authority) and SHORT_NUMBER.fullmatch(entry.number) is not None
    fault = None if is_short else phone_fault(entry.number)
    if fault is not None:
        raise Refused(f"{place}.number: {fault}; write it in E.164 form, such as +919876543210")
    _check_day(f"{place}.verified_on", entry.verified_on, today=today)


def _check_day(place: str, day: date | None, *, today: date) -> None:
    """Check a day of the past. East of Greenwich, today begins earlier than in UTC."""
    if day is not None and not EARLIEST <= day <= today + timedelta(days=1):
        raise Refused(f"{place} is {day}; it must be a day from {EARLIEST} to today")


def _check_guard(profile: GuardProfile) -> None:
    numbers = [telephone.number for telephone in profile.telephones]
    if len(set(numbers)) < len(numbers):
        raise Refused("telephones: the same number is there twice; keep one of them")

    for language in profile.languages:
        if not LANGUAGE.fullmatch(language):
            raise Refused(f"languages: {language[:20]!r} is not a language tag; write it as en, hi or pt-BR")

    for name, values in (
        ("languages", profile.languages),
        ("skills", [skill.name for skill in profile.skills]),
    ):
        _check_blanks(name, values)
        if len({value.casefold() for value in values}) < len(values):
            raise Refused(f"{name}: one of them is there twice; keep one")


def _check_device(profile: DeviceProfile, *, today: date) -> None:
    _check_day("last_test_on", profile.last_test_on, today=today)
    url = profile.camera_url
    if url and not re.fullmatch(r"(https|rtsps)://[^\s@/]+(/\S*)?", url):
        raise Refused("camera_url must be https:// or rtsps://, without a user name or password in it")


def _check_blanks(name: str, values: list[str]) -> None:
    if any(not value.strip() for value in values):
        raise Refused(f"{name}: an entry is blank; leave it out")


def _signed(before: P, after: P, *, by: str) -> P:
    """Return the new profile with the fields that Vigil writes.

    A mark of a wrong number lasts until the number changes, or somebody verifies it afterwards.
    """
    known = list(_by_number(before))
    signed: dict[str, Entry] = {}
    for place, entry in entries(after):
        former = next(
            (old for kind, old in known if kind is type(entry) and old.number == entry.number), None
        )
        kept = dict(UNSET_ENTRY)

        if entry.verified_on is not None:
            same = former is not None and former.verified_on == entry.verified_on
            kept["verified_by"] = former.verified_by if former is not None and same else by
        if former is not None and former.wrong_on is not None and not _cleared(former, entry):
            kept |= {"wrong_on": former.wrong_on, "wrong_by": former.wrong_by}

        signed[place] = msgspec.structs.replace(entry, **kept)

    return _with_entries(after, signed)


def _by_number(profile: Profile) -> Iterator[tuple[type[Entry], Entry]]:
    for _, entry in entries(profile):
        yield type(entry), entry


def _cleared(former: Entry, entry: Entry) -> bool:
    """Return whether a later verification ends the mark of a wrong number."""
    if entry.verified_on is None or former.wrong_on is None:
        return False
    return entry.verified_on >= former.wrong_on and entry.verified_on != former.verified_on


def _with_entries(profile: P, replaced: Mapping[str, Entry]) -> P:
    """Return a profile with other entries at some places."""
    changes: dict[str, Any] = {}
    for place, entry in replaced.items():
        name, _, index = place.partition(".")
        if index:
            changes.setdefault(name, list(getattr(profile, name)))[int(index)] = entry
        else:
            changes[name] = entry
    return msgspec.structs.replace(profile, **changes)
