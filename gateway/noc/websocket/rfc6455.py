"""RFC 6455, server side, without the socket: bytes in, messages out. Pure.

wsproto reads the clients' frames. This module joins fragments to messages, and limits a message
while it grows. So no client makes the gateway hold more than the limit. `text_frame` frames a frame
of the feed once, for all sockets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from services.contracts.errors import Refused

VERSION = "13"
NORMAL = 1000
NO_STATUS = 1005
TOO_BIG = 1009
TOO_MANY = 4429
MAX_FRAGMENTS = 1024
MAX_EMPTY_FRAGMENTS = 16
"""Most empty fragments in a row.

Fragments within a code point of UTF-8 also look empty, and there are at most three of those.
"""
MAX_REASON_BYTES = 123


class NotThisVersion(Refused):
    """The client uses another version of the protocol.

    The answer names ours (RFC 6455, section 4.4).
    """


class WebsocketMessage(NamedTuple):
    """Complete message. A binary message keeps no content: `text` is None."""

    text: str | None


class PingReceived(NamedTuple):
    """Ping of the peer, with the framed pong."""

    pong: bytes


class PongReceived(NamedTuple):
    """Pong of the peer, as the answer to a ping or unsolicited."""


class MessageFragment(NamedTuple):
    """Part of an incomplete message. `Framing` keeps its bytes."""


class ConnectionClosed(NamedTuple):
    """End of the connection: the peer closed it, or broke the protocol.

    `code` and `reason` go into the answer. No further value follows.
    """

    code: int
    reason: str


class Framing:
    """One connection. No extension is accepted, so nothing is compressed."""

    def __init__(self, *, max_message_bytes: int) -> None:
        self._ws = WSConnection(ConnectionType.SERVER)
        self._max_message_bytes = max_message_bytes
        self._parts: list[str] = []
        self._size_bytes = 0
        self._fragments = 0
        self._empty_fragments = 0

    def shake_hands(self, headers: Sequence[tuple[str, str]], target: str, *, protocol: str) -> bytes:
        """Return the answer to the opening handshake.

        Raises `Refused` for no handshake, `NotThisVersion`.
        """
        versions = [value for name, value in headers if name.lower() == "sec-websocket-version"]
        if versions and versions != [VERSION]:
            raise NotThisVersion(
                f"version {versions[0][:20]!r} of the protocol is not supported; use version {VERSION}"
            )

        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        try:
            self._ws.initiate_upgrade_connection(raw, target.encode())
            offer = next(event for event in self._ws.events() if isinstance(event, Request))
            agreed = protocol if protocol in offer.subprotocols else None
            return self._ws.send(AcceptConnection(subprotocol=agreed))
        except (RemoteProtocolError, LocalProtocolError, StopIteration, ValueError) as error:
            raise Refused(f"not a websocket handshake: {error}") from error

    def receive(
        self, data: bytes
    ) -> Iterator[WebsocketMessage | MessageFragment | PingReceived | PongReceived | ConnectionClosed]:
        """Yield one value for each frame that the bytes complete.

        A value may come as late as the caller's next request for one. A peer that breaks the
        protocol is `ConnectionClosed` at the first wrong byte.
        """
        self._ws.receive_data(data)
        for event in self._ws.events():
            if isinstance(event, TextMessage | BytesMessage):
                grown = self._grow(event)
                if grown is None:
                    continue
                yield grown
                if isinstance(grown, ConnectionClosed):
                    return
            elif isinstance(event, Ping):
                yield PingReceived(self._ws.send(event.response()))
            elif isinstance(event, Pong):
                yield PongReceived()
            elif isinstance(event, CloseConnection):
                yield ConnectionClosed(
                    NORMAL if event.code == NO_STATUS else int(event.code), event.reason or ""
                )
                return

    def _grow(
        self, event: TextMessage | BytesMessage
    ) -> WebsocketMessage | MessageFragment | ConnectionClosed | None:
        is_text = isinstance(event, TextMessage)
        self._size_bytes += len(event.data.encode()) if is_text else len(event.data)
        if self._size_bytes > self._max_message_bytes:
            return ConnectionClosed(TOO_BIG, f"a message is at most {self._max_message_bytes} bytes")
        if is_text:
            self._parts.append(event.data)

        if event.message_finished:
            said = WebsocketMessage("".join(self._parts) if is_text else None)
            self._parts, self._size_bytes = [], 0
            self._fragments = self._empty_fragments = 0
            return said

        return self._fragment(event) if event.frame_finished else None

    def _fragment(self, event: TextMessage | BytesMessage) -> MessageFragment | ConnectionClosed:
        self._fragments += 1
        self._empty_fragments = 0 if event.data else self._empty_fragments + 1
        if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
            return ConnectionClosed(TOO_MANY, f"more than {MAX_EMPTY_FRAGMENTS} fragments in a row are empty")
        if self._fragments > MAX_FRAGMENTS:
            return ConnectionClosed(TOO_MANY, f"a message is at most {MAX_FRAGMENTS} fragments")
        return MessageFragment()

    def ping(self) -> bytes:
        return self._ws.send(Ping())

    @property
    def is_over(self) -> bool:
        """Return True when both sides have sent their close frames."""
        return self._ws.state is ConnectionState.CLOSED

    def ends_with(self, data: bytes) -> bool:
        """Return True when bytes after our close frame hold the peer's, or are unreadable."""
        try:
            self._ws.receive_data(data)
            return any(isinstance(event, CloseConnection) for event in self._ws.events())
        except (LocalProtocolError, RemoteProtocolError):
            return True

    def close(self, code: int, reason: str) -> bytes:
        """Return the close frame. Nothing may be sent after it."""
        short = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        return self._ws.send(CloseConnection(code=code, reason=short))


def text_frame(payload: bytes) -> bytes:
    """Return a complete unmasked text frame (RFC 6455, 5.2).

    It is made once and sent to every socket.
    """
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
