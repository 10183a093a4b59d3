"""Hub: one reader of the feed for all sockets of the process.

A socket joins without gap or duplicate.
"""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Protocol

import eventlet
import msgspec
import structlog
from eventlet.event import Event

from gateway.noc import parts_away
from gateway.noc.auth.quotas import Quotas
from gateway.noc.auth.tokens import BarredTokens, Principal, RoleChanged
from gateway.noc.parts_away import PartsAway
from gateway.noc.websocket.first_shown import SHOWING, FirstShown
from gateway.noc.websocket.position_bundles import PositionBundles
from gateway.noc.websocket.rfc6455 import text_frame
from gateway.noc.websocket.send_queue import QueuedFrame
from gateway.noc.websocket.snapshots import Snapshots
from services.contracts.errors import NotAuthenticated, Unavailable
from services.feed.stream import FeedReader
from services.platform import metrics
from services.platform.config import Config
from services.supervision.process_heartbeats import STOOD_STILL_S, PartFault

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
"""Interval of the check which Redis server answers, in seconds."""
BLOCK_MS = 250
"""Longest wait of one read, in milliseconds.

A tenant's first socket is served after at most this time.
"""
FEED_LATE_S = BLOCK_MS / 1000 + 2.0
"""Frames are late when a read of the feed got no answer for so many seconds."""
READ_AT_ONCE = 100
"""Most frames of each tenant in one read. Another tenant's next frame waits for no more frames."""
HANDED_AT_ONCE = 25
CATCH_UP_FRAMES = 100
ARRIVALS = 1000
"""Number of frames with a stored arrival time (Unix seconds): those on their way out."""
MISSED_TESTS = 2.5
"""Intervals without a test message after which a path is faulty.

One message may be late, two are not.
"""
NOT_AUTHENTICATED = 4401
ROLE_CHANGED = 4403
RESUME = 4408
"""Close codes of the contract."""
POSITIONS = "positions"


Frame = tuple[int, int, str, bytes]
"""Tenant, id, type and sealed frame."""


class HubSocket(Protocol):
    """Socket, as the hub sees it."""

    tenant_id: int
    last_id: int

    @property
    def is_open(self) -> bool:
        """Return True while the socket still needs the feed."""

    def offer(self, entry: QueuedFrame) -> None:
        """Take one frame of the feed. Never blocks."""

    def await_room(self) -> None:
        """Block until the socket can take more of its missed frames."""


class HubSession(Protocol):
    """Open socket and its user, as the hub sees them."""

    principal: Principal

    def end(self, code: int, reason: str) -> None:
        """Ask for the end of the session. Never blocks."""

    def beat(self) -> None:
        """Send a heartbeat now. Never blocks."""


class UnsealedFields(msgspec.Struct):
    """Unsealed fields of a frame, for logs and metrics."""

    trace: str | None = None
    arrived: float | None = None


def _in_turn(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames of several tenants, one of each tenant at a time.

    Each tenant's order is kept.
    """
    by_tenant: dict[int, list[Frame]] = {}
    for frame in frames:
        by_tenant.setdefault(frame[0], []).append(frame)
    for turn in itertools.zip_longest(*by_tenant.values()):
        yield from filter(None, turn)


class Hub:
    """Distributor of the feed to all sockets.

    `blind_after_s` is the time without a test message of the watchdog after which the control room
    may be blind.
    """

    def __init__(
        self, reader: FeedReader, quotas: Quotas, *, blind_after_s: float = 150.0, started_s: float = 0.0
    ) -> None:
        self.reader = reader
        self.quotas = quotas
        self.snapshots = Snapshots(reader.last_id)
        self.road_seen_s = started_s
        self.blindness = PartsAway()
        self._answered_s = self._judged_s = time.monotonic()
        self._blind_after_s = blind_after_s
        self._listeners: dict[int, set[HubSocket]] = {}
        self._cursor: dict[int, int] = {}
        self._bundles = PositionBundles()
        self.shown = FirstShown()
        self.arrivals: dict[int, float] = {}
        self._sessions: set[HubSession] = set()

        # Without this, the first failure would be no increase.
        metrics.websocket_broadcast_failure.labels("noc", "outbox_full")
        self._server = ""
        self._looked_s = float("-inf")
        self._joined: Event = Event()

    @classmethod
    def from_config(cls, config: Config) -> Hub:
        return cls(
            FeedReader.from_config(config),
            Quotas.from_config(config),
            blind_after_s=MISSED_TESTS * config.watchdog.interval_s,
            started_s=time.time(),
        )

    def update_test_message_time(self, test_tenant_id: int) -> None:
        """Update the time of the last test message. Frame ids are microseconds.

        Raises `Unavailable`.
        """
        self.road_seen_s = max(self.road_seen_s, self.reader.last_id(test_tenant_id) / 1e6)

    def look(self, faults: Iterable[PartFault], *, now: datetime | None = None) -> None:
        """Judge which parts are away now. After a change, send every session a heartbeat at once.

        `faults` are reports about other parts. The hub adds its own: a feed that is not read in
        time, and missing test messages.
        """
        now, now_s = now or datetime.now(UTC), time.monotonic()
        if now_s - self._judged_s > STOOD_STILL_S:
            self._answered_s += (
                now_s - self._judged_s
            )  # this process stood still, and so it did not read the feed

        self._judged_s = now_s
        found = [*faults, *self._own_faults(now_s, now.timestamp())]
        if self.blindness.update(found, now=now):
            away = [part.part for part in self.blindness.away]
            log.warning("degradation_reported", parts=away, sessions=len(self._sessions))
            for session in tuple(self._sessions):
                session.beat()

    def _own_faults(self, monotonic_s: float, now_s: float) -> Iterable[PartFault]:
        if monotonic_s - self._answered_s > FEED_LATE_S:
            yield PartFault(parts_away.FEED, monotonic_s - self._answered_s)
        if now_s - self.road_seen_s > self._blind_after_s:
            yield PartFault(parts_away.PATHS[0], now_s - self.road_seen_s)

    def pump(self) -> None:
        """Read the feed once and hand out its frames. Raises `Unavailable`."""
        frames = list(self.reader.read(self._cursor, block_ms=self._block_ms(), count=READ_AT_ONCE))
        if self._cursor:
            self._answered_s = time.monotonic()

        is_due = time.monotonic() - self._looked_s >= LOOK_INTERVAL_S
        # This check comes after the read. No socket may receive frames of another server before all
        # sockets start again. Such a socket could resume from these frames at another gateway, and
        # miss the frames that were lost before them.
        if (frames or is_due) and self._is_another_server():
            return

        for number, (tenant_id, frame_id, kind, frame) in enumerate(_in_turn(frames), start=1):
            self._hand_out(tenant_id, frame_id, kind, frame)
            if number % HANDED_AT_ONCE == 0:
                eventlet.sleep(
                    0
                )  # sockets write now: their outboxes do not hold all frames that may come at once

        for tenant_id in self._bundles.due(now_s=time.monotonic()):
            self._hand_out_bundle(tenant_id)

    def _block_ms(self) -> int:
        """Return the longest wait of a read, in milliseconds. It ends when a bundle is due."""
        rest_s = self._bundles.rest_s(now_s=time.monotonic())
        return BLOCK_MS if rest_s is None else max(1, min(BLOCK_MS, math.ceil(1000 * rest_s)))

    def _hand_out(self, tenant_id: int, frame_id: int, kind: str, frame: bytes) -> None:
        if frame_id <= self._cursor.get(tenant_id, frame_id):
            # Its last socket left during the read; a socket that joined later has read further.
            return

        self._cursor[tenant_id] = frame_id
        if kind in SHOWING or kind == POSITIONS:
            self._note(tenant_id, frame_id, kind, msgspec.json.decode(frame, type=UnsealedFields))

        wire = text_frame(frame)  # once, for any number of sockets
        if kind == POSITIONS:
            self._bundles.add(tenant_id, frame_id, wire)
            return

        self._hand_out_bundle(tenant_id)  # keeps the order
        entry = QueuedFrame(kind, frame_id, wire)

        for listener in tuple(self._listeners[tenant_id]):
            listener.offer(entry)

    def _hand_out_bundle(self, tenant_id: int) -> None:
        """Hand out the held position frames of a tenant, as one entry."""
        listeners = tuple(self._listeners.get(tenant_id, ()))
        bundle = self._bundles.take(tenant_id, sessions=len(listeners), now_s=time.monotonic())
        if bundle is None:
            return

        oldest_s = self.arrivals.get(bundle.first_id)
        if oldest_s is not None:
            self.arrivals[bundle.last_id] = oldest_s

        together = [QueuedFrame(POSITIONS, bundle.last_id, bundle.wire)]
        apart = [QueuedFrame(POSITIONS, *frame) for frame in zip(bundle.ids, bundle.wires, strict=True)]

        for listener in listeners:
            # A socket that joined meanwhile has already read some of these frames itself.
            for entry in together if listener.last_id < bundle.first_id else apart:
                listener.offer(entry)

    def _note(self, tenant_id: int, frame_id: int, kind: str, outside: UnsealedFields) -> None:
        if outside.arrived is not None:
            self.arrivals[frame_id] = outside.arrived
            if len(self.arrivals) > ARRIVALS:
                del self.arrivals[next(iter(self.arrivals))]
        if kind in SHOWING:
            screens = len(self._listeners[tenant_id])
            log.info("alert_broadcast", frame_id=frame_id, trace_id=outside.trace, screens=screens)

    def _is_another_server(self) -> bool:
        """Return True when Redis has changed to another server, and then end all sessions.

        After a failover of Redis the newest frames may be missing, and nobody knows which. The
        sockets are closed first. Their last frames are older than the new beginning, so a client
        that reconnects gets a snapshot.
        """
        server = self.reader.server()
        self._looked_s = self._answered_s = time.monotonic()
        was, self._server = self._server, server
        if not was:
            self.reader.begun()
        elif server != was:
            self._begin_anew(server)
            return True
        return False

    def _begin_anew(self, server: str) -> None:
        log.warning("feed_server_changed", sessions=len(self._sessions))
        for session in tuple(self._sessions):
            session.end(RESUME, "the feed moved to another server; connect again")
        self._listeners.clear()
        self._cursor.clear()
        self._bundles.clear()
        self.snapshots.forget()
        self.reader.begin(server)

    @property
    def idle(self) -> bool:
        return not self._cursor

    def await_listener(self, timeout_s: float) -> None:
        """Wait until a listener has joined, or for `timeout_s` seconds."""
        self._joined = joined = Event()
        with eventlet.Timeout(timeout_s, False):
            joined.wait()

    def join(self, listener: HubSocket) -> None:
        """Bring a socket from its `last_id` up to the feed, then let it take part.

        Nothing may yield between the comparison with the cursor and the joining. Then every frame
        is either read here or handed out by the pump, and `last_id` prevents both.

        Raises:
            Unavailable: The feed no longer holds the socket's next frames, because the socket reads
                too slowly. Or Redis does not answer.
        """
        tenant_id = listener.tenant_id
        while listener.is_open:
            frames = list(self.reader.read({tenant_id: listener.last_id}, count=CATCH_UP_FRAMES))
            if frames and listener.last_id and not self.reader.has(tenant_id, listener.last_id):
                raise Unavailable("the feed no longer holds the next frames of this session; connect again")

            for _, frame_id, kind, frame in frames:
                listener.await_room()
                listener.offer(QueuedFrame(kind, frame_id, text_frame(frame)))

            if not frames and self._cursor.get(tenant_id, 0) <= listener.last_id:
                self._cursor.setdefault(tenant_id, listener.last_id)
                self._listeners.setdefault(tenant_id, set()).add(listener)
                if not self._joined.ready():
                    self._joined.send(None)
                return

    def leave(self, listener: HubSocket) -> None:
        listeners = self._listeners.get(listener.tenant_id, set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop(listener.tenant_id, None)
            self._cursor.pop(listener.tenant_id, None)
            self._bundles.drop(listener.tenant_id)

    def feed_id(self, tenant_id: int) -> str:
        return self.reader.feed_id(tenant_id, fresh=uuid.uuid4().hex)

    def open_socket(self, session: HubSession) -> None:
        """Register an open session.

        Raises `TooMany` when the user or the tenant has too many open.
        """
        self.quotas.open(session.principal)
        self._sessions.add(session)
        metrics.websocket_connections.labels(session.principal.role).inc()

    def close_socket(self, session: HubSession) -> None:
        self._sessions.discard(session)
        self.quotas.close(session.principal)
        metrics.websocket_connections.labels(session.principal.role).dec()

    def present(self) -> dict[int, list[str]]:
        """Return the logins of users with an open session who may handle alerts, by tenant."""
        names: dict[int, set[str]] = {}
        for session in self._sessions:
            if session.principal.may_handle_alerts:
                names.setdefault(session.principal.tenant_id, set()).add(session.principal.login)
        return {tenant_id: sorted(them) for tenant_id, them in names.items()}

    def end_barred(self, bars: BarredTokens) -> None:
        """Ask the sessions of barred users to end."""
        for session in tuple(self._sessions):
            try:
                bars.check(session.principal)
            except RoleChanged as error:
                session.end(ROLE_CHANGED, str(error))
            except NotAuthenticated as error:
                session.end(NOT_AUTHENTICATED, str(error))

    @property
    def open_sockets(self) -> int:
        return len(self._sessions)
