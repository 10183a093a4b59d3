"""Profiles of guards, sites and devices, and the people and place that an alert concerns. Pure.

Vigil itself writes `verified_by`, `wrong_on` and `wrong_by` of an entry. A caller may send an entry
back as it came; the values of these three fields in a request have no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.contracts.api import In
from services.contracts.events import Alert

OVERDUE_DAYS = 180
"""Age in days after which an entry has to be verified again."""
CALL_ROLES = frozenset({"operator", "supervisor", "admin", "platform"})
"""Roles that see emergency contacts and the telephone numbers of call lists."""

Name = Annotated[str, Meta(min_length=1, max_length=120)]
Line = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4000)]
Number = Annotated[str, Meta(max_length=16, description="E.164, such as +919876543210")]
Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Version = Annotated[int, Meta(ge=0, description="0 for a profile that nobody has written yet")]


class Entry(In, frozen=True, kw_only=True):
    """A telephone number with the day on which somebody verified it.

    `wrong_on` is the day on which somebody marked it as a wrong number.
    """

    number: Number
    verified_on: date | None = None
    verified_by: str | None = None
    wrong_on: date | None = None
    wrong_by: str | None = None


class Telephone(Entry, frozen=True, kw_only=True):
    label: Line = ""


class EmergencyContact(Entry, frozen=True, kw_only=True):
    name: Name
    relation: Line = ""


class Authority(Entry, frozen=True, kw_only=True):
    """Police station or fire brigade of a site. `reference` is the site's number there."""

    name: Line = ""
    reference: Line = ""


class Hours(In, frozen=True, kw_only=True):
    """Hours on some days of the week, in the time zone of the site.

    `until` before `since` is a time of the next day.
    """

    days: Annotated[list[Day], Meta(min_length=1, max_length=7)]
    since: Clock
    until: Clock


class Callee(Entry, frozen=True, kw_only=True):
    """Person on the call list of a site. Without `hours`, the person may be called at any time."""

    name: Name
    role: Line = ""
    holds_key: bool = False
    hours: Annotated[list[Hours], Meta(max_length=14)] = []


class Skill(In, frozen=True, kw_only=True):
    name: Name
    expires_on: date | None = None


class GuardProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Profile of a guard. `telephones` is in calling order."""

    call_sign: str = ""
    post: str = ""
    telephones: list[Telephone] = []
    skills: list[Skill] = []
    languages: list[str] = []
    emergency_contact: EmergencyContact | None = None


class SiteProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Profile of a site. `call_list` is in calling order."""

    address: str = ""
    entry_notes: str = ""
    telephone: Telephone | None = None
    call_list: list[Callee] = []
    police: Authority | None = None
    fire: Authority | None = None
    hazards: list[str] = []
    post_orders: str = ""


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True):
    mounted_at: str = ""
    last_test_on: date | None = None
    camera_url: str = ""


Profile = GuardProfile | SiteProfile | DeviceProfile
P = TypeVar("P", GuardProfile, SiteProfile, DeviceProfile)


class GuardProfileChange(In, frozen=True, kw_only=True):
    """Fields of a guard's profile to set. A list replaces the former list."""

    version: Version | UnsetType = UNSET
    call_sign: Annotated[str, Meta(max_length=40)] | UnsetType = UNSET
    post: Line | UnsetType = UNSET
    telephones: Annotated[list[Telephone], Meta(max_length=3)] | UnsetType = UNSET
    skills: Annotated[list[Skill], Meta(max_length=30)] | UnsetType = UNSET
    languages: Annotated[list[Line], Meta(max_length=10)] | UnsetType = UNSET
    emergency_contact: EmergencyContact | None | UnsetType = UNSET


class SiteProfileChange(In, frozen=True, kw_only=True):
    """Fields of a site's profile to set. A list replaces the former list."""

    version: Version | UnsetType = UNSET
    address: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    entry_notes: Text | UnsetType = UNSET
    telephone: Telephone | None | UnsetType = UNSET
    call_list: Annotated[list[Callee], Meta(max_length=20)] | UnsetType = UNSET
    police: Authority | None | UnsetType = UNSET
    fire: Authority | None | UnsetType = UNSET
    hazards: Annotated[list[Name], Meta(max_length=30)] | UnsetType = UNSET
    post_orders: Annotated[str, Meta(max_length=20_000)] | UnsetType = UNSET


class DeviceProfileChange(In, frozen=True, kw_only=True):
    version: Version | UnsetType = UNSET
    mounted_at: Line | UnsetType = UNSET
    last_test_on: date | None | UnsetType = UNSET
    camera_url: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET


class ProfileState(msgspec.Struct, frozen=True, kw_only=True):
    """State of a profile: version, last change, and what this answer leaves out.

    `hidden` names the fields that the caller's role does not see. They are empty in this answer.
    `overdue` names the entries that were never verified, or longer than 180 days ago. `wrong` names
    the entries that somebody marked as a wrong number.
    """

    version: int
    changed_at: datetime | None
    changed_by: str | None
    hidden: list[str] = []
    overdue: list[str] = []
    wrong: list[str] = []


class GuardProfileAnswer(ProfileState, frozen=True, kw_only=True):
    guard_id: str
    profile: GuardProfile
    photo_sha256: str | None = None


class SiteProfileAnswer(ProfileState, frozen=True, kw_only=True):
    site_id: int
    profile: SiteProfile


class DeviceProfileAnswer(ProfileState, frozen=True, kw_only=True):
    device_id: str
    profile: DeviceProfile
    picture_sha256: str | None = None


class Picture(msgspec.Struct, frozen=True):
    """A picture: JPEG, PNG or WebP, in base64. It bears no metadata of the camera."""

    media_type: str
    sha256: str
    content: str


class NewPicture(In, frozen=True):
    content: Annotated[str, Meta(min_length=4, description="JPEG, PNG or WebP in base64, up to 3 MB")]


class CallResult(In, frozen=True, kw_only=True):
    """Result of a call: `about` and `place` name the entry, such as guard and `telephones.0`."""

    about: Literal["guard", "site"]
    place: Annotated[str, Meta(min_length=1, max_length=60)]
    result: Literal["answered", "no_answer", "voicemail", "wrong_number"]
    note: Annotated[str, Meta(max_length=1000)] | UnsetType = UNSET


class ProfileChange(msgspec.Struct, frozen=True):
    """Change of a profile: the fields that changed, with the former and the new values."""

    change_id: int
    at: datetime
    by: str
    before: dict[str, Any]
    after: dict[str, Any]


class WrongNumber(msgspec.Struct, frozen=True, kw_only=True):
    """Entry that somebody marked as a wrong number: a task for administration."""

    kind: str
    subject: str
    place: str
    number: str
    wrong_on: date
    wrong_by: str


class ShiftNow(msgspec.Struct, frozen=True):
    starts_at: datetime
    ends_at: datetime


class GuardOfAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Guard of an alert. `shift` is null for a guard who is in no shift at that time."""

    guard_id: str
    name: str
    enabled: bool
    site_id: int | None
    erased: bool = False
    shift: ShiftNow | None = None
    profile: GuardProfile = GuardProfile()
    photo_sha256: str | None = None


class SiteOfAlert(msgspec.Struct, frozen=True, kw_only=True):
    site_id: int
    name: str
    time_zone: str
    lat: float | None = None
    lon: float | None = None
    profile: SiteProfile = SiteProfile()


class DeviceOfAlert(msgspec.Struct, frozen=True, kw_only=True):
    device_id: str
    name: str
    family: str
    profile: DeviceProfile = DeviceProfile()
    picture_sha256: str | None = None


class People(msgspec.Struct, frozen=True, kw_only=True):
    """Guard, site and device that an alert concerns, at one time. None where there is none."""

    guard: GuardOfAlert | None = None
    site: SiteOfAlert | None = None
    device: DeviceOfAlert | None = None


class AlertPeople(msgspec.Struct, frozen=True, kw_only=True):
    """People and place of an alert: as on record when it was raised, and as on record now.

    `at_raise` is null for an alert from before snapshots were kept. `missing` names what nobody has
    entered (`guard.telephones`). `hidden` and `overdue` are as in a profile.
    """

    taken_at: datetime | None
    at_raise: People | None
    now: People
    missing: list[str]
    hidden: list[str]
    overdue: list[str]
    wrong: list[str]


class AlertInFull(Alert, frozen=True, kw_only=True):
    """One alert with its whole timeline, and the people and place that it concerns."""

    people: AlertPeople

    @classmethod
    def of(cls, alert: Alert, people: AlertPeople) -> AlertInFull:
        fields = {name: getattr(alert, name) for name in Alert.__struct_fields__}
        return cls(**fields, people=people)


def entries(profile: Profile) -> Iterator[tuple[str, Entry]]:
    """Yield the telephone numbers of a profile, each with its place: `telephones.0`."""
    match profile:
        case GuardProfile():
            yield from ((f"telephones.{n}", entry) for n, entry in enumerate(profile.telephones))
            yield from _single("emergency_contact", profile.emergency_contact)
        case SiteProfile():
            yield from _single("telephone", profile.telephone)
            yield from ((f"call_list.{n}", entry) for n, entry in enumerate(profile.call_list))
            yield from _single("police", profile.police)
            yield from _single("fire", profile.fire)


def overdue(profile: Profile, *, today: date) -> list[str]:
    """Return the places of entries that were never verified, or longer than 180 days ago."""
    return [
        place
        for place, entry in entries(profile)
        if entry.verified_on is None or (today - entry.verified_on).days > OVERDUE_DAYS
    ]


def wrong(profile: Profile) -> list[str]:
    """Return the places of entries that somebody marked as a wrong number."""
    return [place for place, entry in entries(profile) if entry.wrong_on is not None]


def seen_by(profile: P, *, role: str) -> tuple[P, list[str]]:
    """Return a profile as a role sees it, and the names of the fields that are left out."""
    if role in CALL_ROLES:
        return profile, []

    hidden: list[str] = []
    changes: dict[str, Any] = {}
    if isinstance(profile, GuardProfile) and profile.emergency_contact is not None:
        changes["emergency_contact"], hidden = None, ["emergency_contact"]
    if isinstance(profile, SiteProfile) and profile.call_list:
        changes["call_list"] = [msgspec.structs.replace(entry, number="") for entry in profile.call_list]
        hidden = ["call_list.number"]

    return msgspec.structs.replace(profile, **changes), hidden


def people_seen_by(people: People, *, role: str) -> tuple[People, list[str]]:
    """Return people and place as a role sees them, and the names of the fields that are left out."""
    changes: dict[str, Any] = {}
    hidden: list[str] = []
    if people.guard is not None:
        profile, left_out = seen_by(people.guard.profile, role=role)
        changes["guard"] = msgspec.structs.replace(people.guard, profile=profile)
        hidden += [f"guard.{name}" for name in left_out]
    if people.site is not None:
        place, left_out = seen_by(people.site.profile, role=role)
        changes["site"] = msgspec.structs.replace(people.site, profile=place)
        hidden += [f"site.{name}" for name in left_out]

    return msgspec.structs.replace(people, **changes), hidden


def missing(people: People) -> list[str]:
    """Return the names of what an operator needs and nobody has entered, `guard.telephones` first.

    An alert whose source is on no record misses `source`.
    """
    found: list[str] = []
    if people.guard is None and people.device is None:
        found.append("source")

    if people.guard is not None:
        if not people.guard.profile.telephones:
            found.append("guard.telephones")
        if people.guard.shift is None:
            found.append("guard.shift")

    if people.site is None:
        return [*found, "site"]

    place = people.site.profile
    named = {"address": place.address, "call_list": place.call_list, "post_orders": place.post_orders}
    return found + [f"site.{name}" for name, value in named.items() if not value]


def alert_people(
    present: People, former: People | None, *, taken_at: datetime | None, role: str, today: date
) -> AlertPeople:
    """Return the people and place of an alert as a role sees them.

    Args:
        present: what is on record now.
        former: what was on record when the alert was raised; None when nobody kept it.
        taken_at: the time of `former`.
        role: the caller's role.
        today: the day, in UTC.
    """
    shown, hidden = people_seen_by(present, role=role)
    if former is not None:
        former, more = people_seen_by(former, role=role)
        hidden = list(dict.fromkeys([*hidden, *more]))

    profiles = {
        name: part.profile for name, part in (("guard", present.guard), ("site", present.site)) if part
    }
    return AlertPeople(
        taken_at=taken_at,
        at_raise=former,
        now=shown,
        missing=missing(present),
        hidden=hidden,
        overdue=[f"{name}.{place}" for name, of in profiles.items() for place in overdue(of, today=today)],
        wrong=[f"{name}.{place}" for name, of in profiles.items() for place in wrong(of)],
    )


def _single(place: str, entry: Entry | None) -> Iterator[tuple[str, Entry]]:
    if entry is not None:
        yield place, entry
