"""One NOC socket: RFC 6455 by wsproto, a reader and a writer, and the rules of the contract.

A stalled peer stalls only its own writer: the pump puts frames into a bounded outbox and goes on.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import eventlet
import msgspec
import structlog
from eventlet.event import Event
from werkzeug.wrappers import Request
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.events import Request as UpgradeRequest
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from gateway.noc.auth import Principal
from gateway.noc.hub import NOT_AUTHENTICATED, Hub
from gateway.noc.outbox import Entry, Outbox
from gateway.noc.requests import PROTOCOL
from services import metrics
from services.config import Config
from services.errors import Refused, Unavailable, VigilError

log = structlog.get_logger(__name__)

READ_BYTES = 65_536
WRITE_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
WRITE_BYTES = 262_144

GOING_AWAY = 1001
UNSUPPORTED = 1003
TOO_BIG = 1009
TRY_LATER = 1013
TOO_SLOW = 4408
TOO_MANY = 4429


class ClientFrame(msgspec.Struct):
    """What a client may send; which fields count depends on `type`."""

    type: str
    alert_id: str = ""
    note: str = ""
    reason: str | None = None
    since: int | None = None
    client_id: int | None = None
    ref: Any = None


Act = Callable[[Principal, ClientFrame], dict[str, Any]]
"""Does what an alert frame asks for; returns the top level of the answer. Raises `VigilError`."""
Snapshot = Callable[[int, int], bytes]
"""(tenant_id, frame_id) -> the sealed snapshot frame. Raises `Unavailable`."""


class Session:
    """`run` blocks until the socket is closed. Raises nothing but `GreenletExit`."""

    def __init__(
        self,
        request: Request,
        sock: socket.socket,
        principal: Principal,
        *,
        config: Config,
        hub: Hub,
        act: Act,
        snapshot: Snapshot,
    ) -> None:
        self._request = request
        self._sock = sock
        self.principal = principal
        self._noc = config.noc
        self._encryption = "fernet" if config.feed.encryption == "fernet" else "none"
        self._hub = hub
        self._act = act
        self._snapshot = snapshot
        self._ws = WSConnection(ConnectionType.SERVER)
        self._outbox = Outbox(max_frames=config.noc.outbox_max_frames)
        self._wake = Event()
        self._end: tuple[int, str] | None = None
        self._last_heard_s = time.monotonic()
        self._text: list[str] = []
        self._text_bytes = 0
        self.tenant_id = principal.tenant_id
        self.last_id = 0

    def run(self) -> None:
        """Shake hands, serve, close."""
        if not self._shake_hands():
            return
        try:
            self._hub.open_socket(self)
        except Refused as error:
            self._close(TOO_MANY, str(error))
            return
        writer = eventlet.spawn(self._write_until_end)
        try:
            self._start(since=self._asked_since())
            self._read_until_end()
        except Unavailable as error:
            self.end(TRY_LATER, str(error))
        finally:
            self._hub.leave(self)
            self._hub.close_socket(self)
            writer.kill()
            self._close(*(self._end or (GOING_AWAY, "the gateway stops")))

    def offer(self, frame_id: int, type: str, frame: bytes) -> None:  # noqa: A002
        """Called by the hub for each frame of the feed, in order; never blocks."""
        if frame_id <= self.last_id or self._end is not None:
            return
        self.last_id = frame_id
        if self._put(Entry(type, frame_id, text_frame(frame))):
            metrics.websocket_broadcast_success.labels("noc", type).inc()
        else:
            metrics.websocket_broadcast_failure.labels("noc", "outbox_full").inc()
            self.end(TOO_SLOW, "too slow; resume to go on")

    def end(self, code: int, reason: str) -> None:
        """Ask for the end; the first reason counts."""
        if self._end is None:
            self._end = (code, reason[:120])
            self._notify()

    # -- start and resume

    def _shake_hands(self) -> bool:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in self._request.headers.items()]
        try:
            self._ws.initiate_upgrade_connection(headers, self._request.full_path.encode())
            offer = next(event for event in self._ws.events() if isinstance(event, UpgradeRequest))
            protocol = PROTOCOL if PROTOCOL in offer.subprotocols else None
            answer = self._ws.send(AcceptConnection(subprotocol=protocol))
        except (RemoteProtocolError, LocalProtocolError, StopIteration) as error:
            reason = f"not a websocket handshake: {error}"
            self._sock.sendall(
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"
                + reason.encode()
            )
            return False
        self._sock.sendall(answer)
        return True

    def _asked_since(self) -> int | None:
        since = self._request.args.get("since", "")
        return int(since) if since.isascii() and since.isdigit() else None

    def _start(self, *, since: int | None) -> None:
        """Tell where the client stands, then bring it up to the feed. Raises `Unavailable`."""
        resumed = since is not None and self._hub.reader.holds(self.tenant_id, since)
        self.last_id = since if resumed and since is not None else self._hub.reader.last_id(self.tenant_id)
        self._control(
            type="connected",
            tenant_id=self.tenant_id,
            feed_id=self._hub.feed_id(self.tenant_id),
            resumed=resumed,
            encryption=self._encryption,
            heartbeat_interval=self._noc.heartbeat_interval_s,
        )
        if not resumed:
            # Frames after last_id may be in the snapshot already; they say the same, and then go on from it.
            self._put(Entry("snapshot", None, text_frame(self._snapshot(self.tenant_id, self.last_id))))
        self._hub.join(self)

    def _restart(self, *, since: int | None) -> None:
        self._hub.leave(self)
        self._outbox.clear()
        self._start(since=since)

    # -- reading

    def _read_until_end(self) -> None:
        while self._end is None:
            wait_s = self._next_deadline_s()
            if wait_s <= 0:
                continue
            self._sock.settimeout(wait_s)
            try:
                data = self._sock.recv(READ_BYTES)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self.end(1006, "the peer went away")
                return
            self._last_heard_s = time.monotonic()
            self._take(data)

    def _next_deadline_s(self) -> float:
        """Seconds until this socket's token or patience runs out; ends it when that is now."""
        token_s = self.principal.expires_at - time.time()
        if token_s <= 0:
            self.end(NOT_AUTHENTICATED, "the token has expired; log in again")
        idle_s = self._last_heard_s + self._noc.idle_timeout_s - time.monotonic()
        if idle_s <= 0:
            self.end(TOO_SLOW, "silent for too long; resume to go on")
        return min(token_s, idle_s)

    def _take(self, data: bytes) -> None:
        self._ws.receive_data(data)
        for event in self._ws.events():
            if isinstance(event, TextMessage):
                self._take_text(event)
            elif isinstance(event, BytesMessage):
                self.end(UNSUPPORTED, "frames are JSON text")
            elif isinstance(event, Ping):
                self._put(Entry("pong", None, self._ws.send(event.response())))
            elif isinstance(event, CloseConnection):
                self.end(event.code if event.code != 1005 else 1000, event.reason or "")
            elif isinstance(event, Pong):
                pass  # being heard is all that a pong is for
            if self._end is not None:
                return

    def _take_text(self, event: TextMessage) -> None:
        self._text.append(event.data)
        self._text_bytes += len(event.data.encode())
        if self._text_bytes > self._noc.max_frame_bytes:
            self.end(TOO_BIG, f"a message is at most {self._noc.max_frame_bytes} bytes")
        elif event.message_finished:
            text = "".join(self._text)
            self._text, self._text_bytes = [], 0
            self._answer(text)

    def _answer(self, text: str) -> None:
        if not self._hub.allow_message(self.principal.login, now_s=time.monotonic()):
            self.end(TOO_MANY, "too many messages; wait a minute")
            return
        ref: Any = None
        try:
            frame = msgspec.json.decode(text, type=ClientFrame)
            ref = frame.ref
            self._obey(frame)
        except msgspec.DecodeError as error:
            self._control(type="error", message=f"not a frame: {error}", ref=ref)
        except VigilError as error:
            self._control(type="error", message=str(error), ref=ref)

    def _obey(self, frame: ClientFrame) -> None:
        match frame.type:
            case "heartbeat":
                self._heartbeat()
            case "resume":
                self._restart(since=frame.since)
            case "subscribe_client":
                self._subscribe(frame)
            case "request_metrics":
                self._control(type="metrics", ref=frame.ref, open_sockets=self._hub.open_sockets)
            case "acknowledge_alert" | "start_alert" | "resolve_alert" | "false_alarm":
                self._control(type="ack", ref=frame.ref, **self._act(self.principal, frame))
            case _:
                raise Refused(f"type is {frame.type[:50]!r}, which is no client frame")

    def _subscribe(self, frame: ClientFrame) -> None:
        if frame.client_id != self.tenant_id:
            if frame.client_id is None:
                raise Refused("client_id is missing: the tenant to see")
            self.principal.must_see(frame.client_id)
            self._hub.leave(self)
            self.tenant_id = frame.client_id
            self._restart(since=None)
        self._control(type="ack", ref=frame.ref, client_id=self.tenant_id)

    # -- writing

    def _control(self, **frame: Any) -> None:
        self._put(Entry(frame["type"], None, text_frame(msgspec.json.encode(frame))))

    def _heartbeat(self) -> None:
        now = datetime.now(UTC)
        self._control(type="heartbeat", server_time=now, blind=self._hub.is_blind(now_s=now.timestamp()))

    def _put(self, entry: Entry) -> bool:
        taken = self._outbox.put(entry)
        if taken:
            self._notify()
        else:
            self.end(TOO_SLOW, "too slow; resume to go on")
        return taken

    def _notify(self) -> None:
        if not self._wake.ready():
            self._wake.send(None)

    def _write_until_end(self) -> None:
        next_heartbeat_s = time.monotonic() + self._noc.heartbeat_interval_s
        try:
            while self._end is None:
                with eventlet.Timeout(max(0.0, next_heartbeat_s - time.monotonic()), False):
                    self._wake.wait()
                self._wake = Event()
                if time.monotonic() >= next_heartbeat_s:
                    next_heartbeat_s += self._noc.heartbeat_interval_s
                    self._heartbeat()
                    self._put(Entry("ping", None, self._ws.send(Ping())))
                self._write_outbox()
        except OSError as error:
            # Not the close handshake: its bytes would wait behind those that did not go out.
            self.end(TOO_SLOW, f"cannot be written to: {error}")
        self._wake_reader()

    def _write_outbox(self) -> None:
        while (entry := self._outbox.take()) is not None and self._end is None:
            chunk, types = [entry.wire], [(entry.type, entry.id)]
            size = len(entry.wire)
            while size < WRITE_BYTES and (more := self._outbox.take()) is not None:
                chunk.append(more.wire)
                types.append((more.type, more.id))
                size += len(more.wire)
            with eventlet.Timeout(WRITE_TIMEOUT_S, TimeoutError("no byte taken in time")):
                self._sock.sendall(b"".join(chunk))
            written_s = time.time()
            for kind, frame_id in types:
                if frame_id is not None:
                    if self.principal.may_handle_alerts:
                        at = datetime.fromtimestamp(written_s, UTC)
                        self._hub.shown.note(self.tenant_id, kind, frame_id, at=at)
                    metrics.websocket_delivery.labels(kind).observe(max(0.0, written_s - frame_id / 1e6))
                    arrived_s = self._hub.arrivals.get(frame_id)
                    if arrived_s is not None:
                        metrics.end_to_end.labels("noc").observe(max(0.0, written_s - arrived_s))

    def _wake_reader(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError as error:
            log.debug("socket_gone", error=str(error))

    def _close(self, code: int, reason: str) -> None:
        metrics.websocket_closed.labels(str(code)).inc()
        log.info("socket_closed", user=self.principal.login, code=code, reason=reason)
        try:
            with eventlet.Timeout(CLOSE_TIMEOUT_S, TimeoutError("the peer does not read")):
                if code != 1006:
                    self._sock.sendall(self._ws.send(CloseConnection(code=code, reason=reason)))
                self._sock.shutdown(socket.SHUT_WR)
        except (OSError, LocalProtocolError) as error:
            log.debug("close_not_sent", error=str(error))
        finally:
            self._sock.close()


def text_frame(payload: bytes) -> bytes:
    """A whole unmasked text frame (RFC 6455, 5.2): made once, sent to every socket."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
