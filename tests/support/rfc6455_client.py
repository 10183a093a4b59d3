"""A websocket client that can also break the rules.

Its frames are made by hand, and sent in any pieces.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Any, NamedTuple

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bytes | None = MASK
) -> bytes:
    """Return a frame as a client sends it. `reserved` has its three reserved bits."""
    size = len(payload)
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    masked = 0x80 if mask is not None else 0
    if size < 126:
        header = bytes([first, masked | size])
    elif size < 65_536:
        header = bytes([first, masked | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([first, masked | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return header + payload
    repeated = mask * (size // 4 + 1)
    return header + mask + bytes(a ^ b for a, b in zip(payload, repeated, strict=False))


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return client_frame(CLOSE, code.to_bytes(2, "big") + reason)


class ServerFrame(NamedTuple):
    """A frame as the server sent it."""

    opcode: int
    payload: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class WebsocketPeer:
    """One connection to a gateway at `base` (host:port), past its opening handshake."""

    def __init__(
        self,
        base: str,
        token: str,
        *,
        query: str = "",
        version: str = "13",
        headers: tuple[str, ...] = (),
        sock: socket.socket | None = None,
    ) -> None:
        """Connect to the gateway, or use the connection `sock` instead of a new one to `base`."""
        host, _, port = base.partition(":")
        self.sock = sock or socket.create_connection((host, int(port)), timeout=15)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [
            f"GET /ws/noc/dashboard/{query} HTTP/1.1",
            f"Host: {base}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Version: {version}",
            f"Sec-WebSocket-Key: {KEY}",
            f"Authorization: Bearer {token}",
            *headers,
        ]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._buffer = b""
        self.head = self._read_head()

    def send(self, data: bytes, *, chop: int | None = None) -> None:
        """Send in one piece, or in pieces of `chop` bytes, each a packet of its own."""
        for at in range(0, len(data), chop or max(1, len(data))):
            self.sock.sendall(data[at : at + chop] if chop else data)

    def frame(self) -> ServerFrame | None:
        """Return the next frame, or None when the server ended the connection, in order or not."""
        while (found := self._parse()) is None:
            try:
                data = self.sock.recv(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
        return found

    def wait(self, kind: str, timeout_s: float = 15.0) -> dict[str, Any]:
        """Return the next text frame of a type. Answer the pings that come before it."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            frame = self.frame()
            assert frame is not None, f"closed while {kind} was awaited"
            assert frame.opcode != CLOSE, f"closed with {frame.payload!r} while {kind} was awaited"
            if frame.opcode == PING:
                self.send(client_frame(PONG, frame.payload))
            if frame.opcode == TEXT and frame.json["type"] == kind:
                return dict(frame.json)
        raise AssertionError(f"no {kind} frame came")

    def pong(self) -> bytes:
        """Return the payload of the next pong."""
        while (frame := self.frame()) is not None:
            assert frame.opcode != CLOSE, frame.payload
            if frame.opcode == PONG:
                return frame.payload
        raise AssertionError("closed while a pong was awaited")

    def answer_pings(self, *, for_s: float) -> None:
        """Read what comes for a while, and answer each ping.

        An end of the connection is an error.
        """
        before_s, ends_s = self.sock.gettimeout(), time.monotonic() + for_s
        try:
            while (left_s := ends_s - time.monotonic()) > 0:
                self.sock.settimeout(left_s)
                frame = self.frame()
                assert frame is not None, "closed while nothing but pings was awaited"
                assert frame.opcode != CLOSE, frame.payload
                if frame.opcode == PING:
                    self.send(client_frame(PONG, frame.payload))
        except TimeoutError:
            return
        finally:
            self.sock.settimeout(before_s)

    def closed_with(self, *, answers: bool = True) -> tuple[int | None, bytes]:
        """Return (code, reason) of the server's close frame, which must be its last frame.

        Without a close frame, return (None, b""). With `answers`, the peer answers with a close
        frame and sends nothing after it. Otherwise the server waits one second for the close frame.
        """
        while (frame := self.frame()) is not None:
            if frame.opcode == CLOSE:
                if answers:
                    with suppress(OSError):  # the server may be gone already
                        self.send(client_frame(CLOSE, frame.payload[:2]))
                        self.sock.shutdown(socket.SHUT_WR)
                assert self.frame() is None, "frames after the close"
                assert self._buffer == b""
                return int.from_bytes(frame.payload[:2], "big"), frame.payload[2:]
        return None, b""

    def close(self) -> None:
        self.sock.close()

    def _read_head(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65_536)
            if not data:
                break
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode()

    def _parse(self) -> ServerFrame | None:
        """Return the next complete frame, and check that the server keeps to the RFC.

        No frame may be masked or fragmented, or have a reserved bit.
        """
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        assert buffer[0] & 0x70 == 0, "a reserved bit"
        assert buffer[0] & 0x80, "a fragment"
        assert not buffer[1] & 0x80, "a masked frame"
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            at += width
            size = int.from_bytes(buffer[2:at], "big")
        if len(buffer) < at + size or at > len(buffer):
            return None
        self._buffer = buffer[at + size :]
        return ServerFrame(buffer[0] & 0x0F, buffer[at : at + size])
