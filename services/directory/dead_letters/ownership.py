"""Owners of dead letters: the tenants and sources in an event. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from services.contracts.events import (
    AlertEvent,
    ConditionsEvent,
    DeviceAlert,
    NotificationFinished,
    NotificationRequest,
    Receipt,
    RejectedBatch,
    RejectedMessage,
    RepeatedAlert,
    SourceFlood,
    StoredEvent,
    ZoneMovesEvent,
)
from services.contracts.families import BATCHED, FixBatch, Origin

BODIES: Mapping[str, type] = {
    **{row.event: row.batch for row in BATCHED},
    "guard_fixes_held": FixBatch,
    "device_alert_received": DeviceAlert,
    "device_alert_repeated": RepeatedAlert,
    "source_flood_changed": SourceFlood,
    "message_rejected": RejectedBatch,
    "telemetry_stored": StoredEvent,
    "positions_stored": StoredEvent,
    "zone_entered": ZoneMovesEvent,
    "zone_exited": ZoneMovesEvent,
    "alert_condition_met": ConditionsEvent,
    "alert_condition_cleared": ConditionsEvent,
    "alert_raised": AlertEvent,
    "alert_updated": AlertEvent,
    "notification_requested": NotificationRequest,
    "notification_finished": NotificationFinished,
}


class DeadLetterOwners(msgspec.Struct, frozen=True):
    """Tenants and sources in a dead letter.

    Attributes:
        sources: the sources without a tenant in the event.
        readable: the owners are known.
    """

    tenants: frozenset[int] = frozenset()
    sources: frozenset[str] = frozenset()
    readable: bool = True


def event_type_of(queue: str) -> str:
    """Return the event type of a queue; empty for a queue without events.

    The queues of events are named `evt-<service>-<event>--<consumer>.<handler>`.
    """
    head, _, _ = queue.partition("--")
    return head.removeprefix("evt-").partition("-")[2] if head.startswith("evt-") else ""


def owners_of(queue: str, body: bytes) -> DeadLetterOwners:
    """Return the tenants and sources of the event that was meant for this queue."""
    kind = BODIES.get(event_type_of(queue))
    if kind is None:
        return DeadLetterOwners(readable=False)

    try:
        event: msgspec.Struct = msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return DeadLetterOwners(readable=False)

    tenants, sources = set[int](), set[str]()
    for part in _parts(event):
        tenant_id = getattr(part, "tenant_id", None)
        if isinstance(tenant_id, int):
            tenants.add(tenant_id)
        elif (
            isinstance(part, Origin | Receipt | RejectedMessage | SourceFlood) and part.source_id is not None
        ):
            sources.add(part.source_id)

    return DeadLetterOwners(frozenset(tenants), frozenset(sources), readable=bool(tenants or sources))


def belongs(spoken: DeadLetterOwners, tenant_id: int, tenant_of: Mapping[str, int]) -> bool:
    """Return whether the whole dead letter is this tenant's.

    A dead letter about two tenants is visible to neither.
    """
    if not spoken.readable or not spoken.sources <= tenant_of.keys():
        return False
    return {*spoken.tenants, *(tenant_of[source] for source in spoken.sources)} == {tenant_id}


def _parts(node: Any) -> Iterator[msgspec.Struct]:
    """Yield every struct in an event, the event included."""
    if isinstance(node, msgspec.Struct):
        yield node
        for name in node.__struct_fields__:
            yield from _parts(getattr(node, name))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _parts(value)
