"""Frames of the feed and of its clients, for documents and tests. Pure.

A frame of the feed carries its `data` sealed (a Fernet token) unless encryption is off. The types
here describe the unsealed data. Frames that the gateway itself makes are clear, and their fields
are on the top level.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.noc.api.shapes import Position, SourceState
from gateway.noc.blindness import Away
from services.messages import Alert, AlertFrame
from services.source_status import SourceStatus

Ref = Annotated[Any, Meta(description="Whatever the client gave, given back with the answer")]


class FeedPosition(msgspec.Struct, frozen=True):
    """Metres, metres a second, degrees; `recorded_at` is the device's time."""

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


class Snapshot(msgspec.Struct, frozen=True):
    """Where a screen starts from. `missing` names what it lacks: positions, devices, alerts that are too many."""

    alerts: list[Alert]
    positions: list[Position]
    devices: list[SourceState]
    missing: list[str]


class Connected(msgspec.Struct, frozen=True):
    """The first frame. `resumed`: everything after `since` follows; else a snapshot does."""

    type: Literal["connected"]
    tenant_id: int
    feed_id: str
    resumed: bool
    encryption: Literal["fernet", "none"]
    heartbeat_interval: Annotated[float, Meta(description="Seconds")]


class ServerHeartbeat(msgspec.Struct, frozen=True):
    """Sent every `heartbeat_interval` seconds, and at once when a part is away or back.

    `blind`: something is away, so that what does not show may still happen. `since`: the oldest of `away`; null when
    nothing is.
    """

    type: Literal["heartbeat"]
    server_time: datetime
    blind: bool
    since: datetime | None
    away: list[Away]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client asked for is done: of an alert its id and status, of `subscribe_client` the tenant."""

    type: Literal["ack"]
    ref: Ref
    alert_id: str | None = None
    status: str | None = None
    client_id: int | None = None


class Metrics(msgspec.Struct, frozen=True):
    type: Literal["metrics"]
    ref: Ref
    open_sockets: int


class Error(msgspec.Struct, frozen=True):
    """A client's frame was refused; the socket stays."""

    type: Literal["error"]
    message: str
    ref: Ref


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of a person; the role operator or above."""

    type: Literal["acknowledge_alert", "start_alert", "resolve_alert"]
    alert_id: str
    note: str = ""
    ref: Any = None


class FalseAlarm(msgspec.Struct, frozen=True, omit_defaults=True):
    type: Literal["false_alarm"]
    alert_id: str
    note: str = ""
    reason: str | None = None
    ref: Any = None


class Resume(msgspec.Struct, frozen=True):
    """Everything after the frame `since`, exactly once and in order; a snapshot when that is no longer held."""

    type: Literal["resume"]
    since: int | None = None


class ClientHeartbeat(msgspec.Struct, frozen=True):
    type: Literal["heartbeat"]


class Subscribe(msgspec.Struct, frozen=True):
    """Another tenant's feed from now on; only for the platform's people."""

    type: Literal["subscribe_client"]
    client_id: int
    ref: Any = None


class RequestMetrics(msgspec.Struct, frozen=True):
    type: Literal["request_metrics"]
    ref: Any = None


FEED: Mapping[str, Any] = {
    "snapshot": Snapshot,
    "critical_alert": AlertFrame,
    "alert_created": AlertFrame,
    "alert_updated": AlertFrame,
    "positions": list[FeedPosition],
    "device_status": list[SourceStatus],
}
"""Types of `data`, by the frame's type."""
CONTROL: Mapping[str, type] = {
    "connected": Connected,
    "heartbeat": ServerHeartbeat,
    "ack": Ack,
    "metrics": Metrics,
    "error": Error,
}
"""Frames that the gateway itself makes, complete."""
CLIENT: Mapping[str, type] = {
    "acknowledge_alert": Act,
    "start_alert": Act,
    "resolve_alert": Act,
    "false_alarm": FalseAlarm,
    "resume": Resume,
    "heartbeat": ClientHeartbeat,
    "subscribe_client": Subscribe,
    "request_metrics": RequestMetrics,
}
