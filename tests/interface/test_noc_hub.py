"""Tests of the hub with a fake feed.

A session that joins while frames flow gets each frame once and in order.
"""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import eventlet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.auth.tokens import BarredTokens, Principal
from gateway.noc.websocket.hub import FEED_LATE_S, Hub
from gateway.noc.websocket.send_queue import QueuedFrame
from services.contracts.errors import Unavailable
from services.feed.encryption import Sealer
from services.feed.stream import FeedReader, FeedWriter, id_of
from services.supervision.process_heartbeats import PartFault


class FakeReader:
    """A feed that grows by itself at each read, and lets the pump run in between.

    This is the worst timing.
    """

    def __init__(self, chance: random.Random) -> None:
        self.frames: list[int] = []
        self.meanwhile: Any = lambda: None
        self._chance = chance
        self._nested = False
        self.run_id = "first"
        self.beginnings: list[str] = []

    def server(self) -> str:
        return self.run_id

    def begin(self, server: str) -> None:
        self.beginnings.append(server)

    def begun(self) -> int:
        return 0

    def last_id(self, tenant_id: int) -> int:  # noqa: ARG002
        return len(self.frames)

    def has(self, tenant_id: int, frame_id: int) -> bool:  # noqa: ARG002
        return frame_id in self.frames

    def read(self, after: dict[int, int], *, block_ms: int | None = None, count: int = 500) -> Any:  # noqa: ARG002
        found = [
            (tenant, frame, "t", b"")
            for tenant, last in after.items()
            for frame in self.frames
            if frame > last
        ][: self._chance.randint(1, 5)]
        self.frames += [len(self.frames) + 1] * (self._chance.random() < 0.4)
        if not self._nested and self._chance.random() < 0.7:
            self._nested = True
            self.meanwhile()
            self._nested = False
        return found


class Socket:
    def __init__(self, last_id: int) -> None:
        self.tenant_id = 1
        self.last_id = last_id
        self.got: list[int] = []
        self.entries: list[QueuedFrame] = []
        self.is_open = True

    def offer(self, entry: QueuedFrame) -> None:
        assert entry.id is not None
        if entry.id > self.last_id:
            self.last_id = entry.id
            self.got.append(entry.id)
            self.entries.append(entry)

    def await_room(self) -> None:
        pass


class Unlimited:
    """Limits that nobody reaches."""

    def open(self, principal: Principal) -> None:
        pass

    def close(self, principal: Principal) -> None:
        pass


def hub_on(reader: Any, **options: Any) -> Hub:
    return Hub(reader, Unlimited(), **options)  # type: ignore[arg-type]


class Person:
    """A socket with a user."""

    def __init__(self, login: str, **changes: Any) -> None:
        facts: dict[str, Any] = {
            "tenant_id": 1,
            "role": "operator",
            "expires_at": 9,
            "issued_at": 5.0,
            **changes,
        }
        self.principal = Principal(login, login, **facts)
        self.ended_with: int | None = None
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1

    def end(self, code: int, reason: str) -> None:  # noqa: ARG002
        self.ended_with = code


def join_while_it_grows(
    hub: Any, reader: FakeReader, chance: random.Random, sockets: int
) -> list[tuple[int, Socket]]:
    """Join sessions at random places of the feed, and read on after each.

    Returns:
        The last frame that each session knew before, and the session.
    """
    joined = []
    for _ in range(sockets):
        since = chance.randint(0, len(reader.frames))
        socket = Socket(since)
        hub.join(socket)
        joined.append((since, socket))
        hub.pump()
    return joined


@given(st.integers(0, 2**32), st.integers(0, 10), st.integers(1, 4))
def test_joining_loses_nothing_and_doubles_nothing(seed: int, start: int, sockets: int) -> None:
    chance = random.Random(seed)
    reader = FakeReader(chance)
    reader.frames = list(range(1, start + 1))
    hub = hub_on(reader)
    reader.meanwhile = hub.pump
    joined = join_while_it_grows(hub, reader, chance, sockets)
    while any(socket.last_id < len(reader.frames) for _, socket in joined) and len(reader.frames) < 500:
        hub.pump()
    for since, socket in joined:
        assert socket.got == list(range(since + 1, socket.last_id + 1))


def test_a_tenant_without_sockets_is_no_longer_read() -> None:
    hub = hub_on(FakeReader(random.Random(1)))
    socket = Socket(0)
    hub.join(socket)
    assert not hub.idle
    hub.leave(socket)
    assert hub.idle


class StillReader(FakeReader):
    """A feed that grows only when a test says so."""

    def read(self, after: dict[int, int], *, block_ms: int | None = None, count: int = 500) -> Any:  # noqa: ARG002
        return [
            (tenant, frame, "t", b"")
            for tenant, last in after.items()
            for frame in self.frames
            if frame > last
        ]


def test_a_frame_is_framed_once_however_many_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    framed: list[bytes] = []
    monkeypatch.setattr("gateway.noc.websocket.hub.text_frame", lambda frame: framed.append(frame) or b"wire")
    reader = StillReader(random.Random(1))
    hub, sockets = hub_on(reader), [Socket(0) for _ in range(100)]
    for socket in sockets:
        hub.join(socket)
    reader.frames = list(range(1, 51))
    hub.pump()
    assert len(framed) == 50
    assert all(socket.got == reader.frames for socket in sockets)
    # The entries are not only equal: the same object waits in every send queue.
    assert {id(entry) for socket in sockets for entry in socket.entries} == {
        id(e) for e in sockets[0].entries
    }


class CountingSealer(Sealer):
    def __init__(self) -> None:
        super().__init__(lambda: bytes(32))
        self.sealed: list[int] = []

    def seal(self, tenant_id: int, **frame: Any) -> bytes:
        self.sealed.append(frame["id"])
        return super().seal(tenant_id, **frame)


class StreamOfOne:
    """The part of Redis that a writer and a reader of one tenant's feed use.

    It counts the reads.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        self.reads = 0

    def xadd(self, key: str, fields: dict[str, Any], *, id: str, **_: Any) -> None:  # noqa: A002, ARG002
        self.entries.append((id.encode(), {b"type": fields["type"].encode(), b"frame": fields["frame"]}))

    def xread(self, streams: dict[str, str], **_: Any) -> Any:
        self.reads += 1
        [(key, after)] = streams.items()
        found = [entry for entry in self.entries if id_of(entry[0]) > int(after.split("-")[0])]
        return [(key.encode(), found)] if found else []

    def xrange(self, key: str, *, min: str, **_: Any) -> Any:  # noqa: A002, ARG002
        return [entry for entry in self.entries if entry[0] == min.encode()]

    def info(self, _: str) -> dict[str, str]:
        return {"run_id": "first"}

    def set(self, *_: Any, **__: Any) -> None:
        pass

    def get(self, _: str) -> bytes:
        return b"0"


def test_an_event_is_sealed_once_and_read_once_however_many_sockets() -> None:
    redis: Any = StreamOfOne()
    sealer = CountingSealer()
    writer = FeedWriter(redis, sealer, prefix="p", max_frames=1000)
    hub, sockets = hub_on(FeedReader(redis, prefix="p")), [Socket(0) for _ in range(100)]
    for socket in sockets:
        hub.join(socket)
    redis.reads = 0
    published = [writer.publish(1, "critical_alert", {"number": number}) for number in range(50)]
    hub.pump()
    assert sealer.sealed == published
    assert redis.reads == 1
    assert all(socket.got == published for socket in sockets)
    assert {entry.wire[4:] for entry in sockets[99].entries} == {
        entry[1][b"frame"] for entry in redis.entries
    }


def test_sockets_of_the_barred_end_and_those_of_others_stay() -> None:
    hub = hub_on(FakeReader(random.Random(1)))
    people = {
        "disabled": Person("dan"),
        "changed": Person("eve", issued_at=5.0),
        "has another role": Person("hal", issued_at=5.0, role="supervisor"),
        "logged in again": Person("eve", issued_at=7.0),
        "logged out": Person("fay", session_id="s1"),
        "other session": Person("fay", session_id="s2"),
        "stranger": Person("gus"),
    }
    for person in people.values():
        hub.open_socket(person)
    roles = {"dan": "operator", "eve": "operator", "hal": "viewer"}
    bars = BarredTokens()
    bars.update(users={"dan": None, "eve": 6.0, "hal": 6.0}, sessions=["s1"], roles=roles)
    hub.end_barred(bars)
    assert people["has another role"].ended_with == 4403
    ended = {name for name, person in people.items() if person.ended_with == 4401}
    assert ended == {"disabled", "changed", "logged out"}


class Last:
    """A feed that gives only its newest id."""

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}

    def last_id(self, tenant_id: int) -> int:
        return self.ids.get(tenant_id, 0)


def moment(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def parts_away(hub: Hub) -> list[str]:
    return [away.part for away in hub.blindness.away]


def test_the_control_room_is_blind_when_no_test_message_came_for_too_long() -> None:
    reader: Any = Last()
    hub = hub_on(reader, blind_after_s=150, started_s=1000)

    def is_blind(second: float) -> bool:
        hub.look([], now=moment(second))
        return parts_away(hub) == ["message-path-alert"]

    assert not is_blind(1150)  # a gateway that has just started has waited for none yet
    assert is_blind(1151)
    reader.ids[7] = 1_100_000_000
    hub.update_test_message_time(7)
    assert not is_blind(1250)
    reader.ids.clear()  # Redis has lost everything: earlier messages still count as seen
    hub.update_test_message_time(7)
    assert not is_blind(1250)
    assert is_blind(1251)


def test_every_screen_gets_a_heartbeat_when_a_part_is_away_and_when_it_is_back_and_none_between() -> None:
    # Given
    hub = hub_on(Last(), blind_after_s=10**12)
    ann, ben = Person("ann"), Person("ben", tenant_id=2)
    for person in (ann, ben):
        hub.open_socket(person)
    now = datetime.now(UTC)

    # When
    hub.look([], now=now)
    assert (ann.beats, ben.beats) == (0, 0)
    for second in range(5):
        hub.look([PartFault("postgres", 4.0 + second)], now=now + timedelta(seconds=second))

    # Then
    assert parts_away(hub) == ["postgres"]
    assert (ann.beats, ben.beats) == (1, 1)
    hub.look([PartFault("postgres", 9.0), PartFault("alerts", 7.0)], now=now + timedelta(seconds=5))
    assert (ann.beats, ben.beats) == (2, 2)
    hub.look([], now=now + timedelta(seconds=6))
    assert (ann.beats, ben.beats, parts_away(hub)) == (3, 3, [])


def test_a_feed_that_is_not_read_in_time_is_away_until_it_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given: a session, and a feed that was read just now
    clock = Clock()
    monkeypatch.setattr("gateway.noc.websocket.hub.time.monotonic", clock)
    reader = StillReader(random.Random(1))
    hub = hub_on(reader, blind_after_s=10**12)
    hub.join(Socket(0))
    hub.pump()

    # When: a read takes long. It does not matter whether it fails in the end or is never answered
    clock.now_s += FEED_LATE_S
    hub.look([])
    assert parts_away(hub) == []
    clock.now_s += 0.1
    hub.look([])

    # Then
    assert parts_away(hub) == ["redis"]
    hub.pump()
    hub.look([])
    assert parts_away(hub) == []


def test_a_gateway_that_stood_still_blames_no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("gateway.noc.websocket.hub.time.monotonic", clock)
    hub = hub_on(StillReader(random.Random(1)), blind_after_s=10**12)
    hub.join(Socket(0))
    hub.pump()
    hub.look([])
    clock.now_s += 60.0
    hub.look([])
    assert parts_away(hub) == []


def test_without_a_screen_redis_is_asked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("gateway.noc.websocket.hub.time.monotonic", clock)
    hub = hub_on(StillReader(random.Random(1)), blind_after_s=10**12)
    for _ in range(20):
        clock.now_s += 1.0
        hub.pump()
        hub.look([])
        assert parts_away(hub) == []


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_of_another_redis_is_heard_before_all_begin_anew() -> None:
    """The new Redis's first frames come after some that were lost.

    A session that had them could resume elsewhere.
    """
    reader = StillReader(random.Random(1))
    hub, person, socket = hub_on(reader), Person("ann"), Socket(0)
    hub.open_socket(person)
    hub.join(socket)
    reader.frames = [1]
    hub.pump()
    reader.frames, reader.run_id = [1, 4], "second"
    hub.pump()
    assert socket.got == [1]
    assert (person.ended_with, reader.beginnings) == (4408, ["second"])


class ForgetfulReader(StillReader):
    """A reader that keeps three frames, and has three more after each read."""

    def read(self, after: dict[int, int], **options: Any) -> Any:
        found = super().read(after, **options)
        newest = self.frames[-1]
        self.frames = [newest + 1, newest + 2, newest + 3]
        return found


def test_who_catches_up_slower_than_the_feed_forgets_is_told_to_come_again() -> None:
    reader = ForgetfulReader(random.Random(1))
    reader.frames = [1, 2, 3]
    with pytest.raises(Unavailable, match="connect again"):
        hub_on(reader).join(Socket(1))


def test_after_a_failover_of_redis_every_socket_ends_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.noc.websocket.hub.LOOK_INTERVAL_S", 0.0)
    reader = FakeReader(random.Random(1))
    hub, person = hub_on(reader), Person("ann")
    hub.open_socket(person)
    hub.join(Socket(0))
    hub.pump()
    assert (person.ended_with, reader.beginnings, hub.idle) == (None, [], False)
    reader.run_id = "second"
    hub.pump()
    assert (person.ended_with, reader.beginnings, hub.idle) == (4408, ["second"], True)
    hub.pump()
    assert reader.beginnings == ["second"]


class CrowdedReader(FakeReader):
    """A feed that has hundreds of frames of tenant 1 and one of tenant 2 at once."""

    def read(
        self,
        after: dict[int, int],
        *,
        block_ms: int | None = None,  # noqa: ARG002
        count: int = 500,
    ) -> list[tuple[int, int, str, bytes]]:
        held = {1: list(range(1, 401)), 2: [7]}
        return [
            (tenant_id, frame_id, "alert_updated", b"{}")
            for tenant_id, last in after.items()
            for frame_id in [one for one in held[tenant_id] if one > last][:count]
        ]


def test_hundreds_of_frames_of_one_tenant_come_out_beside_anothers_and_in_order() -> None:
    # Given a socket of each of two tenants, and many frames of one of them
    hub, order = hub_on(CrowdedReader(random.Random(1))), list[tuple[int, int]]()

    class Noting(Socket):
        def offer(self, entry: QueuedFrame) -> None:
            super().offer(entry)
            order.append((self.tenant_id, entry.id or 0))

    crowded, quiet = Noting(400), Noting(7)
    quiet.tenant_id = 2
    hub.join(crowded)
    hub.join(quiet)
    hub._cursor = {1: 0, 2: 0}
    crowded.last_id = quiet.last_id = 0

    # When they are read
    for _ in range(4):
        hub.pump()

    # Then the other tenant's frame is the second one, and those of each tenant are in order
    assert order.index((2, 7)) == 1
    assert crowded.got == list(range(1, 401))
    assert quiet.got == [7]


def test_whoever_writes_has_a_turn_while_many_frames_are_handed_out() -> None:
    hub, written = hub_on(CrowdedReader(random.Random(1))), list[int]()
    socket = Socket(400)
    hub.join(socket)
    hub._cursor, socket.last_id = {1: 0}, 0

    def write() -> None:
        while len(socket.got) < 100:
            written.append(len(socket.got))
            eventlet.sleep(0)

    writer = eventlet.spawn(write)
    hub.pump()
    writer.wait()
    assert len(written) >= 3


class ReaderOfKinds(FakeReader):
    """A feed whose frames have kinds, and that grows only when a test says so.

    `blocks` are the waits that were requested.
    """

    def __init__(self) -> None:
        super().__init__(random.Random(1))
        self.kinds: dict[int, str] = {}
        self.blocks: list[int | None] = []

    def grow(self, *kinds: str) -> None:
        for kind in kinds:
            self.frames.append(len(self.frames) + 1)
            self.kinds[len(self.frames)] = kind

    def read(self, after: dict[int, int], *, block_ms: int | None = None, count: int = 500) -> Any:  # noqa: ARG002
        self.blocks.append(block_ms)
        return [
            (tenant, frame, self.kinds[frame], b"{}")
            for tenant, last in after.items()
            for frame in self.frames
            if frame > last
        ]


def joined_by(hub: Hub, count: int, *, since: int = 0) -> list[Socket]:
    sockets = [Socket(since) for _ in range(count)]
    for socket in sockets:
        hub.join(socket)
    return sockets


def test_each_frame_of_positions_goes_at_once_to_few_sessions() -> None:
    reader = ReaderOfKinds()
    hub = hub_on(reader)
    [socket] = joined_by(hub, 1)
    for number in range(1, 4):
        reader.grow("positions")
        hub.pump()
        assert socket.got == list(range(1, number + 1))


def test_to_many_sessions_the_first_frame_of_positions_goes_at_once_and_the_next_ones_together() -> None:
    # Given a thousand sessions
    reader = ReaderOfKinds()
    hub = hub_on(reader)
    sockets = joined_by(hub, 1000)

    # When positions come, they go at once
    reader.grow("positions")
    hub.pump()
    assert all(socket.got == [1] for socket in sockets)

    # When more come, they wait, and no read of the feed is longer than that
    reader.grow("positions", "positions", "positions")
    with eventlet.Timeout(5):
        while sockets[0].got == [1]:
            hub.pump()
            eventlet.sleep(0.001)
    assert all(block is not None and block <= 250 for block in reader.blocks[-2:])

    # Then they came as one entry, with nothing lost
    assert all(socket.got == [1, 4] for socket in sockets)
    assert len(sockets[0].entries[1].wire) == 3 * len(sockets[0].entries[0].wire)


def test_an_alert_does_not_wait_for_positions_and_comes_behind_those_before_it() -> None:
    reader = ReaderOfKinds()
    hub = hub_on(reader)
    sockets = joined_by(hub, 1000)
    reader.grow("positions")
    hub.pump()
    reader.grow("positions", "positions", "critical_alert", "positions")
    hub.pump()
    assert all(socket.got == [1, 3, 4] for socket in sockets)


def test_a_session_that_joins_while_positions_wait_gets_none_of_them_twice() -> None:
    # Given sessions for which positions wait
    reader = ReaderOfKinds()
    hub = hub_on(reader)
    others = joined_by(hub, 1000)
    reader.grow("positions")
    hub.pump()
    reader.grow("positions")
    hub.pump()
    assert others[0].got == [1]

    # When one joins that has seen all of them
    [late] = joined_by(hub, 1, since=2)

    # Then it gets what comes after them, and the others get both
    reader.grow("critical_alert")
    hub.pump()
    assert late.got == [3]
    assert all(socket.got == [1, 2, 3] for socket in others)


def ids_on(wire: bytes) -> list[int]:
    """Return the ids in small text frames of a server (RFC 6455, 5.2)."""
    found, at = [], 0
    while at < len(wire):
        assert wire[at] == 0x81
        found.append(json.loads(wire[at + 2 : at + 2 + wire[at + 1]])["id"])
        at += 2 + wire[at + 1]
    return found


class PositionsReader(FakeReader):
    """A feed that grows while it is read.

    Most of its frames are positions, and each holds its id.
    """

    def read(self, after: dict[int, int], *, block_ms: int | None = None, count: int = 500) -> Any:
        found = super().read(after, block_ms=block_ms, count=count)
        return [
            (tenant, frame, "alert" if frame % 7 == 0 else "positions", b'{"id":%d}' % frame)
            for tenant, frame, _, _ in found
        ]


@given(st.integers(0, 2**32), st.integers(0, 10), st.integers(1, 4))
def test_joining_while_positions_are_held_loses_nothing_and_doubles_nothing(
    seed: int, start: int, sockets: int
) -> None:
    # Given a tenant with as few sessions as here, whose positions are held as those of a
    # thousand are
    chance = random.Random(seed)
    reader = PositionsReader(chance)
    reader.frames = list(range(1, start + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.noc.websocket.position_bundles.AT_ONCE_S", 0.0)
        patch.setattr("gateway.noc.websocket.position_bundles.WRITE_S", 1.0)
        hub = hub_on(reader)
        reader.meanwhile = hub.pump

        # When sessions join while the feed grows
        joined = join_while_it_grows(hub, reader, chance, sockets)
        for _ in range(20):
            hub.pump()
        hub._hand_out_bundle(1)

    # Then each has every frame once and in order
    for since, socket in joined:
        got = [frame_id for entry in socket.entries for frame_id in ids_on(entry.wire)]
        assert got == list(range(since + 1, socket.last_id + 1))
