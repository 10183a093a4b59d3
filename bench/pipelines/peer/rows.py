"""Messages as rows: decoded, checked and identified.

Positions are judged against the zones. Pure.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import shapely

METRES_A_DEGREE = 111_195.0
SRID_POINT = struct.Struct("<BIIdd")
"""EWKB: byte order, point with a reference system, the system, longitude, latitude."""
Zone = tuple[float, float, float]
"""Latitude, longitude, radius in metres."""
Number = float | None
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)] | None


class PeerPayload(msgspec.Struct, kw_only=True):
    """Fields of every payload."""

    timestamp: datetime | None = None
    msg_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class PeerPosition(PeerPayload, kw_only=True):
    """Payload of `guard/<guard>/gps`."""

    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    accuracy: Number = None
    speed: Number = None
    heading: Number = None


class PeerDevice(PeerPayload, kw_only=True):
    """Payload of `device/<device>/telemetry`."""

    battery: Percent = None
    signal: Number = None
    temperature: Number = None
    connectivity: str | None = None


class PeerSensor(PeerPayload, kw_only=True):
    """Payload of `sensor/<sensor>/...`."""

    type: str | None = None
    value: Number = None
    state: str | None = None


class PeerSystem(PeerPayload, kw_only=True):
    """Payload of `system/health/<system>`."""

    cpu: Percent = None
    memory: Percent = None
    disk: Percent = None
    uptime: Number = None


class PeerAlert(PeerPayload, kw_only=True):
    """Payload of `alert/<type>/<source>`."""

    severity: str | None = None
    message: str | None = None


class PeerFamily(NamedTuple):
    """Table of a family, its payload, and the part of the topic that names the source."""

    table: str
    decoder: msgspec.json.Decoder[Any]
    columns: tuple[str, ...]
    source_at: int


def _kind(table: str, shape: type[PeerPayload], source_at: int) -> PeerFamily:
    own = tuple(name for name in shape.__struct_fields__ if name not in PeerPayload.__struct_fields__)
    return PeerFamily(table, msgspec.json.Decoder(shape, strict=False), own, source_at)


KINDS = {
    "guard": _kind("mqtt_guard_location", PeerPosition, 1),
    "device": _kind("mqtt_device_telemetry", PeerDevice, 1),
    "sensor": _kind("mqtt_sensor_reading", PeerSensor, 1),
    "system": _kind("mqtt_system_health", PeerSystem, 2),
    "alert": _kind("alert_occurrence", PeerAlert, 2),
}
COMMON_COLUMNS = ("message_key", "source_id", "msg_id", "recorded_at", "received_at", "raw_data")
VERDICT_COLUMNS = ("location", "in_geofence", "geofence_violation")


class PeerRow(NamedTuple):
    """One message that can be stored: its family, its identity and the values of its columns."""

    family: str
    key: bytes
    source_id: str
    msg_id: str | None
    values: tuple[Any, ...]


class PeerRefusal(NamedTuple):
    """One message that cannot be stored, and the reason."""

    key: bytes
    topic: str
    payload: bytes
    reason: str


class PeerZones:
    """Circles, queried for many points at once."""

    def __init__(self, zones: Sequence[Zone]) -> None:
        self._lat, self._lon, self._radius_m = (np.array(column) for column in zip(*zones, strict=True))
        north = self._radius_m / METRES_A_DEGREE * 1.001
        east = north / np.cos(np.radians(self._lat))
        self._tree = shapely.STRtree(
            shapely.box(self._lon - east, self._lat - north, self._lon + east, self._lat + north)
        )

    def inside(self, lat: Sequence[float], lon: Sequence[float]) -> list[bool]:
        """Return for each point True when it is in any zone."""
        lats, lons = np.array(lat), np.array(lon)
        points, near = self._tree.query(shapely.points(lons, lats))
        north_m = (lats[points] - self._lat[near]) * METRES_A_DEGREE
        east_m = (lons[points] - self._lon[near]) * METRES_A_DEGREE * np.cos(np.radians(self._lat[near]))
        found = np.zeros(len(lats), dtype=bool)
        found[points[np.hypot(north_m, east_m) <= self._radius_m[near]]] = True
        return found.tolist()


def decode(topic: str, payload: bytes, received_s: float) -> PeerRow | PeerRefusal:
    """Return the row of a message, or the refusal with its reason."""
    parts = topic.split("/")
    kind = KINDS.get(parts[0])
    if kind is None or len(parts) <= kind.source_at:
        return PeerRefusal(key_of(topic, payload), topic, payload, "bad_topic")

    try:
        found = kind.decoder.decode(payload)
    except msgspec.MsgspecError as error:
        return PeerRefusal(key_of(topic, payload), topic, payload, str(error))

    source_id = parts[kind.source_at]
    identity = found.msg_id.encode() if found.msg_id else payload
    key = key_of(f"{parts[0]}/{source_id}", identity)
    received_at = datetime.fromtimestamp(received_s, UTC)

    recorded_at = found.timestamp or received_at
    if recorded_at.tzinfo is None:
        recorded_at = recorded_at.replace(tzinfo=UTC)

    own = tuple(getattr(found, name) for name in kind.columns)
    common = (key, source_id, found.msg_id, recorded_at, received_at, payload.decode())
    return PeerRow(parts[0], key, source_id, found.msg_id, (*common, *own))


def key_of(owner: str, identity: bytes) -> bytes:
    """Return 16 bytes that are the same for the same message."""
    return hashlib.blake2b(owner.encode() + b"\0" + identity, digest_size=16).digest()


def judge(zones: PeerZones, fixes: Sequence[PeerRow]) -> list[tuple[Any, ...]]:
    """Return the complete rows of positions, with place and verdict after the values."""
    at = len(COMMON_COLUMNS)
    lat, lon = ([row.values[at + n] for row in fixes] for n in (0, 1))
    return [
        (*row.values, SRID_POINT.pack(1, 0x20000001, 4326, east, north), inside, not inside)
        for row, north, east, inside in zip(fixes, lat, lon, zones.inside(lat, lon), strict=True)
    ]
