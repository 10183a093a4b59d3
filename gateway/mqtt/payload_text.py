"""Payload bytes as text: size, encoding, depth and NUL are checked here, in time linear in the size. Pure."""

from __future__ import annotations

import re

from services.errors import InvalidMessage

TAIL = b"\x00 \t\r\n"
"""Bytes cut off the end of a payload: C strings end with a NUL, lines with a line feed."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SQUARE = bytes.maketrans(b"{}", b"[]")
_RUNS = re.compile(rb"\[+|\]+")
OPENING = ord("[")
PASSES = 4
_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))


def read(payload: bytes, *, max_bytes: int, max_depth: int) -> tuple[bytes, str]:
    """Return a payload without its tail, as bytes and as text that can be stored. Raises `InvalidMessage`."""
    if len(payload) > max_bytes:
        raise InvalidMessage("too_large", f"{len(payload)} bytes; the limit is {max_bytes}")
    body = payload.rstrip(TAIL).removeprefix(BYTE_ORDER_MARK)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("invalid_utf8", f"byte {error.start}") from error
    if body.count(b"[") + body.count(b"{") > max_depth and deeper_than(body, max_depth):
        raise InvalidMessage("too_deep", f"more than {max_depth} levels")
    if b"\x00" in body or (b"\\" in body and _has_escaped_nul(body)):
        raise InvalidMessage("contains_nul", "text with a NUL character cannot be stored")
    return body, text


def deeper_than(payload: bytes, limit: int) -> bool:
    """Return whether the brackets of a JSON text are nested deeper than `limit`.

    Escapes go first and then strings, so that only brackets that nest are left. A few passes take the innermost pairs
    away, each of which is one level; runs of equal brackets are counted for the rest.
    """
    unescaped = payload.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in payload else payload
    marks = unescaped.translate(_SQUARE, _NOT_MARKS)
    nested = b"".join(marks.split(b'"')[::2])
    for _ in range(min(PASSES, limit)):
        inner = nested.replace(b"[]", b"")
        if len(inner) == len(nested):
            break
        nested = inner
        limit -= 1

    depth = 0
    for run in _RUNS.findall(nested):
        depth += len(run) if run[0] == OPENING else -len(run)
        if depth > limit:
            return True
    return False


def _has_escaped_nul(payload: bytes) -> bool:
    """Return whether a string holds an escaped NUL; after an escaped backslash the same letters are none."""
    return b"\\u0000" in payload and b"\\u0000" in payload.replace(b"\\\\", b"")
