"""Message families: one table of the messages that sources send, and of their fields. Pure.

A family is the first word of a topic. The table says what its messages hold, how they travel, and
where they are stored. These places read it: topics, payloads, events and queues of the gateway;
rights at the broker, at RabbitMQ and at PostgreSQL; tables, rules and history of telemetry; `vigil
latest`; the AsyncAPI document.

To add a field to a family (docs/howto/add-a-telemetry-field.md):

1. Add a line at the end of its message here, with its `Column` and the default None.
2. Write a migration that adds the column.
3. Describe the schema again: `vigil migrate describe`.

To add a family of readings (docs/howto/add-a-topic-family.md):

1. Add its word to `Family` and `DeviceFamily`, its message to the classes and to `Reading`, its
   batch, and its row to `FAMILIES` here.
2. Add its handler to `services/telemetry/service.py`.
3. Write a migration with its table, its rights and its retention class.
4. Add the retention class to `services/contracts/retention_classes.py`.
5. Describe the schema again.

The messages are arrays on the wire. A field may be added at the end with a default; no field may be
moved. `gc=False` marks values that come by the thousand and cannot be part of a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec

CONNECTIVITY = frozenset({"ONLINE", "OFFLINE", "POOR"})
SENSOR_TYPES = frozenset(
    [
        "MOTION",
        "DOOR",
        "SMOKE",
        "TEMPERATURE",
        "HUMIDITY",
        "WATER_LEAK",
        "INTRUSION",
        "GLASS_BREAK",
        "UNKNOWN",
    ]
)
SENSOR_STATES = frozenset({"OPEN", "CLOSED", "DETECTED", "CLEAR", "ALARM", "NORMAL"})
SENSOR_KINDS = frozenset({"status", "reading", "alarm"})
"""Last words of a sensor's topics."""
POSITION_SOURCES = frozenset({"gps", "network", "ble", "nfc", "manual"})
UNITS = {
    "%": "Per cent",
    "dBm": "dBm",
    "C": "Degrees Celsius",
    "s": "Seconds",
    "m": "Metres",
    "m/s": "Metres a second",
    "deg": "Degrees",
}
"""Units of fields, in words."""
COMMON_FIELDS = {
    "timestamp": "Time of the measurement: RFC 3339, or epoch seconds or milliseconds",
    "msg_id": "Id of the message, made by the device; the same when it sends the message again",
    "client_id": "Tenant of the source; compared with the registry",
    "source_id": "Id of the source; compared with the topic",
    "sent_at": "Time of sending, by the device's clock",
    "buffered": "The device kept the message before it could send it",
}
"""Fields of every payload, in words."""
PYTHON_TYPES: Mapping[str, type] = {"real": float, "float8": float, "text": str, "bool": bool}
"""Type of a field by the type of its column."""


class Family(StrEnum):
    """First words of topics."""

    DEVICE = "device"
    GUARD = "guard"
    SENSOR = "sensor"
    SYSTEM = "system"
    ALERT = "alert"
    OWNTRACKS = "owntracks"


DeviceFamily = Literal["device", "sensor", "system", "alert"]
"""Families of sources that are registered as devices."""


class Column(NamedTuple):
    """Facts about a field: what devices may send, and how it is stored.

    Attributes:
        sql: type of the column, as arrays of it travel to PostgreSQL.
        unit: unit of a number, one of `UNITS`.
        low: smallest number that is stored; a smaller one is null, and named in `quality`.
        high: greatest number that is stored.
        words: words that the field may have. Devices may write them in any case.
        other: word that stands for every other word; None: such a field is null.
        is_state: rules compare the field with their states.
        is_required: a message without the field is refused.
        is_sent: the field comes from the payload, and not from the topic.
        note: description for device makers; empty: the unit or the words describe the field.
    """

    sql: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    words: frozenset[str] = frozenset()
    other: str | None = None
    is_state: bool = False
    is_required: bool = False
    is_sent: bool = True
    note: str = ""

    @property
    def description(self) -> str:
        """Return the description for device makers; empty when the name says it all."""
        listed = f"{', '.join(sorted(self.words))}, in any case" if self.words else ""
        return self.note or UNITS.get(self.unit, listed)


class Origin(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The facts that every message from the field carries.

    `key` is the 16-byte identity of the message: the same key means the same message, delivered
    again. `claimed_tenant_id` is the payload's `client_id`. It is compared with the registry and
    never believed. `clock_suspect`: the payload has no device time, or one that is not believed.
    `recorded_at` is then `received_at`. `buffered`: the device says that it kept the message before
    it could send it.
    """

    source_id: str
    key: bytes
    msg_id: str | None
    topic: str
    recorded_at: datetime
    received_at: datetime
    clock_suspect: bool
    quality: tuple[str, ...]
    claimed_tenant_id: int | str | None
    raw: str
    buffered: bool = False


class Fix(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One position of one guard; `origin.source_id` is the guard's id (`guard-123`)."""

    origin: Origin
    lat: Annotated[float, Column("float8", "deg", -90, 90, is_required=True)]
    lon: Annotated[float, Column("float8", "deg", -180, 180, is_required=True)]
    accuracy: Annotated[float | None, Column("real", "m", 0)]
    speed: Annotated[float | None, Column("real", "m/s", 0)]
    heading: Annotated[float | None, Column("real", "deg", 0, 360, note="Degrees from north")]
    source: Annotated[
        str | None, Column("text", words=POSITION_SOURCES, note=", ".join(sorted(POSITION_SOURCES)))
    ]
    mock: Annotated[bool, Column("bool", note="The phone says that the position is made up")]
    battery: Annotated[float | None, Column("real", "%", 0, 100, note="Per cent, of the phone")] = None


class DeviceReading(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One reading of one device."""

    origin: Origin
    battery: Annotated[float | None, Column("real", "%", 0, 100)]
    signal: Annotated[float | None, Column("real", "dBm", -120, 0)]
    temperature: Annotated[float | None, Column("real", "C")]
    connectivity: Annotated[str | None, Column("text", words=CONNECTIVITY, is_state=True)]


class SensorReading(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One reading of one sensor.

    `kind` is the topic's last word (status, reading, alarm). `type` is the measured quantity.
    """

    origin: Origin
    kind: Annotated[str, Column("text", is_sent=False)]
    type: Annotated[str, Column("text", words=SENSOR_TYPES, other="UNKNOWN")]
    value: Annotated[float | None, Column("float8", note="Measured value")]
    state: Annotated[str | None, Column("text", words=SENSOR_STATES, is_state=True)]


class HealthReading(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One report of one computer about itself."""

    origin: Origin
    cpu: Annotated[float | None, Column("real", "%", 0, 100)]
    memory: Annotated[float | None, Column("real", "%", 0, 100)]
    disk: Annotated[float | None, Column("real", "%", 0, 100)]
    uptime: Annotated[float | None, Column("float8", "s", 0)]


Reading = DeviceReading | SensorReading | HealthReading
"""Messages that the telemetry service stores."""


class FixBatch(msgspec.Struct, frozen=True):
    """Body of the event of a guard's positions."""

    fixes: list[Fix]


class DeviceReadingBatch(msgspec.Struct, frozen=True):
    """Body of the event of devices' readings."""

    readings: list[DeviceReading]


class SensorReadingBatch(msgspec.Struct, frozen=True):
    """Body of the event of sensors' readings."""

    readings: list[SensorReading]


class HealthReadingBatch(msgspec.Struct, frozen=True):
    """Body of the event of computers' reports."""

    readings: list[HealthReading]


@cache
def columns_of(message: type[msgspec.Struct]) -> Mapping[str, Column]:
    """Return the columns of a message's fields, in their order."""
    hints = get_type_hints(message, include_extras=True)
    found = {
        name: [fact for fact in get_args(hint)[1:] if isinstance(fact, Column)]
        for name, hint in hints.items()
    }
    return {name: columns[0] for name, columns in found.items() if columns}


class MessageFamily(msgspec.Struct, frozen=True, kw_only=True):
    """Row of the table: the messages with one first word of their topics.

    Attributes:
        family: the first word.
        topic: shape of the topics; the first `{name}` is the source, a second one the detail.
        details: words that the detail may be; empty: any.
        may_write: topics that a credential of the family may write, with its name as `{}`. Wrong
            last words are among them: `guard/789/panic` must raise an alert.
        names_guard: the source is a guard, and `789` is `guard-789`.
        holds_place: a retained message may give a person's place, and is swept.
        is_optional: messages are received only where the configuration asks for them.
        lane: lane of the gateway.
        qos: quality of service that devices should use.
        channel: name of the channel in the AsyncAPI document.
        summary: summary for device makers.
        example: a payload for device makers.
        event: event that carries the messages from the gateway; empty: that of another family.
        table: table of the messages.
        retention: retention class of the table.
        command: word of `vigil latest`.
        silence_limit: setting with the usual offline limit of devices, in seconds.
    """

    family: Family
    topic: str
    details: frozenset[str] = frozenset()
    may_write: tuple[str, ...]
    names_guard: bool = False
    holds_place: bool = False
    is_optional: bool = False
    lane: Literal["bulk", "alert"] = "bulk"
    qos: int = 1
    channel: str
    summary: str
    example: Mapping[str, Any]
    event: str = ""
    table: str = ""
    retention: str = ""
    command: str = ""
    silence_limit: str = ""

    @property
    def name(self) -> str:
        """Return the first word of the topics as plain text."""
        return self.family.value


class BatchedFamily(MessageFamily, frozen=True, kw_only=True):
    """Row of a family whose messages travel and are stored in batches, a column for each field.

    Attributes:
        message: type of a message, with its columns.
        batch: body of the event. Its one field is the list of messages.
        payload: name of the type of payloads in the AsyncAPI document.
        claims: fields of the payload that repeat the source's id. They are compared with it.
        service: service that stores the messages.
        handler: handler of the event.
        source_column: column of the source's id.
        judged: further columns of the table, which the service computes, and their types.
    """

    message: type[msgspec.Struct]
    batch: type[msgspec.Struct]
    payload: str
    claims: tuple[str, ...] = ()
    service: str = "telemetry"
    handler: str
    source_column: str
    judged: Mapping[str, str] = {}

    @property
    def fields(self) -> Mapping[str, Column]:
        """Return the columns of the message's fields."""
        return columns_of(self.message)

    @property
    def columns(self) -> dict[str, str]:
        """Return the table's own columns and their types: fields, then computed ones."""
        return {name: column.sql for name, column in self.fields.items()} | dict(self.judged)

    def batch_of(self, messages: Sequence[Any]) -> msgspec.Struct:
        """Return the body of an event with these messages."""
        make: Callable[[Sequence[Any]], msgspec.Struct] = self.batch
        return make(messages)


AT = "2026-01-05T21:14:03Z"
"""Time in examples."""
DEVICE = BatchedFamily(
    family=Family.DEVICE,
    topic="device/{device_id}/telemetry",
    may_write=("device/{}/+",),
    holds_place=True,
    channel="deviceTelemetry",
    summary="Readings of a device about itself",
    example={"battery": 77, "signal": -70, "temperature": 24.5, "timestamp": AT},
    message=DeviceReading,
    batch=DeviceReadingBatch,
    payload="DevicePayload",
    event="device_telemetry_received",
    handler="process_device_telemetry",
    table="mqtt_device_telemetry",
    source_column="device_id",
    retention="telemetry",
    command="telemetry",
    silence_limit="device_silence_limit_s",
)
GUARD = BatchedFamily(
    family=Family.GUARD,
    topic="guard/{guard_id}/gps",
    may_write=("guard/{}/+",),
    names_guard=True,
    holds_place=True,
    channel="guardPosition",
    summary="Position of a guard; `789` and `guard-789` are the same guard",
    example={"lat": 12.9716, "lon": 77.5946, "accuracy": 6, "timestamp": AT, "msg_id": "a-17"},
    message=Fix,
    batch=FixBatch,
    payload="GuardPayload",
    claims=("guard_id",),
    event="guard_gps_received",
    service="location",
    handler="process_guard_gps",
    table="mqtt_guard_location",
    source_column="guard_id",
    judged={"in_geofence": "bool", "geofence_violation": "bool"},
    retention="positions",
    command="location",
)
SENSOR = BatchedFamily(
    family=Family.SENSOR,
    topic="sensor/{sensor_id}/{kind}",
    details=SENSOR_KINDS,
    may_write=("sensor/{}/+", "sensor/{}/+/"),
    channel="sensorData",
    summary="Reading, state or alarm of a sensor",
    example={"type": "SMOKE", "value": 140, "state": "ALARM", "timestamp": AT},
    message=SensorReading,
    batch=SensorReadingBatch,
    payload="SensorPayload",
    event="sensor_data_received",
    handler="process_sensor_data",
    table="mqtt_sensor_reading",
    source_column="sensor_id",
    retention="readings",
    command="sensor",
    silence_limit="sensor_silence_limit_s",
)
SYSTEM = BatchedFamily(
    family=Family.SYSTEM,
    topic="system/health/{system_id}",
    may_write=("system/health/{}", "system/health/{}/+"),
    qos=0,
    channel="systemHealth",
    summary="Load of a computer",
    example={"cpu": 31, "memory": 52, "disk": 64, "uptime": 86400},
    message=HealthReading,
    batch=HealthReadingBatch,
    payload="HealthPayload",
    event="system_health_received",
    handler="process_system_health",
    table="mqtt_system_health",
    source_column="system_id",
    retention="health",
    command="system",
    silence_limit="system_silence_limit_s",
)
ALERT = MessageFamily(
    family=Family.ALERT,
    topic="alert/{alert_type}/{source_id}",
    may_write=("alert/+/{}", "alert/+/{}/", "alert/+/+/{}"),
    holds_place=True,
    lane="alert",
    channel="alert",
    summary="An alarm; the two words may be in either order. A life-safety alert is never refused for its content",
    example={"message": "help", "location": {"lat": 12.9716, "lon": 77.5946}, "msg_id": "a-18"},
    event="device_alert_received",
    table="mqtt_device_alert",
    retention="alerts",
    command="alert",
    silence_limit="alert_silence_limit_s",
)
OWNTRACKS = MessageFamily(
    family=Family.OWNTRACKS,
    topic="owntracks/{guard_id}/{phone}",
    may_write=("owntracks/{}/+",),
    names_guard=True,
    holds_place=True,
    is_optional=True,
    channel="ownTracks",
    summary="Position of a guard with an OwnTracks phone, under the guard's credential; where VIGIL_OWNTRACKS is on",
    example={
        "_type": "location",
        "lat": 12.9716,
        "lon": 77.5946,
        "acc": 6,
        "vel": 4,
        "tst": 1767647643,
    },
)

FAMILIES: tuple[MessageFamily, ...] = (DEVICE, GUARD, SENSOR, SYSTEM, ALERT, OWNTRACKS)
BY_WORD: Mapping[str, MessageFamily] = {row.name: row for row in FAMILIES}
BATCHED = tuple(row for row in FAMILIES if isinstance(row, BatchedFamily))
"""Families whose messages travel and are stored in batches."""
TELEMETRY = tuple(row for row in BATCHED if row.service == "telemetry")
"""Families of readings."""
OF_DEVICES = tuple(row for row in FAMILIES if not row.names_guard)
"""Families of sources that are registered as devices."""
