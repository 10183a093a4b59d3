"""OwnTracks messages, decoded as fixes of guards. Pure: time and identity come in.

The payloads are those of the apps (https://owntracks.org/booklet/tech/json): `acc` in metres, `vel`
in km/h, `cog` in degrees, `tst` in seconds of the epoch. A location becomes the payload that a
guard's own app would have sent, and passes the same checks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from gateway.mqtt.decoding import device_time, payload_text, payloads
from gateway.mqtt.decoding.identity import RecentMessages
from gateway.mqtt.decoding.payloads import CLAIMS, PayloadLimits
from gateway.mqtt.decoding.topics import Topic
from gateway.mqtt.decoding.values import is_set, number_of
from services.contracts.errors import InvalidMessage
from services.contracts.families import Family, Fix

KMH_A_MPS = 3.6
LARGEST = 2**63 - 1
NOT_KEPT = frozenset(
    {
        "beacon",
        "card",
        "cmd",
        "configuration",
        "dump",
        "lwt",
        "request",
        "status",
        "steps",
        "transition",
        "waypoint",
        "waypoints",
    }
)
"""Other types that phones send. None of them is a current position.

A transition is the phone's own opinion of a place.
"""
RENAMED = {
    "lat": "lat",
    "lon": "lon",
    "acc": "accuracy",
    "cog": "heading",
    "batt": "battery",
    "msg_id": "msg_id",
    "sent_at": "sent_at",
}
READ = frozenset({*RENAMED, *CLAIMS, "tid", "topic", "_type", "_id", "created_at", "tst", "vel", "buffered"})
"""Fields of a phone's message that are read."""
STALE_S = 60.0
"""Age of a fix, in seconds, above which it does not give the guard's current place.

The age is the time between the fix and the phone's message.
"""


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
) -> Fix | None:
    """Return the fix that a phone sent; None for a message that is no position.

    Raises:
        InvalidMessage: With its reason. No other exception leaves this function.
    """
    # A phone clears a retained message with an empty one.
    if topic.detail.count("/") or not payload:
        return None

    body, text = payload_text.read(payload, max_bytes=limits.max_payload_bytes, max_depth=limits.max_depth)
    said = read_message(body)
    if said is None:
        return None

    decoded = payloads.decode(
        topic_text,
        Topic(Family.GUARD, topic.source_id),
        msgspec.json.encode(as_guard_payload(said)),
        received_at=received_at,
        limits=limits,
        fresh_key=fresh_key,
        recent=recent,
        redelivered=redelivered,
        held_back=held_back,
        own_id=_own_id(said),
    )
    if not isinstance(decoded, Fix):
        raise InvalidMessage("internal_error", f"a location became a {type(decoded).__name__}")

    return msgspec.structs.replace(decoded, origin=msgspec.structs.replace(decoded.origin, raw=text))


def read_message(payload: bytes) -> dict[str, Any] | None:
    """Return the fields of a location message; None for another known type.

    Raises `InvalidMessage`.
    """
    said = payloads.object_of(payload, READ)
    return said if _is_location(said) else None


def _is_location(said: dict[str, Any]) -> bool:
    kind = said.get("_type")
    if kind == "location":
        return True

    if kind == "encrypted":
        raise InvalidMessage(
            "owntracks_encrypted",
            "the phone encrypts with a key of its own; empty its encryption key, TLS keeps others from reading",
        )

    if isinstance(kind, str) and kind in NOT_KEPT:
        return False

    raise InvalidMessage("owntracks_type", f"_type is {str(kind)[:80]!r}; a position's is location")


def as_guard_payload(said: dict[str, Any]) -> dict[str, Any]:
    """Return the phone's fields under Vigil's names.

    A value that is not a number passes unchanged, and the checks name it.
    """
    names = RENAMED | dict.fromkeys(CLAIMS)
    body = {
        name or theirs: _sendable(said[theirs])
        for theirs, name in names.items()
        if said.get(theirs) is not None
    }

    # iOS sends -1 for an unknown value, where Android leaves the field out.
    for name, theirs in (("accuracy", "acc"), ("heading", "cog"), ("battery", "batt")):
        if number_of(said.get(theirs)) == -1:
            del body[name]

    speed_kmh = said.get("vel")
    if speed_kmh is not None and number_of(speed_kmh) != -1:
        number = number_of(speed_kmh)
        body["speed"] = _sendable(speed_kmh) if number is None else number / KMH_A_MPS
    if said.get("tst") is not None:
        body["timestamp"] = _time(said["tst"])
    if is_set(said.get("buffered")) or _is_stale(said):
        body["buffered"] = True

    return body


def _own_id(said: dict[str, Any]) -> str | None:
    """Return the identity that Android gives each message: a random `_id` and its creation time."""
    made = said.get("_id")
    if not isinstance(made, str) or not 0 < len(made) <= 64:
        return None
    return f"{made} {said.get('created_at', '')!s:.40}"


def _is_stale(said: dict[str, Any]) -> bool:
    """Return True when the phone made the message long after its fix.

    Both times are of the phone's clock.
    """
    try:
        made, fixed = device_time.moment_of(said.get("created_at")), device_time.moment_of(said.get("tst"))
        return made is not None and fixed is not None and (made - fixed).total_seconds() > STALE_S
    except (ValueError, TypeError, OverflowError):
        return False


def _sendable(value: object) -> object:
    """Return the value, with an integer that our JSON cannot hold as text.

    Text is no number either.
    """
    return str(value) if isinstance(value, int) and not -LARGEST <= value <= LARGEST else value


def _time(value: object) -> object:
    """Return the time of a fix as the checks read it. Other values pass unchanged."""
    try:
        found = device_time.moment_of(value)
    except ValueError:
        return _sendable(value)
    return "" if found is None else found
