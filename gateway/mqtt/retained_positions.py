"""Messages that the broker must not retain, because they give a person's place. Pure."""

from __future__ import annotations

import msgspec

from gateway.mqtt.decoding import place
from gateway.mqtt.decoding.payload_text import TAIL
from services.contracts.families import FAMILIES, Family

FILTERS = tuple(f"{row.name}/#" for row in FAMILIES if row.holds_place and not row.is_optional)
"""Filters that are swept, without the installation's prefix."""
OPTIONAL = tuple(f"{row.name}/#" for row in FAMILIES if row.holds_place and row.is_optional)
"""Further filters that are swept, where the configuration asks for them."""
LONGEST_LINK_WORD = 32
_any = msgspec.json.Decoder()


def bears_place(topic: str, payload: bytes) -> bool:
    """Return True when a retained message gives, or may give, a person's place.

    An unreadable message on a guard's topics may be an encrypted position. A link word is none.
    """
    if not payload:
        return False

    family = topic.split("/", 1)[0]
    of_guard = family in (Family.GUARD, Family.OWNTRACKS)

    try:
        value = _any.decode(payload.rstrip(TAIL))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return of_guard and not (len(payload) <= LONGEST_LINK_WORD and payload.rstrip(TAIL).isalpha())

    if of_guard and isinstance(value, dict) and value.get("_type") == "encrypted":
        return True

    return place.holds_place(value)
