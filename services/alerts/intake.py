"""What a device's alert or a rule's finding comes to: an occurrence, ready to be merged. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from services.alert_words import alert_type
from services.claims import objections
from services.errors import InvalidMessage
from services.messages import (
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

KEYED_BY_WORD = frozenset({AlertType.UNKNOWN, AlertType.UNREADABLE_ALERT})
"""Types that stand for anything: the topic's word tells their alerts apart."""
MAX_MESSAGE = 2000
ROWS_OF_REPEATS = 3
"""Repeats of one alert that come together: up to so many get a row each on the timeline."""
RANK = {severity: rank for rank, severity in enumerate(reversed(Severity))}
SAME_WITHIN = timedelta(seconds=60)
"""A device time this near to the receipt is that of the message: the same bytes again are the same message again."""
SAME_MSG_ID_WITHIN = timedelta(minutes=10)
SAME_BYTES_WITHIN = timedelta(seconds=5)


class Whose(msgspec.Struct, frozen=True):
    """What the registry says of a source; `tenant_id` is the default tenant's when it is `known` to nobody.

    A `newcomer` was known to nobody until this alert: it is let in like one of ours, but its alert says so.
    `off_shift`: the tenant keeps shifts, and this guard is in none of them now.
    """

    tenant_id: int
    site_id: int | None
    known: bool
    enabled: bool
    carried_by: str | None = None
    newcomer: bool = False
    off_shift: bool = False


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """One message or finding behind an alert. Merged by (tenant_id, dedup_key), counted once by `key`.

    `spoken`: a person or a rule sent the message; otherwise it is a text that stands in for one. `word` is the topic's
    word for the type. `buffered`: the device kept the message for a while. `told_as`: said on the timeline before its
    own text, of one that stands for many. `outbox`: its id is of no other message.
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
        """A rule's finding, which ends when the rule says so; what a device sent came on a topic."""
        return self.topic is None

    @property
    def never_held_back(self) -> bool:
        return self.alert_type in NEVER_HELD_BACK

    @property
    def pressed(self) -> bool:
        """Somebody or something called for help on a topic: a later one of the same calls people again.

        An unreadable one counts as well where the topic, or else its severity, says that a life is at stake.
        """
        if self.of_rule:
            return False
        if self.alert_type is AlertType.UNREADABLE_ALERT:
            return _of_life_safety(self.word) or (not self.word and self.severity is Severity.CRITICAL)
        return self.alert_type in LIFE_SAFETY

    @property
    def note(self) -> str:
        """What its row on the timeline says: its own text, and its place."""
        text = self.message if self.spoken else ""
        if self.told_as:
            text = f"{self.told_as}; the last: {text}" if text else self.told_as
        if self.lat is None or self.lon is None:
            return text
        return f"{text} ({self.lat:.5f}, {self.lon:.5f})".lstrip()


def of_device(alert: DeviceAlert, whose: Whose) -> Occurrence:
    """A device's alert. Life-safety alerts are flagged and kept; others raise `InvalidMessage`."""
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


def of_refused(alert: DeviceAlert, whose: Whose, refusal: InvalidMessage) -> Occurrence | None:
    """The alert by which people hear that an alert was refused; None where a person disabled its source.

    The refused message is kept beside it. Its own text and bytes are on the alert: what was refused may be true.
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
    """The topic's word for the type; read from the topic where an older gateway did not send it."""
    if alert.word:
        return alert.word.lower()
    family, _, rest = alert.origin.topic.partition("/")
    first, _, second = rest.partition("/")
    if family != "alert" or not second or "/" in second:
        return ""
    return (second if first == alert.origin.source_id else first).lower()


def _severity(kind: AlertType, claimed: Severity | None, *, word: str = "") -> Severity:
    """The default for life safety, whatever is claimed; for others the claim, as far as there is one."""
    if kind in LIFE_SAFETY or (kind is AlertType.UNREADABLE_ALERT and _of_life_safety(word)):
        return Severity.CRITICAL
    return claimed or DEFAULT_SEVERITY[kind]


def _of_life_safety(word: str) -> bool:
    return alert_type(word) in LIFE_SAFETY


def _dedup_key(alert: DeviceAlert) -> str:
    """Without a colon in the word, no source and word together are those of another pair."""
    key = f"{alert.alert_type}:{alert.origin.source_id}"
    if alert.alert_type in KEYED_BY_WORD and alert.word:
        key += f":{alert.word.replace('%', '%25').replace(':', '%3A')}"
    return f"{key}:drill" if alert.drill else key


def _message(alert: DeviceAlert) -> str:
    """The alert's own text; where its type says nothing, with the topic's word for it."""
    word = alert.word if alert.alert_type in KEYED_BY_WORD else ""
    named = word and word not in (alert.alert_type.lower(), "") and word not in alert.message.lower()
    if not alert.message.strip():
        return f"{word or alert.alert_type} from {alert.origin.source_id}"
    return (f"{word}: {alert.message}" if named else alert.message)[:MAX_MESSAGE]


def is_another(occurrence: Occurrence, *, first_received_at: datetime, first_is_open: bool) -> bool:
    """Judge whether a message with a known identity is another message all the same.

    Doubt ends in a second occurrence where a life is at stake. A message that says no live time proves little: counters
    restart, and a device without a fix repeats the time of its last one. Received at the same moment as the first, it
    is the first, delivered again between our own services. The id of an outbox is of one message only, and its
    message comes again when a receipt was lost, perhaps hours later.

    Args:
        first_received_at: when the first message of this identity was received.
        first_is_open: the alert that the first one raised is open.
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
    """The occurrence with an identity of its own, which says that its message was perhaps seen before."""
    flags = tuple(dict.fromkeys((*occurrence.flags, "seen_before")))
    key = _derived(occurrence.key, occurrence.received_at.isoformat())
    return msgspec.structs.replace(occurrence, key=key, flags=flags)


def _derived(key: bytes, word: str) -> bytes:
    return hashlib.blake2b(key + word.encode(), digest_size=16).digest()


def of_condition(condition: Condition, *, now: datetime) -> Occurrence:
    """A rule's finding."""
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


def of_flood(flood: SourceFlood, whose: Whose) -> Condition:
    """The condition of a source that sends more than its limit; at its end, the condition that is over."""
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


class Repeated(msgspec.Struct, frozen=True):
    """Messages that say one alert again, and so many more of which only the number is kept, once for each of `keys`."""

    occurrences: list[Occurrence]
    counted: Mapping[bytes, int] = {}
    first_at: datetime | None = None

    @property
    def is_many(self) -> bool:
        """They get one row on the timeline; few of them get one each."""
        return bool(self.counted) or len(self.occurrences) > ROWS_OF_REPEATS

    def set_aside(self) -> Repeated:
        """The same with raw data as bytes; see `raw_set_aside`."""
        return msgspec.structs.replace(self, occurrences=[raw_set_aside(item) for item in self.occurrences])


def as_one(occurrences: Sequence[Occurrence], *, count: int, first_at: datetime) -> Occurrence:
    """Return the last of several occurrences of one alert, with what the others say besides.

    The gravest severity, a place if any has one, the last text that somebody wrote, and that it is to be silent.
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
