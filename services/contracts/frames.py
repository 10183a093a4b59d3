"""Frames of the feed and of its clients: the types that make and read them. Pure.

A frame of the feed carries its `data` sealed (a Fernet token) unless encryption is off. The types
in `FEED` describe the unsealed data. `ControlFrame` has the frames that the gateway itself makes:
they are clear, and their fields are on the top level. `ClientFrame` has the frames of clients. The
gateway makes and decodes frames by these types, and the AsyncAPI document is made of them.

To add a field:

1. Add it to its type here. A field of a client's frame needs a default, for clients of before.
2. Set it where the frame is made, or use it where the frame is obeyed:
   `gateway/noc/websocket/session.py` for control frames and clients' frames. A field of an alert's
   frame is an argument of the alerts service's RPC of the same name, and needs no line there.
3. Show it in `console/`, when operators see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.contracts.api import Position, SourceState
from services.contracts.events import Alert, AlertFrame, FeedPosition
from services.contracts.source_status import SourceStatus

Ref = Annotated[
    msgspec.Raw, Meta(description="Whatever the client gave, given back byte for byte with the answer")
]
OptionalRef = Annotated[msgspec.Raw | UnsetType, Meta(description="The client's own reference")]
AlertId = Annotated[str, Meta(min_length=1)]
FrameId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
TenantId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Away(msgspec.Struct, frozen=True):
    """Part that is away: its name, the time since, and the consequence in words."""

    part: str
    since: datetime
    hides_alarms: Annotated[bool, Meta(description="Whether new alarms may not show in an open console")]
    reason: Annotated[str, Meta(description="One or two sentences for an operator")]


class Snapshot(msgspec.Struct, frozen=True):
    """Start of a session.

    `missing` names the absent data: positions, devices, alerts that are too many.
    """

    alerts: list[Alert]
    positions: list[Position]
    devices: list[SourceState]
    missing: list[str]


class Connected(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="connected"):
    """The first frame. `resumed`: all frames after `since` follow. Otherwise a snapshot follows.

    `ref` is that of the `resume` or `subscribe_client` frame which this one answers.
    """

    tenant_id: int
    feed_id: str
    resumed: bool
    encryption: Literal["fernet", "none"]
    heartbeat_interval: Annotated[float, Meta(description="Seconds")]
    ref: OptionalRef = UNSET


class ServerHeartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """Sent every `heartbeat_interval` seconds, and at once when a part is away or back.

    `blind`: a part is away, so events may happen that do not show. `since`: the time of the oldest
    entry in `away`; null when there is none.
    """

    server_time: datetime
    blind: bool
    since: datetime | None
    away: tuple[Away, ...]


class Ack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="ack"):
    """Request done. For an alert: its id and status. For `subscribe_client`: the tenant."""

    ref: Ref
    alert_id: str | None = None
    status: str | None = None
    client_id: int | None = None


class Metrics(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="metrics"):
    ref: Ref
    open_sockets: int


class Error(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """Refusal of a client's frame. The socket stays open."""

    message: str
    ref: Ref


ControlFrame = Connected | ServerHeartbeat | Ack | Metrics | Error
"""Frames that the gateway itself makes."""


class Act(msgspec.Struct, frozen=True, tag_field="type"):
    """Action of a user on an alert. It needs the role operator or above.

    The fields except `ref` are arguments of the alerts service's RPC.
    """

    alert_id: AlertId
    note: str = ""
    ref: OptionalRef = UNSET


class AcknowledgeAlert(Act, frozen=True, tag="acknowledge_alert"):
    """The user takes the alert."""


class StartAlert(Act, frozen=True, tag="start_alert"):
    """Somebody is on the way."""


class ResolveAlert(Act, frozen=True, tag="resolve_alert"):
    """The alert is over."""


class MarkFalseAlarm(Act, frozen=True, tag="false_alarm"):
    """The alert was a false alarm."""

    reason: str | None = None


class Resume(msgspec.Struct, frozen=True, tag_field="type", tag="resume"):
    """Request for all frames after `since`, exactly once and in order.

    The answer is `connected`, and then a snapshot when these frames are no longer held.
    """

    since: FrameId | None = None
    ref: OptionalRef = UNSET


class ClientHeartbeat(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """Sign of life. The gateway answers with a heartbeat of its own."""


class Subscribe(msgspec.Struct, frozen=True, tag_field="type", tag="subscribe_client"):
    """Change to another tenant's feed. It needs the role `platform`."""

    client_id: TenantId
    ref: OptionalRef = UNSET


class RequestMetrics(msgspec.Struct, frozen=True, tag_field="type", tag="request_metrics"):
    ref: OptionalRef = UNSET


ClientFrame = (
    AcknowledgeAlert
    | StartAlert
    | ResolveAlert
    | MarkFalseAlarm
    | Resume
    | ClientHeartbeat
    | Subscribe
    | RequestMetrics
)
"""Frames of clients. `type` selects one."""


def type_of(frame: msgspec.Struct | type[msgspec.Struct]) -> str:
    """Return the `type` of a control frame or of a client's frame."""
    return str(frame.__struct_config__.tag)


FEED: Mapping[str, Any] = {
    "snapshot": Snapshot,
    "critical_alert": AlertFrame,
    "alert_created": AlertFrame,
    "alert_updated": AlertFrame,
    "positions": list[FeedPosition],
    "device_status": list[SourceStatus],
}
"""Types of `data`, by the frame's type."""
CONTROL: Mapping[str, type[msgspec.Struct]] = {type_of(shape): shape for shape in get_args(ControlFrame)}
"""Control frames by `type`."""
CLIENT: Mapping[str, type[msgspec.Struct]] = {type_of(shape): shape for shape in get_args(ClientFrame)}
"""Frames of clients by `type`."""
