"""The head of an HTTP/1 request, checked strictly by RFC 9112. Pure.

A proxy and a server that read one request differently can be made to take one request for two. A
head with two possible readings is therefore refused, and never repaired.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

REQUEST_LINE = re.compile(
    rb"(?P<method>[A-Z]{1,20}) (?P<target>/[\x21-\x7e\x80-\xff]*) HTTP/1\.(?P<minor>[01])\r\n"
)
FIELD_LINE = re.compile(rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+):(?P<value>[\t\x20-\x7e\x80-\xff]*)\r\n")
CONTENT_LENGTH = re.compile(rb"[0-9]{1,15}")
HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]\-]+")
WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods whose requests may come in chunks. The others have no body that any operation reads."""


def head_fault(request_line: bytes, lines: Sequence[bytes]) -> str | None:
    """Return the fault of the head of a request; None when there is none.

    Args:
        request_line: The first line, with its end.
        lines: The field lines and the empty line behind them, each with its end, as they came.
    """
    request = REQUEST_LINE.fullmatch(request_line)
    if request is None:
        return "the request line must be METHOD /path HTTP/1.1"
    if not lines or lines[-1] != b"\r\n":
        return "the head must end with an empty line"

    fields: dict[bytes, list[bytes]] = {}
    for line in lines[:-1]:
        field = FIELD_LINE.fullmatch(line)
        if field is None:
            return "a header must be one line, `Name: value`, without control characters"
        fields.setdefault(field["name"].lower(), []).append(field["value"].strip(b" \t"))

    return _host_fault(request, fields.get(b"host", [])) or _framing_fault(request, fields)


def _host_fault(request: re.Match[bytes], hosts: list[bytes]) -> str | None:
    if len(hosts) > 1 or (request["minor"] == b"1" and not hosts):
        return "there must be one Host header"
    if hosts and HOST.fullmatch(hosts[0]) is None:
        return "the Host header must be a name or an address, with or without a port"
    return None


def _framing_fault(request: re.Match[bytes], fields: dict[bytes, list[bytes]]) -> str | None:
    lengths = fields.get(b"content-length", [])
    encodings = fields.get(b"transfer-encoding", [])
    if lengths and encodings:
        return "Content-Length and Transfer-Encoding must not come together"
    if len(lengths) > 1:
        return "Content-Length must come once"
    if lengths and CONTENT_LENGTH.fullmatch(lengths[0]) is None:
        return "Content-Length must be digits"
    if encodings and (len(encodings) > 1 or encodings[0].lower() != b"chunked"):
        return "Transfer-Encoding must be `chunked`"
    if encodings and (request["minor"] == b"0" or request["method"] not in WITH_BODY):
        return f"a {request['method'].decode()} request of HTTP/1.{request['minor'].decode()} has no chunked body"

    return None
