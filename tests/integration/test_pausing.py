"""Tests of consumers on a real RabbitMQ while a server that they need is away.

They wait. They lose nothing and repeat nothing.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import msgspec
import pytest
from nameko.containers import ServiceContainer

from services.contracts.errors import Outage
from services.messaging import dead_letter_queue, event_handler, gathering_handler
from services.messaging.outage_pause import pauses
from services.messaging.publisher import ChannelPool, EncodedMessage
from services.messaging.queue_depth import QueueDepth
from services.messaging.topology import event_queue_name
from services.platform.config import Config
from tests.support.hosted_services import hosting, wait_until

AWAY = Outage.of("mqtt", "the broker is away")


class Note(msgspec.Struct):
    text: str


class Handled:
    """The events that a handler was given, and those that it finished.

    `is_away` makes the handler meet an outage.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.tried: list[str] = []
        self.done: list[str] = []

    def handle(self, text: str) -> None:
        self.tried.append(text)
        if self.is_away:
            raise AWAY
        self.done.append(text)


@pytest.fixture
def quick(config: Config) -> Config:
    """Return the configuration with one step of the delay ladder, which a test can wait for."""
    amqp = msgspec.structs.replace(config.amqp, retry_delays_s=[1])
    return msgspec.structs.replace(config, amqp=amqp)


@pytest.fixture
def start(quick: Config) -> Iterator[Callable[[type], ServiceContainer]]:
    with hosting(quick) as started:
        yield started


def listener(source: str, handled: Handled) -> type:
    class Listener:
        name = f"listener_{source}"

        @event_handler(source, "said", Note)
        def hear(self, event: Note) -> None:
            handled.handle(event.text)

        @event_handler(source, "asked", Note)
        def answer(self, event: Note) -> None:
            handled.done.append(f"answered {event.text}")

    return Listener


def queue_of(source: str) -> str:
    return event_queue_name(source, "said", f"listener_{source}", "hear")


def fresh_source() -> str:
    return f"s{secrets.token_hex(4)}"


def send(config: Config, source: str, *texts: str, kind: str = "said") -> None:
    ChannelPool(config.amqp, links=1).send(
        [EncodedMessage(f"{source}.events", kind, msgspec.msgpack.encode(Note(text)), {}) for text in texts]
    )


def dead(config: Config, queue: str) -> list[dead_letter_queue.QueuedDeadLetter]:
    return [
        letter for letter in dead_letter_queue.oldest_dead_letters(config.amqp.uri) if letter.queue == queue
    ]


def test_a_queue_waits_for_an_outage_to_end_and_goes_on_at_once_in_order(start: Any, quick: Config) -> None:
    # Given a handler whose server is away, and a ladder of one second
    source, handled = fresh_source(), Handled()
    handled.is_away = True
    start(listener(source, handled))

    # When more events come than the ladder or the prefetch hold, and the outage lasts longer than
    # the ladder
    texts = [f"{number:03}" for number in range(60)]
    send(quick, source, *texts)
    send(quick, source, "meanwhile", kind="asked")
    wait_until(lambda: handled.done == ["answered meanwhile"], timeout_s=3)
    eventlet.sleep(3)  # the length of the outage
    assert handled.done == ["answered meanwhile"]
    tried_meanwhile = len(handled.tried)
    handled.is_away = False
    ended_s = time.monotonic()

    # Then all are handled, once each, as soon as the server is back. None went to the delay ladder
    # or the dead letters
    wait_until(lambda: len(handled.done) == 61)
    assert time.monotonic() - ended_s < pauses.LONGEST_TRIAL_PAUSE_S + 1
    assert sorted(handled.done[1:]) == texts
    assert dead(quick, queue_of(source)) == []
    # And during the outage the handler tried few of them, not all
    assert tried_meanwhile < 20


def test_an_event_that_brings_the_server_down_is_a_dead_letter_and_costs_no_other(
    start: Any, quick: Config
) -> None:
    # Given a handler in which one event makes the server close the connection, each time
    source, done = fresh_source(), list[str]()

    class Listener:
        name = f"listener_{source}"

        @event_handler(source, "said", Note)
        def hear(self, event: Note) -> None:
            if event.text == "bad":
                raise Outage.of("mqtt", "the connection broke", hung_up=True)
            done.append(event.text)

    start(Listener)

    # When it comes among others
    send(quick, source, "a", "bad", *"bcdefghijk")

    # Then the others are handled once, and it ends among the dead letters with its history
    wait_until(lambda: sorted(done) == list("abcdefghijk"))
    wait_until(lambda: len(dead(quick, queue_of(source))) == 1, timeout_s=60)
    [letter] = dead(quick, queue_of(source))
    assert letter.reason == "Blamed"
    assert len(letter.history) == 2
    assert "closed the connection" in letter.history[0]["error"]
    assert sorted(done) == list("abcdefghijk")


def test_what_is_held_for_long_is_handed_back_and_no_delivery_is_counted(
    start: Any, quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an outage in which events may be held for half a second only
    monkeypatch.setattr(pauses, "HELD_AT_MOST_S", 0.5)
    source, handled, headers = fresh_source(), Handled(), list[dict[str, Any]]()
    handled.is_away = True
    container = start(listener(source, handled))
    [entry] = [point for point in container.entrypoints if point.method_name == "hear"]
    accept = entry._accept

    def accept_and_note(body: bytes, message: Any) -> None:
        headers.append(dict(message.headers or {}))
        accept(body, message)

    entry._accept = accept_and_note

    # When it lasts for so long that RabbitMQ has the events again and again
    send(quick, source, "one", "two")
    eventlet.sleep(4)  # the length of the outage
    handled.is_away = False

    # Then each is handled, once, and neither a failed delivery nor a try was counted
    wait_until(lambda: sorted(handled.done) == ["one", "two"])
    assert len(headers) > 4
    assert all("x-delivery-count" not in found and "x-vigil-history" not in found for found in headers)


def test_a_process_that_stops_in_an_outage_leaves_what_it_held_in_the_queue(
    start: Any, quick: Config
) -> None:
    # Given a process that holds events in an outage
    source, handled = fresh_source(), Handled()
    handled.is_away = True
    container = start(listener(source, handled))
    send(quick, source, "one", "two")
    wait_until(lambda: bool(handled.tried))

    # When it stops
    container.stop()

    # Then both wait for the next process
    depth = QueueDepth(quick.amqp, [queue_of(source)])
    wait_until(lambda: depth.waiting() == 2)
    depth.close()


def test_gathered_events_wait_for_an_outage_to_end_and_are_handled_together(
    start: Any, quick: Config
) -> None:
    # Given a handler that collects events, whose server is away
    source, handled, runs = fresh_source(), Handled(), list[list[str]]()
    handled.is_away = True

    class Gathers:
        name = f"listener_{source}"

        @gathering_handler(source, "said", Note, key_of=lambda note: note.text[0], every_s=2.0)
        def hear(self, events: list[Note]) -> None:
            handled.handle(",".join(event.text for event in events))
            runs.append([event.text for event in events])

    start(Gathers)

    # When events of two keys come, and the outage ends
    texts = [f"{key}{number:03}" for key in "ab" for number in range(100)]
    send(quick, source, *texts)
    wait_until(lambda: bool(handled.tried))
    eventlet.sleep(1)  # the length of the outage
    handled.is_away = False

    # Then all are handled once, in few runs, and nothing is a dead letter
    wait_until(lambda: sum(map(len, runs)) == len(texts))
    assert sorted(text for run in runs for text in run) == texts
    assert len(runs) < 10
    assert dead(quick, queue_of(source)) == []
