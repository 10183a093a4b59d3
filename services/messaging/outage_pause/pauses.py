"""Pauses of a consumer while a server that it needs is away; it goes on when the server is back.

A handler that raises `Outage` is not at fault, and neither is its event. The event stays
unacknowledged, and its worker is free. Events delivered meanwhile wait beside it, as far as the
prefetch goes. The server is asked again and again. When it answers, one event is tried. When that
one gets through, all go on, in the order in which they came.

RabbitMQ closes the channel of a consumer that holds a message for 30 minutes, and counts that as a
failed delivery. Events that are held for long are therefore put back into their queue. They go by
the first rung of the ladder, with no try counted, because no process may publish to the default
exchange.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import eventlet
import structlog
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from nameko.extensions import SharedExtension

from services.contracts.errors import Outage, Unavailable, VigilError
from services.messaging.outage_pause.blame import OutageBlame
from services.messaging.publisher import EncodedMessage, SharedChannelPool, check_rabbitmq
from services.messaging.topology import retry_exchange_name
from services.platform import metrics
from services.platform.config import Config
from services.platform.outages import AMQP, POSTGRES, REDIS

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 1.0
"""Seconds between two questions to a server that is away."""
LONGEST_TRIAL_PAUSE_S = 4.0
"""Most seconds between two tried events, when the server answers and yet takes none.

The server's disk may be full, for example.
"""
ANSWER_S = 2.0
"""Seconds that a server may take to answer."""
TRIAL_S = 1.0
"""Seconds after which all events go on although the tried one has not ended.

The tried event then waits for something else.
"""
HELD_AT_MOST_S = 600.0
"""Seconds that an event is held: a third of what RabbitMQ allows by default."""


def _ask_database(config: Config) -> None:
    from services.platform import database  # not every process has the library

    database.check_database(config)


def _ask_redis(config: Config) -> None:
    from services.platform import redis_client

    redis_client.check_redis(config)


PROBES: dict[str, Callable[[Config], None]] = {
    POSTGRES: _ask_database,
    REDIS: _ask_redis,
    AMQP: lambda config: check_rabbitmq(config.amqp),
}
"""By server: a function that returns when the server answers.

A server that is not here is asked by trying an event.
"""


class Blamed(VigilError):  # noqa: N818
    """An event that brings a server down: no outage that ends by waiting."""


class HeldEvent(NamedTuple):
    """An event that waits for a server. `again` starts its handling, and returns at once."""

    message: Any
    again: Callable[[], None]
    since_s: float

    @property
    def is_stale(self) -> bool:
        """Return whether its connection broke: RabbitMQ delivers the event again."""
        return not self.message.channel.connection


class _QueuePause:
    """The pause of one queue.

    `tried` is the message that is tried. `outcome` gets True when it got through.
    """

    def __init__(self) -> None:
        self.server = ""
        self.began_s = time.monotonic()
        self.held: deque[HeldEvent] = deque()
        self.tried: Any = None
        self.outcome = Event()
        self.watcher: Any = None


class Pauses(SharedExtension):
    """The pauses of a process, by queue."""

    outlet = SharedChannelPool()

    def setup(self) -> None:
        self._config: Config = self.container.config["vigil"]
        self._pauses: dict[str, _QueuePause] = {}
        self._blame: dict[str, OutageBlame] = {}
        self._questions = {server: _Question(ask) for server, ask in PROBES.items()}

    def is_paused(self, queue: str) -> bool:
        """Return whether events of this queue must be held."""
        return queue in self._pauses

    def is_tried(self, queue: str, message: Any) -> bool:
        """Return whether this event is the tried one of a paused queue."""
        pause = self._pauses.get(queue)
        return pause is not None and pause.tried is message

    def hold(self, queue: str, message: Any, again: Callable[[], None]) -> None:
        """Hold an event that came while its queue is paused."""
        self._pauses[queue].held.append(HeldEvent(message, again, time.monotonic()))

    def meet(self, queue: str, error: Outage, message: Any, again: Callable[[], None]) -> Blamed | None:
        """Hold an event whose handler met an outage, and pause its queue.

        Returns:
            None when the event is held. When the event is to blame for the outage, the error that
            says so.
        """
        pause = self._pauses.get(queue)
        was_tried = pause is not None and pause.tried is message
        if pause is not None and was_tried:
            self._end_trial(pause, got_through=False)
            self._wait_for(queue, pause, error.server)

        blame = self._blame.setdefault(queue, OutageBlame())
        if blame.meet(id_of(message), time.monotonic(), alone=was_tried and error.hung_up):
            return Blamed(f"the server closed the connection each time that this event was handled: {error}")
        if pause is None:
            pause = self._begin(queue, error)

        pause.held.append(HeldEvent(message, again, time.monotonic()))
        return None

    def settle(self, queue: str, messages: Sequence[Any]) -> None:
        """Note that events were handled, with whatever result."""
        blame = self._blame.get(queue)
        if blame is None or not blame.is_watching:
            return
        pause = self._pauses.get(queue)
        for message in messages:
            blame.succeed(id_of(message), time.monotonic())
            if pause is not None and pause.tried is message:
                self._end_trial(pause, got_through=True)

    def end(self, queue: str) -> None:
        """Stop asking for this queue. RabbitMQ delivers the held events again."""
        pause = self._pauses.pop(queue, None)
        if pause is not None and pause.watcher is not None:
            pause.watcher.kill()

    def _begin(self, queue: str, error: Outage) -> _QueuePause:
        pause = self._pauses[queue] = _QueuePause()
        self._wait_for(queue, pause, error.server)
        log.warning("consumer_paused", queue=queue, server=error.server, error=str(error))
        pause.watcher = self.container.spawn_managed_thread(lambda: self._watch(queue, pause))
        return pause

    def _wait_for(self, queue: str, pause: _QueuePause, server: str) -> None:
        """Note the server that the queue waits for; it may be another one than before."""
        if pause.server and pause.server != server:
            metrics.consumer_paused.labels(queue, pause.server).set(0)
        pause.server = server
        metrics.consumer_paused.labels(queue, server).set(1)

    def _watch(self, queue: str, pause: _QueuePause) -> None:
        """Return when the queue goes on."""
        pause_s = trial_pause_s = FIRST_PAUSE_S
        while True:
            eventlet.sleep(pause_s)
            self._hand_back(queue, pause)
            if not self.answers(pause.server):
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
                trial_pause_s = FIRST_PAUSE_S
                continue
            if self._gets_through(pause):
                break
            pause_s = trial_pause_s = min(trial_pause_s * 2, LONGEST_TRIAL_PAUSE_S)

        del self._pauses[queue]
        metrics.consumer_paused.labels(queue, pause.server).set(0)
        lasted_s = round(time.monotonic() - pause.began_s, 1)
        log.info("consumer_resumed", queue=queue, server=pause.server, held=len(pause.held), after_s=lasted_s)

        for held in pause.held:
            if not held.is_stale:
                self.container.spawn_managed_thread(held.again)

    def answers(self, server: str) -> bool:
        """Return whether a server answers.

        True for a server that is not asked: a tried event shows whether it answers.
        """
        question = self._questions.get(server)
        return question is None or question.is_answered(self._config)

    def _gets_through(self, pause: _QueuePause) -> bool:
        """Try the first event; return whether it got through.

        True as well when there is no event, or when the event takes long.
        """
        pause.held = deque(held for held in pause.held if not held.is_stale)
        if not pause.held:
            return True

        held = pause.held.popleft()
        pause.outcome, pause.tried = Event(), held.message
        self.container.spawn_managed_thread(held.again)

        with eventlet.Timeout(TRIAL_S, False):
            return bool(pause.outcome.wait())

        pause.tried = None
        return True

    def _end_trial(self, pause: _QueuePause, *, got_through: bool) -> None:
        pause.tried = None
        if not pause.outcome.ready():
            pause.outcome.send(got_through)

    def _hand_back(self, queue: str, pause: _QueuePause) -> None:
        """Put events that are held for long back into their queue."""
        oldest_s = time.monotonic() - HELD_AT_MOST_S
        old = [held for held in pause.held if held.since_s < oldest_s and not held.is_stale]
        if not old:
            return

        exchange = retry_exchange_name(min(self._config.amqp.retry_delays_s))
        letters = [
            EncodedMessage(
                exchange,
                held.message.delivery_info.get("queue", queue),
                bytes(held.message.body),
                dict(held.message.headers or {}),
                message_id=held.message.properties.get("message_id", ""),
            )
            for held in old
        ]

        try:
            self.outlet.outlet.send(letters)
        except Unavailable as error:
            log.warning("held_events_not_returned", queue=queue, error=str(error))
            return

        for held in old:
            if not held.is_stale:
                held.message.ack()

        handed_back = {id(held.message) for held in old}
        pause.held = deque(held for held in pause.held if id(held.message) not in handed_back)


class _Question:
    """The question to one server, for all queues that wait for it."""

    def __init__(self, ask: Callable[[Config], None]) -> None:
        self._ask = ask
        self._turn = Semaphore(1)
        self._asked_s = float("-inf")
        self._answered = False

    def is_answered(self, config: Config) -> bool:
        with self._turn:
            if time.monotonic() - self._asked_s >= FIRST_PAUSE_S:
                self._answered = self._is_answered_now(config)
                self._asked_s = time.monotonic()
            return self._answered

    def _is_answered_now(self, config: Config) -> bool:
        # The timeout must not be an `Exception`. Only then SQLAlchemy leaves a frozen connection
        # without sending anything on it.
        with eventlet.Timeout(ANSWER_S, False):
            try:
                self._ask(config)
            except Unavailable as error:
                log.debug("server_not_reached", error=str(error))
                return False
            except Exception as error:
                # The server answers with an error. A tried event shows whether that matters.
                log.warning("server_check_failed", error=repr(error))
            return True

        return False


def id_of(message: Any) -> str:
    """Return the id that all deliveries of a message share, as far as it has one."""
    return str(message.properties.get("message_id") or message.delivery_info.get("delivery_tag"))
