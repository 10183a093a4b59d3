"""Cursors: where a list goes on. A page's `Link` header (RFC 8288) leads to the next. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from services.errors import Refused

NOT_OURS = "cursor is none of ours; take it from the Link header of the page before"


def cursor_of(row: Any, names: Sequence[str]) -> str:
    """The place after a row, as one opaque word. `row` is what `msgspec.to_builtins` takes."""
    plain = msgspec.to_builtins(row)
    place = msgspec.json.encode([plain[name] for name in names])
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def place_of(cursor: str, names: Sequence[str]) -> list[Any]:
    """What `cursor_of` put in. Raises `Refused`: a cursor is handed back as it came."""
    try:
        place = msgspec.json.decode(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise Refused(NOT_OURS) from error
    if (
        not isinstance(place, list)
        or len(place) != len(names)
        or not all(isinstance(v, str | int) for v in place)
    ):
        raise Refused(NOT_OURS)
    return place


def link_to(path: str, parameters: Mapping[str, str], cursor: str) -> str:
    """The `Link` header that leads to the next page."""
    return f'<{path}?{urlencode({**parameters, "cursor": cursor})}>; rel="next"'
