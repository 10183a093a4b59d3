"""Payloads, decoded once, and accepted or refused with a reason. Pure: time and identity come in.

The common case is one typed msgspec pass. Only when that pass finds a fault is the payload read
field by field. So an optional field out of range costs the field and not the message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple, get_args

import msgspec
from msgspec import Meta

from gateway.mqtt.decoding import device_time, identity, payload_text, place, values
from gateway.mqtt.decoding.device_time import Moment
from gateway.mqtt.decoding.identity import RecentMessages
from gateway.mqtt.decoding.topics import ALARM, Topic, guard_id
from gateway.mqtt.decoding.unreadable import MAX_ALERT_TEXT, names_life_safety
from services.contracts.alert_words import alert_type
from services.contracts.errors import InvalidMessage
from services.contracts.events import (
    LIFE_SAFETY,
    AlertType,
    DeviceAlert,
    Severity,
)
from services.contracts.families import (
    BATCHED,
    COMMON_FIELDS,
    CONNECTIVITY,
    POSITION_SOURCES,
    PYTHON_TYPES,
    SENSOR_STATES,
    SENSOR_TYPES,
    BatchedFamily,
    Column,
    DeviceReading,
    Family,
    Fix,
    HealthReading,
    Origin,
    Reading,
    SensorReading,
)

Message = Fix | Reading | DeviceAlert

MAX_MSG_ID = 64
LIVE_WITHIN_S = 60.0
"""A device time is current when it is no further than this from its receipt, in seconds."""
SWITCHED_TYPES = SENSOR_TYPES - {"DOOR", "TEMPERATURE", "HUMIDITY"}
"""Sensor types for which a switch means DETECTED or NORMAL.

For a door a switch means open or closed, in either sense.
"""


class PayloadLimits(msgspec.Struct, frozen=True):
    """Limits of a payload. See `gateway` in config.yaml for units and meaning."""

    max_payload_bytes: int = 1_048_576
    max_depth: int = 32
    max_clock_ahead_s: float = 300
    max_clock_age_s: float = 604_800


class PayloadFields(msgspec.Struct):
    timestamp: Moment | None = None
    msg_id: Annotated[str, Meta(min_length=1, max_length=MAX_MSG_ID)] | None = None
    # The wire between services carries no larger number. A larger one names no tenant of ours.
    client_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] | Annotated[str, Meta(max_length=64)] | None = None
    source_id: str | int | None = None
    sent_at: Moment | None = None
    buffered: bool | None = None


def _payload_of(row: BatchedFamily) -> type[PayloadFields]:
    """Return the type of a family's payloads: a field for each column that devices send."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        (name, _field_type(column)) if column.is_required else (name, _field_type(column), None)
        for name, column in row.fields.items()
        if column.is_sent
    ]
    claim = Annotated[str | int | None, Meta(description=COMMON_FIELDS["source_id"])]
    claims = [(name, claim, None) for name in row.claims]
    made = msgspec.defstruct(
        row.payload, [*fields, *claims], bases=(PayloadFields,), module=__name__, kw_only=True
    )
    assert issubclass(made, PayloadFields), "it has the fields of every family"

    return made


def _field_type(column: Column) -> Any:
    found: Any = PYTHON_TYPES[column.sql]
    if column.low is not None or column.high is not None:
        found = Annotated[found, Meta(ge=column.low, le=column.high)]
    if not column.is_required:
        found = found | None
    return Annotated[found, Meta(description=column.description)] if column.description else found


class Location(msgspec.Struct):
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


class AlertPayload(PayloadFields):
    alert_type: str | None = None
    severity: str | None = None
    message: str | None = None
    location: Location | None = None
    silent: bool | None = None
    drill: bool | None = None
    guard_id: str | int | None = None
    outbox: bool | None = None


PAYLOADS: dict[Family, type[PayloadFields]] = {
    **{row.family: _payload_of(row) for row in BATCHED},
    Family.ALERT: AlertPayload,
}
BARE_STATES = SENSOR_STATES | values.ALARM_WORDS | values.NORMAL_WORDS
"""Payloads of one word that a sensor's alarm topic accepts."""
MAX_BARE_BYTES = 64
_decoders = {family: msgspec.json.Decoder(kind) for family, kind in PAYLOADS.items()}
_fields = {
    kind: {field.encode_name: (field.type, field.required) for field in msgspec.structs.fields(kind)}
    for kind in PAYLOADS.values()
}
_any = msgspec.json.Decoder()
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
_looked_at = {
    kind: frozenset(_fields[kind]).union(place.FIELDS if family in (Family.GUARD, Family.ALERT) else ())
    for family, kind in PAYLOADS.items()
}
QUOTE = ord('"')
MAX_FIELD_BYTES = 16_384
TOO_LONG = ["too long to be read"]
"""Replaces a field that is no text and is longer than any valid field."""


def _takes_number(field_type: object) -> bool:
    return field_type is float or any(_takes_number(part) for part in get_args(field_type))


TIMES = ("timestamp", "sent_at")
SWITCHES = ("buffered", "mock", "silent")
"""Switches where the wrong guess is dangerous.

Every value except false, 0, "false", "0" and null switches them on.
"""
_numbers = frozenset(
    name
    for fields in _fields.values()
    for name, (field_type, _) in fields.items()
    if name not in TIMES and _takes_number(field_type)
)


def decode(
    topic_text: str,
    topic: Topic,
    payload: bytes,
    *,
    received_at: datetime,
    limits: PayloadLimits,
    fresh_key: Callable[[], bytes],
    recent: RecentMessages | None = None,
    redelivered: bool = False,
    held_back: bool = False,
    own_id: str | None = None,
) -> Message:
    """Return the message that `payload` holds. An alert with wrong content comes back with flags.

    Args:
        fresh_key: Makes the 16-byte identity of a message that has no identity of its own.
        recent: The lane's memory. By it, equal bytes within seconds are one message.
        redelivered: The broker marks the delivery as one that it tried before.
        held_back: Messages may have waited at the broker. Then a late `sent_at` is no proof of a
            slow clock.
        own_id: The identity that a foreign format has in place of `msg_id`.

    Raises:
        InvalidMessage: With its reason. No other exception leaves this function. See
            `unreadable.alert_of` for refused alarms.
    """
    body, text = payload_text.read(payload, max_bytes=limits.max_payload_bytes, max_depth=limits.max_depth)
    bare = _bare_state(topic, body)
    if bare is not None:
        fields: Any = PAYLOADS[Family.SENSOR](state=bare)  # type: ignore[call-arg]
        quality: list[str] = []
        text = msgspec.json.encode(text).decode()
    else:
        fields, quality = _fields_of(topic.family, body)

    time = device_time.judge(
        _moment(fields.timestamp, "timestamp", quality),
        _moment(fields.sent_at, "sent_at", quality),
        quality,
        received_at=received_at,
        max_ahead_s=limits.max_clock_ahead_s,
        max_age_s=limits.max_clock_age_s,
        held_back=held_back,
    )

    msg_id = fields.msg_id or own_id
    is_press = msg_id is None and _is_press(topic, fields)

    # A time that is not current may be the time of the last fix, and the next press repeats it.
    proves = time.proves and (not is_press or _is_live(time.recorded_at, received_at))
    own = identity.own_key(topic_text, topic, body, msg_id=msg_id, proves=proves)
    if own is None:
        # Presses, alarms and positions without an identity each count, unless the broker marks a
        # redelivery. Two presses are two presses. A guard who stands still, with a device whose
        # clock is dead, is reported each time.
        may_repeat = redelivered or not (is_press or topic.family is Family.GUARD)
        key = identity.made_key(
            topic.source_id, topic_text, body, fresh_key, recent, at=received_at, may_repeat=may_repeat
        )
    else:
        key = own
        if recent is not None:
            recent.another(topic.source_id)

    if msg_id is not None and recent is not None and recent.is_reused(topic.source_id, msg_id, key):
        quality.append("msg_id_reused")

    origin = Origin(
        source_id=topic.source_id,
        key=key,
        msg_id=fields.msg_id,
        topic=topic_text,
        recorded_at=time.recorded_at,
        received_at=received_at,
        clock_suspect=time.suspect,
        quality=tuple(quality),
        claimed_tenant_id=fields.client_id,
        raw=text,
        buffered=bool(fields.buffered),
    )
    return _BUILDERS[topic.family](topic, fields, origin)


def _is_press(topic: Topic, fields: Any) -> bool:
    """Return True when a life may be at stake.

    Without proof, two such messages are never merged.
    """
    if topic.family is Family.ALERT:
        return _alert_kind(topic, fields) in LIFE_SAFETY
    return _is_alarm_topic(topic)


def _is_alarm_topic(topic: Topic) -> bool:
    return topic.family is Family.SENSOR and topic.detail == ALARM


def _is_live(recorded_at: datetime, received_at: datetime) -> bool:
    return abs((received_at - recorded_at).total_seconds()) <= LIVE_WITHIN_S


def link_reading(
    topic_text: str,
    source_id: str,
    payload: bytes,
    *,
    online: bool,
    received_at: datetime,
    fresh_key: Callable[[], bytes],
    recent: RecentMessages | None = None,
) -> DeviceReading:
    """Return the reading of a device whose link changed.

    The message is about the device, and often not sent by the device.
    """
    origin = Origin(
        source_id=source_id,
        key=identity.made_key(
            source_id, topic_text, payload, fresh_key, recent, at=received_at, may_repeat=True
        ),
        msg_id=None,
        topic=topic_text,
        recorded_at=received_at,
        received_at=received_at,
        clock_suspect=True,
        quality=("link_state",),
        claimed_tenant_id=None,
        raw=msgspec.json.encode({"link": payload.decode("utf-8", "replace").replace("\0", "")}).decode(),
    )
    return DeviceReading(origin, None, None, None, "ONLINE" if online else "OFFLINE")


def _bare_state(topic: Topic, body: bytes) -> str | None:
    """Return the state in a payload that is no object, on a sensor's alarm topic.

    Examples are `ALARM`, `1` and `true`. Returns None when there is no such state.
    """
    if not _is_alarm_topic(topic) or len(body) > MAX_BARE_BYTES or body[:1] == b"{":
        return None
    word = body.decode().strip().strip('"').strip().upper()
    return word if word in BARE_STATES else None


def _fields_of(family: Family, payload: bytes) -> tuple[Any, list[str]]:
    # Alerts are few, and a wrong field of an alert is kept. So they are read field by field.
    if family is Family.ALERT:
        return _field_by_field(family, payload, lenient=True)
    try:
        return _decoders[family].decode(payload), []
    except msgspec.ValidationError:
        return _field_by_field(family, payload, lenient=False)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage("broken_json", str(error)) from error


def object_of(payload: bytes, names: frozenset[str]) -> dict[str, Any]:
    """Return the fields with these names. Other fields are not decoded.

    They may be a photo, or a million brackets. Raises `InvalidMessage`.
    """
    try:
        parts = _parts.decode(payload)
    except msgspec.ValidationError as error:
        raise InvalidMessage("not_an_object", f"the payload is not a JSON object: {error}") from error
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage("broken_json", str(error)) from error

    try:
        return {name: _field(raw) for name, raw in parts.items() if name in names}
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage("broken_json", str(error)) from error


def _field(raw: msgspec.Raw) -> Any:
    part = memoryview(raw)
    return _any.decode(part) if len(part) <= MAX_FIELD_BYTES or part[0] == QUOTE else TOO_LONG


def _field_by_field(family: Family, payload: bytes, *, lenient: bool) -> tuple[PayloadFields, list[str]]:
    """Keep each valid field and name each invalid one.

    Unless `lenient`, an invalid or missing required field refuses the message with
    `InvalidMessage`.
    """
    kind = PAYLOADS[family]
    tree = object_of(payload, _looked_at[kind])

    quality: list[str] = []
    if family is Family.GUARD:
        _put_place(tree)
    elif family is Family.SENSOR:
        _put_switch(tree, quality)
    elif family is Family.ALERT:
        _put_alert_texts(tree, quality)

    kept: dict[str, Any] = {}
    for name, (field_type, required) in _fields[kind].items():
        if tree.get(name) is None:
            if required and not lenient:
                raise InvalidMessage("missing_field", f"{name} is required")
            continue

        try:
            kept[name] = msgspec.convert(_as_meant(name, tree[name]), field_type, strict=True)
        except (msgspec.ValidationError, OverflowError, ValueError) as error:
            if required and not lenient:
                raise InvalidMessage("field_out_of_range", f"{name}: {error}") from error
            quality.append(name)

    return kind(**kept), quality


def _as_meant(name: str, value: object) -> object:
    """Return a field's value in its plain type.

    A number may come as text, a time as digits, and a switch as a word.
    """
    if name in TIMES:
        return device_time.moment_of(value)
    if name in SWITCHES:
        return values.is_set(value)
    if name in _numbers and isinstance(value, str):
        number = values.number_of(value)
        return value if number is None else number
    if name == "msg_id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if name == "connectivity" and isinstance(value, bool):
        return "ONLINE" if value else "OFFLINE"

    return value


def _put_place(tree: dict[str, Any]) -> None:
    """Write a guard's place into the fields that the checks read. Raises `InvalidMessage`."""
    if "lat" in tree and "lon" in tree and not (tree["lat"] is None and tree["lon"] is None):
        return
    found = place.find(tree)
    if found.point is not None:
        tree["lat"], tree["lon"] = found.point
    elif "no_fix" in found.flags:
        raise InvalidMessage("no_fix", "the receiver has no fix")


def _put_switch(tree: dict[str, Any], quality: list[str]) -> None:
    """Read a switch in a sensor's value as a state, and a state that is no text as its word."""
    value = tree.get("value")
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"

    state = tree.get("state")
    if isinstance(value, bool):
        tree["value"] = None
        state = value if state in (None, "") else state

    if state is not None and not isinstance(state, str):
        word = values.word_of(state)
        if word is None:
            quality.append("state")
        state = word

    tree["state"] = state


def _put_alert_texts(tree: dict[str, Any], quality: list[str]) -> None:
    """Read an alert's place, and make its message a text.

    Append an unreadable place to the text.
    """
    found = place.find(tree)
    quality.extend(found.flags)

    if found.point is not None and _has_negative_accuracy(tree):
        quality.append("accuracy")

    tree["location"] = {"lat": found.point[0], "lon": found.point[1]} if found.point else None
    if not values.is_switch(tree.get("silent")):
        quality.append("silent")

    message = tree.get("message")
    if message is not None and not isinstance(message, str):
        quality.append("message")
        tree["message"] = message = place.user_text(message)
    if found.shown:
        shown = f"Location as sent: {found.shown}"
        text = (message or "")[: MAX_ALERT_TEXT - len(shown) - 1]
        tree["message"] = f"{text} {shown}".strip()


def _has_negative_accuracy(tree: dict[str, Any]) -> bool:
    holders = [tree, *(tree[name] for name in place.HOLDERS if isinstance(tree.get(name), dict))]
    return any((values.number_of(holder.get("accuracy")) or 0) < 0 for holder in holders)


def _moment(value: Moment | None, name: str, quality: list[str]) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    try:
        return device_time.moment_of(value)
    except ValueError:
        quality.append(name)
        return None


CLAIMS = ("client_id", "source_id", "guard_id")


def _claims_agree(topic: Topic, fields: Any, origin: Origin) -> bool:
    """Return True when the ids in the payload name the topic's source.

    The registry judges `client_id`.
    """
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


def _fix(topic: Topic, fields: Any, origin: Origin) -> Fix:
    if place.is_no_fix(fields.lat, fields.lon):
        raise InvalidMessage("no_fix", "0,0 is what a receiver without a fix sends")

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
        fields.battery,
    )


def _device(topic: Topic, fields: Any, origin: Origin) -> DeviceReading:
    _check_claims(topic, fields, origin)
    connectivity, origin = _word(fields.connectivity, CONNECTIVITY, "connectivity", origin)
    if fields.battery is not None and 0 < fields.battery < 1:
        # Some devices send a share of 1. The gateway cannot see if this is one, and a battery under
        # 1 % is low.
        origin = _flagged(origin, "battery_share")
    return DeviceReading(origin, fields.battery, fields.signal, fields.temperature, connectivity)


def _sensor(topic: Topic, fields: Any, origin: Origin) -> SensorReading:
    _check_claims(topic, fields, origin)
    kind = (fields.type or "UNKNOWN").strip().upper()
    if kind not in SENSOR_TYPES or kind == "UNKNOWN":
        kind, origin = "UNKNOWN", _flagged(origin, "type")

    if topic.detail == ALARM:
        state, origin = _alarm_state(fields, origin)
    elif fields.state is None:
        state = None
    else:
        state, origin = _word(_state_of_switch(fields.state, kind), SENSOR_STATES, "state", origin)

    return SensorReading(origin, topic.detail, kind, fields.value, state)


def _state_of_switch(state: str, kind: str) -> str:
    """Return the state that a switch gives on a topic that is not for alarms."""
    if state in SENSOR_STATES:
        return state
    word = state.strip().upper()
    if word in values.TRIGGERED_WORDS:
        return "ALARM"
    if kind in SWITCHED_TYPES and word in ("TRUE", "FALSE"):
        return "DETECTED" if word == "TRUE" else "NORMAL"
    return state


def _alarm_state(fields: Any, origin: Origin) -> tuple[str | None, Origin]:
    """Return the state on an alarm topic. A message without a state or value is an alarm."""
    word = (fields.state or "").strip().upper()
    if not word:
        if fields.value is None:
            # An unreadable value counts as an alarm too: doubt raises an alarm.
            return "ALARM", origin
        return {1.0: "ALARM", 0.0: "NORMAL"}.get(fields.value), origin

    if word in SENSOR_STATES:
        return word, origin
    if word in values.ALARM_WORDS:
        return "ALARM", origin
    if word in values.NORMAL_WORDS:
        return "NORMAL", origin

    return None, _flagged(origin, "state")


def _health(topic: Topic, fields: Any, origin: Origin) -> HealthReading:
    _check_claims(topic, fields, origin)
    return HealthReading(origin, fields.cpu, fields.memory, fields.disk, fields.uptime)


def _alert_kind(topic: Topic, fields: AlertPayload) -> AlertType:
    return alert_type(topic.detail) or alert_type(fields.alert_type or "") or AlertType.UNKNOWN


def _alert(topic: Topic, fields: AlertPayload, origin: Origin) -> DeviceAlert:
    kind = _alert_kind(topic, fields)
    flags = list(origin.quality)

    if not _claims_agree(topic, fields, origin):
        if kind not in LIFE_SAFETY:
            _check_claims(topic, fields, origin)
        flags.append("identity_mismatch")

    severity = fields.severity.strip().upper() if fields.severity else None
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
        silent=bool(fields.silent) or kind is AlertType.DURESS,
        drill=bool(fields.drill),
        flags=tuple(flags),
        word=topic.detail.lower(),
        outbox=fields.outbox is True,
    )


def _word(text: str | None, known: frozenset[str], name: str, origin: Origin) -> tuple[str | None, Origin]:
    """Return a word of a fixed set, in any case. Add the field to `quality` for another word."""
    if text is None or text in known:
        return text, origin
    word = text.strip().upper()
    return (word, origin) if word in known else (None, _flagged(origin, name))


Builder = Callable[[Topic, Any, Origin], Message]
_OWN: dict[Family, tuple[Builder, frozenset[str]]] = {
    Family.GUARD: (
        _fix,
        frozenset({"lat", "lon", "accuracy", "speed", "heading", "source", "mock", "battery"}),
    ),
    Family.DEVICE: (_device, frozenset({"battery", "signal", "temperature", "connectivity"})),
    Family.SENSOR: (_sensor, frozenset({"kind", "type", "value", "state"})),
    Family.SYSTEM: (_health, frozenset({"cpu", "memory", "disk", "uptime"})),
}
"""Builders with rules of their own, or written out for speed, and the fields that they fill.

`builder_of` fills all other fields of a family by the facts of their columns.
"""


def builder_of(row: BatchedFamily) -> Builder:
    """Return the function that makes a family's message from the fields of a payload."""
    own, filled = _OWN.get(row.family, (None, frozenset()))
    values = _Values(row, filled)
    if own is None:
        return _plain(row, values)
    return _extended(own, values) if values.names else own


def _plain(row: BatchedFamily, values: _Values) -> Builder:
    """Return a builder that fills every field from its column, and the topic's last word."""
    make: Callable[..., Any] = row.message
    of_topic = [name for name, column in row.fields.items() if not column.is_sent]

    def build(topic: Topic, fields: Any, origin: Origin) -> Message:
        _check_claims(topic, fields, origin)
        found, origin = values.read(fields, origin)
        return make(origin, **dict.fromkeys(of_topic, topic.detail), **found)

    return build


def _extended(own: Builder, values: _Values) -> Builder:
    """Return a builder that adds further fields to the message of another builder."""

    def build(topic: Topic, fields: Any, origin: Origin) -> Message:
        message = own(topic, fields, origin)
        found, origin = values.read(fields, message.origin)
        return msgspec.structs.replace(message, origin=origin, **found)

    return build


class _Values:
    """Reader of a family's fields, without those in `filled`.

    A word of a fixed set may come in any case. A switch that is not sent is off.
    """

    def __init__(self, row: BatchedFamily, filled: frozenset[str]) -> None:
        columns = {
            name: column for name, column in row.fields.items() if column.is_sent and name not in filled
        }
        self.names = tuple(columns)
        self._switches = [name for name, column in columns.items() if column.sql == "bool"]
        self._words = [
            (name, {word.upper(): word for word in column.words}, column.other)
            for name, column in columns.items()
            if column.words
        ]

    def read(self, fields: Any, origin: Origin) -> tuple[dict[str, Any], Origin]:
        """Return the values, and the origin with the fields whose word is unknown."""
        found = {name: getattr(fields, name) for name in self.names}
        for name in self._switches:
            found[name] = bool(found[name])
        for name, known, other in self._words:
            if found[name] is not None:
                found[name] = known.get(found[name].strip().upper())
                if found[name] is None:
                    found[name], origin = other, _flagged(origin, name)
        return found, origin


_BUILDERS: dict[Family, Builder] = {
    **{row.family: builder_of(row) for row in BATCHED},
    Family.ALERT: _alert,
}


class RejectedIdentity(NamedTuple):
    """Identity of a refused message.

    `msg_id` is its id, as far as it can be read. `outbox` is True when the device has an outbox.
    """

    key: bytes
    msg_id: str | None
    outbox: bool


def rejected_identity(
    topic_text: str,
    topic: Topic | None,
    payload: bytes,
    *,
    received_at: datetime,
    limits: PayloadLimits,
    fresh_key: Callable[[], bytes],
    recent: RecentMessages | None = None,
    redelivered: bool = False,
) -> RejectedIdentity:
    """Return the identity of a refused message.

    The rule is that of `decode`, as far as the payload can be read.
    """
    tree: dict[str, Any] = {}
    if not payload_text.has_many_values(payload):
        # An unreadable payload has no identity of its own.
        with contextlib.suppress(InvalidMessage):
            tree = object_of(payload, IDENTIFYING)

    found = _as_meant("msg_id", tree.get("msg_id"))
    msg_id = found if isinstance(found, str) and 0 < len(found) <= MAX_MSG_ID else None
    is_press = names_life_safety(topic_text) or (topic is not None and _is_alarm_topic(topic))
    proves = _proves(tree, received_at, limits, only_live=is_press)

    key = identity.own_key(topic_text, topic, payload, msg_id=msg_id, proves=proves, scope="rejected\0")
    if key is None:
        key = identity.made_key(
            topic.source_id if topic is not None else topic_text,
            topic_text,
            payload,
            fresh_key,
            recent,
            at=received_at,
            may_repeat=redelivered or not is_press,
        )

    return RejectedIdentity(key, msg_id, tree.get("outbox") is True)


IDENTIFYING = frozenset({"msg_id", "timestamp", "tst", "outbox"})
"""Fields that may give a refused message an identity. OwnTracks calls its time `tst`."""


def _proves(tree: dict[str, Any], received_at: datetime, limits: PayloadLimits, *, only_live: bool) -> bool:
    value = tree.get("timestamp") if tree.get("timestamp") is not None else tree.get("tst")
    try:
        moment = device_time.moment_of(value)
        time = device_time.judge(
            moment,
            None,
            [],
            received_at=received_at,
            max_ahead_s=limits.max_clock_ahead_s,
            max_age_s=limits.max_clock_age_s,
        )
    except (ValueError, OverflowError):
        return False

    return time.proves and (not only_live or _is_live(time.recorded_at, received_at))
