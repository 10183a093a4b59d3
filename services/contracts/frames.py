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

from services.contracts.api import Position, SourceState
from services.contracts.events import Alert, AlertFrame
from services.contracts.source_status import SourceStatus

Ref = Annotated[Any, Meta(description="Whatever the client gave, given back with the answer")]


class Away(msgspec.Struct, frozen=True):
    """Part that is away: its name, the time since, and the consequence in words."""

    part: str
    since: datetime
    hides_alarms: Annotated[bool, Meta(description="Whether new alarms may not show in an open console")]
    reason: Annotated[str, Meta(description="One or two sentences for an operator")]


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


class Snapshot(msgspec.Struct, frozen=True):
    """Start of a session.

    `missing` names the absent data: positions, devices, alerts that are too many.
    """

    alerts: list[Alert]
    positions: list[Position]
    devices: list[SourceState]
    missing: list[str]


class Connected(msgspec.Struct, frozen=True):
    """The first frame. `resumed`: all frames after `since` follow. Otherwise a snapshot follows."""

    type: Literal["connected"]
    tenant_id: int
    feed_id: str
    resumed: bool
    encryption: Literal["fernet", "none"]
    heartbeat_interval: Annotated[float, Meta(description="Seconds")]


class ServerHeartbeat(msgspec.Struct, frozen=True):
    """Sent every `heartbeat_interval` seconds, and at once when a part is away or back.

    `blind`: a part is away, so events may happen that do not show. `since`: the time of the oldest
    entry in `away`; null when there is none.
    """

    type: Literal["heartbeat"]
    server_time: datetime
    blind: bool
    since: datetime | None
    away: list[Away]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """Request done. For an alert: its id and status. For `subscribe_client`: the tenant."""

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
    """Refusal of a client's frame. The socket stays open."""

    type: Literal["error"]
    message: str
    ref: Ref


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """Action of a user on an alert. It needs the role operator or above."""

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
    """Request for all frames after `since`, exactly once and in order.

    The answer is a snapshot when these frames are no longer held.
    """

    type: Literal["resume"]
    since: int | None = None


class ClientHeartbeat(msgspec.Struct, frozen=True):
    type: Literal["heartbeat"]


class Subscribe(msgspec.Struct, frozen=True):
    """Change to another tenant's feed. It needs the role `platform`."""

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
