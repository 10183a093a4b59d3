"""Many websocket clients in one thread.

They open, read or stop reading, and note each alert's arrival.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

RCVBUF_BYTES = 65_536
READ_BYTES = 65_536
HEAD_END = b"\r\n\r\n"
TEXT, CLOSE, PING = 0x1, 0x8, 0x9
PONG = b"\x8a\x80\x00\x00\x00\x00"
"""Empty pong, under a mask of zeros."""
OUTSIDE = re.compile(rb'\{"type":"(\w+)"(?:,"id":(\d+))?')
ESTABLISHED = 1
"""A TCP state of Linux."""
OPEN_TIMEOUT_S = 60.0
REQUEST = (
    "GET /ws/noc/dashboard/ HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
)


class ReceivedFrame(NamedTuple):
    opcode: int
    payload: bytes


def frames(buffer: bytearray) -> Iterator[ReceivedFrame]:
    """Yield the whole frames and remove them from the buffer. Pure.

    The rest of the buffer is the beginning of the next frame.
    """
    while len(buffer) >= 2:
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            at += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:at], "big")
        if len(buffer) < at + size:
            return
        frame = ReceivedFrame(buffer[0] & 0x0F, bytes(buffer[at : at + size]))
        del buffer[: at + size]
        yield frame


class WebsocketClient:
    """One websocket client.

    `came_s` holds the seconds from an alert's making to its arrival, by the alert's frame id, in
    order.
    """

    def __init__(self, host: str, port: int, token: str) -> None:
        self.sock = socket.socket()
        # This must come before the connect, or the window is larger. The measurement is about our
        # end, not about the space in this kernel.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RCVBUF_BYTES)
        self.sock.settimeout(OPEN_TIMEOUT_S)
        self.sock.connect((host, port))
        self.sock.sendall(REQUEST.format(address=f"{host}:{port}", token=token).encode())
        self.is_open = False
        self.came_s: dict[int, float] = {}
        self._buffer = bytearray()
        self._is_past_head = False

    def read(self) -> None:
        """Read from the socket. Raises `RuntimeError` when the gateway ends the connection."""
        data = self.sock.recv(READ_BYTES)
        now_s = time.time()

        if not data:
            raise RuntimeError(f"the gateway ended a socket that reads: {bytes(self._buffer[:200])!r}")

        self._buffer += data
        if not self._is_past_head:
            head, found, rest = self._buffer.partition(HEAD_END)
            if not found:
                return
            if b" 101 " not in head[:20]:
                raise RuntimeError(f"the gateway refused a socket: {bytes(self._buffer[:300])!r}")
            self._buffer, self._is_past_head = bytearray(rest), True

        for frame in frames(self._buffer):
            self._take(frame, now_s)

    @property
    def is_connected(self) -> bool:
        """Return True while the other end has not closed the connection. This reads no data."""
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED

    def _take(self, frame: ReceivedFrame, now_s: float) -> None:
        if frame.opcode == PING:
            self.sock.sendall(PONG)
        elif frame.opcode == CLOSE:
            raise RuntimeError(f"the gateway closed a socket that reads: {frame.payload!r}")

        outside = OUTSIDE.match(frame.payload)
        if frame.opcode != TEXT or outside is None:
            return

        kind, frame_id = outside.groups()
        self.is_open |= kind == b"snapshot"

        if kind == b"critical_alert":
            # An id is the microsecond of its making.
            self.came_s[int(frame_id)] = now_s - int(frame_id) / 1e6


class WebsocketCrowd:
    """Websocket clients that are served in turn."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._selector = selectors.DefaultSelector()
        self._reading: set[WebsocketClient] = set()

    def open(self, tokens: Sequence[str]) -> list[WebsocketClient]:
        """Open one client for each token, all at once, and wait until each has its snapshot."""
        screens = [WebsocketClient(*self._address, token) for token in tokens]
        for screen in screens:
            self.read_again(screen)
        self.serve_until(lambda: all(screen.is_open for screen in screens), timeout_s=OPEN_TIMEOUT_S)
        return screens

    def stop_reading(self, screen: WebsocketClient) -> None:
        self._reading.discard(screen)
        self._selector.unregister(screen.sock)

    def read_again(self, screen: WebsocketClient) -> None:
        self._reading.add(screen)
        self._selector.register(screen.sock, selectors.EVENT_READ, screen)

    def close(self, screen: WebsocketClient) -> None:
        if screen in self._reading:
            self.stop_reading(screen)
        screen.sock.close()

    def serve(self, *, for_s: float) -> None:
        """Read arriving frames for `for_s` seconds."""
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                key.data.read()

    def serve_until(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Serve until a condition holds. Raises `TimeoutError`."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the sessions did not get the expected frames within {timeout_s:g} s")
            self.serve(for_s=0.02)
