"""Payloads: decoded and checked once, here, and refused with a reason. Pure: time and identity come in.

The common case is one typed msgspec pass. Only when that finds fault is the payload looked at field by
field, so that an optional field out of range costs the field and not the message.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from gateway.mqtt.topics import Family, Topic, alert_type, guard_id
from services.errors import InvalidMessage
from services.messages import (
    CONNECTIVITY,
    LIFE_SAFETY,
    SENSOR_STATES,
    SENSOR_TYPES,
    AlertType,
    DeviceAlert,
    DeviceReading,
    Fix,
    HealthReading,
    Origin,
    SensorReading,
    Severity,
)

Percent = Annotated[float, Meta(ge=0, le=100)]
Message = Fix | DeviceReading | SensorReading | HealthReading | DeviceAlert

POSITION_SOURCES = frozenset({"gps", "network", "ble", "nfc", "manual"})
MAX_ALERT_TEXT = 2000


class Limits(msgspec.Struct, frozen=True):
    """Bounds of a payload; see `gateway` in config.yaml for units and meaning."""

    max_payload_bytes: int = 1_048_576
    max_depth: int = 32
    max_clock_ahead_s: float = 300
    max_clock_age_s: float = 604_800


class Common(msgspec.Struct):
    timestamp: datetime | None = None
    msg_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    # As large as the wire between services carries; what is larger names no tenant of ours.
    client_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] | Annotated[str, Meta(max_length=64)] | None = None
    source_id: str | int | None = None


class GuardPayload(Common, kw_only=True):
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    accuracy: Annotated[float, Meta(ge=0)] | None = None
    speed: Annotated[float, Meta(ge=0)] | None = None
    heading: Annotated[float, Meta(ge=0, le=360)] | None = None
    guard_id: str | int | None = None
    source: str | None = None
    mock: bool | None = None


class DevicePayload(Common):
    battery: Percent | None = None
    signal: Annotated[float, Meta(ge=-120, le=0)] | None = None
    temperature: float | None = None
    connectivity: str | None = None


class SensorPayload(Common):
    type: str | None = None
    value: float | None = None
    state: str | None = None


class HealthPayload(Common):
    cpu: Percent | None = None
    memory: Percent | None = None
    disk: Percent | None = None
    uptime: Annotated[float, Meta(ge=0)] | None = None


class Location(msgspec.Struct):
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


class AlertPayload(Common):
    alert_type: str | None = None
    severity: str | None = None
    message: str | None = None
    location: Location | None = None
    silent: bool | None = None
    drill: bool | None = None
    guard_id: str | int | None = None


P = TypeVar("P", bound=Common)

PAYLOADS: dict[Family, type[Common]] = {
    Family.DEVICE: DevicePayload,
    Family.GUARD: GuardPayload,
    Family.SENSOR: SensorPayload,
    Family.ALERT: AlertPayload,
    Family.SYSTEM: HealthPayload,
}
_decoders = {family: msgspec.json.Decoder(kind) for family, kind in PAYLOADS.items()}
_fields = {
    kind: {field.encode_name: (field.type, field.required) for field in msgspec.structs.fields(kind)}
    for kind in PAYLOADS.values()
}
_any = msgspec.json.Decoder()
_strings = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_brackets = re.compile(rb"[\[\]{}]")
_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def decode(
    topic_text: str,
    topic: Topic,
    payload: bytes,
    *,
    received_at: datetime,
    limits: Limits,
    fresh_key: Callable[[], bytes],
) -> Message:
    """The message that `payload` holds. Raises `InvalidMessage` with its reason, and nothing else.

    `fresh_key` makes the 16-byte identity of a message that has none of its own. An alert whose content is
    wrong comes back with flags; only an undecodable one is refused (see `unreadable_alert`).
    """
    text = text_of(payload, limits)
    fields, quality = _fields_of(topic.family, payload)
    recorded_at, clock_suspect = _clock(fields.timestamp, quality, received_at, limits)
    origin = Origin(
        source_id=topic.source_id,
        key=_key(topic_text, topic, fields, payload, fresh_key),
        msg_id=fields.msg_id,
        topic=topic_text,
        recorded_at=recorded_at,
        received_at=received_at,
        clock_suspect=clock_suspect,
        quality=tuple(quality),
        claimed_tenant_id=fields.client_id,
        raw=text,
    )
    return _BUILDERS[topic.family](topic, fields, origin)


def unreadable_alert(
    topic_text: str, topic: Topic, payload: bytes, *, error: InvalidMessage, received_at: datetime, key: bytes
) -> DeviceAlert:
    """What stands in for an alert that could not be decoded. As severe as the topic says it would have been."""
    named = alert_type(topic.detail)
    origin = Origin(topic.source_id, key, None, topic_text, received_at, received_at, True, (), None, "{}")
    return DeviceAlert(
        origin=origin,
        alert_type=AlertType.UNREADABLE_ALERT,
        severity=Severity.CRITICAL if named in LIFE_SAFETY or named is AlertType.FIRE else None,
        message=f"Unreadable {topic.detail} alert from {topic.source_id}: {error}"[:MAX_ALERT_TEXT],
        flags=("unreadable", error.reason),
        unreadable=payload,
    )


def text_of(payload: bytes, limits: Limits) -> str:
    """The payload as text that can be stored. Raises `InvalidMessage`."""
    if len(payload) > limits.max_payload_bytes:
        raise InvalidMessage("too_large", f"{len(payload)} bytes; the limit is {limits.max_payload_bytes}")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("invalid_utf8", f"byte {error.start}") from error
    if payload.count(b"[") + payload.count(b"{") > limits.max_depth and _deeper_than(
        payload, limits.max_depth
    ):
        raise InvalidMessage("too_deep", f"more than {limits.max_depth} levels")
    if b"\x00" in payload or (b"\\u0000" in payload and _nul.search(payload)):
        raise InvalidMessage("contains_nul", "text with a NUL character cannot be stored")
    return text


def _deeper_than(payload: bytes, limit: int) -> bool:
    depth = 0
    for bracket in _brackets.finditer(_strings.sub(b"", payload)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            return True
    return False


def _fields_of(family: Family, payload: bytes) -> tuple[Any, list[str]]:
    try:
        return _decoders[family].decode(payload), []
    except msgspec.ValidationError:
        return _field_by_field(PAYLOADS[family], payload, lenient=family is Family.ALERT)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage("broken_json", str(error)) from error


def _field_by_field(kind: type[P], payload: bytes, *, lenient: bool) -> tuple[P, list[str]]:
    """Keep each field that is right, name each that is not; a required one that is wrong refuses the message."""
    try:
        tree = _any.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage("broken_json", str(error)) from error
    if not isinstance(tree, dict):
        raise InvalidMessage("not_an_object", f"the payload is a JSON {type(tree).__name__}, not an object")
    kept: dict[str, Any] = {}
    quality: list[str] = []
    for name, (field_type, required) in _fields[kind].items():
        if tree.get(name) is None:
            if required and not lenient:
                raise InvalidMessage("missing_field", f"{name} is required")
            continue
        try:
            kept[name] = msgspec.convert(tree[name], field_type, strict=True)
        except (msgspec.ValidationError, OverflowError) as error:
            if required and not lenient:
                raise InvalidMessage("field_out_of_range", f"{name}: {error}") from error
            quality.append(name)
    return kind(**kept), quality


def _clock(
    timestamp: datetime | None, quality: list[str], received_at: datetime, limits: Limits
) -> tuple[datetime, bool]:
    """(recorded_at, clock_suspect): the device's time when it is plausible, else ours."""
    if timestamp is None:
        return received_at, True
    if timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=UTC)
        quality.append("timestamp_offset")
    try:
        ahead_s = (timestamp - received_at).total_seconds()
    except OverflowError:
        return received_at, True
    if -limits.max_clock_age_s <= ahead_s <= limits.max_clock_ahead_s:
        return timestamp.astimezone(UTC), False
    quality.append("timestamp")
    return received_at, True


def _key(
    topic_text: str, topic: Topic, fields: Common, payload: bytes, fresh_key: Callable[[], bytes]
) -> bytes:
    """The message's identity: its msg_id, else its bytes when they carry a time, else one made now."""
    if fields.msg_id is not None:
        named = f"{topic.family}\0{topic.source_id}\0{fields.msg_id}".encode()
        return hashlib.blake2b(named, digest_size=16).digest()
    if fields.timestamp is not None:
        return hashlib.blake2b(topic_text.encode() + b"\0" + payload, digest_size=16).digest()
    return fresh_key()


CLAIMS = ("client_id", "source_id", "guard_id")


def _claims_agree(topic: Topic, fields: Any, origin: Origin) -> bool:
    """Whether the ids in the payload name the topic's source. `client_id` is for the registry to judge."""
    if origin.quality and any(claim in origin.quality for claim in CLAIMS):
        return False
    claimed_source = fields.source_id
    if claimed_source is not None and topic.source_id not in (
        str(claimed_source),
        guard_id(str(claimed_source)),
    ):
        return False
    claimed_guard = getattr(fields, "guard_id", None)
    is_guard = topic.family is Family.GUARD or topic.source_id.startswith("guard-")
    return claimed_guard is None or not is_guard or guard_id(str(claimed_guard)) == topic.source_id


def _check_claims(topic: Topic, fields: Any, origin: Origin) -> None:
    if not _claims_agree(topic, fields, origin):
        raise InvalidMessage("identity_mismatch", f"the payload names another source than {topic.source_id}")


def _flagged(origin: Origin, name: str) -> Origin:
    return msgspec.structs.replace(origin, quality=(*origin.quality, name))


def _fix(topic: Topic, fields: GuardPayload, origin: Origin) -> Fix:
    _check_claims(topic, fields, origin)
    source = fields.source
    if source is not None and source not in POSITION_SOURCES:
        source = source.lower() if source.lower() in POSITION_SOURCES else None
        if source is None:
            origin = _flagged(origin, "source")
    return Fix(
        origin,
        fields.lat,
        fields.lon,
        fields.accuracy,
        fields.speed,
        fields.heading,
        source,
        bool(fields.mock),
    )


def _device(topic: Topic, fields: DevicePayload, origin: Origin) -> DeviceReading:
    _check_claims(topic, fields, origin)
    connectivity, origin = _word(fields.connectivity, CONNECTIVITY, "connectivity", origin)
    return DeviceReading(origin, fields.battery, fields.signal, _finite(fields.temperature), connectivity)


def _sensor(topic: Topic, fields: SensorPayload, origin: Origin) -> SensorReading:
    _check_claims(topic, fields, origin)
    state, origin = _word(fields.state, SENSOR_STATES, "state", origin)
    kind = (fields.type or "UNKNOWN").upper()
    return SensorReading(
        origin, topic.detail, kind if kind in SENSOR_TYPES else "UNKNOWN", _finite(fields.value), state
    )


def _health(topic: Topic, fields: HealthPayload, origin: Origin) -> HealthReading:
    _check_claims(topic, fields, origin)
    return HealthReading(origin, fields.cpu, fields.memory, fields.disk, fields.uptime)


def _alert(topic: Topic, fields: AlertPayload, origin: Origin) -> DeviceAlert:
    kind = alert_type(topic.detail) or alert_type(fields.alert_type or "") or AlertType.UNKNOWN
    flags = list(origin.quality)
    if not _claims_agree(topic, fields, origin):
        if kind not in LIFE_SAFETY:
            _check_claims(topic, fields, origin)
        flags.append("identity_mismatch")
    severity = fields.severity.upper() if fields.severity else None
    if severity is not None and severity not in Severity.__members__:
        severity = None
        flags.append("severity")
    location = fields.location
    return DeviceAlert(
        origin=origin,
        alert_type=kind,
        severity=Severity(severity) if severity else None,
        message=(fields.message or "")[:MAX_ALERT_TEXT],
        lat=location.lat if location else None,
        lon=location.lon if location else None,
        silent=bool(fields.silent),
        drill=bool(fields.drill),
        flags=tuple(flags),
    )


def _word(text: str | None, known: frozenset[str], name: str, origin: Origin) -> tuple[str | None, Origin]:
    """A word of a fixed set, in any case; another one is named in `quality`."""
    if text is None or text in known:
        return text, origin
    word = text.upper()
    return (word, origin) if word in known else (None, _flagged(origin, name))


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


_BUILDERS: dict[Family, Callable[[Topic, Any, Origin], Message]] = {
    Family.GUARD: _fix,
    Family.DEVICE: _device,
    Family.SENSOR: _sensor,
    Family.SYSTEM: _health,
    Family.ALERT: _alert,
}


def rejected_key(
    topic_text: str, topic: Topic | None, payload: bytes, *, fresh_key: Callable[[], bytes]
) -> bytes:
    """The identity of a refused message: by the same rule, as far as its payload can be read."""
    try:
        tree = _any.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return fresh_key()
    if not isinstance(tree, dict):
        return fresh_key()
    msg_id = tree.get("msg_id")
    if topic is not None and isinstance(msg_id, str) and 0 < len(msg_id) <= 64:
        named = f"rejected\0{topic.family}\0{topic.source_id}\0{msg_id}".encode()
        return hashlib.blake2b(named, digest_size=16).digest()
    if tree.get("timestamp") is not None or tree.get("tst") is not None:  # that is what OwnTracks calls it
        return hashlib.blake2b(topic_text.encode() + b"\0" + payload, digest_size=16).digest()
    return fresh_key()
