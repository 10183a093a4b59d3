"""Tests of the bus on a real RabbitMQ.

Events are acknowledged, retried, given up on, and never lost on the way.
"""

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import eventlet
import msgspec
import pytest
from nameko.containers import ServiceContainer

from services.contracts.errors import Conflict, InvalidMessage, Outage, SchemaBehind, Unanswered, Unavailable
from services.messaging import (
    Publisher,
    Resource,
    RpcProxy,
    Sender,
    dead_letter_queue,
    event_handler,
    fair_handler,
    gathering_handler,
    loop,
    rpc,
    timer,
)
from services.messaging.handlers import fair_handler as fair_handling
from services.messaging.outage_pause.pauses import Pauses
from services.messaging.publisher import ChannelPool, EncodedMessage
from services.messaging.topology import event_queue_name
from services.platform.config import Config
from tests.support.hosted_services import hosting, wait_until


class Note(msgspec.Struct):
    text: str


@pytest.fixture
def quick(config: Config) -> Config:
    """Return the configuration with delays so short that a test can wait for them."""
    amqp = msgspec.structs.replace(config.amqp, retry_delays_s=[1, 1, 2], rpc_timeout_s=1.0)
    return msgspec.structs.replace(config, amqp=amqp)


@pytest.fixture
def start(quick: Config) -> Iterator[Callable[[type], ServiceContainer]]:
    with hosting(quick) as started:
        yield started


def listener(source: str, handle: Callable[[Note], None], *, vital: bool = False) -> type:
    class Listener:
        name = f"listener_{source}"

        @event_handler(source, "said", Note, vital=vital)
        def hear(self, event: Note) -> None:
            handle(event)

    return Listener


def speaker(source: str) -> type:
    class Speaker:
        name = source
        events = Publisher()
        speak: ClassVar[Any] = None

        @rpc
        def say(self, *, text: str) -> None:
            self.events.publish("said", Note(text))

        @rpc
        def refuse(self) -> None:
            raise Conflict("it is taken")

        @rpc
        def sleep(self) -> None:
            eventlet.sleep(3)

    return Speaker


def caller(service: str, use: Callable[[Any], None]) -> type:
    class Caller:
        name = f"caller_{service}"
        other = RpcProxy(service)

        @loop
        def run(self) -> None:
            use(self.other)
            eventlet.sleep(600)

    return Caller


def name() -> str:
    return f"s{secrets.token_hex(4)}"


def send(config: Config, source: str, body: bytes, **letter: Any) -> None:
    ChannelPool(config.amqp, links=1).send([EncodedMessage(f"{source}.events", "said", body, {}, **letter)])


def of_queue(config: Config, queue: str) -> list[dead_letter_queue.QueuedDeadLetter]:
    return [
        letter for letter in dead_letter_queue.oldest_dead_letters(config.amqp.uri) if letter.queue == queue
    ]


def test_an_event_reaches_its_handler_and_is_handled_once(start: Any, quick: Config) -> None:
    source, heard = name(), []
    start(listener(source, heard.append))
    send(quick, source, msgspec.msgpack.encode(Note("hello")))
    wait_until(lambda: heard == [Note("hello")])
    assert of_queue(quick, event_queue_name(source, "said", f"listener_{source}", "hear")) == []


def test_an_event_without_a_queue_is_told_to_the_publisher(start: Any, quick: Config) -> None:
    source = name()
    start(speaker(source))
    with pytest.raises(Unavailable, match="no queue takes 'said'"):
        send(quick, source, b"x")


def test_what_is_unavailable_is_tried_again_and_then_done(start: Any, quick: Config) -> None:
    source, tries = name(), []

    def handle(_note: Note) -> None:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise Unavailable("the database is away")

    start(listener(source, handle))
    send(quick, source, msgspec.msgpack.encode(Note("x")))
    wait_until(lambda: len(tries) == 3)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert all(gap >= 0.9 for gap in gaps), gaps


def test_after_the_last_rung_it_is_dead_with_its_history_and_can_be_sent_again(
    start: Any, quick: Config
) -> None:
    source, tries = name(), []

    def handle(_note: Note) -> None:
        tries.append(1)
        if len(tries) <= 4:
            raise RuntimeError("a bug")

    start(listener(source, handle))
    send(quick, source, msgspec.msgpack.encode(Note("x")))
    queue = event_queue_name(source, "said", f"listener_{source}", "hear")
    wait_until(lambda: len(of_queue(quick, queue)) == 1)
    [letter] = of_queue(quick, queue)
    assert len(tries) == 4
    assert letter.reason == "RuntimeError"
    assert [entry["error"] for entry in letter.history] == ["RuntimeError: a bug"] * 4
    assert len(of_queue(quick, queue)) == 1, "looking takes nothing away"
    assert dead_letter_queue.settle(quick.amqp.uri, lambda found: found.id == letter.id, again_after_s=1) == 1
    wait_until(lambda: len(tries) == 5)
    assert of_queue(quick, queue) == []


def test_an_invalid_message_and_an_unreadable_body_are_dead_at_once(start: Any, quick: Config) -> None:
    source = name()

    def handle(note: Note) -> None:
        raise InvalidMessage("nonsense", note.text)

    start(listener(source, handle))
    queue = event_queue_name(source, "said", f"listener_{source}", "hear")
    send(quick, source, msgspec.msgpack.encode(Note("x")))
    send(quick, source, b"\xc1 not msgpack")
    send(quick, source, b"{}", content_type="application/json")
    wait_until(lambda: len(of_queue(quick, queue)) == 3)
    assert {letter.reason for letter in of_queue(quick, queue)} == {
        "nonsense",
        "event_unreadable",
        "rejected",
    }


@pytest.mark.parametrize(
    ("vital", "error"), [(True, Unavailable("still away")), (False, SchemaBehind("no such column"))]
)
def test_a_handler_does_not_give_up_on_what_an_operator_ends(
    vital: bool, error: Exception, start: Any, quick: Config
) -> None:
    source, tries = name(), []

    def handle(_note: Note) -> None:
        tries.append(1)
        if len(tries) < 6:
            raise error

    start(listener(source, handle, vital=vital))
    send(quick, source, msgspec.msgpack.encode(Note("alarm")))
    wait_until(lambda: len(tries) == 6, timeout_s=25)
    assert of_queue(quick, event_queue_name(source, "said", f"listener_{source}", "hear")) == []


def test_rpc_brings_back_our_errors_and_never_waits_for_ever(start: Any, config: Config) -> None:
    service, seen = name(), []
    start(speaker(service))

    def use(other: Any) -> None:
        for call in (other.refuse, other.nothing_of_that_name, other.sleep):
            try:
                call()
            except Exception as error:
                seen.append(error)

    start(caller(service, use))
    wait_until(lambda: len(seen) >= 3, timeout_s=config.amqp.rpc_timeout_s + 5)
    assert isinstance(seen[0], Conflict)
    assert str(seen[0]) == "it is taken"
    assert "nothing_of_that_name" in str(seen[1])
    assert isinstance(seen[2], Unanswered)


def test_a_service_that_nobody_serves_is_unavailable_at_once(start: Any) -> None:
    seen: list[Exception] = []

    def use(other: Any) -> None:
        try:
            other.anything()
        except Unavailable as error:
            seen.append(error)

    start(caller(name(), use))
    wait_until(lambda: len(seen) == 1, timeout_s=5)
    assert type(seen[0]) is Unavailable  # not asked, so not done


def test_a_timer_that_fails_goes_on(start: Any) -> None:
    ticks: list[int] = []

    class Ticker:
        name = f"ticker_{secrets.token_hex(4)}"

        @timer(0.05)
        def tick(self) -> None:
            ticks.append(1)
            raise RuntimeError("a bug")

    start(Ticker)
    wait_until(lambda: len(ticks) >= 3)


def test_events_of_a_key_are_gathered_and_other_keys_and_handlers_do_not_wait_for_them(
    start: Any, quick: Config
) -> None:
    # Given a handler that collects events for a second, and one that does not, in one service of
    # two workers
    source, runs, alone = name(), list[tuple[float, list[str]]](), list[float]()

    class Gathers:
        name = f"listener_{source}"

        @gathering_handler(source, "said", Note, key_of=lambda note: note.text[0], every_s=1.0)
        def hear_all(self, events: list[Note]) -> None:
            runs.append((time.monotonic(), [event.text for event in events]))

        @event_handler(source, "called", Note)
        def hear_one(self, _event: Note) -> None:
            alone.append(time.monotonic())

    start(Gathers)
    outlet = ChannelPool(quick.amqp, links=1)

    def publish(kind: str, *texts: str) -> None:
        outlet.send(
            [
                EncodedMessage(f"{source}.events", kind, msgspec.msgpack.encode(Note(text)), {})
                for text in texts
            ]
        )

    # When hundreds of events of one key come, then one of another, and one for the other handler
    publish("said", *(f"a{number}" for number in range(300)))
    began_s = time.monotonic()
    publish("said", "b0")
    publish("called", "now")

    # Then each event is handled once and in order, in few runs
    wait_until(lambda: sum(len(texts) for _, texts in runs) == 301)
    of_a = [text for _, texts in runs for text in texts if text[0] == "a"]
    assert of_a == [f"a{number}" for number in range(300)]
    assert len(runs) <= 6
    wait_until(lambda: bool(alone))
    assert alone[0] - began_s < 0.9
    [b_s] = [at_s for at_s, texts in runs if "b0" in texts]
    assert b_s - began_s < 0.9


def test_what_a_gathering_handler_fails_at_comes_again(start: Any, quick: Config) -> None:
    # Given a handler that fails at its first run
    source, runs = name(), list[list[str]]()

    class Fails:
        name = f"listener_{source}"

        @gathering_handler(source, "said", Note, key_of=lambda note: note.text, every_s=0.1)
        def hear_all(self, events: list[Note]) -> None:
            runs.append([event.text for event in events])
            if len(runs) == 1:
                raise Unavailable("not yet")

    start(Fails)

    # When events come
    for text in ("a", "b"):
        send(quick, source, msgspec.msgpack.encode(Note(text)))

    # Then each is handled again after a step of the delay ladder
    wait_until(lambda: {text for texts in runs[1:] for text in texts} == {"a", "b"})


def test_an_event_that_has_no_key_is_a_dead_letter_and_the_next_one_is_heard(
    start: Any, quick: Config
) -> None:
    # Given a handler whose key is the first letter
    source, heard = name(), list[str]()

    class Gathers:
        name = f"listener_{source}"

        @gathering_handler(source, "said", Note, key_of=lambda note: note.text[0], every_s=0.1)
        def hear_all(self, events: list[Note]) -> None:
            heard.extend(event.text for event in events)

    start(Gathers)

    # When an event without a letter comes, one that cannot be read, and a valid one
    for body in (msgspec.msgpack.encode(Note("")), b"x", msgspec.msgpack.encode(Note("right"))):
        send(quick, source, body)

    # Then the valid one is handled, and the others are kept as dead letters
    wait_until(lambda: heard == ["right"])
    queue = event_queue_name(source, "said", f"listener_{source}", "hear_all")
    wait_until(lambda: len(of_queue(quick, queue)) == 2)


def test_an_event_that_meets_a_bug_costs_none_of_those_that_it_is_gathered_with(
    start: Any, quick: Config
) -> None:
    # Given a handler that fails whenever one of its events says so
    source, heard = name(), list[str]()

    class Gathers:
        name = f"listener_{source}"

        @gathering_handler(source, "said", Note, key_of=lambda _: "one", every_s=0.5)
        def hear_all(self, events: list[Note]) -> None:
            if any(event.text == "poison" for event in events):
                raise ValueError("poison")
            heard.extend(event.text for event in events)

    start(Gathers)

    # When such an event comes among others
    outlet = ChannelPool(quick.amqp, links=1)
    texts = ["first", "a", "poison", "b"]
    outlet.send(
        [EncodedMessage(f"{source}.events", "said", msgspec.msgpack.encode(Note(t)), {}) for t in texts]
    )

    # Then the others are handled once, and it is kept as a dead letter
    wait_until(lambda: sorted(heard) == ["a", "b", "first"])
    queue = event_queue_name(source, "said", f"listener_{source}", "hear_all")
    wait_until(lambda: len(of_queue(quick, queue)) == 1)
    assert sorted(heard) == ["a", "b", "first"]


def fair_listener(source: str, handle: Callable[[Note], None], *, fails: bool = False) -> type:
    """Return a listener whose resource takes a note's tenant and source from its text.

    The first letter of a note is its tenant, the second its source.
    """

    class Parts:
        def __init__(self, _config: Config) -> None: ...

        def senders(self, notes: Sequence[Note]) -> list[Sender]:
            if fails:
                raise Unavailable("the database is away")
            return [Sender(ord(note.text[0]), note.text[1]) for note in notes]

    class FairListener:
        name = f"listener_{source}"
        parts = Resource(Parts)

        @fair_handler(source, "said", Note, senders_of=Parts.senders)
        def hear(self, event: Note) -> None:
            handle(event)

    return FairListener


def say(config: Config, source: str, *texts: str) -> None:
    ChannelPool(config.amqp, links=1).send(
        [EncodedMessage(f"{source}.events", "said", msgspec.msgpack.encode(Note(text)), {}) for text in texts]
    )


def test_behind_hundreds_of_one_tenants_events_another_tenants_is_handled_next(
    start: Any, quick: Config
) -> None:
    # Given a service that is busy with hundreds of events of one tenant
    source, heard = name(), list[str]()

    def handle(note: Note) -> None:
        eventlet.sleep(0.01)
        heard.append(note.text)

    start(fair_listener(source, handle))
    say(quick, source, *(f"a{chr(97 + number % 20)}{number}" for number in range(400)))
    wait_until(lambda: bool(heard))

    # When an event of another tenant comes
    before = len(heard)
    say(quick, source, "bx")

    # Then it is handled before nearly all of the others, and these are handled too, each source's
    # in order
    wait_until(lambda: "bx" in heard)
    assert heard.index("bx") - before < 40, heard.index("bx")
    wait_until(lambda: len(heard) == 401)
    for letter in {text[1] for text in heard if text[0] == "a"}:
        numbers = [int(text[2:]) for text in heard if text[:2] == f"a{letter}"]
        assert numbers == sorted(numbers)


def test_when_nobody_can_say_whose_events_are_they_are_handled_all_the_same(
    start: Any, quick: Config
) -> None:
    source, heard = name(), list[Note]()
    start(fair_listener(source, heard.append, fails=True))
    say(quick, source, "ax", "bx")
    send(quick, source, b"\xc1 not msgpack")
    wait_until(lambda: len(heard) == 2)
    queue = event_queue_name(source, "said", f"listener_{source}", "hear")
    wait_until(lambda: [letter.reason for letter in of_queue(quick, queue)] == ["event_unreadable"])


def test_what_fails_is_tried_again_and_keeps_no_place(start: Any, quick: Config) -> None:
    # Given a handler that fails at each event the first time, and more events than there are places
    source, tries = name(), Counter[str]()

    def handle(note: Note) -> None:
        tries[note.text] += 1
        if tries[note.text] == 1:
            raise Unavailable("not yet")

    start(fair_listener(source, handle))
    texts = [f"a{chr(97 + number)}" for number in range(20)]

    # When they come, then each is handled again
    say(quick, source, *texts)
    wait_until(lambda: tries == dict.fromkeys(texts, 2))


def test_a_service_that_stops_leaves_what_it_had_not_begun_to_the_next_process(
    start: Any, quick: Config
) -> None:
    # Given a service with many events in hand
    source, heard = name(), list[str]()

    def handle(note: Note) -> None:
        eventlet.sleep(0.02)
        heard.append(note.text)

    first = start(fair_listener(source, handle))
    texts = [f"a{chr(97 + number % 20)}{number}" for number in range(200)]
    say(quick, source, *texts)
    wait_until(lambda: bool(heard))

    # When it stops, it finishes the work that it has begun and begins no other
    with eventlet.Timeout(5):
        first.stop()
    assert len(heard) < 100

    # And the next process, and one beside it, handle the rest. Each event is handled once
    start(fair_listener(source, handle))
    start(fair_listener(source, handle))
    wait_until(lambda: len(heard) >= 200)
    assert sorted(heard) == sorted(texts)


def test_no_more_bytes_are_taken_than_there_is_room_for(
    start: Any, quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given room for two large events
    monkeypatch.setattr(fair_handling, "HELD_BYTES", 50_000)
    source, heard, held = name(), list[str](), list[int]()

    def handle(note: Note) -> None:
        eventlet.sleep(0.01)
        held.append(intake._held_bytes)
        heard.append(note.text)

    container = start(fair_listener(source, handle))
    [intake] = [made for made in container.extensions if isinstance(made, fair_handling.FairIntake)]

    # When many of them come, and one that is larger than all the room
    say(quick, source, *(f"a{chr(97 + number)}" + "." * 20_000 for number in range(20)), "az" + "." * 90_000)

    # Then all are handled, a few at a time
    wait_until(lambda: len(heard) == 21)
    assert max(held) < 100_000
    assert sorted(held)[-2] <= 50_000
    wait_until(lambda: intake._held_bytes == 0)


def test_events_that_wait_for_their_turn_wait_for_a_server_as_well_and_keep_their_room(
    start: Any, quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given room for some events, and a server that is away
    monkeypatch.setattr(fair_handling, "HELD_BYTES", 50_000)
    source, heard, tried, held = name(), list[str](), list[str](), list[int]()
    away = [True]

    def handle(note: Note) -> None:
        tried.append(note.text)
        held.append(intake._held_bytes)
        if away[0]:
            raise Outage.of("mqtt", "the broker is away")
        heard.append(note.text)

    container = start(fair_listener(source, handle))
    [intake] = [made for made in container.extensions if isinstance(made, fair_handling.FairIntake)]

    # When more of two tenants come than there is room for
    texts = [
        f"{tenant}{chr(97 + number % 5)}{number:03}" + "." * 5_000 for number in range(20) for tenant in "ab"
    ]
    say(quick, source, *texts)
    wait_until(lambda: len(tried) > 2)
    queue = event_queue_name(source, "said", f"listener_{source}", "hear")
    assert container_pauses(container).is_paused(queue)
    away[0] = False

    # Then all are handled once the server is back, each once, and the room is free again
    wait_until(lambda: len(heard) >= 40)
    assert sorted(heard) == sorted(texts)
    assert max(held) <= 50_000
    wait_until(lambda: intake._held_bytes == 0)
    assert of_queue(quick, queue) == []
    assert not container_pauses(container).is_paused(queue)


def container_pauses(container: ServiceContainer) -> Pauses:
    [found] = [made for made in container.extensions if isinstance(made, Pauses)]
    return found
