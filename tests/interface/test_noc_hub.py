"""The hub with a fake feed: a socket that joins while frames flow sees each of them once and in order."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.auth import Principal
from gateway.noc.hub import MAX_MESSAGES, MAX_SOCKETS_A_USER, Hub
from services.errors import Refused


class FakeReader:
    """A feed that grows by itself whenever somebody reads, and lets the pump run in between: the worst of timing."""

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

    def offer(self, frame_id: int, type: str, frame: bytes) -> None:  # noqa: A002, ARG002
        if frame_id > self.last_id:
            self.last_id = frame_id
            self.got.append(frame_id)


class Person:
    """A socket with somebody behind it."""

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

    def end(self, code: int, reason: str) -> None:  # noqa: ARG002
        self.ended_with = code


@given(st.integers(0, 2**32), st.integers(0, 10), st.integers(1, 4))
def test_joining_loses_nothing_and_doubles_nothing(seed: int, start: int, sockets: int) -> None:
    chance = random.Random(seed)
    reader = FakeReader(chance)
    reader.frames = list(range(1, start + 1))
    hub = Hub(reader)  # type: ignore[arg-type]
    reader.meanwhile = hub.pump
    joined = []
    for _ in range(sockets):
        since = chance.randint(0, len(reader.frames))
        socket = Socket(since)
        hub.join(socket)
        joined.append((since, socket))
        hub.pump()
    while any(socket.last_id < len(reader.frames) for _, socket in joined) and len(reader.frames) < 500:
        hub.pump()
    for since, socket in joined:
        assert socket.got == list(range(since + 1, socket.last_id + 1))


def test_a_tenant_without_sockets_is_no_longer_read() -> None:
    hub = Hub(FakeReader(random.Random(1)))  # type: ignore[arg-type]
    socket = Socket(0)
    hub.join(socket)
    assert not hub.idle
    hub.leave(socket)
    assert hub.idle


def test_a_user_has_so_many_sockets_and_messages_and_no_more() -> None:
    hub = Hub(FakeReader(random.Random(1)))  # type: ignore[arg-type]
    sockets = [Person("ann") for _ in range(MAX_SOCKETS_A_USER)]
    for socket in sockets:
        hub.open_socket(socket)
    with pytest.raises(Refused, match="ann"):
        hub.open_socket(Person("ann"))
    hub.close_socket(sockets[0])
    hub.open_socket(Person("ann"))
    assert [hub.allow_message("ann", now_s=0.0) for _ in range(MAX_MESSAGES + 1)] == [True] * MAX_MESSAGES + [
        False
    ]
    assert hub.allow_message("ann", now_s=61.0)


def test_sockets_of_the_barred_end_and_those_of_others_stay() -> None:
    hub = Hub(FakeReader(random.Random(1)))  # type: ignore[arg-type]
    people = {
        "disabled": Person("dan"),
        "changed": Person("eve", issued_at=5.0),
        "logged in again": Person("eve", issued_at=7.0),
        "logged out": Person("fay", session_id="s1"),
        "other session": Person("fay", session_id="s2"),
        "stranger": Person("gus"),
    }
    for person in people.values():
        hub.open_socket(person)
    hub.bars.update(users={"dan": None, "eve": 6.0}, sessions=["s1"])
    hub.end_barred()
    ended = {name for name, person in people.items() if person.ended_with == 4401}
    assert ended == {"disabled", "changed", "logged out"}


class Last:
    """A feed of which only the newest id is asked."""

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}

    def last_id(self, tenant_id: int) -> int:
        return self.ids.get(tenant_id, 0)


def test_the_control_room_is_blind_when_no_test_message_came_for_too_long() -> None:
    reader: Any = Last()
    hub = Hub(reader, blind_after_s=150, started_s=1000)
    assert not hub.is_blind(now_s=1150)  # a gateway that has just started has waited for none yet
    assert hub.is_blind(now_s=1151)
    reader.ids[7] = 1_100_000_000
    hub.look_at_road(7)
    assert not hub.is_blind(now_s=1250)
    reader.ids.clear()  # Redis has lost everything: what was seen was seen
    hub.look_at_road(7)
    assert not hub.is_blind(now_s=1250)
    assert hub.is_blind(now_s=1251)


def test_after_a_failover_of_redis_every_socket_ends_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.noc.hub.LOOK_INTERVAL_S", 0.0)
    reader = FakeReader(random.Random(1))
    hub, person = Hub(reader), Person("ann")  # type: ignore[arg-type]
    hub.open_socket(person)
    hub.join(Socket(0))
    hub.pump()
    assert (person.ended_with, reader.beginnings, hub.idle) == (None, [], False)
    reader.run_id = "second"
    hub.pump()
    assert (person.ended_with, reader.beginnings, hub.idle) == (4408, ["second"], True)
    hub.pump()
    assert reader.beginnings == ["second"]
