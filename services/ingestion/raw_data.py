"""Payloads that are stored beside their columns: those that say more than the columns hold. Pure.

Most payloads say nothing else, and a payload takes as much room as all columns of its row. A
payload is left out on three conditions. Every field is known. Each field is written as its column
stores it. Nothing about the message is in doubt.

Some fields have served their purpose, and are no reason to keep a payload: `sent_at`, and ids that
were compared with the topic and the registry.

To add a column of a field table, give its field to the class of the table here. Allow the values
that the column can give back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from services.contracts.events import Origin

ALARM_TOPIC = "/alarm"


class Told(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Fields of every family that a row gives back, or that have no further use once checked."""

    timestamp: str | float | None = None
    msg_id: str | None = None
    client_id: int | str | None = None
    source_id: int | str | None = None
    sent_at: str | float | None = None
    buffered: bool | None = None


class ToldOfGuard(Told, gc=False):
    lat: float | None = None
    lon: float | None = None
    accuracy: float | None = None
    speed: float | None = None
    heading: float | None = None
    source: Literal["gps", "network", "ble", "nfc", "manual"] | None = None
    mock: bool | None = None
    battery: float | None = None
    guard_id: int | str | None = None


class ToldOfDevice(Told, gc=False):
    battery: float | None = None
    signal: float | None = None
    temperature: float | None = None
    connectivity: Literal["ONLINE", "OFFLINE", "POOR"] | None = None


class ToldOfSensor(Told, gc=False):
    type: (
        Literal[
            "MOTION", "DOOR", "SMOKE", "TEMPERATURE", "HUMIDITY", "WATER_LEAK", "INTRUSION", "GLASS_BREAK"
        ]
        | None
    ) = None
    value: float | None = None
    state: Literal["OPEN", "CLOSED", "DETECTED", "CLEAR", "ALARM", "NORMAL"] | None = None


class ToldOfSystem(Told, gc=False):
    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None
    uptime: float | None = None


_DECODERS: Mapping[str, msgspec.json.Decoder[Told]] = {
    "guard_id": msgspec.json.Decoder(ToldOfGuard),
    "device_id": msgspec.json.Decoder(ToldOfDevice),
    "sensor_id": msgspec.json.Decoder(ToldOfSensor),
    "system_id": msgspec.json.Decoder(ToldOfSystem),
}
"""Decoders by the column of the source."""


def to_keep(source_column: str, origin: Origin) -> str | None:
    """Return the payload when it says more than its row; None when the row says it all."""
    if origin.quality or origin.buffered or origin.topic.endswith(ALARM_TOPIC):
        return origin.raw
    try:
        told = _DECODERS[source_column].decode(origin.raw)
    except (msgspec.DecodeError, ValueError):  # an unknown field, or another writing of a known one
        return origin.raw
    # A time that is not believed has no column; an id of the message has one.
    is_told = told.msg_id == origin.msg_id and not (origin.clock_suspect and told.timestamp is not None)
    return None if is_told else origin.raw
