"""Link words of devices and bridges. Pure.

Examples are `Offline` as a last will, and topics that end with LWT or availability.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gateway.mqtt.decoding import topics
from gateway.mqtt.decoding.values import word_of
from services.contracts.families import BATCHED, Family

LINK_SEGMENTS = frozenset({"lwt", "availability", "online"})
"""Last segments of the topics that bridges use for the link state, in lower case."""
FAMILIES = frozenset(row.family for row in BATCHED)
ONLINE = frozenset({"ONLINE", "CONNECTED", "AVAILABLE"})
OFFLINE = frozenset({"OFFLINE", "DISCONNECTED", "UNAVAILABLE"})
LONGEST_WORD = 200
_any = msgspec.json.Decoder()


class LinkState(NamedTuple):
    """Link state of a source. `online` is None when the message only clears a retained message."""

    family: Family
    source_id: str
    online: bool | None


def read(topic_text: str, payload: bytes) -> LinkState | None:
    """Return the link state that a message gives; None when the message is about no link."""
    family, *segments = topic_text.split("/")
    if family not in FAMILIES or len(segments) < 2 or len(payload) > LONGEST_WORD:
        return None

    source = segments[1] if family == Family.SYSTEM and segments[0] == "health" else segments[0]
    source_id = topics.source_of(source)
    if source_id is None:
        return None

    of_link = segments[-1].lower() in LINK_SEGMENTS
    if of_link and not payload:
        return LinkState(Family(family), source_id, None)

    online = _online(payload, of_link=of_link)
    return None if online is None else LinkState(Family(family), source_id, online)


def _online(payload: bytes, *, of_link: bool) -> bool | None:
    """Return the link state in a payload; None when the payload is no link word.

    Plain words count on every topic. Switches, and words in an object, count only on the link's own
    topics.
    """
    try:
        value = _any.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        value = payload.strip(b"\x00 \t\r\n").decode("utf-8", "replace")

    if of_link and isinstance(value, dict):
        value = next((value[name] for name in ("state", "status", "online", "value") if name in value), None)

    word = word_of(value)
    if word in ONLINE or (of_link and word in ("TRUE", "1", "ON")):
        return True
    if word in OFFLINE or (of_link and word in ("FALSE", "0", "OFF")):
        return False

    return None
