"""Ids of sources as users enter them: valid in a topic, and unlike any alert type. Pure."""

from __future__ import annotations

import re

from services.contracts.alert_words import alert_type
from services.contracts.errors import Refused
from services.contracts.families import OF_DEVICES

FAMILIES = tuple(row.name for row in OF_DEVICES)
"""Families of devices. Guards are a family of their own."""
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
RESERVED = "vigil-"
NOT_FREE = "this id is not free; choose another"
"""Answer for an id that any source of any tenant has. It reveals nothing about another tenant."""


def check_source_id(text: str, *, family: str) -> str:
    """Return the id as it is kept. A guard's number becomes `guard-<number>`. Raises `Refused`.

    A source must not have the name of an alert type: in `alert/<type>/<source>`, the two could be
    confused.
    """
    source_id = f"guard-{text}" if family == "guard" and text.isascii() and text.isdigit() else text
    if not ID.fullmatch(source_id):
        raise Refused(
            f"id is {text!r}; it must be 1 to 128 letters, digits and . _ : @ - and begin with a letter or digit"
        )
    if source_id.lower().startswith(RESERVED):
        raise Refused(f"id is {text!r}; names that begin with {RESERVED} are Vigil's own at the broker")
    if alert_type(source_id) is not None:
        raise Refused(f"id is {text!r}, which is an alert type; choose another id, for instance {text}-1")

    return source_id


def number_of(text: str) -> str | None:
    """Return the number of a guard who was entered by number, else None.

    The phone of such a guard may publish to `guard/<number>/gps` as well.
    """
    return text if text.isascii() and text.isdigit() else None
