"""Conversion of a device's alert or a rule's finding into an occurrence, ready to merge. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from services.contracts.alert_words import alert_type
from services.contracts.enum_words import as_words
from services.contracts.errors import InvalidMessage
from services.contracts.events import (
    DEFAULT_SEVERITY,
    LIFE_SAFETY,
    NEVER_HELD_BACK,
    AlertType,
    Condition,
    DeviceAlert,
    NotificationFinished,
    Severity,
    SourceFlood,
)
from services.ingestion.claims import objections

KEYED_BY_WORD = frozenset({AlertType.UNKNOWN, AlertType.UNREADABLE_ALERT})
"""Types that stand for anything. The topic's word keeps their alerts apart."""
MAX_MESSAGE = 2000
ROWS_OF_REPEATS = 3
"""Largest number of repeats of one alert that get a timeline row each when they come together."""
RANK = {severity: rank for rank, severity in enumerate(reversed(Severity))}
SAME_WITHIN = timedelta(seconds=60)
"""A device time that differs from the receipt by this much at most is the message's own time.

Then the same bytes again are the same message again.
"""
SAME_MSG_ID_WITHIN = timedelta(minutes=10)
SAME_BYTES_WITHIN = timedelta(seconds=5)


class SourceEntry(msgspec.Struct, frozen=True):
    """Entry of the registry for a source.

    Attributes:
        tenant_id: the tenant of the source; the default tenant for a source that is not `known`.
        newcomer: the source was unknown until this alert. The alert is let in like one of a known
            source, with a flag.
        off_shift: the tenant keeps shifts, and this guard is in none of them now.
    """

    tenant_id: int
    site_id: int | None
    known: bool
    enabled: bool
    carried_by: str | None = None
    newcomer: bool = False
    off_shift: bool = False


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One message or finding behind an alert.

    Occurrences are merged by (tenant_id, dedup_key). Each is counted once, by `key`.

    Attributes:
        spoken: a person or a rule wrote the message; otherwise a text stands in for one.
        word: the topic's word for the type.
        buffered: the device kept the message for a while.
        told_as: text that precedes the message on the timeline, when one occurrence stands for
            many.
        outbox: the source has an outbox, so that its message id belongs to no other message.
    """

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
    spoken: bool = True
    word: str = ""
    buffered: bool = False
    told_as: str = ""
    outbox: bool = False

    @property
    def of_rule(self) -> bool:
        """Return whether the occurrence is a rule's finding, which ends when the rule says so.

        A message of a device has a topic, a finding has none.
        """
        return self.topic is None

    @property
    def never_held_back(self) -> bool:
        return self.alert_type in NEVER_HELD_BACK

    @property
    def pressed(self) -> bool:
        """Return whether the occurrence is a call for help on a topic.

        A later call of the same alert notifies the contacts again. An unreadable message counts too
        when its topic says that a life is at stake. Without a word in the topic, the severity
        decides.
        """
        if self.of_rule:
            return False
        if self.alert_type is AlertType.UNREADABLE_ALERT:
            return _of_life_safety(self.word) or (not self.word and self.severity is Severity.CRITICAL)
        return self.alert_type in LIFE_SAFETY

    @property
    def note(self) -> str:
        """Return the text of the occurrence on the timeline: its message and its position."""
        text = self.message if self.spoken else ""
        if self.told_as:
            text = f"{self.told_as}; the last: {text}" if text else self.told_as
        if self.lat is None or self.lon is None:
            return text
        return f"{text} ({self.lat:.5f}, {self.lon:.5f})".lstrip()


def of_device(alert: DeviceAlert, whose: SourceEntry) -> Occurrence:
    """Return the occurrence of a device's alert.

    A life-safety alert with objections is flagged and kept.

    Raises:
        InvalidMessage: there is an objection to an alert that may be refused.
    """
    alert = msgspec.structs.replace(alert, word=_word(alert))
    origin = alert.origin
    flags = list(alert.flags)

    for objection in objections(origin, known=whose.known, enabled=whose.enabled, tenant_id=whose.tenant_id):
        if alert.alert_type not in NEVER_HELD_BACK:
            raise objection
        flags.append(objection.reason)

    if whose.newcomer:
        flags.append("unknown_source")
    if whose.off_shift and alert.alert_type in LIFE_SAFETY:
        flags.append("off_shift")

    severity = _severity(alert.alert_type, alert.severity, word=alert.word)
    if alert.severity is not None and alert.severity is not severity:
        flags.append("severity_claim")

    return Occurrence(
        key=origin.key if alert.unreadable is None else origin.key[::-1],
        tenant_id=whose.tenant_id,
        site_id=whose.site_id,
        alert_type=alert.alert_type,
        severity=severity,
        source_id=origin.source_id,
        dedup_key=_dedup_key(alert),
        message=_message(alert),
        recorded_at=origin.recorded_at,
        received_at=origin.received_at,
        by=origin.source_id,
        carried_by=whose.carried_by,
        lat=alert.lat,
        lon=alert.lon,
        silent=alert.silent or alert.alert_type is AlertType.DURESS,
        drill=alert.drill,
        clock_suspect=origin.clock_suspect,
        flags=tuple(dict.fromkeys(flags)),
        msg_id=origin.msg_id,
        topic=origin.topic,
        raw=None if alert.unreadable is not None else origin.raw,
        unreadable=alert.unreadable,
        spoken=bool(alert.message.strip()),
        word=alert.word,
        buffered=origin.buffered,
        outbox=alert.outbox and origin.msg_id is not None,
    )


def of_refused(alert: DeviceAlert, whose: SourceEntry, refusal: InvalidMessage) -> Occurrence | None:
    """Return the occurrence that reports a refused alert; None where a person disabled its source.

    The refused message is kept beside the alert. The alert has the message's own text and bytes,
    because a refused message may be true.
    """
    if refusal.reason == "source_disabled":
        return None

    word = _word(alert) or alert.alert_type.lower()
    told = f": {alert.message}" if alert.message.strip() else ""
    stand_in = msgspec.structs.replace(
        alert,
        alert_type=AlertType.UNREADABLE_ALERT,
        severity=None,
        word=word,
        message=f"Refused {word} alert from {alert.origin.source_id}: {refusal.detail}{told}",
        flags=(*alert.flags, "refused"),
    )

    found = of_device(stand_in, whose)
    return msgspec.structs.replace(found, key=_derived(alert.origin.key, "refused"))


def _word(alert: DeviceAlert) -> str:
    """Return the topic's word for the type.

    An older gateway does not send it: then it is read from the topic.
    """
    if alert.word:
        return alert.word.lower()
    family, _, rest = alert.origin.topic.partition("/")
    first, _, second = rest.partition("/")
    if family != "alert" or not second or "/" in second:
        return ""
    return (second if first == alert.origin.source_id else first).lower()


def _severity(kind: AlertType, claimed: Severity | None, *, word: str = "") -> Severity:
    """Return the severity of an alert.

    Life safety has its default, whatever is claimed. Other types have the claimed severity, or
    their default without one.
    """
    if kind in LIFE_SAFETY or (kind is AlertType.UNREADABLE_ALERT and _of_life_safety(word)):
        return Severity.CRITICAL
    return claimed or DEFAULT_SEVERITY[kind]


def _of_life_safety(word: str) -> bool:
    return alert_type(word) in LIFE_SAFETY


def _dedup_key(alert: DeviceAlert) -> str:
    """Return the dedup key of a device's alert.

    Colons in the word are escaped, so that no two pairs of source and word have the same key.
    """
    key = f"{alert.alert_type}:{alert.origin.source_id}"
    if alert.alert_type in KEYED_BY_WORD and alert.word:
        key += f":{alert.word.replace('%', '%25').replace(':', '%3A')}"
    return f"{key}:drill" if alert.drill else key


def _message(alert: DeviceAlert) -> str:
    """Return the alert's own text.

    For a type that says nothing, the topic's word comes before it.
    """
    word = alert.word if alert.alert_type in KEYED_BY_WORD else ""
    named = word and word not in (alert.alert_type.lower(), "") and word not in alert.message.lower()
    if not alert.message.strip():
        return f"{word or as_words(alert.alert_type)} from {alert.origin.source_id}"
    return (f"{word}: {alert.message}" if named else alert.message)[:MAX_MESSAGE]


def is_another(occurrence: Occurrence, *, first_received_at: datetime, first_is_open: bool) -> bool:
    """Return whether a message with a known identity is nevertheless another message.

    In doubt, a life-safety message is a second occurrence. A message without a live time proves
    little: counters restart, and a device without a fix repeats the time of its last one.

    A message with the same time of receipt as the first is the first, delivered again between
    Vigil's own services. The id of an outbox belongs to one message only. Its message comes again
    when a receipt was lost, perhaps hours later.

    Args:
        first_received_at: the time at which the first message of this identity was received.
        first_is_open: the alert that the first message raised is open.
    """
    if occurrence.of_rule or not occurrence.never_held_back or occurrence.received_at == first_received_at:
        return False
    if occurrence.outbox:
        return False
    age = abs(occurrence.received_at - occurrence.recorded_at)
    if not occurrence.clock_suspect and age <= SAME_WITHIN:
        return False
    within = SAME_BYTES_WITHIN if occurrence.msg_id is None else SAME_MSG_ID_WITHIN
    return not first_is_open or abs(occurrence.received_at - first_received_at) > within


def seen_before(occurrence: Occurrence) -> Occurrence:
    """Return the occurrence with an identity of its own and the flag `seen_before`.

    The flag says that the message was perhaps seen before.
    """
    flags = tuple(dict.fromkeys((*occurrence.flags, "seen_before")))
    key = _derived(occurrence.key, occurrence.received_at.isoformat())
    return msgspec.structs.replace(occurrence, key=key, flags=flags)


def _derived(key: bytes, word: str) -> bytes:
    return hashlib.blake2b(key + word.encode(), digest_size=16).digest()


def of_condition(condition: Condition, *, now: datetime) -> Occurrence:
    """Return the occurrence of a rule's finding."""
    return Occurrence(
        key=condition.key,
        tenant_id=condition.tenant_id,
        site_id=condition.site_id,
        alert_type=condition.alert_type,
        severity=_severity(condition.alert_type, condition.severity),
        source_id=condition.source_id,
        dedup_key=condition.dedup_key,
        message=condition.message,
        recorded_at=condition.at,
        received_at=now,
        by="rule",
        lat=condition.lat,
        lon=condition.lon,
        silent=condition.alert_type is AlertType.DURESS,
        raw=msgspec.json.encode(condition.detail).decode(),
    )


def of_flood(flood: SourceFlood, whose: SourceEntry) -> Condition:
    """Return the condition of a source that sends more than its limit.

    At the end of the flood, this is the condition that is over.
    """
    excess = f"{flood.counted} beyond it were counted as repeats, {flood.refused} were refused"
    message = (
        f"Source {flood.source_id} sends no more than {flood.limit_per_s:g} messages a second again: {excess}."
        if flood.is_over
        else f"Source {flood.source_id} sends {flood.rate_per_s:.0f} messages a second; limit"
        f" {flood.limit_per_s:g}. Repeats are counted, others refused."
        " Look for a fault of the device, or a misused credential."
    )

    return Condition(
        tenant_id=whose.tenant_id,
        source_id=flood.source_id,
        alert_type=AlertType.EQUIPMENT_FAILURE,
        dedup_key=f"{AlertType.EQUIPMENT_FAILURE}:flood:{flood.lane}:{flood.source_id}",
        at=flood.at,
        key=flood.key,
        message=message,
        detail={
            "lane": flood.lane,
            "rate_per_s": round(flood.rate_per_s, 1),
            "limit_per_s": flood.limit_per_s,
        },
        site_id=whose.site_id,
    )


class RepeatedMessages(msgspec.Struct, frozen=True):
    """Messages that repeat one alert, and the number of further ones that were only counted.

    `counted` has the number of messages for each key. Each key counts once.
    """

    occurrences: list[Occurrence]
    counted: Mapping[bytes, int] = {}
    first_at: datetime | None = None

    @property
    def is_many(self) -> bool:
        """Return whether the messages get one timeline row together.

        A few messages get one row each.
        """
        return bool(self.counted) or len(self.occurrences) > ROWS_OF_REPEATS

    def set_aside(self) -> RepeatedMessages:
        """Return the same messages with raw data as bytes; see `raw_set_aside`."""
        return msgspec.structs.replace(self, occurrences=[raw_set_aside(item) for item in self.occurrences])


def as_one(occurrences: Sequence[Occurrence], *, count: int, first_at: datetime) -> Occurrence:
    """Return the last of several occurrences of one alert, completed from the others.

    It takes the gravest severity, a position if any has one, the last text that a person or rule
    wrote, and all flags. It is silent when any of them is.
    """
    last = occurrences[-1]
    placed = next((item for item in reversed(occurrences) if item.lat is not None), last)
    spoken = next((item for item in reversed(occurrences) if item.spoken), last)
    gravest = max(occurrences, key=lambda item: RANK[item.severity])

    return msgspec.structs.replace(
        last,
        severity=gravest.severity,
        silent=any(item.silent for item in occurrences),
        lat=placed.lat,
        lon=placed.lon,
        message=spoken.message,
        spoken=spoken.spoken,
        flags=tuple(dict.fromkeys(flag for item in occurrences for flag in item.flags)),
        told_as=f"{count} messages from {first_at:%H:%M:%S} to {last.received_at:%H:%M:%S} UTC",
    )


def raw_set_aside(occurrence: Occurrence) -> Occurrence:
    """Return the occurrence with its raw data as bytes.

    Use it for a database that cannot hold the data as JSON.
    """
    if occurrence.raw is None:
        return occurrence
    flags = tuple(dict.fromkeys((*occurrence.flags, "raw_unstorable")))
    return msgspec.structs.replace(occurrence, raw=None, unreadable=occurrence.raw.encode(), flags=flags)


class NotificationLine(msgspec.Struct, frozen=True):
    """Timeline row of a notification.

    `key` is the same each time that the same state is reported.
    """

    key: UUID
    reached: bool
    note: str


def of_notification(event: NotificationFinished) -> NotificationLine | None:
    """Return the timeline row of a notification; None for a state that is no news."""
    name = f"{event.name} ({event.recipient})" if event.name not in ("", event.recipient) else event.recipient
    again = ", possibly a second time" if event.possible_duplicate else ""

    match event.state:
        case "accepted":
            note = f"{as_words(event.channel)} to {name}: accepted by {event.provider}{again}"
        case "delivered":
            note = f"{as_words(event.channel)} to {name}: delivered"
        case "failed":
            note = f"{as_words(event.channel)} to {name}: failed: {event.error}"
        case "unknown":
            note = f"{as_words(event.channel)} to {name}: delivery unknown: {event.error}"
        case _:
            return None

    named = f"notification\0{event.reference}\0{event.state}".encode()
    key = UUID(bytes=hashlib.blake2b(named, digest_size=16).digest())
    return NotificationLine(key, event.state in ("accepted", "delivered"), note[:2000])
