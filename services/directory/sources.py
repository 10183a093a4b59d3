"""Ids of sources as people enter them: what may stand in a topic, and cannot be taken for something else. Pure."""

from __future__ import annotations

import re

from services.alert_words import alert_type
from services.errors import Refused

FAMILIES = ("device", "sensor", "system", "alert")
"""Families of devices; a guard is a family of its own."""
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
RESERVED = "vigil-"
NOT_FREE = "this id is not free; choose another"
"""The one answer to an id that a source has, of any kind and of any tenant: it says nothing of another tenant."""


def check_source_id(text: str, *, family: str) -> str:
    """The id as it is kept; a guard's number becomes `guard-<number>`. Raises `Refused`.

    A source must not be called as an alert type is: in `alert/<type>/<source>` nobody could tell which is which.
    """
    source_id = f"guard-{text}" if family == "guard" and text.isascii() and text.isdigit() else text
    if not ID.fullmatch(source_id):
        raise Refused(
            f"id is {text!r}; it must be 1 to 128 letters, digits and . _ : @ - and begin with a letter or digit"
        )
    if source_id.lower().startswith(RESERVED):
        raise Refused(f"id is {text!r}; names that begin with {RESERVED} are Vigil's own at the broker")
    if alert_type(source_id) is not None:
        raise Refused(
            f"id is {text!r}, which names a type of alert; call it otherwise, for instance {text}-1"
        )
    return source_id


def number_of(text: str) -> str | None:
    """The number of a guard who was entered as one: then the phone may publish to `guard/<number>/gps` as well."""
    return text if text.isascii() and text.isdigit() else None
