"""Cursors: the start of a list's next page. A page's `Link` header (RFC 8288) leads to it. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from services.contracts.errors import Refused

NOT_OURS = "cursor is not valid; take it from the Link header of the page before"


def cursor_of(row: Any, names: Sequence[str]) -> str:
    """Return the position after a row as one opaque word.

    `row` is a value for `msgspec.to_builtins`.
    """
    plain = msgspec.to_builtins(row)
    place = msgspec.json.encode([plain[name] for name in names])
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def place_of(cursor: str, names: Sequence[str]) -> list[Any]:
    """Return the values that `cursor_of` encoded.

    Raises `Refused` for a cursor that was changed.
    """
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
    """Return the `Link` header that leads to the next page."""
    return f'<{path}?{urlencode({**parameters, "cursor": cursor})}>; rel="next"'
