"""Tests that a body is read whole, in any pieces.

A malformed, endless or late body is refused.
"""

import io
from typing import Any

import eventlet
import pytest
from eventlet.green import socket
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestTimeout

from services.messaging.http_server.request_body import MAX_CHUNKS, RequestBody


def body(
    wire: bytes, *, length: int | None = None, rfile: Any = None, timeout_s: float = 5, grace_s: float = 5
) -> tuple[RequestBody, list[str]]:
    closed: list[str] = []
    made = RequestBody(
        rfile or io.BufferedReader(io.BytesIO(wire)),  # type: ignore[arg-type]
        length,
        None,
        chunked_input=length is None,
        timeout_s=timeout_s,
        grace_s=grace_s,
        close_connection=lambda: closed.append("closed"),
    )
    return made, closed


def chunked(content: bytes, sizes: list[int]) -> bytes:
    wire, at = b"", 0
    while at < len(content):
        size = sizes[at % len(sizes)]
        part = content[at : at + size]
        wire += b"%x;name=value\r\n%s\r\n" % (len(part), part)
        at += size
    return wire + b"0\r\nTrailer: x\r\n\r\n"


@given(st.binary(max_size=2000), st.lists(st.integers(1, 500), min_size=1, max_size=5), st.integers(1, 3000))
def test_chunks_come_together(content: bytes, sizes: list[int], length: int) -> None:
    made, closed = body(chunked(content, sizes))
    assert b"".join(iter(lambda: made.read(length), b"")) == content
    assert made.is_whole
    assert closed == []


@given(st.binary(max_size=2000), st.integers(1, 3000))
def test_a_body_of_known_length_ends_there_and_the_next_request_stays(content: bytes, length: int) -> None:
    rfile = io.BufferedReader(io.BytesIO(content + b"GET / HTTP/1.1"))  # type: ignore[arg-type]
    made, closed = body(b"", length=len(content), rfile=rfile)
    assert b"".join(iter(lambda: made.read(length), b"")) == content
    assert rfile.read() == b"GET / HTTP/1.1"
    assert closed == []


@pytest.mark.parametrize(
    "wire",
    [
        b"5" * 300 + b"\r\n",
        b"5;" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhellox\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"fffffffff\r\nhello",
        b"1\r\nx\r\n" * (MAX_CHUNKS + 1) + b"0\r\n\r\n",
        b"0\r\n" + b"Trailer: x\r\n" * 17 + b"\r\n",
        b"0\r\nTrailer: " + b"x" * 300 + b"\r\n\r\n",
        b"0\r\nTrailer: x\n\r\n",
    ],
)
def test_chunks_that_are_malformed_or_endless_are_refused_and_the_connection_ends(wire: bytes) -> None:
    made, closed = body(wire)
    with pytest.raises(BadRequest):
        made.read()
    assert closed == ["closed"]


@pytest.mark.parametrize(
    ("wire", "length"), [(b"", 5), (b"abc", 5), (b"5\r\nab", None), (b"5", None), (b"", None)]
)
def test_a_body_that_breaks_off_is_no_body(wire: bytes, length: int | None) -> None:
    made, closed = body(wire, length=length)
    with pytest.raises(BadRequest):
        made.read()
    assert closed == ["closed"]


def test_what_nobody_wanted_is_read_when_it_is_little_and_else_the_connection_ends() -> None:
    little, closed = body(b"x" * 100, length=100)
    little.settle()
    little.discard()
    assert (little.is_whole, closed) == (True, [])
    for much, ended in (body(b"x" * 100_000, length=100_000), body(b"1\r\nx\r\n0\r\n\r\n")):
        much.settle()
        assert ended == ["closed"]
        with pytest.raises(OSError, match="is not read"):
            much.discard()


@pytest.mark.parametrize("trickles", [False, True])
@pytest.mark.parametrize("length", [100_000, None])
def test_a_body_that_comes_too_slowly_is_refused_in_time(trickles: bool, length: int | None) -> None:
    ours, theirs = socket.socketpair()
    made, closed = body(b"", length=length, rfile=ours.makefile("rb"), timeout_s=0.5, grace_s=0.2)

    def trickle() -> None:
        theirs.sendall(b"186A0\r\n" if length is None else b"x")
        while trickles:
            theirs.sendall(b"x")
            eventlet.sleep(0.02)

    sender = eventlet.spawn(trickle)
    with eventlet.Timeout(2), pytest.raises(RequestTimeout):
        made.read()
    sender.kill()
    assert closed == ["closed"]
    with eventlet.Timeout(2):
        assert made.read() == b""  # the body is over


def test_a_peer_that_goes_away_is_no_error_of_ours() -> None:
    ours, theirs = socket.socketpair()
    made, _ = body(b"", length=10, rfile=ours.makefile("rb"))
    theirs.close()
    with pytest.raises(ClientDisconnected):
        made.read()
