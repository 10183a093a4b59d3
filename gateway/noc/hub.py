"""One reader of the feed for all sockets of the process, and how a socket joins it without gap or double."""

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

from gateway.noc import blindness
from gateway.noc.auth import Bars, Principal, RoleChanged
from gateway.noc.blindness import Blindness
from gateway.noc.bundles import Bundles
from gateway.noc.framing import text_frame
from gateway.noc.outbox import Entry
from gateway.noc.quotas import Quotas
from gateway.noc.shown import SHOWING, Shown
from gateway.noc.snapshots import Snapshots
from services import metrics
from services.config import Config
from services.errors import NotAuthenticated, Unavailable
from services.feed import FeedReader
from services.process_heartbeats import STOOD_STILL_S, Fault

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
"""How often it is asked which Redis answers."""
BLOCK_MS = 250
"""How long one read waits: so soon a tenant with its first socket is heard."""
FEED_LATE_S = BLOCK_MS / 1000 + 2.0
"""When a read of the feed was not answered for so long, frames are late."""
READ_AT_ONCE = 100
"""Frames of each tenant that one read takes: another tenant's next frame waits for so many at most."""
HANDED_AT_ONCE = 25
CATCH_UP_FRAMES = 100
ARRIVALS = 1000
"""Of so many frames it is known when their messages came to the gateway (Unix seconds): those on their way out."""
MISSED_TESTS = 2.5
"""So many intervals without a test message are too many: one may be late, two are not."""
NOT_AUTHENTICATED = 4401
ROLE_CHANGED = 4403
RESUME = 4408
"""Close codes of the contract."""
POSITIONS = "positions"


Frame = tuple[int, int, str, bytes]
"""Tenant, id, type and sealed frame."""


class Listener(Protocol):
    """A socket, as the hub sees it."""

    tenant_id: int
    last_id: int

    @property
    def is_open(self) -> bool:
        """Whether anybody is still there to be brought up to the feed."""

    def offer(self, entry: Entry) -> None:
        """Take one frame of the feed; never blocks."""

    def await_room(self) -> None:
        """Block until it can take more of what it missed."""


class Session(Protocol):
    """An open socket with the person behind it, as the hub sees it."""

    principal: Principal

    def end(self, code: int, reason: str) -> None:
        """Ask for the end; never blocks."""

    def beat(self) -> None:
        """Send a heartbeat now; never blocks."""


class Outside(msgspec.Struct):
    """What stands on the outside of a frame, for logs and numbers."""

    trace: str | None = None
    arrived: float | None = None


def _in_turn(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames of several tenants, one of each at a time; those of one tenant keep their order."""
    by_tenant: dict[int, list[Frame]] = {}
    for frame in frames:
        by_tenant.setdefault(frame[0], []).append(frame)
    for turn in itertools.zip_longest(*by_tenant.values()):
        yield from filter(None, turn)


class Hub:
    """`blind_after_s`: with no test message of the watchdog for so long, the control room may be seeing nothing."""

    def __init__(
        self, reader: FeedReader, quotas: Quotas, *, blind_after_s: float = 150.0, started_s: float = 0.0
    ) -> None:
        self.reader = reader
        self.quotas = quotas
        self.snapshots = Snapshots(reader.last_id)
        self.road_seen_s = started_s
        self.blindness = Blindness()
        self._answered_s = self._judged_s = time.monotonic()
        self._blind_after_s = blind_after_s
        self._listeners: dict[int, set[Listener]] = {}
        self._cursor: dict[int, int] = {}
        self._bundles = Bundles()
        self.shown = Shown()
        self.arrivals: dict[int, float] = {}
        self._sessions: set[Session] = set()
        metrics.websocket_broadcast_failure.labels("noc", "outbox_full")  # the first one must be an increase
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

    def look_at_road(self, test_tenant_id: int) -> None:
        """When a test message last came through; ids of frames are microseconds. Raises `Unavailable`."""
        self.road_seen_s = max(self.road_seen_s, self.reader.last_id(test_tenant_id) / 1e6)

    def look(self, faults: Iterable[Fault], *, now: datetime | None = None) -> None:
        """Judge what is away now, and send every screen a heartbeat at once when that has changed.

        `faults`: what was heard of other parts. What the gateway knows itself is added: whether the feed is read in
        time, and whether test messages come through.
        """
        now, now_s = now or datetime.now(UTC), time.monotonic()
        if now_s - self._judged_s > STOOD_STILL_S:
            self._answered_s += (
                now_s - self._judged_s
            )  # this process stood still, and so the feed could not be read
        self._judged_s = now_s
        found = [*faults, *self._own_faults(now_s, now.timestamp())]
        if self.blindness.update(found, now=now):
            away = [part.part for part in self.blindness.away]
            log.warning("parts_away", parts=away, screens=len(self._sessions))
            for session in tuple(self._sessions):
                session.beat()

    def _own_faults(self, monotonic_s: float, now_s: float) -> Iterable[Fault]:
        if monotonic_s - self._answered_s > FEED_LATE_S:
            yield Fault(blindness.FEED, monotonic_s - self._answered_s)
        if now_s - self.road_seen_s > self._blind_after_s:
            yield Fault(blindness.PATHS[0], now_s - self.road_seen_s)

    def pump(self) -> None:
        """Read once and hand out. Raises `Unavailable`."""
        frames = list(self.reader.read(self._cursor, block_ms=self._block_ms(), count=READ_AT_ONCE))
        if self._cursor:
            self._answered_s = time.monotonic()
        is_due = time.monotonic() - self._looked_s >= LOOK_INTERVAL_S
        # Asked after the reading: of what another server told nobody may hear before all begin anew. Whoever did could
        # go on from there at another gateway, over what was lost before it.
        if (frames or is_due) and self._is_another_server():
            return
        for number, (tenant_id, frame_id, kind, frame) in enumerate(_in_turn(frames), start=1):
            self._hand_out(tenant_id, frame_id, kind, frame)
            if number % HANDED_AT_ONCE == 0:
                eventlet.sleep(
                    0
                )  # sockets write meanwhile: their outboxes do not hold all that may come at once
        for tenant_id in self._bundles.due(now_s=time.monotonic()):
            self._hand_out_bundle(tenant_id)

    def _block_ms(self) -> int:
        """Return how long a read may wait: no longer than positions that wait for one another."""
        rest_s = self._bundles.rest_s(now_s=time.monotonic())
        return BLOCK_MS if rest_s is None else max(1, min(BLOCK_MS, math.ceil(1000 * rest_s)))

    def _hand_out(self, tenant_id: int, frame_id: int, kind: str, frame: bytes) -> None:
        if frame_id <= self._cursor.get(tenant_id, frame_id):
            return  # its last socket left while we read; one that joined since then has read further
        self._cursor[tenant_id] = frame_id
        if kind in SHOWING or kind == POSITIONS:
            self._note(tenant_id, frame_id, kind, msgspec.json.decode(frame, type=Outside))
        wire = text_frame(frame)  # once, for however many sockets
        if kind == POSITIONS:
            self._bundles.add(tenant_id, frame_id, wire)
            return
        self._hand_out_bundle(tenant_id)  # what came before goes before
        entry = Entry(kind, frame_id, wire)
        for listener in tuple(self._listeners[tenant_id]):
            listener.offer(entry)

    def _hand_out_bundle(self, tenant_id: int) -> None:
        """Hand out the frames of positions that are held of a tenant, as one entry."""
        listeners = tuple(self._listeners.get(tenant_id, ()))
        bundle = self._bundles.take(tenant_id, sessions=len(listeners), now_s=time.monotonic())
        if bundle is None:
            return
        oldest_s = self.arrivals.get(bundle.first_id)
        if oldest_s is not None:
            self.arrivals[bundle.last_id] = oldest_s
        together = [Entry(POSITIONS, bundle.last_id, bundle.wire)]
        apart = [Entry(POSITIONS, *frame) for frame in zip(bundle.ids, bundle.wires, strict=True)]
        for listener in listeners:
            # One that joined meanwhile has read some of them by itself.
            for entry in together if listener.last_id < bundle.first_id else apart:
                listener.offer(entry)

    def _note(self, tenant_id: int, frame_id: int, kind: str, outside: Outside) -> None:
        if outside.arrived is not None:
            self.arrivals[frame_id] = outside.arrived
            if len(self.arrivals) > ARRIVALS:
                del self.arrivals[next(iter(self.arrivals))]
        if kind in SHOWING:
            screens = len(self._listeners[tenant_id])
            log.info("alert_to_screens", frame_id=frame_id, trace_id=outside.trace, screens=screens)

    def _is_another_server(self) -> bool:
        """After a failover of Redis the newest frames may be missing, and nobody can say which: all begin anew.

        The sockets are closed first: what they were sent until now is older than the new beginning, so that whoever
        comes back gets a snapshot.
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
        log.warning("feed_server_changed", sockets=len(self._sessions))
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
        """Wait until a listener has joined, or for so long."""
        self._joined = joined = Event()
        with eventlet.Timeout(timeout_s, False):
            joined.wait()

    def join(self, listener: Listener) -> None:
        """Bring a socket from its `last_id` up to the feed, then let it take part. Raises `Unavailable`.

        A socket that reads slower than the feed forgets is told to come again: frames would be missing.
        Nothing may yield between the comparison with the cursor and the joining: then every frame is either
        read here or handed out by the pump, and `last_id` keeps it from being both.
        """
        tenant_id = listener.tenant_id
        while listener.is_open:
            frames = list(self.reader.read({tenant_id: listener.last_id}, count=CATCH_UP_FRAMES))
            if frames and listener.last_id and not self.reader.has(tenant_id, listener.last_id):
                raise Unavailable("the feed no longer holds what this socket still has to get; connect again")
            for _, frame_id, kind, frame in frames:
                listener.await_room()
                listener.offer(Entry(kind, frame_id, text_frame(frame)))
            if not frames and self._cursor.get(tenant_id, 0) <= listener.last_id:
                self._cursor.setdefault(tenant_id, listener.last_id)
                self._listeners.setdefault(tenant_id, set()).add(listener)
                if not self._joined.ready():
                    self._joined.send(None)
                return

    def leave(self, listener: Listener) -> None:
        listeners = self._listeners.get(listener.tenant_id, set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop(listener.tenant_id, None)
            self._cursor.pop(listener.tenant_id, None)
            self._bundles.drop(listener.tenant_id)

    def feed_id(self, tenant_id: int) -> str:
        return self.reader.feed_id(tenant_id, fresh=uuid.uuid4().hex)

    def open_socket(self, session: Session) -> None:
        """Raises `TooMany` when the user or the tenant has too many open."""
        self.quotas.open(session.principal)
        self._sessions.add(session)
        metrics.websocket_connections.labels(session.principal.role).inc()

    def close_socket(self, session: Session) -> None:
        self._sessions.discard(session)
        self.quotas.close(session.principal)
        metrics.websocket_connections.labels(session.principal.role).dec()

    def present(self) -> dict[int, list[str]]:
        """By tenant, the logins of those who have a screen open and may handle alerts."""
        names: dict[int, set[str]] = {}
        for session in self._sessions:
            if session.principal.may_handle_alerts:
                names.setdefault(session.principal.tenant_id, set()).add(session.principal.login)
        return {tenant_id: sorted(them) for tenant_id, them in names.items()}

    def end_barred(self, bars: Bars) -> None:
        """Ask the sockets to end whose users may no longer be here."""
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
