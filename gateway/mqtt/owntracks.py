"""What OwnTracks phones say, as fixes of the guards they belong to. Pure: time and identity come in.

The payloads are those of the apps (https://owntracks.org/booklet/tech/json): `acc` in metres, `vel` in km/h, `cog` in
degrees, `tst` in seconds of the epoch. A location becomes the payload that a guard's own app would have sent, and
goes through the same checks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.mqtt import payloads
from gateway.mqtt.payloads import CLAIMS, Limits
from gateway.mqtt.topics import Family, Topic
from services.errors import InvalidMessage
from services.messages import Fix

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
"""What phones say besides; none of it is a position of now. (A transition is the phone's own opinion of a place.)"""
RENAMED = {"lat": "lat", "lon": "lon", "acc": "accuracy", "cog": "heading", "msg_id": "msg_id"}

_any = msgspec.json.Decoder()


def decode(
    topic_text: str,
    topic: Topic,
    payload: bytes,
    *,
    received_at: datetime,
    limits: Limits,
    fresh_key: Callable[[], bytes],
) -> Fix | None:
    """The fix that a phone sent; None: something that is no position. Raises `InvalidMessage`, and nothing else."""
    # What a phone is told to clear is an empty message.
    if topic.detail.count("/") or not payload:
        return None
    text = payloads.text_of(payload, limits)
    said = read_message(payload)
    if said is None:
        return None
    decoded = payloads.decode(
        topic_text,
        Topic(Family.GUARD, topic.source_id),
        msgspec.json.encode(as_guard_payload(said)),
        received_at=received_at,
        limits=limits,
        fresh_key=fresh_key,
    )
    if not isinstance(decoded, Fix):
        raise InvalidMessage("internal_error", f"a location became a {type(decoded).__name__}")
    return msgspec.structs.replace(decoded, origin=msgspec.structs.replace(decoded.origin, raw=text))


def read_message(payload: bytes) -> dict[str, Any] | None:
    """What a message that is a location says; None of another that phones send. Raises `InvalidMessage`."""
    said = _said(payload)
    return said if _is_location(said) else None


def _said(payload: bytes) -> dict[str, Any]:
    try:
        tree = _any.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidMessage("broken_json", str(error)) from error
    if not isinstance(tree, dict):
        raise InvalidMessage("not_an_object", f"the payload is a JSON {type(tree).__name__}, not an object")
    return tree


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
    """The phone's words in ours. What is not a number is handed on as it is: the checks name it."""
    names = RENAMED | dict.fromkeys(CLAIMS)
    body = {
        name or theirs: _sendable(said[theirs])
        for theirs, name in names.items()
        if said.get(theirs) is not None
    }
    # iOS says -1 where it does not know, and leaves out what Android leaves out.
    for name, theirs in (("accuracy", "acc"), ("heading", "cog")):
        if _number(said.get(theirs)) == -1:
            del body[name]
    speed_kmh = said.get("vel")
    if speed_kmh is not None and speed_kmh != -1:
        number = _number(speed_kmh)
        body["speed"] = _sendable(speed_kmh) if number is None else number / KMH_A_MPS
    if said.get("tst") is not None:
        body["timestamp"] = _time(said["tst"])
    return body


def _sendable(value: object) -> object:
    """A whole number that no JSON of ours holds becomes text, which is no number either."""
    return str(value) if isinstance(value, int) and not -LARGEST <= value <= LARGEST else value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _time(value: object) -> object:
    seconds = _number(value)
    if seconds is None:
        return _sendable(value)
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return str(value)
