"""Types of the API's requests and answers, except the types that services share. Pure.

Times are RFC 3339 with an offset. Ids of alerts are UUIDs. Ids of guards and devices are their MQTT
names.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.contracts.events import FeedPosition
from services.contracts.families import DeviceFamily

Word = Annotated[str, Meta(min_length=1, max_length=200)]
Note = Annotated[str, Meta(max_length=2000)]
Id = Annotated[int, Meta(ge=1, le=2_147_483_647)]
Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
Moment = Annotated[datetime, Meta(tz=True)]


class In(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Input of the API. An unknown field is an error of the caller, and the answer names it."""


class AlertQuery(In, frozen=True):
    status: (
        Literal["open", "all", "NEW", "ACKNOWLEDGED", "IN_PROGRESS", "RESOLVED", "FALSE_ALARM"] | UnsetType
    ) = UNSET
    severity: Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"] | UnsetType = UNSET
    source_id: Word | UnsetType = UNSET
    site_id: Id | UnsetType = UNSET


class Noted(In, frozen=True):
    note: Note | UnsetType = UNSET


class FalseAlarm(In, frozen=True):
    note: Note | UnsetType = UNSET
    reason: Word | UnsetType = UNSET


class Assigned(In, frozen=True):
    to: Word
    note: Note | UnsetType = UNSET


class NoteOnly(In, frozen=True):
    note: Annotated[str, Meta(min_length=1, max_length=2000)]


class Shelving(In, frozen=True):
    reason: Word
    until: Moment


class Evidence(msgspec.Struct, frozen=True):
    """Evidence of an alert.

    `json` and `page` are the files `name`.json and `name`.html, byte for byte in UTF-8. `vigil
    alert verify` checks them. `faults` lists the faults of the record itself.
    """

    name: str
    json: str
    page: str
    sha256: str
    fingerprint: str
    faults: list[str]


class Between(In, frozen=True):
    since: Moment
    until: Moment


class NotificationQuery(In, frozen=True):
    alert_id: Word | UnsetType = UNSET


class Notification(msgspec.Struct, frozen=True):
    notification_id: int
    alert_id: str
    round: int
    step: int
    channel: str
    recipient: str
    name: str
    state: str
    provider: str | None
    provider_ref: str | None
    attempts: int
    possible_duplicate: bool
    error: str | None
    body: str
    created_at: datetime
    accepted_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None


class OfSite(In, frozen=True):
    site_id: Id | UnsetType = UNSET


class Policy(In, frozen=True):
    policy: dict[str, Any]
    site_id: Id | UnsetType = UNSET


class PreviewQuery(In, frozen=True):
    alert_type: Word | UnsetType = UNSET
    severity: Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"] | UnsetType = UNSET
    site_id: Id | UnsetType = UNSET
    at: Moment | UnsetType = UNSET


class Rota(In, frozen=True):
    rota: dict[str, Any]


class Site(msgspec.Struct, frozen=True):
    site_id: int
    tenant_id: int
    name: str
    time_zone: str
    lat: float | None
    lon: float | None


class NewSite(In, frozen=True):
    name: Word
    time_zone: Word = "UTC"
    lat: Lat | None = None
    lon: Lon | None = None


class Guard(msgspec.Struct, frozen=True):
    guard_id: str
    tenant_id: int
    site_id: int | None
    name: str
    enabled: bool
    registered_by: str
    credential: str | None
    credential_at: datetime | None


class NewGuard(In, frozen=True):
    guard_id: Word
    name: Word | UnsetType = UNSET
    site_id: Id | None = None


class Device(msgspec.Struct, frozen=True):
    device_id: str
    tenant_id: int
    site_id: int | None
    name: str
    family: str
    enabled: bool
    registered_by: str
    credential: str | None
    credential_at: datetime | None
    carried_by: str | None
    silence_limit_s: float | None


class NewDevice(In, frozen=True):
    device_id: Word
    family: DeviceFamily
    name: Word | UnsetType = UNSET
    site_id: Id | None = None


class Enabled(In, frozen=True):
    enabled: bool


class SilenceLimit(In, frozen=True):
    """Offline limit. `silence_limit_s`: OFFLINE after so many seconds without a message.

    Null means the limit of the device's family, and 0 means never.
    """

    silence_limit_s: Annotated[float, Meta(ge=0, le=31_536_000)] | None


class Carrier(msgspec.Struct, frozen=True):
    device_id: str
    guard_id: str
    since: datetime
    until: datetime | None


class Carried(In, frozen=True):
    guard_id: Word


class GuardGroup(msgspec.Struct, frozen=True):
    group_id: int
    tenant_id: int
    name: str
    guards: list[str] | None


class Named(In, frozen=True):
    name: Word


class Contact(msgspec.Struct, frozen=True):
    """Person who is notified of alerts.

    `push_token` and `url` are write-only: their stored values appear shortened. `url_problem`: the
    reason why nothing is sent to a URL that was stored before its kind was refused.
    """

    contact_id: int
    tenant_id: int
    site_id: int | None
    name: str
    email: str | None
    phone: str | None
    push_token: str | None
    url: str | None
    url_problem: str | None
    language: str
    note: str


class NewContact(In, frozen=True):
    name: Word
    email: Word | None = None
    phone: Word | None = None
    push_token: Word | None = None
    url: Word | None = None
    language: Word = "en"
    note: Note = ""
    site_id: Id | None = None


class ContactChange(In, frozen=True):
    """Change of a contact. An absent field stays as it is; null removes an address."""

    email: Word | UnsetType | None = UNSET
    phone: Word | UnsetType | None = UNSET
    push_token: Word | UnsetType | None = UNSET
    url: Word | UnsetType | None = UNSET
    language: Word | UnsetType = UNSET
    note: Note | UnsetType = UNSET
    site_id: Id | UnsetType | None = UNSET


class Shift(msgspec.Struct, frozen=True):
    shift_id: int
    tenant_id: int
    guard_id: str
    starts_at: datetime
    ends_at: datetime


class NewShift(In, frozen=True):
    guard_id: Word
    starts_at: Moment
    ends_at: Moment


class User(msgspec.Struct, frozen=True):
    user_id: int
    tenant_id: int
    login: str
    name: str
    role: str
    enabled: bool


class Bar(msgspec.Struct, frozen=True):
    """Subject with void tokens. Tokens that are issued after `until` are valid again."""

    bar_id: int
    tenant_id: int
    issuer: str
    subject: str
    since: datetime
    until: datetime | None
    by: str
    reason: str


class NewBar(In, frozen=True):
    """Subject to bar.

    `subject` is the `sub` of the tokens. `issuer` is the identity provider when there is one, else
    `vigil`.
    """

    subject: Annotated[str, Meta(min_length=1, max_length=255)]
    reason: Note | UnsetType = UNSET
    issuer: Word | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class Added(msgspec.Struct, frozen=True):
    """Id of the new item."""

    id: int | str


class SourceState(msgspec.Struct, frozen=True):
    source_id: str
    family: str
    recorded_at: datetime
    received_at: datetime
    reading: dict[str, Any]
    conditions: list[str]
    silent_since: datetime | None
    clock_offset_s: float | None = None
    clock_spread_s: float | None = None


class Position(FeedPosition, frozen=True):
    silent_since: datetime | None


class Reading(msgspec.Struct, frozen=True):
    recorded_at: datetime
    received_at: datetime
    clock_suspect: bool
    values: dict[str, Any]


class HistoryQuery(In, frozen=True):
    since: Moment
    until: Moment


class Rejected(msgspec.Struct, frozen=True):
    """Rejected message. `payload` is the original, as base64.

    For a source that sends too much, one row stands for `occurrences` messages.
    """

    message_key: str
    topic: str
    payload: bytes
    reason: str
    detail: str
    received_at: datetime
    source_id: str | None
    occurrences: int = 1


class RejectedQuery(In, frozen=True):
    reason: Word | UnsetType = UNSET


class DeadLetter(msgspec.Struct, frozen=True):
    """Dead letter: a message that the services gave up on.

    `queue` names its receiver, and `error` is the error of its last try.
    """

    id: str
    queue: str
    reason: str
    error: str
    tries: int
    last_tried_at: datetime | None
    bytes: int
    sources: list[str]


class DeadLetterInFull(DeadLetter, frozen=True):
    """Dead letter with its content. Bytes in `body` are base64.

    `history` has a row for each try, with `at` in Unix seconds.
    """

    history: list[dict[str, Any]]
    body: Any


class Report(msgspec.Struct, frozen=True):
    """Report about the answers to alerts and the delivery of notifications.

    Rows are by severity and by channel. Drills are separate.
    """

    tenant_id: int
    since: Moment
    until: Moment
    alerts: list[dict[str, Any]]
    delivery: list[dict[str, Any]]
    drills: dict[str, list[dict[str, Any]]]
    operators: int
    operator_hours: float
    alarms_per_operator_hour: float | None


class RuleChange(In, frozen=True):
    change: dict[str, Any]
    site_id: Id | UnsetType = UNSET
    source_type: Word | UnsetType = UNSET


class RulePlace(In, frozen=True):
    site_id: Id | UnsetType = UNSET
    source_type: Word | UnsetType = UNSET


class Template(In, frozen=True):
    source: Annotated[str, Meta(max_length=20_000)]
