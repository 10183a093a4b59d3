"""The body of a request, read within a time, at a minimum rate and in bounded chunks.

The number of chunks and their syntax have bounds too. eventlet's own reader waits for ever for the
next byte, and takes a chunk-size line of any length.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
from eventlet import wsgi
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestTimeout

READ_BYTES = 65_536
MIN_RATE_BYTES = 8192
"""Least bytes a second of a body that comes, and of an answer that is taken.

The time given to each comes on top.
"""
MAX_CHUNKS = 8192
MAX_LINE_BYTES = 256
MAX_TRAILERS = 16
CHUNK_LINE = re.compile(rb"(?P<size>[0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e]*)?\r\n")
DISCARDED_BYTES = 65_536
"""Longest unwanted body in bytes that is read to its end.

With a longer one, the connection is closed.
"""
LINGER_S = 2.0
LINGER_BYTES = 8_388_608


class RequestBody(wsgi.Input):
    """The input of one request.

    Reading raises werkzeug's `RequestTimeout` (408), `BadRequest` (400) or `ClientDisconnected`.
    After any of these the connection cannot be used for another request, and `close_connection` was
    called.
    """

    def __init__(
        self,
        *args: Any,
        timeout_s: float,
        grace_s: float,
        close_connection: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._close_connection = close_connection
        self._started_s: float | None = None
        self._taken_bytes = 0
        self._chunks = 0
        self._chunk_left = 0
        self._ended = not self.chunked_input and not self.content_length

    @property
    def is_whole(self) -> bool:
        """Return whether all of the body was read."""
        return self._ended

    def read(self, length: int | None = None) -> bytes:
        """Return up to `length` bytes, all bytes without a length; b"" at the end."""
        if length is None or length < 0:
            return b"".join(iter(lambda: self._some(READ_BYTES), b""))
        return self._some(length) if length else b""

    def readline(self, size: int | None = None) -> bytes:
        """Refuse: no operation reads lines, and a line has no bound."""
        raise NotImplementedError("read the body by `read`")

    readlines = readline

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._some(READ_BYTES), b"")

    def settle(self) -> None:
        """Announce, before the answer, that the connection ends.

        This is for a body that is too long to read to its end.
        """
        if self._is_long():
            self._close_connection()

    def discard(self, buffer_size: int = READ_BYTES) -> None:
        """Read an unwanted body to its end, when it is short.

        Raises:
            OSError: The connection must be closed.
        """
        if self._is_long():
            raise OSError("the rest of the body is not read")
        try:
            while self._some(buffer_size):
                pass
        except (BadRequest, RequestTimeout) as error:
            raise OSError(str(error)) from error

    def _is_long(self) -> bool:
        if self._ended:
            return False
        return self.chunked_input or (self.content_length or 0) - self.position > DISCARDED_BYTES

    def _some(self, length: int) -> bytes:
        if self._ended:
            return b""

        if self._started_s is None:
            self._started_s = time.monotonic()
            if self.should_send_hundred_continue:
                self.send_hundred_continue_response()
                self.is_hundred_continue_response_sent = True

        try:
            data = self._of_chunk(length) if self.chunked_input else self._of_length(length)
        except (BadRequest, RequestTimeout):
            self._ended = True
            self._close_connection()
            raise

        # eventlet returns at once while bytes are there. Without this, one large body delays all
        # other requests.
        eventlet.sleep(0)
        return data

    def _of_length(self, length: int) -> bytes:
        wanted = (self.content_length or 0) - self.position
        data = self._take(min(length, wanted, READ_BYTES))
        self._ended = self.position == self.content_length
        return data

    def _of_chunk(self, length: int) -> bytes:
        if not self._chunk_left:
            self._chunk_left = self._next_chunk()
            if not self._chunk_left:
                self._skip_trailers()
                self._ended = True
                return b""

        data = self._take(min(length, self._chunk_left, READ_BYTES))
        self._chunk_left -= len(data)
        if not self._chunk_left and self._line() != b"\r\n":
            raise BadRequest("a chunk is longer than it says")

        return data

    def _next_chunk(self) -> int:
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise BadRequest(f"a body has at most {MAX_CHUNKS} chunks")
        found = CHUNK_LINE.fullmatch(self._line())
        if found is None:
            raise BadRequest(
                f"a chunk begins with its size in hexadecimal digits, in {MAX_LINE_BYTES} bytes at most"
            )
        return int(found["size"], 16)

    def _skip_trailers(self) -> None:
        for _ in range(MAX_TRAILERS + 1):
            line = self._line()
            if line == b"\r\n":
                return
            if not line.endswith(b"\r\n"):
                break
        raise BadRequest(f"behind a body come at most {MAX_TRAILERS} trailers of {MAX_LINE_BYTES} bytes")

    def _take(self, length: int) -> bytes:
        data = self._in_time(lambda: self.rfile.read1(length))
        self.position += len(data)
        return data

    def _line(self) -> bytes:
        return self._in_time(lambda: self.rfile.readline(MAX_LINE_BYTES))

    def _in_time(self, read: Callable[[], bytes]) -> bytes:
        started_s = self._started_s or time.monotonic()
        allowed_s = min(self._timeout_s, self._grace_s + self._taken_bytes / MIN_RATE_BYTES)
        left_s = started_s + allowed_s - time.monotonic()
        late = RequestTimeout("the body came too slowly")

        if left_s <= 0:
            raise late

        try:
            with eventlet.Timeout(left_s, late):
                data = read()
        except (ConnectionError, TimeoutError) as error:
            raise ClientDisconnected from error

        if not data:
            raise ClientDisconnected

        self._taken_bytes += len(data)
        return data


def linger(sock: Any) -> None:
    """Announce that nothing more is written, and read for a moment.

    Closing a socket with unread bytes would reset the connection, and lose our answer.
    """
    left_bytes = LINGER_BYTES
    try:
        sock.shutdown(socket.SHUT_WR)
        with eventlet.Timeout(LINGER_S, False):
            while left_bytes > 0 and (data := sock.recv(READ_BYTES)):
                left_bytes -= len(data)
                eventlet.sleep(0)
    except OSError:
        return  # the peer is gone already: there is nothing left to wait for
