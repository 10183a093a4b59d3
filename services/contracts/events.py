"""The messages that services exchange: frozen values that know their wire form.

Every event body is one of the `...Batch` or `...Event` structs, encoded as MessagePack. Values that
travel by the thousand are arrays on the wire. A field may be added at the end with a default; no
field may be moved.

Times are aware UTC `datetime`s. The messages that come by the thousand, with the units of their
fields, are in `services/contracts/families.py`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import msgspec

from services.contracts.families import Origin


class AlertType(StrEnum):
    PANIC = "PANIC"
    SOS = "SOS"
    DURESS = "DURESS"
    MEDICAL = "MEDICAL"
    FIRE = "FIRE"
    MAN_DOWN = "MAN_DOWN"
    CHECK_IN_MISSED = "CHECK_IN_MISSED"
    INTRUSION = "INTRUSION"
    GEOFENCE_VIOLATION = "GEOFENCE_VIOLATION"
    PATROL_MISSED = "PATROL_MISSED"
    PATROL_INCOMPLETE = "PATROL_INCOMPLETE"
    EQUIPMENT_FAILURE = "EQUIPMENT_FAILURE"
    TAMPER = "TAMPER"
    LOW_BATTERY = "LOW_BATTERY"
    OFFLINE = "OFFLINE"
    UNREADABLE_ALERT = "UNREADABLE_ALERT"
    REPORTED = "REPORTED"
    UNKNOWN = "UNKNOWN"


class Severity(StrEnum):
    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class AlertStatus(StrEnum):
    NEW = "NEW"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    IN_PROGRESS = "IN_PROGRESS"
    RESOLVED = "RESOLVED"
    FALSE_ALARM = "FALSE_ALARM"


LIFE_SAFETY = frozenset(
    {
        AlertType.PANIC,
        AlertType.SOS,
        AlertType.DURESS,
        AlertType.MEDICAL,
        AlertType.FIRE,
        AlertType.MAN_DOWN,
        AlertType.CHECK_IN_MISSED,
    }
)
"""Alerts about a person's life.

They are never refused for their content, and never below their default severity.
"""

NEVER_HELD_BACK = LIFE_SAFETY | {AlertType.UNREADABLE_ALERT}
"""Alerts that no storm, digest, rate limit, quiet hour or shelving holds back.

An alert that cannot be read may have been a panic. This is the only list of its kind.
"""

_CRITICAL = dict.fromkeys(LIFE_SAFETY, Severity.CRITICAL)
_HIGH = dict.fromkeys(
    (
        AlertType.INTRUSION,
        AlertType.GEOFENCE_VIOLATION,
        AlertType.PATROL_MISSED,
        AlertType.UNREADABLE_ALERT,
    ),
    Severity.HIGH,
)
DEFAULT_SEVERITY: dict[AlertType, Severity] = {
    **dict.fromkeys(AlertType, Severity.MEDIUM),
    **_HIGH,
    **_CRITICAL,
}
"""Severity of an alert whose sender names none."""


class FeedPosition(msgspec.Struct, frozen=True):
    """Position of a guard, in metres, metres a second and degrees.

    `recorded_at` is the device's time.
    """

    guard_id: str
    lat: float
    lon: float
    accuracy: float | None
    speed: float | None
    heading: float | None
    recorded_at: datetime
    received_at: datetime
    in_geofence: bool
    geofence_violation: bool


class RejectedMessage(msgspec.Struct, array_like=True, frozen=True):
    """A message that was refused; its bytes are kept as they came.

    `count`: the row stands for so many messages of its source, refused for sending too many. Counts
    of one `key` add up. `msg_id`: the id under which the source gets a receipt of the refusal;
    None: it gets no receipt. `silent`: the receipt is a silent one.
    """

    key: bytes
    topic: str
    payload: bytes
    reason: str
    detail: str
    received_at: datetime
    source_id: str | None = None
    tenant_id: int | None = None
    count: int = 1
    msg_id: str | None = None
    silent: bool = False


class RejectedBatch(msgspec.Struct, frozen=True):
    messages: list[RejectedMessage]


class DeviceAlert(msgspec.Struct, frozen=True):
    """An alert as a device sent it.

    `flags` names the faults of the message; none of its content was refused. `unreadable` holds the
    bytes of a payload that could not be decoded (base64 by the store). `word` is the topic's word
    for the type, in lower case. It distinguishes unknown and unreadable alerts of one source.
    `outbox`: the device sends the alert until it has its receipt. Such a device never gives an id
    to a second message, and shows nothing of a silent receipt.
    """

    origin: Origin
    alert_type: AlertType
    severity: Severity | None
    message: str
    lat: float | None = None
    lon: float | None = None
    silent: bool = False
    drill: bool = False
    flags: tuple[str, ...] = ()
    unreadable: bytes | None = None
    word: str = ""
    outbox: bool = False


class RepeatedAlert(msgspec.Struct, frozen=True):
    """Body of `device_alert_repeated`: messages of one source that repeat one alert within moments.

    `alerts` are kept one by one, oldest first; there is at least one. Of `counted` further messages
    only the number is kept, once for each `key`, and the `msg_ids`, whose receipts are due.
    `first_at` is the time at which the first one was received.
    """

    key: bytes
    alerts: list[DeviceAlert]
    counted: int
    first_at: datetime
    msg_ids: list[str] = []


class SourceFlood(msgspec.Struct, frozen=True):
    """Body of `source_flood_changed`: a source began to exceed its limit, or stopped exceeding it.

    `rate_per_s` is the rate at which it sends. `counted` and `refused` are the messages beyond the
    limit since `began_at`, by their outcome. `key` identifies this event.
    """

    key: bytes
    source_id: str
    lane: str
    is_over: bool
    began_at: datetime
    at: datetime
    rate_per_s: float
    limit_per_s: float
    counted: int
    refused: int


class Condition(msgspec.Struct, frozen=True):
    """A rule's finding about one source: an alert is to be raised, or no longer.

    `key` identifies the message that showed it, so that a repeated step counts once.
    """

    tenant_id: int
    source_id: str
    alert_type: AlertType
    dedup_key: str
    at: datetime
    key: bytes
    message: str
    severity: Severity | None = None
    lat: float | None = None
    lon: float | None = None
    detail: dict[str, Any] = {}
    site_id: int | None = None


class ConditionsEvent(msgspec.Struct, frozen=True):
    """Body of `alert_condition_met` and `alert_condition_cleared`."""

    conditions: list[Condition]


class ZoneMove(msgspec.Struct, frozen=True):
    """A guard's confirmed entry into a zone, or exit from it.

    `at` is the time of the first fix that showed it. `confirmed_at` is the time of the fix that
    completed the confirmation; the place is that of this fix.
    """

    tenant_id: int
    guard_id: str
    transition_id: str
    zone_id: int
    zone_version: int
    zone_name: str
    at: datetime
    confirmed_at: datetime
    lat: float
    lon: float
    site_id: int | None = None


class ZoneMovesEvent(msgspec.Struct, frozen=True):
    """Body of `zone_entered` and `zone_exited`."""

    moves: list[ZoneMove]


class Receipt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Vigil's message to a source about the source's own message, on `receipt/<source_id>`.

    `silent`: the source must not show or sound that the receipt came. `reason`: the reason for
    which the message was refused.
    """

    source_id: str
    msg_id: str | None
    status: str
    at: datetime
    alert_id: str | None = None
    by: str | None = None
    silent: bool = False
    reason: str | None = None


class StoredEvent(msgspec.Struct, frozen=True):
    """Body of `telemetry_stored` and `positions_stored`: counts of a commit and its receipts."""

    receipts: list[Receipt]
    stored: int
    duplicates: int = 0
    rejected: int = 0


class TimelineEntry(msgspec.Struct, frozen=True):
    """One row of an alert's timeline: the action, its time, its author and the note left."""

    at: datetime
    action: str
    status: AlertStatus
    by: str
    note: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as the NOC sees it. `timeline` holds the rows that this message is about.

    `assigned_to` is the person who is to go. `group_id` is the storm that the alert belongs to.
    `shelved_until` is the end of a shelving. `previous_holder` had the alert before it was raised
    again.

    The response clock has these times: `received_at`, `shown_at` (first websocket session),
    `notified_at` (first notification accepted), `accepted_at` (first person), `closed_at`.
    """

    id: str
    tenant_id: int
    alert_type: AlertType
    severity: Severity
    status: AlertStatus
    source_id: str
    dedup_key: str
    message: str
    occurrences: int
    recorded_at: datetime
    received_at: datetime
    last_seen_at: datetime
    site_id: int | None = None
    lat: float | None = None
    lon: float | None = None
    silent: bool = False
    drill: bool = False
    flags: tuple[str, ...] = ()
    carried_by: str | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    cleared_at: datetime | None = None
    closed_at: datetime | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    assigned_to: str | None = None
    shelved_until: datetime | None = None
    false_alarm_reason: str | None = None
    group_id: str | None = None
    shown_at: datetime | None = None
    notified_at: datetime | None = None
    accepted_at: datetime | None = None
    previous_holder: str | None = None


class AlertFrame(Alert, frozen=True, kw_only=True):
    """An alert in a frame of the feed.

    `event` names the newest timeline row that the frame reports. After a fault a frame may come
    again under a new id. It then bears the same `event` of the same alert. A frame with a smaller
    `event` than one before it is the older of the two.
    """

    event: int

    @classmethod
    def of(cls, alert: Alert, *, event: int) -> Self:
        fields = {name: getattr(alert, name) for name in Alert.__struct_fields__}
        return cls(**fields, event=event)


class AlertEvent(msgspec.Struct, frozen=True):
    """Body of `alert_raised` and `alert_updated`."""

    alert: Alert
    receipts: list[Receipt] = []


class Target(msgspec.Struct, frozen=True):
    """A recipient of notifications: name, language, and addresses.

    `addresses` has the address by channel (email, sms, push, url).
    """

    name: str
    addresses: dict[str, str]
    language: str = "en"


class NotificationRequest(msgspec.Struct, frozen=True):
    """Body of `notification_requested`: one step of one round of an alert's escalation.

    The same request may come again; (alert, round, step) identifies it. `place` is the site's name,
    and `time_zone` the site's time zone. No notification is needed any more once the alert is
    `until` (acknowledged, in_progress, closed).
    """

    alert: Alert
    round: int
    step: int
    channels: list[str]
    targets: list[Target]
    place: str = ""
    time_zone: str = "UTC"
    until: str = "acknowledged"


class NotificationFinished(msgspec.Struct, frozen=True):
    """Body of `notification_finished`: the outcome of one notification, each state once or more.

    `reference` is ours, `provider_ref` the provider's. `name` is the recipient's name. `error` is
    the reason of a failure.
    """

    tenant_id: int
    alert_id: str
    channel: str
    recipient: str
    state: str
    at: datetime
    reference: str = ""
    name: str = ""
    provider: str = ""
    provider_ref: str = ""
    error: str = ""
    possible_duplicate: bool = False
