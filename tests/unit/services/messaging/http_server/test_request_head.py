"""Tests that a head with two readings is refused.

Heads that clients and proxies really send are taken.
"""

import pytest

from services.messaging.http_server.request_head import head_fault

GET = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /api/v1/session HTTP/1.1\r\n"
HOST = b"Host: noc.example:8000\r\n"
END = b"\r\n"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (GET, []),
        (b"GET / HTTP/1.1\r\n", [b"Accept: */*\r\n", b"X-Empty:\r\n", b"X-Umlaut: \xc3\xa4\r\n"]),
        (b"GET /a?b=%00&c=[d]|e HTTP/1.1\r\n", []),
        (POST, [b"Content-Length: 0\r\n"]),
        (POST, [b"content-length:17 \t\r\n"]),
        (POST, [b"Transfer-Encoding: chunked\r\n"]),
        (b"PATCH /x HTTP/1.1\r\n", [b"transfer-encoding:Chunked\r\n"]),
        (b"DELETE /x HTTP/1.1\r\n", [b"Content-Length: 2\r\n"]),
    ],
)
def test_what_clients_send_is_taken(line: bytes, fields: list[bytes]) -> None:
    assert head_fault(line, [HOST, *fields, END]) is None


def test_http_1_0_needs_no_host() -> None:
    assert head_fault(b"GET /healthz HTTP/1.0\r\n", [END]) is None


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length: 5\r\n", b"Content-Length: 6\r\n"],
        [b"Content-Length: 5\r\n", b"content-length: 5\r\n"],
        [b"Content-Length: 5, 5\r\n"],
        [b"Content-Length: +0\r\n"],
        [b"Content-Length: 1_0\r\n"],
        [b"Content-Length: -1\r\n"],
        [b"Content-Length: 0x10\r\n"],
        [b"Content-Length: 1 0\r\n"],
        [b"Content-Length:\r\n"],
        [b"Content-Length: \xb2\r\n"],
        [b"Content-Length: 99999999999999999999\r\n"],
        [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"],
        [b"Transfer-Encoding: xchunked\r\n"],
        [b"Transfer-Encoding: gzip, chunked\r\n"],
        [b"Transfer-Encoding: chunked, chunked\r\n"],
        [b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n"],
        [b"Transfer-Encoding: identity\r\n"],
        [b"Transfer-Encoding: \r\n"],
        [b"Transfer-Encoding: \x0bchunked\r\n"],
        [b"Transfer-Encoding : chunked\r\n"],
        [b"Content-Length : 5\r\n"],
        [b" Content-Length: 5\r\n"],
        [b"X-Folded: a\r\n", b" Content-Length: 5\r\n"],
        [b"X-Bare: a\rContent-Length: 5\r\n"],
        [b"X-Bare-Feed: a\n"],
        [b"X-Nul: a\x00b\r\n"],
        [b"no colon\r\n"],
        [b": no name\r\n"],
        [b"Host: other.example\r\n"],
    ],
)
def test_what_has_two_readings_is_refused(fields: list[bytes]) -> None:
    assert head_fault(POST, [HOST, *fields, END]) is not None


@pytest.mark.parametrize("host", [b"", b"evil/..", b"a b", b"a@b", b"<script>", b"a\\b"])
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    assert head_fault(GET, [b"Host: " + host + b"\r\n", END]) is not None


@pytest.mark.parametrize(
    "line",
    [
        b"GET /\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.1\n",
        b"GET /a b HTTP/1.1\r\n",
        b"GET /\x00 HTTP/1.1\r\n",
        b"\r\n",
        b"* / HTTP/1.1\r\n",
    ],
)
def test_a_request_line_that_is_none_is_refused(line: bytes) -> None:
    assert head_fault(line, [HOST, END]) is not None


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"])
def test_what_has_no_body_has_none_in_chunks(method: bytes) -> None:
    line = method + b" /healthz HTTP/1.1\r\n"
    assert head_fault(line, [HOST, b"Transfer-Encoding: chunked\r\n", END]) is not None


@pytest.mark.parametrize("lines", [[], [HOST], [HOST, b""], [HOST, b"\n"]])
def test_a_head_without_an_end_is_refused(lines: list[bytes]) -> None:
    assert head_fault(GET, lines) is not None


def test_http_1_0_knows_no_chunks() -> None:
    head = [HOST, b"Transfer-Encoding: chunked\r\n", END]
    assert head_fault(b"POST / HTTP/1.0\r\n", head) is not None
