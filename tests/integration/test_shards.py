"""Tests of handlers that take their events by shard, on a real RabbitMQ.

Events stay in order while processes come and go.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import eventlet
import msgspec
import pytest
from kombu import Queue
from nameko.containers import ServiceContainer

from ops.servers.queues import depths
from services.contracts.errors import Outage
from services.messaging import (
    Resource,
    Sender,
    dead_letter_queue,
    fair_handler,
    shard_handler,
    shard_key,
    shard_of,
)
from services.messaging.heartbeats import HeartbeatSender
from services.messaging.publisher import ChannelPool, EncodedMessage, EventPublisher, connect
from services.messaging.topology import event_queue, event_queue_name, retire_event_queue
from services.platform.config import Config
from tests.support.hosted_services import hosting, wait_until

SHARDS = 8
SOURCES = [f"guard-{number}" for number in range(40)]


class Note(msgspec.Struct):
    """A note of a source. `number` counts the notes of the source."""

    source: str
    number: int
    word: str = ""


class Service:
    """A service with one handler and several processes.

    It has the events that they handled, in order, and the process that handled each.
    """

    def __init__(self, config: Config) -> None:
        self.source = f"s{secrets.token_hex(4)}"
        self.name = f"listener_{self.source}"
        self.heard: dict[str, list[int]] = defaultdict(list)
        self.by: dict[str, set[str]] = defaultdict(set)
        self.runs: list[list[Note]] = []
        self.handle: Callable[[list[Note]], None] = lambda _: None
        self._events = EventPublisher(ChannelPool(config.amqp, links=1), self.source, {}, frozenset())
        self._sent: dict[str, int] = defaultdict(int)

    def make(self, member: str) -> type:
        """Return the class of one process of the service."""
        service = self

        class Listener:
            name = service.name

            @shard_handler(service.source, "said", Note)
            def hear(self, notes: list[Note]) -> None:
                service.handle(notes)
                service.runs.append(notes)
                for note in notes:
                    service.heard[note.source].append(note.number)
                    service.by[member].add(note.source)

        return Listener

    def make_fair(self, member: str) -> type:
        """Return the same class with a handler that takes tenants in turn, for one event at a time."""
        service = self

        class Listener:
            name = service.name
            parts = Resource(lambda _: service)

            @fair_handler(service.source, "said", Note, senders_of=senders_behind, by_shard=True)
            def hear(self, note: Note) -> None:
                service.handle([note])
                service.heard[note.source].append(note.number)
                service.by[member].add(note.source)

        return Listener

    def say(self, sources: list[str], *, word: str = "") -> None:
        """Publish the next note of each source."""
        letters = []
        for source in sources:
            letters.append(
                (shard_key("said", shard_of(source, SHARDS)), Note(source, self._sent[source], word))
            )
            self._sent[source] += 1
        self._events.publish_all(letters)

    def queue(self, shard: int | None = None) -> str:
        return event_queue_name(self.source, "said", self.name, "hear", shard)

    def has_all(self) -> bool:
        return all(len(self.heard[source]) >= count for source, count in self._sent.items())

    def assert_all_once_and_in_order(self) -> None:
        assert {source: self.heard[source] for source in self._sent} == {
            source: list(range(count)) for source, count in self._sent.items()
        }


def senders_behind(_: Service, notes: Sequence[Note]) -> list[Sender]:
    return [Sender(int(note.source.partition("-")[2]) % 4, note.source) for note in notes]


@pytest.fixture
def quick(config: Config) -> Config:
    amqp = msgspec.structs.replace(config.amqp, retry_delays_s=[1, 1], shards=SHARDS)
    return msgspec.structs.replace(config, amqp=amqp)


@pytest.fixture
def service(quick: Config) -> Service:
    return Service(quick)


@pytest.fixture
def start(quick: Config) -> Iterator[Callable[[type], ServiceContainer]]:
    with hosting(quick) as started:
        yield started


@pytest.fixture
def heartbeats(quick: Config, service: Service) -> Iterator[None]:
    sender = eventlet.spawn(HeartbeatSender(quick, service.name).run)
    yield
    sender.kill()


def shards_of(container: ServiceContainer) -> Any:
    [handler] = container.entrypoints
    return handler


def test_events_of_all_shards_are_heard_in_order_and_many_together(start: Any, service: Service) -> None:
    # Given a handler that is busy with the first note
    service.handle = lambda _: eventlet.sleep(0.3) if not service.runs else None
    start(service.make("one"))

    # When many come
    for _ in range(20):
        service.say(SOURCES)
    wait_until(service.has_all)

    # Then each is handled once, in order, and few calls handle all
    service.assert_all_once_and_in_order()
    assert len(service.runs) < 200


@pytest.mark.usefixtures("heartbeats")
def test_shards_are_shared_out_among_those_who_come_and_taken_over_from_those_who_leave(
    start: Any, service: Service
) -> None:
    # Given one process, under load
    one = start(service.make("one"))
    load = eventlet.spawn(say_for_ever, service)
    wait_until(lambda: len(service.by["one"]) == len(SOURCES))

    # When a second and a third one come, each has its part
    start(service.make("two"))
    start(service.make("three"))

    def parts() -> list[int]:
        """Return the number of shards whose notes come now, by process."""
        service.by.clear()
        eventlet.sleep(0.3)
        return [len({shard_of(s, SHARDS) for s in service.by[m]}) for m in ("one", "two", "three")]

    wait_until(lambda: sorted(parts()) == [2, 3, 3])

    # And when two of them leave, the last one has all
    one.stop()
    wait_until(lambda: parts()[0] == 0)
    load.kill()

    # Then nothing was lost, nothing came twice, and each source's notes came in order
    wait_until(service.has_all)
    service.assert_all_once_and_in_order()


@pytest.mark.usefixtures("heartbeats")
def test_a_handler_with_turns_keeps_the_order_of_each_source_over_all_processes(
    start: Any, service: Service
) -> None:
    # Given one process, under load, whose handler lets other threads run
    service.handle = lambda _: eventlet.sleep(0)
    start(service.make_fair("one"))
    load = eventlet.spawn(say_for_ever, service)
    wait_until(lambda: len(service.by["one"]) == len(SOURCES))

    # When a second one comes, and leaves again
    two = start(service.make_fair("two"))

    def parts() -> list[int]:
        service.by.clear()
        eventlet.sleep(0.3)
        return [len({shard_of(s, SHARDS) for s in service.by[m]}) for m in ("one", "two")]

    wait_until(lambda: parts() == [4, 4])
    two.stop()
    wait_until(lambda: parts() == [8, 0])
    load.kill()

    # Then nothing was lost, nothing came twice, and each source's notes came in order
    wait_until(service.has_all)
    service.assert_all_once_and_in_order()


def say_for_ever(service: Service) -> None:
    while True:
        service.say(SOURCES)
        eventlet.sleep(0.01)


def test_an_outage_holds_all_shards_and_keeps_their_order(
    start: Any, service: Service, quick: Config
) -> None:
    # Given a handler that needs a server that is away
    away = [True]

    def handle(_: list[Note]) -> None:
        if away[0]:
            raise Outage.of("a server", "it is away")

    service.handle = handle
    container = start(service.make("one"))

    # When notes come meanwhile
    for _ in range(5):
        service.say(SOURCES)
    wait_until(lambda: shards_of(container).is_paused)
    assert service.runs == []

    # Then all of them are handled when it is back, in order
    away[0] = False
    wait_until(service.has_all)
    service.assert_all_once_and_in_order()
    assert [
        letter
        for letter in dead_letter_queue.oldest_dead_letters(quick.amqp.uri)
        if letter.queue.startswith(service.queue())
    ] == []


def test_an_event_that_cannot_be_handled_costs_no_other_one(
    start: Any, service: Service, quick: Config
) -> None:
    # Given a handler that fails at some notes, and is called with many at once
    def handle(notes: list[Note]) -> None:
        if not service.runs:
            eventlet.sleep(0.3)
        if any(note.word == "bad" for note in notes):
            raise ZeroDivisionError

    service.handle = handle
    start(service.make("one"))
    service.say(SOURCES)
    service.say(SOURCES[:1], word="bad")
    service.say(SOURCES[1:])

    # When all were tried
    wait_until(lambda: all(len(service.heard[source]) == 2 for source in SOURCES[1:]))

    # Then the bad one is in the dead letters, under the name of its queue, after its tries
    queue = service.queue(shard_of(SOURCES[0], SHARDS))

    def letters() -> list[Any]:
        return [
            letter
            for letter in dead_letter_queue.oldest_dead_letters(quick.amqp.uri)
            if letter.queue == queue
        ]

    wait_until(lambda: len(letters()) == 1)
    assert len(letters()[0].history) == 3
    assert service.heard[SOURCES[0]] == [0]
    assert all(service.heard[source] == [0, 1] for source in SOURCES[1:])


def test_the_queue_of_an_older_version_is_worked_off(start: Any, service: Service, quick: Config) -> None:
    # Given a queue without shards in which notes wait
    old = event_queue(service.source, "said", service.name, "hear", amqp=quick.amqp)
    outlet = ChannelPool(quick.amqp, links=1)
    outlet.declare([old])
    body = msgspec.msgpack.encode(Note(SOURCES[0], 0))
    outlet.send([EncodedMessage(f"{service.source}.events", "said", body, {}) for _ in range(5)])

    assert retire(quick, old) == 5

    # When a process starts
    process = start(service.make("one"))

    # Then it handles them, and those that come by shard
    wait_until(lambda: len(service.heard[SOURCES[0]]) == 5)
    service.say(SOURCES[1:])
    wait_until(service.has_all)
    assert depths.depths(quick, [old.name]) == {old.name: 0}

    # And the queue stays for as long as a process reads from it, and is deleted after that
    assert retire(quick, old) == 1
    process.stop()
    wait_until(lambda: depths.states(quick, [old.name])[old.name].consumers == 0)
    assert retire(quick, old) is None
    assert depths.states(quick, [old.name]) == {}
    assert retire(quick, old) is None


def retire(config: Config, queue: Queue) -> int | None:
    with connect(config.amqp.uri) as connection:
        return retire_event_queue(connection, queue)


def test_queues_of_more_shards_are_worked_off(start: Any, service: Service, quick: Config) -> None:
    # Given two queues of shards that no longer exist, with a note in each
    queues_before = [
        event_queue(service.source, "said", service.name, "hear", amqp=quick.amqp, shard=shard)
        for shard in (SHARDS, SHARDS + 1)
    ]
    outlet = ChannelPool(quick.amqp, links=1)
    outlet.declare(queues_before)
    for number, queue in enumerate(queues_before):
        body = msgspec.msgpack.encode(Note(SOURCES[number], 0))
        outlet.send([EncodedMessage(f"{service.source}.events", queue.routing_key, body, {})])

    # When a process starts, it handles them
    start(service.make("one"))
    wait_until(lambda: service.heard == {SOURCES[0]: [0], SOURCES[1]: [0]})
