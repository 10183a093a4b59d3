"""Values of the outbox: messages, receipts, updates. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import NamedTuple


class Kind(str, Enum):
    """Kind of a message. It decides the order in which messages are sent and dropped."""

    ALERT = "alert"
    READING = "reading"
    POSITION = "position"


class State(str, Enum):
    """State of a message, as `on_update` reports it.

    - QUEUED: the message is in the outbox.
    - SENT: the broker has the message; it may still be lost.
    - STORED: Vigil has committed the message.
    - NOTIFIED, ACKNOWLEDGED, RESOLVED: later states of an alert.
    - OFF_SHIFT: not kept, because the guard is not on shift.
    - REFUSED: Vigil does not accept the message.
    - UNDELIVERED: given up and set aside.
    - DROPPED: removed to make room.
    """

    QUEUED = "queued"
    SENT = "sent"
    STORED = "stored"
    NOTIFIED = "notified"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    OFF_SHIFT = "off_shift"
    REFUSED = "refused"
    UNDELIVERED = "undelivered"
    DROPPED = "dropped"


class Message(NamedTuple):
    """One message in the outbox. Each send has the same bytes: the payload is part of the identity.

    `number` grows with each message. `born_s` is a time of the outbox's own clock, which counts
    while it runs. `silent`: no display and no sound of the device may show anything about this
    message.
    """

    number: int
    msg_id: str
    kind: Kind
    topic: str
    payload: bytes
    silent: bool = False
    born_s: float = 0.0


class Receipt(NamedTuple):
    """Vigil's receipt of a message, published on `receipt/<source_id>`."""

    msg_id: str
    status: str
    at: datetime | None = None
    alert_id: str | None = None
    by: str | None = None
    reason: str | None = None
    silent: bool = False


class Update(NamedTuple):
    """Argument of `on_update`. `receipt` is set when a receipt caused the update."""

    msg_id: str
    state: State
    receipt: Receipt | None = None
    reason: str = ""


class SetAside(NamedTuple):
    """Message that is no longer sent: refused by Vigil, or given up."""

    message: Message
    state: State
    reason: str
