"""Tests of the balance of events on a real RabbitMQ.

Events that RabbitMQ holds where nobody can look are missing, and no others are.
"""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from eventlet.event import Event
from nameko.containers import ServiceContainer

from ops.servers.queues import depths
from ops.watchdog.accounts import EventAccounts
from services.contracts.errors import InvalidMessage, Unavailable
from services.messaging import event_handler
from services.messaging.publisher import ChannelPool, EventPublisher
from services.messaging.topology import delay_queue, event_queue_name
from services.platform.config import Config
from tests.support.hosted_services import hosting, wait_until

FULL_BYTES = 20_000
RUNG_S = 2
"""Delay of the step in seconds. It is long enough for the queue to be filled meanwhile."""
FILLING = "x" * 1_000


class Note(msgspec.Struct):
    text: str


@pytest.fixture
def small(config: Config) -> Config:
    """Return the configuration with queues that are full soon, and one step of the delay ladder."""
    amqp = msgspec.structs.replace(config.amqp, retry_delays_s=[RUNG_S], queue_max_bytes=FULL_BYTES)
    return msgspec.structs.replace(config, amqp=amqp)


@pytest.fixture
def start(small: Config) -> Iterator[Callable[[type], ServiceContainer]]:
    with hosting(small) as started:
        yield started


def test_what_rabbitmq_holds_out_of_sight_is_missing_and_all_else_is_accounted_for(
    start: Any, small: Config
) -> None:
    # Given a handler that fails at one event once, refuses another, and is delayed by others
    source = f"s{secrets.token_hex(4)}"
    go_on, tried = Event(), list[str]()

    class Listener:
        name = f"listener_{source}"

        @event_handler(source, "said", Note)
        def hear(self, event: Note) -> None:
            tried.append(event.text)
            if event.text == "again" and tried.count("again") == 1:
                raise Unavailable("not yet")
            if event.text == "nonsense":
                raise InvalidMessage("nonsense")
            if event.text == "slow":
                go_on.wait()

    start(Listener)
    queue, rung = event_queue_name(source, "said", Listener.name, "hear"), delay_queue(RUNG_S).name
    accounts = EventAccounts(small, [queue, rung])
    events = EventPublisher(ChannelPool(small.amqp, links=1), source, {}, frozenset())
    before = accounts.count()
    assert before is not None

    def missing() -> float:
        found = accounts.count()
        assert found is not None
        return found - before

    try:
        # When events are handled, given up on, in the delay step, in hand and in the queue
        for text in ("fine", "nonsense", *["slow"] * 3, "again", "slow", "waits"):
            events.publish("said", Note(text))
        wait_until(lambda: tried.count("slow") == 4)

        # And the queue is full before the event in the delay step comes back
        with pytest.raises(Unavailable, match="full"):
            for _ in range(200):
                events.publish("said", Note(FILLING))
        assert depths.depths(small, [rung]) == {rung: 1}

        # Then all of them are accounted for
        wait_until(lambda: missing() == 0, timeout_s=1.5)

        # And when it has come back, RabbitMQ has it in no visible queue, and the balance counts it
        # as missing
        wait_until(lambda: depths.depths(small, [rung])[rung] == 0)
        wait_until(lambda: missing() == 1)
        assert tried.count("again") == 1
    finally:
        go_on.send()

    # And it is the only one: the others are done when the handler goes on
    wait_until(lambda: depths.depths(small, [queue])[queue] == 0)
    wait_until(lambda: missing() == 1)


def test_events_that_are_taken_on_another_host_make_no_balance(start: Any, small: Config) -> None:
    # Given a queue with a consumer that this host does not count
    source = f"s{secrets.token_hex(4)}"

    class Listener:
        name = f"listener_{source}"

        @event_handler(source, "said", Note)
        def hear(self, event: Note) -> None: ...

        @event_handler(source, "called", Note)
        def answer(self, event: Note) -> None: ...

    start(Listener)
    known = event_queue_name(source, "said", Listener.name, "hear")
    wait_until(lambda: EventAccounts(small, [known]).count() is not None)

    # When RabbitMQ knows of more consumers than this host does
    with ChannelPool(small.amqp, links=1)._link() as link:
        link._channel.basic_consume(known)

        # Then no number of missing events is reported
        assert EventAccounts(small, [known]).count() is None
