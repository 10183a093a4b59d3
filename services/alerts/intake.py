"""What a device's alert or a rule's finding comes to: an occurrence, ready to be merged. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec

from services.claims import objections
from services.messages import (
    DEFAULT_SEVERITY,
    LIFE_SAFETY,
    AlertType,
    Condition,
    DeviceAlert,
    NotificationFinished,
    Severity,
)


class Whose(msgspec.Struct, frozen=True):
    """What the registry says of a source; `tenant_id` is the default tenant's when it is `known` to nobody.

    A `newcomer` was known to nobody until this alert: it is let in like one of ours, but its alert says so.
    """

    tenant_id: int
    site_id: int | None
    known: bool
    enabled: bool
    carried_by: str | None = None
    newcomer: bool = False


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One message or finding behind an alert. Merged by (tenant_id, dedup_key), counted once by `key`."""

    key: bytes
    tenant_id: int
    site_id: int | None
    alert_type: AlertType
    severity: Severity
    source_id: str
    dedup_key: str
    message: str
    recorded_at: datetime
    received_at: datetime
    by: str
    carried_by: str | None = None
    lat: float | None = None
    lon: float | None = None
    silent: bool = False
    drill: bool = False
    clock_suspect: bool = False
    flags: tuple[str, ...] = ()
    msg_id: str | None = None
    topic: str | None = None
    raw: str | None = None
    unreadable: bytes | None = None

    @property
    def of_rule(self) -> bool:
        """A rule's finding, which ends when the rule says so; what a device sent came on a topic."""
        return self.topic is None


def of_device(alert: DeviceAlert, whose: Whose) -> Occurrence:
    """A device's alert. Life-safety alerts are flagged and kept; others raise `InvalidMessage`."""
    origin = alert.origin
    flags = list(alert.flags)
    for objection in objections(origin, known=whose.known, enabled=whose.enabled, tenant_id=whose.tenant_id):
        if alert.alert_type not in LIFE_SAFETY and alert.alert_type is not AlertType.UNREADABLE_ALERT:
            raise objection
        flags.append(objection.reason)
    if whose.newcomer:
        flags.append("unknown_source")
    return Occurrence(
        key=origin.key if alert.unreadable is None else origin.key[::-1],
        tenant_id=whose.tenant_id,
        site_id=whose.site_id,
        alert_type=alert.alert_type,
        severity=alert.severity or DEFAULT_SEVERITY[alert.alert_type],
        source_id=origin.source_id,
        dedup_key=f"{alert.alert_type}:{origin.source_id}" + (":drill" if alert.drill else ""),
        message=alert.message or f"{alert.alert_type} from {origin.source_id}",
        recorded_at=origin.recorded_at,
        received_at=origin.received_at,
        by=origin.source_id,
        carried_by=whose.carried_by,
        lat=alert.lat,
        lon=alert.lon,
        silent=alert.silent,
        drill=alert.drill,
        clock_suspect=origin.clock_suspect,
        flags=tuple(dict.fromkeys(flags)),
        msg_id=origin.msg_id,
        topic=origin.topic,
        raw=None if alert.unreadable is not None else origin.raw,
        unreadable=alert.unreadable,
    )


def of_condition(condition: Condition, *, now: datetime) -> Occurrence:
    """A rule's finding."""
    return Occurrence(
        key=condition.key,
        tenant_id=condition.tenant_id,
        site_id=condition.site_id,
        alert_type=condition.alert_type,
        severity=condition.severity or DEFAULT_SEVERITY[condition.alert_type],
        source_id=condition.source_id,
        dedup_key=condition.dedup_key,
        message=condition.message,
        recorded_at=condition.at,
        received_at=now,
        by="rule",
        lat=condition.lat,
        lon=condition.lon,
        raw=msgspec.json.encode(condition.detail).decode(),
    )


def raw_set_aside(occurrence: Occurrence) -> Occurrence:
    """The occurrence with its raw data as bytes, for a database that cannot hold them as JSON."""
    if occurrence.raw is None:
        return occurrence
    flags = tuple(dict.fromkeys((*occurrence.flags, "raw_unstorable")))
    return msgspec.structs.replace(occurrence, raw=None, unreadable=occurrence.raw.encode(), flags=flags)


class NotificationLine(msgspec.Struct, frozen=True):
    """A notification's row on the timeline; `key` is the same each time that the same is told."""

    key: UUID
    reached: bool
    note: str


def of_notification(event: NotificationFinished) -> NotificationLine | None:
    """What goes on record of a notification; None for states that are no news."""
    name = f"{event.name} ({event.recipient})" if event.name not in ("", event.recipient) else event.recipient
    again = ", possibly a second time" if event.possible_duplicate else ""
    match event.state:
        case "accepted":
            note = f"{event.channel} to {name}: accepted by {event.provider}{again}"
        case "delivered":
            note = f"{event.channel} to {name}: delivered"
        case "failed":
            note = f"{event.channel} to {name}: failed: {event.error}"
        case "unknown":
            note = f"{event.channel} to {name}: nobody knows whether it arrived: {event.error}"
        case _:
            return None
    named = f"notification\0{event.reference}\0{event.state}".encode()
    key = UUID(bytes=hashlib.blake2b(named, digest_size=16).digest())
    return NotificationLine(key, event.state in ("accepted", "delivered"), note[:2000])
