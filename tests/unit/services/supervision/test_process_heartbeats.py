from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.supervision.process_heartbeats import (
    INTERVAL_S,
    SILENT_AFTER_S,
    Heartbeat,
    HeartbeatJudge,
    KnownFaults,
    PartFault,
    decode,
    encode,
)

OWN = "noc_gateway"
OTHERS = ("alerts", "location", "watchdog")


class World:
    """Processes that send heartbeats in step, by a clock that the test advances."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.heard = HeartbeatJudge(OTHERS, instance=OWN, started_s=self.now_s)
        self.reported: dict[str, tuple[PartFault, ...]] = {}
        self.silent: set[str] = set()

    def run(self, for_s: float) -> None:
        for _ in range(round(for_s / INTERVAL_S)):
            for _ in range(int(INTERVAL_S)):
                self.now_s += 1.0
                self.heard.tick(now_s=self.now_s)
            for process in (OWN, *OTHERS):
                if process not in self.silent:
                    beat = Heartbeat(process, process, self.reported.get(process, ()))
                    self.heard.receive(beat, now_s=self.now_s)

    def away(self) -> dict[str, float]:
        found = self.heard.faults(now_s=self.now_s)
        assert len({fault.part for fault in found}) == len(found)
        return {fault.part: fault.for_s for fault in found}


def test_nothing_is_away_while_all_are_heard() -> None:
    world = World()
    for _ in range(20):
        world.run(INTERVAL_S)
        assert world.away() == {}


def test_a_listener_that_has_just_begun_misses_nobody_yet() -> None:
    world = World()
    world.silent = {OWN, *OTHERS}
    world.run(SILENT_AFTER_S)
    assert world.away() == {}


def test_a_process_that_never_sends_is_away_from_when_somebody_listens() -> None:
    world = World()
    world.silent = {"alerts"}
    world.run(SILENT_AFTER_S + INTERVAL_S)
    assert world.away() == {"alerts": SILENT_AFTER_S + INTERVAL_S}


def test_a_process_that_falls_silent_is_away_since_it_was_last_heard_and_back_with_its_next_heartbeat() -> (
    None
):
    world = World()
    world.run(20)
    world.silent = {"location"}
    world.run(SILENT_AFTER_S)
    assert world.away() == {}
    world.run(INTERVAL_S)
    assert world.away() == {"location": SILENT_AFTER_S + INTERVAL_S}
    world.silent = set()
    world.run(INTERVAL_S)
    assert world.away() == {}


def test_of_several_instances_one_is_enough() -> None:
    world = World()
    world.silent = {"location"}
    for _ in range(10):
        world.heard.receive(Heartbeat("location", "the second"), now_s=world.now_s)
        world.run(INTERVAL_S)
    assert world.away() == {}


def test_who_does_not_hear_itself_can_say_nothing_of_others() -> None:
    # Given: RabbitMQ takes no message any more
    world = World()
    world.run(20)
    world.silent = {OWN, *OTHERS}

    # Then: only RabbitMQ is named, since the last heartbeat that came
    world.run(SILENT_AFTER_S + INTERVAL_S)
    assert world.away() == {"amqp": SILENT_AFTER_S + INTERVAL_S}
    world.run(40)
    assert world.away() == {"amqp": 40 + SILENT_AFTER_S + INTERVAL_S}

    # When: RabbitMQ is back, and the process's own heartbeat is the first
    world.silent = set(OTHERS)
    world.run(INTERVAL_S)

    # Then: it is too early to say that all is well
    assert set(world.away()) == {"amqp"}
    world.silent = {"alerts"}
    world.run(INTERVAL_S)
    assert set(world.away()) == {"amqp"}

    # When: one process stays away
    world.run(SILENT_AFTER_S)

    # Then: it is named, and nothing else
    assert set(world.away()) == {"alerts"}
    world.silent = set()
    world.run(INTERVAL_S)
    assert world.away() == {}


def test_after_rabbitmq_is_back_all_is_well_as_soon_as_all_were_heard() -> None:
    world = World()
    world.run(20)
    world.silent = {OWN, *OTHERS}
    world.run(30)
    world.silent = set()
    world.run(2 * INTERVAL_S)
    assert world.away() == {}


def test_what_a_process_reports_is_away_until_it_reports_otherwise_or_is_no_longer_heard() -> None:
    world = World()
    world.run(20)
    world.reported["watchdog"] = (PartFault("postgres", 3.0),)
    world.reported["location"] = (PartFault("postgres", 1.0), PartFault("redis", 2.0))
    world.run(INTERVAL_S)
    assert world.away() == {"postgres": 3.0, "redis": 2.0}
    world.reported["location"] = ()
    world.run(INTERVAL_S)
    assert world.away() == {"postgres": 3.0}
    world.silent = {"watchdog"}
    world.run(SILENT_AFTER_S + INTERVAL_S)
    assert set(world.away()) == {"watchdog"}


def test_of_a_process_that_was_started_again_the_old_instance_is_forgotten() -> None:
    world = World()
    world.run(20)
    world.heard.receive(Heartbeat("watchdog", "before", (PartFault("mqtt", 9.0),)), now_s=world.now_s)
    assert set(world.away()) == {"mqtt"}
    world.run(SILENT_AFTER_S + INTERVAL_S)
    assert world.away() == {}


@pytest.mark.parametrize("later_s", [0.0, 0.5, 1.0, 1.5, 1.9])
def test_when_rabbitmq_stops_nobody_is_named_who_was_only_heard_a_little_earlier(later_s: float) -> None:
    # Given: the listener's own last heartbeat comes a little after those of the others
    world = World()
    world.run(20)
    own_s = world.now_s + later_s
    world.heard.receive(Heartbeat(OWN, OWN), now_s=own_s)

    # When: nothing more comes
    named = set()
    for tenth in range(150):
        found = {fault.part for fault in world.heard.faults(now_s=own_s + tenth / 10)}
        named |= found

    # Then
    assert named == {"amqp"}


@pytest.mark.parametrize("first", ["tick", "faults", "hear"])
def test_a_listener_that_stood_still_blames_nobody_for_it(first: str) -> None:
    # Given: one process sends nothing already, and one reports a fault
    world = World()
    world.run(20)
    world.silent = {"alerts"}
    world.reported["watchdog"] = (PartFault("redis", 1.0),)
    world.run(8)
    before = world.away()
    assert set(before) == {"alerts", "redis"}

    # When: the listener's own process is stopped for a while, and goes on
    world.now_s += 60.0
    match first:
        case "tick":
            world.heard.tick(now_s=world.now_s)
        case "hear":
            world.heard.receive(Heartbeat("location", "location"), now_s=world.now_s)

    # Then: it still knows what it knew
    assert world.away() == before
    for _ in range(10):
        world.run(INTERVAL_S)
        assert set(world.away()) == {"alerts", "redis"}


@given(st.lists(st.tuples(st.sampled_from((OWN, *OTHERS)), st.booleans()), max_size=40))
def test_a_process_is_named_only_while_the_listener_hears_itself(steps: list[tuple[str, bool]]) -> None:
    world = World()
    for process, stops in steps:
        (world.silent.add if stops else world.silent.discard)(process)
        world.run(INTERVAL_S)
        away = world.away()
        assert all(for_s >= 0 for for_s in away.values())
        assert "amqp" not in away or set(away) == {"amqp"}
        heard_now = {OWN, *OTHERS} - world.silent
        assert not heard_now & set(away)


def test_a_heartbeat_comes_as_it_was_sent_and_another_body_is_none() -> None:
    beat = Heartbeat("alerts", "a", (PartFault("redis", 1.5),))
    assert decode(encode(beat)) == beat
    for body in (b"", b"\xff", b"{}", encode(beat)[:-1], b"\x81\xa7process\x01"):
        assert decode(body) is None


def test_a_known_fault_keeps_its_beginning_and_says_whether_it_is_news() -> None:
    known = KnownFaults()
    assert known.note("redis", since_s=10.0)
    assert not known.note("redis", since_s=15.0)
    assert known.list(now_s=20.0) == (PartFault("redis", 10.0),)
    assert known.clear("redis")
    assert not known.clear("redis")
    assert known.list(now_s=21.0) == ()
