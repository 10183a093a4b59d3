"""Payload bytes as text. Pure.

Size, encoding, number of values, depth and NUL are checked here, in linear time. A mebibyte can
hold 90,000 keys, or half a million brackets. Their number is bounded before a decoder works on
them.
"""

from __future__ import annotations

import re

from services.contracts.errors import InvalidMessage

MAX_VALUES = 10_000
"""Most commas and opening brackets outside of strings: the members and elements of a payload."""
MAX_QUOTES = 4 * MAX_VALUES
"""Most quotes that are not escaped. Each member has at most two strings."""
TAIL = b"\x00 \t\r\n"
"""Bytes that are cut off the end of a payload: C strings end with a NUL, lines with a line feed."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SQUARE = bytes.maketrans(b"{}", b"[]")
_RUNS = re.compile(rb"\[+|\]+")
OPENING = ord("[")
_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{},'))


def read(payload: bytes, *, max_bytes: int, max_depth: int) -> tuple[bytes, str]:
    """Return a payload without its tail, as bytes and as text that can be stored.

    Raises:
        InvalidMessage: The payload is too large, too deep, no UTF-8, or has too many values or a
            NUL.
    """
    if len(payload) > max_bytes:
        raise InvalidMessage("too_large", f"{len(payload)} bytes; the limit is {max_bytes}")

    body = payload.rstrip(TAIL).removeprefix(BYTE_ORDER_MARK)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("invalid_utf8", f"byte {error.start}") from error

    opening = body.count(b"[") + body.count(b"{")
    # A short payload cannot hold too many values.
    if opening > max_depth or (len(body) > MAX_VALUES and opening + body.count(b",") > MAX_VALUES):
        _check_marks(marks_of(body), max_depth)
    if b"\x00" in body or (b"\\" in body and _has_escaped_nul(body)):
        raise InvalidMessage("contains_nul", "text with a NUL character cannot be stored")

    return body, text


def has_many_values(payload: bytes) -> bool:
    """Return True when a payload has more than `MAX_VALUES` members and elements."""
    most = payload.count(b"[") + payload.count(b"{") + payload.count(b",")
    return most > MAX_VALUES and values_in(marks_of(payload)) > MAX_VALUES


def _check_marks(marks: bytes, max_depth: int) -> None:
    """Check depth and number of values.

    When there are too many, only the first are checked for depth.

    Raises:
        InvalidMessage: With the reason `too_deep` or `too_many_values`.
    """
    many = values_in(marks) > MAX_VALUES
    if deeper_than(marks[:MAX_VALUES] if many else marks, max_depth):
        raise InvalidMessage("too_deep", f"more than {max_depth} levels")
    if many:
        raise InvalidMessage("too_many_values", f"more than {MAX_VALUES} members and elements")


def marks_of(payload: bytes) -> bytes:
    """Return the commas and the brackets, all as square ones, outside of a JSON text's strings.

    Escapes are removed first, then strings that hold no mark, then the other strings.
    """
    unescaped = payload.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in payload else payload
    marks = unescaped.translate(_SQUARE, _NOT_MARKS)
    if marks.count(b'"') <= MAX_QUOTES:
        return _outside_of_strings(marks)
    # So many strings separate as many values, or are no JSON. Only the depth at the beginning
    # matters.
    return _outside_of_strings(marks[:MAX_QUOTES]) + b"," * (MAX_VALUES + 1)


def _outside_of_strings(marks: bytes) -> bytes:
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])


def values_in(marks: bytes) -> int:
    """Return the largest number of members and elements that these marks can separate."""
    return marks.count(b",") + marks.count(b"[")


def deeper_than(marks: bytes, limit: int) -> bool:
    """Return True when brackets nest deeper than `limit`, counted by runs of equal brackets."""
    depth = 0
    for run in _RUNS.findall(marks.replace(b",", b"")):
        depth += len(run) if run[0] == OPENING else -len(run)
        if depth > limit:
            return True
    return False


def _has_escaped_nul(payload: bytes) -> bool:
    """Return True when a string holds an escaped NUL.

    The same letters after an escaped backslash are no escape.
    """
    return b"\\u0000" in payload and b"\\u0000" in payload.replace(b"\\\\", b"")
