"""One NOC socket: reader, writer, worker for the client's frames, and the contract's rules.

A stalled peer stalls only its own writer: the pump puts frames into a bounded outbox and goes on. A
client's frame may take long, because of a service or of many missed frames. Meanwhile the reader
goes on, because it must hear the pongs.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, assert_never

import eventlet
import msgspec
import structlog
from eventlet.event import Event
from eventlet.queue import Queue
from msgspec import UNSET, UnsetType
from werkzeug.wrappers import Request

from gateway.noc.auth.requests import PROTOCOL
from gateway.noc.auth.tokens import Principal
from gateway.noc.websocket import client_frames
from gateway.noc.websocket.hub import NOT_AUTHENTICATED, RESUME, ROLE_CHANGED, Hub
from gateway.noc.websocket.rfc6455 import (
    TOO_MANY,
    VERSION,
    ConnectionClosed,
    Framing,
    NotThisVersion,
    PingReceived,
    PongReceived,
    WebsocketMessage,
    text_frame,
)
from gateway.noc.websocket.send_queue import QueuedFrame, SendQueue
from gateway.noc.websocket.snapshots import SnapshotSealer
from gateway.noc.websocket.stall_detector import LOOK_INTERVAL_S, StallDetector
from services.contracts import frames
from services.contracts.errors import Refused, TooMany, Unavailable, VigilError
from services.platform import metrics
from services.platform.config import Config

log = structlog.get_logger(__name__)

READ_BYTES = 16_384
FRAMES_AT_ONCE = 32
"""Frames of one read after which the other sockets get their turn."""
PEER_END_BYTES = 1_048_576
"""Bytes that a peer may still send while the close frame is on its way."""
MAX_PINGS_AWAITED = 1000
WRITE_BYTES = 65_536
SEND_BUFFER_BYTES = 131_072
"""Size of the kernel's send buffer for a socket.

The kernel's own choice grows to megabytes, and hides a stalled peer.
"""
CLOSE_TIMEOUT_S = 1.0
FINISH_TIMEOUT_S = 10.0
ROOM_INTERVAL_S = 0.02
PINGS_OF_IDLE_TIME = 3
"""Pings within the time after which a silent peer counts as gone. A pong is a sign of life."""

GOING_AWAY = 1001
GONE = 1006
FAILED = 1011
TRY_LATER = 1013
TOO_SLOW = RESUME


Act = Callable[[Principal, frames.Act], dict[str, Any]]
"""Does the action of an alert frame. Returns the fields of the answer. Raises `VigilError`."""


class Session:
    """One websocket session.

    `run` blocks until the socket is closed, and raises only `GreenletExit`.
    """

    def __init__(
        self,
        request: Request,
        sock: socket.socket,
        principal: Principal,
        *,
        config: Config,
        hub: Hub,
        act: Act,
        seal: SnapshotSealer,
    ) -> None:
        self._request = request
        self._sock = sock
        self.principal = principal
        self._noc = config.noc
        self._encryption: Literal["fernet", "none"] = (
            "fernet" if config.feed.encryption == "fernet" else "none"
        )
        self._hub = hub
        self._act = act
        self._seal = seal
        self._framing = Framing(max_message_bytes=config.noc.max_frame_bytes)
        self._outbox = SendQueue(
            max_frames=config.noc.outbox_max_frames, max_bytes=config.noc.outbox_max_bytes
        )
        self._proof = StallDetector(timeout_s=config.noc.stall_timeout_s)
        self._asked: Queue[WebsocketMessage | ConnectionClosed] = (
            Queue()
        )  # no longer than a user's messages of a minute
        self._wake = Event()
        self._ended = Event()
        self._end: tuple[int, str] | None = None
        self._said_close = False
        self._is_leaving = False
        self._last_heard_s = time.monotonic()
        self._pings_awaited = 0
        self.tenant_id = principal.tenant_id
        self.last_id = 0

    def run(self) -> None:
        """Make the handshake, serve the session, and close it."""
        if not self._shake_hands():
            return

        writer = eventlet.spawn(self._guard, self._write_until_end)
        try:
            self._hub.open_socket(self)
        except TooMany as error:
            self.end(TOO_MANY, str(error))
            self._close(writer)
            return

        reader = eventlet.spawn(self._guard, self._read_until_end)
        worker = eventlet.spawn(self._guard, self._serve)

        try:
            self._ended.wait()
            self._finish(worker)
        finally:
            self.end(GOING_AWAY, "the gateway stops")
            reader.kill()
            worker.kill()
            self._hub.leave(self)
            self._hub.close_socket(self)
            self._close(writer)

    def offer(self, entry: QueuedFrame) -> None:
        """Take one frame of the feed, in order. The hub calls this. Never blocks."""
        if entry.id is None or entry.id <= self.last_id or self._end is not None:
            return
        self.last_id = entry.id
        if self._put(entry):
            metrics.websocket_broadcast_success.labels("noc", entry.type).inc()
        else:
            metrics.websocket_broadcast_failure.labels("noc", "outbox_full").inc()

    def await_room(self) -> None:
        """Wait for room, so that the hub's catch-up is no faster than the peer reads.

        The hub calls this.
        """
        while self._end is None and not self._outbox.is_roomy:
            eventlet.sleep(ROOM_INTERVAL_S)

    def end(self, code: int, reason: str) -> None:
        """Ask for the end of the session. The first reason counts."""
        if self._end is None:
            self._end = (code, reason)
            if code == TOO_SLOW:
                # The client gets these frames when it resumes; the close must not wait behind them.
                self._outbox.clear()
            self._notify()
            self._ended.send(None)

    @property
    def is_open(self) -> bool:
        return self._end is None

    def _guard(self, part: Callable[[], None]) -> None:
        """Run a part of the session. A bug ends the socket, with an entry in the log."""
        try:
            part()
        except Exception:
            log.exception("socket_failed", user=self.principal.login)
            self.end(FAILED, "the gateway made a mistake; its log says more")

    # -- start and resume

    def _shake_hands(self) -> bool:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = list(self._request.headers.items())

        try:
            answer = self._framing.shake_hands(headers, self._request.full_path, protocol=PROTOCOL)
        except NotThisVersion as error:
            self._refuse(
                f"426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: {VERSION}", error
            )
            return False
        except Refused as error:
            self._refuse("400 Bad Request", error)
            return False

        self._sock.sendall(answer)
        return True

    def _refuse(self, status: str, error: Refused) -> None:
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        self._sock.sendall(f"{head}{error}".encode())

    def _serve(self) -> None:
        self._begin(since=self._asked_since())
        while isinstance(asked := self._asked.get(), WebsocketMessage):
            self._answer(asked.text)
        self.end(asked.code, asked.reason)

    def _finish(self, worker: Any) -> None:
        """Finish the frames that came before the end.

        A user who acknowledges and closes the page succeeds.
        """
        if self._end is not None and self._end[0] not in (NOT_AUTHENTICATED, ROLE_CHANGED):
            self._asked.put(ConnectionClosed(*self._end))
            with eventlet.Timeout(FINISH_TIMEOUT_S, False):
                worker.wait()

    def _asked_since(self) -> int | None:
        since = self._request.args.get("since", "")
        return int(since) if since.isascii() and since.isdigit() and len(since) < 20 else None

    def _begin(self, *, since: int | None, ref: msgspec.Raw | UnsetType = UNSET) -> None:
        """Start the feed, or end the session.

        An open socket outside the feed would pass for a quiet night.
        """
        try:
            self._start(since=since, ref=ref)
        except Unavailable as error:
            self.end(TRY_LATER, str(error))

    def _start(self, *, since: int | None, ref: msgspec.Raw | UnsetType) -> None:
        """Send the client its position in the feed, then bring it up to the feed.

        Raises `Unavailable`.

        `ref` is that of the frame that asked for it. By it the client separates earlier from later
        frames.
        """
        resumed = since is not None and self._hub.reader.holds(self.tenant_id, since)
        snapshot = None if resumed else self._hub.snapshots.of(self.tenant_id, seal=self._seal)
        self.last_id = (since if snapshot is None else snapshot.id) or 0
        self._control(
            frames.Connected(
                tenant_id=self.tenant_id,
                feed_id=self._hub.feed_id(self.tenant_id),
                resumed=resumed,
                encryption=self._encryption,
                heartbeat_interval=self._noc.heartbeat_interval_s,
                ref=ref,
            )
        )

        if self._hub.blindness.is_blind:
            self.beat()

        if snapshot is not None:
            # The snapshot may already hold frames after last_id. They repeat the same data, and
            # then continue.
            self._outbox.begin(snapshot._replace(id=None))
            self._notify()

        self._hub.join(self)

    def _restart(self, *, since: int | None, ref: msgspec.Raw | UnsetType) -> None:
        self._hub.leave(self)
        self._outbox.clear()
        self._begin(since=since, ref=client_frames.given(ref))

    # -- reading

    def _read_until_end(self) -> None:
        while self._end is None and not self._is_leaving and (wait_s := self._next_deadline_s()) > 0:
            try:
                # The socket's own timeout would also be the writer's.
                with eventlet.Timeout(wait_s, TimeoutError("nothing heard")):
                    data = self._sock.recv(READ_BYTES)
            except TimeoutError:
                continue
            except OSError:
                data = b""

            if not data:
                self._leave(GONE, "the peer went away")
                return

            self._last_heard_s = time.monotonic()
            self._take(data)

            # `recv` returns at once while bytes are there. Without this sleep, one peer that never
            # stops holds up the others.
            eventlet.sleep(0)

    def _next_deadline_s(self) -> float:
        """Return the seconds until the token or the idle time ends.

        End the session when that is now.
        """
        token_s = self.principal.expires_at - time.time()
        if token_s <= 0:
            self.end(NOT_AUTHENTICATED, "the token has expired; log in again")
        idle_s = self._last_heard_s + self._noc.idle_timeout_s - time.monotonic()
        if idle_s <= 0:
            self.end(TOO_SLOW, "no frame for too long; resume")
        return min(token_s, idle_s)

    def _take(self, data: bytes) -> None:
        if not self._hub.quotas.allow_bytes(self.principal, len(data)):
            self._leave(TOO_MANY, "too many bytes; wait a minute")
            return

        for number, received in enumerate(self._framing.receive(data), 1):
            if self._is_over_quota(received):
                self._leave(TOO_MANY, "too many frames or messages; wait a minute")
                return

            match received:
                case WebsocketMessage():
                    self._asked.put(received)
                case PingReceived(pong):
                    self._put(QueuedFrame("pong", None, pong))
                case PongReceived():
                    self._proof.answered()
                case ConnectionClosed():
                    self._leave(received.code, received.reason)

            if self._is_leaving or self._end is not None:
                return
            if number % FRAMES_AT_ONCE == 0:
                eventlet.sleep(0)

    def _is_over_quota(self, received: Any) -> bool:
        """Count a frame, and return True when it is over a quota.

        A pong that answers our ping is free.
        """
        match received:
            case ConnectionClosed():
                return False
            case PongReceived() if self._pings_awaited > 0:
                self._pings_awaited -= 1
                return False
            case WebsocketMessage() if not self._hub.quotas.allow_message(self.principal):
                return True
        return not self._hub.quotas.allow_frame(self.principal)

    def _leave(self, code: int, reason: str) -> None:
        """End after the earlier frames are answered. Nothing more is read."""
        self._is_leaving = True
        self._asked.put(ConnectionClosed(code, reason))

    def _answer(self, text: str | None) -> None:
        try:
            self._obey(client_frames.decode(text))
        except VigilError as error:
            self._control(frames.Error(message=str(error), ref=client_frames.ref_of(text)))

    def _obey(self, frame: frames.ClientFrame) -> None:
        match frame:
            case frames.ClientHeartbeat():
                self.beat()
            case frames.Resume():
                self._restart(since=frame.since, ref=frame.ref)
            case frames.Subscribe():
                self._subscribe(frame)
            case frames.RequestMetrics():
                ref = client_frames.given(frame.ref)
                self._control(frames.Metrics(ref=ref, open_sockets=self._hub.open_sockets))
            case frames.Act():
                done = self._act(self.principal, frame)
                self._control(frames.Ack(ref=client_frames.given(frame.ref), **done))
            case _:
                assert_never(frame)

    def _subscribe(self, frame: frames.Subscribe) -> None:
        if frame.client_id != self.tenant_id:
            self.principal.must_see(frame.client_id)
            self._hub.leave(self)
            self.tenant_id = frame.client_id
            self._restart(since=None, ref=frame.ref)
        self._control(frames.Ack(ref=client_frames.given(frame.ref), client_id=self.tenant_id))

    # -- writing

    def _control(self, frame: frames.ControlFrame) -> None:
        self._put(QueuedFrame(frames.type_of(frame), None, text_frame(msgspec.json.encode(frame))))

    def beat(self) -> None:
        """Put a heartbeat into the outbox. The hub calls this when a part is away or back.

        Never blocks.
        """
        blindness = self._hub.blindness
        self._control(
            frames.ServerHeartbeat(
                server_time=datetime.now(UTC),
                blind=blindness.is_blind,
                since=blindness.since,
                away=blindness.away,
            )
        )

    def _put(self, entry: QueuedFrame) -> bool:
        taken = self._end is None and self._outbox.put(entry)
        if taken:
            self._notify()
        else:
            self.end(TOO_SLOW, "too slow; resume")
        return taken

    def _notify(self) -> None:
        if not self._wake.ready():
            self._wake.send(None)

    def _write_until_end(self) -> None:
        """Write waiting frames, heartbeats, and last the close frame.

        Nothing else writes to the socket.
        """
        next_heartbeat_s = time.monotonic() + self._noc.heartbeat_interval_s
        next_ping_s = next_heartbeat_s

        try:
            while self._end is None:
                wait_s = max(0.0, next_heartbeat_s - time.monotonic())
                with eventlet.Timeout(
                    min(wait_s, LOOK_INTERVAL_S) if self._proof.is_awaited else wait_s, False
                ):
                    self._wake.wait()

                self._wake = Event()
                if self._proof.is_missing(
                    waiting_bytes=_unconfirmed_bytes(self._sock), now_s=time.monotonic()
                ):
                    self.end(TOO_SLOW, "frames were not read in time; resume")

                if self._end is None and time.monotonic() >= next_heartbeat_s:
                    next_heartbeat_s += self._noc.heartbeat_interval_s
                    self.beat()
                    if time.monotonic() >= next_ping_s:
                        next_ping_s += self._noc.idle_timeout_s / PINGS_OF_IDLE_TIME
                        self._put(QueuedFrame("ping", None, self._ping()))

                self._write_outbox()

            code, reason = self._end
            if code != GONE:
                self._send(self._framing.close(code, reason))
                self._said_close = True
        except OSError as error:
            self.end(TOO_SLOW, f"cannot be written to: {error}")

    def _write_outbox(self) -> None:
        while (entry := self._outbox.take()) is not None:
            entries, size = [entry], len(entry.wire)
            while size < WRITE_BYTES and (more := self._outbox.take()) is not None:
                entries.append(more)
                size += len(more.wire)

            self._send(b"".join([each.wire for each in entries]))
            self._note_written(entries, written_s=time.time())

            if self._proof.is_due:
                ping = self._ping()
                self._proof.ping_sent(size_bytes=len(ping), now_s=time.monotonic())
                self._send(ping)

    def _ping(self) -> bytes:
        self._pings_awaited = min(self._pings_awaited + 1, MAX_PINGS_AWAITED)
        return self._framing.ping()

    def _send(self, data: bytes) -> None:
        """Send bytes. Raises `OSError` when the peer takes no byte for too long."""
        left = memoryview(data)
        while left:
            with eventlet.Timeout(self._noc.stall_timeout_s, TimeoutError("no byte taken in time")):
                sent = self._sock.send(left)
            left = left[sent:]
            self._proof.sent(sent)

    def _note_written(self, entries: list[QueuedFrame], *, written_s: float) -> None:
        for kind, frame_id, _ in entries:
            if frame_id is None:
                continue
            if self.principal.may_handle_alerts:
                at = datetime.fromtimestamp(written_s, UTC)
                self._hub.shown.note(self.tenant_id, kind, frame_id, at=at)
            metrics.websocket_delivery.labels(kind).observe(max(0.0, written_s - frame_id / 1e6))
            arrived_s = self._hub.arrivals.get(frame_id)
            if arrived_s is not None:
                metrics.end_to_end.labels("noc").observe(max(0.0, written_s - arrived_s))

    # -- the end

    def _close(self, writer: Any) -> None:
        """Send the close frame behind waiting frames, await the peer's answer, and disconnect.

        Each step has a short time limit.
        """
        code, reason = self._end or (GONE, "")
        metrics.websocket_closed.labels(str(code)).inc()
        log.info("socket_closed", user=self.principal.login, code=code, reason=reason)

        try:
            with eventlet.Timeout(CLOSE_TIMEOUT_S, TimeoutError("the peer does not read")):
                writer.wait()
            if self._said_close:
                self._await_end_of_peer()
            else:
                self._drop_what_waits()
        except OSError as error:
            log.debug("close_not_sent", error=str(error))
            self._drop_what_waits()
        finally:
            writer.kill()
            self._sock.close()

    def _await_end_of_peer(self) -> None:
        """Wait for the peer's close frame, then read to the end.

        A proxy passes nothing on to a peer when the server's side is gone. And a close over unread
        bytes would reset the connection, and lose our close frame.
        """
        with eventlet.Timeout(CLOSE_TIMEOUT_S, False):
            left_bytes, is_over = PEER_END_BYTES, self._framing.is_over
            if is_over:
                self._sock.shutdown(socket.SHUT_WR)
            while left_bytes > 0 and (data := self._sock.recv(READ_BYTES)):
                left_bytes -= len(data)
                if not is_over and self._framing.ends_with(data):
                    is_over = True
                    self._sock.shutdown(socket.SHUT_WR)
                eventlet.sleep(0)  # without this sleep a flood would outlast its time limit

        if _unconfirmed_bytes(self._sock):
            self._drop_what_waits()

    def _drop_what_waits(self) -> None:
        """Drop the bytes that the kernel holds for a peer that does not read."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _unconfirmed_bytes(sock: socket.socket) -> int:
    """Return the sent bytes that the peer's kernel has not confirmed (SIOCOUTQ in tcp(7))."""
    [count] = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)
