"""Consumption of events: acknowledged once handled, tried again later, or kept as dead letters.

A handler's outcome decides:

- it returned: the event is acknowledged
- `InvalidMessage`: the event goes to the dead letters with its reason, at once
- `Outage` (a server that all processes need is away): its queue pauses until the server is back,
  and no try is counted
- `Unavailable`, or any other error (a bug may be one of timing): the event goes to the delay
  ladder, and at its end to the dead letters with the history of every try
- the process ended: the event is delivered again, alone, and after a few ends goes to the dead
  letters (`in_hand`)

No handler gives up on `SchemaBehind`, which an operator ends. A `vital` handler never gives up on
`Unavailable`, and goes on trying every few seconds. An alarm must not wait in a dead-letter queue
for a service's restart.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import eventlet
import kombu.serialization
import msgspec
import structlog
from eventlet.event import Event
from eventlet.queue import Empty, LightQueue
from nameko.events import EventHandler as NamekoEventHandler
from nameko.exceptions import ContainerBeingKilled
from nameko.messaging import QueueConsumer

from services.contracts.errors import InvalidMessage, Outage, SchemaBehind, Unavailable
from services.messaging.in_flight.events import InFlightEvents
from services.messaging.outage_pause.pauses import Pauses
from services.messaging.publisher import EncodedMessage, SharedChannelPool
from services.messaging.timers import ServiceActivity
from services.messaging.topology import (
    DEAD_EXCHANGE,
    EVENT_CONTENT_TYPE,
    HEADER_HISTORY,
    HEADER_QUEUE,
    HEADER_REASON,
    declare_missing_exchange,
    event_queue,
    retry_exchange_name,
)
from services.platform import metrics
from services.platform.config import Config
from services.platform.server_lists import hosts_of

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

VITAL_RETRY_MAX_S = 5
REQUEUE_PAUSE_S = 1.0
COUNT_INTERVAL_S = 1.0
"""Seconds between two counts of the events in hand."""
RECONNECT = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}
"""Seconds between two tries to reach RabbitMQ."""
SAY_AGAIN_S = 30.0
"""Seconds between two log lines that report that RabbitMQ cannot be reached."""
GATHERED_AT_MOST = 2_000
GATHERED_BYTES = 16_777_216
"""Limits of the events that a gathering handler holds, not acknowledged.

It holds no more than `GATHERED_AT_MOST`. At half of them, or at so many bytes, it no longer waits.
"""

# Bytes in, bytes out. Each handler decodes its own type, so that a broken body becomes a dead
# letter with a reason.
kombu.serialization.register("vigil-event", lambda body: body, bytes, EVENT_CONTENT_TYPE, "binary")


class NodesConsumer(QueueConsumer):
    """Nameko's consumer, for a list of nodes. Its log lines about nodes have no password."""

    _said_s = float("-inf")

    def get_consumers(self, consumer_cls: Any, channel: Any) -> Any:
        """Declare the exchanges that are missing.

        The queues are declared with their consumers.
        """
        for provider in self._providers:
            declare_missing_exchange(channel.connection, provider.queue.exchange)
        return super().get_consumers(consumer_cls, channel)

    @contextlib.contextmanager
    def establish_connection(self) -> Iterator[Any]:
        """Try until a node answers, a second apart at most.

        kombu's own pauses grow to half a minute.
        """
        with self.create_connection() as connection:
            connection.ensure_connection(self.on_connection_error, self.connect_max_retries, **RECONNECT)
            yield connection

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        if time.monotonic() - self._said_s >= SAY_AGAIN_S:
            self._said_s = time.monotonic()
            log.warning(
                "amqp_disconnected", nodes=hosts_of(self.amqp_uri), error=str(exc), retry_in_s=interval
            )


class EventQueueConsumer(NodesConsumer):
    """A connection for events alone.

    It is apart from the one for RPC, so that neither waits for the other's prefetch.
    """

    @property
    def accept(self) -> list[str]:
        return [EVENT_CONTENT_TYPE]

    def setup(self) -> None:
        super().setup()
        self._unsettled: dict[int, tuple[str, Any]] = {}
        self._shown: dict[str, int] = {}
        self._counting: Any = None

    def start(self) -> None:
        """Start once, however many handlers ask for it."""
        if self._counting is None:
            self._counting = self.container.spawn_managed_thread(self._count_for_ever)
        super().start()

    def stop(self) -> None:
        if self._counting is not None:
            self._counting.kill()
        super().stop()

    def handle_message(self, provider: Any, body: Any, message: Any) -> None:
        self._unsettled[id(message)] = provider.queue.name, message
        super().handle_message(provider, body, message)

    def _count_for_ever(self) -> None:
        """Show how many events are in hand, again and again.

        The messages are inspected from outside, because events are settled in many places.
        """
        while True:
            self._unsettled = {
                key: (queue, message)
                for key, (queue, message) in self._unsettled.items()
                if not message.acknowledged and message.channel.connection
            }
            counts = Counter(queue for queue, _ in self._unsettled.values())

            for name in {provider.queue.name for provider in self._providers}:
                if self._shown.get(name) != counts[name]:
                    metrics.event_consumers.labels(name).set(1)
                    metrics.event_in_hand.labels(name).set(counts[name])
                    self._shown[name] = counts[name]

            eventlet.sleep(COUNT_INTERVAL_S)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        # The message is not from Vigil. Rejected, it goes to the dead letters by the queue's own
        # arguments.
        log.error("foreign_message_rejected", queue=message.delivery_info, error=str(exc))
        message.reject(requeue=False)


class GatheringConsumer(EventQueueConsumer):
    """A connection for events that are handled together: they delay no other events."""

    @property
    def prefetch_count(self) -> int:
        return GATHERED_AT_MOST


class EventHandler(NamekoEventHandler):
    """Entrypoint behind `event_handler`."""

    queue_consumer = EventQueueConsumer()
    shared = SharedChannelPool()
    in_hand = InFlightEvents()
    pauses = Pauses()
    activity = ServiceActivity()

    def __init__(
        self, source_service: str, event_type: str, body_type: type, *, vital: bool = False, **kwargs: Any
    ):
        self.body_type = body_type
        self.vital = vital
        super().__init__(source_service, event_type, **kwargs)

    def setup(self) -> None:
        config: Config = self.container.config["vigil"]
        self.delays_s = config.amqp.retry_delays_s
        self.decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(self.body_type)
        self.queue = event_queue(
            self.source_service,
            self.event_type,
            self.container.service_name,
            self.method_name,
            amqp=config.amqp,
        )
        self.queue_consumer.register_provider(self)

    def stop(self) -> None:
        """Stop. RabbitMQ delivers the held events again."""
        self.pauses.end(self.queue.name)
        super().stop()

    def handle_message(self, body: bytes, message: Any) -> None:
        if self.pauses.is_paused(self.queue.name):
            self.pauses.hold(self.queue.name, message, partial(self._accept, body, message))
        else:
            self._accept(body, message)

    def _accept(self, body: bytes, message: Any) -> None:
        self._take_up(message, partial(self._decode_and_run, body, message))

    def _take_up(self, message: Any, run: Callable[[Callable[[], None]], None]) -> bool:
        """Call `run` when the event may be handled, with the function to call at the end.

        Returns:
            False when the event may not be handled.
        """
        fault = self.in_hand.take(self.queue.name, message, run)
        if fault is not None:
            self._settle([message], time.perf_counter(), fault)
        return fault is None

    def _decode_and_run(self, body: bytes, message: Any, done: Callable[[], None]) -> None:
        started = time.perf_counter()
        event = self._decoded(body, message, started)
        if event is None:
            done()
        else:
            self._run(event, message, started, done)

    def _decoded(self, body: bytes, message: Any, started: float) -> Any:
        """Return the event; None for a body that cannot be read.

        Such an event then is in the dead letters.
        """
        try:
            return self.decoder.decode(body)
        except msgspec.DecodeError as error:
            self._settle([message], started, InvalidMessage("event_unreadable", str(error)))
            return None

    def _run(self, event: Any, message: Any, started: float, done: Callable[[], None]) -> None:
        """Run the method with an event that is in hand, and call `done` when it is settled."""

        def handle_result(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            self._settle([message], started, exc_info[1] if exc_info else None)
            done()
            return result, exc_info

        context = self.unpack_message_headers(message)
        context.setdefault("trace_id", uuid.uuid4().hex)

        try:
            self.container.spawn_worker(self, (event,), {}, context_data=context, handle_result=handle_result)
        except ContainerBeingKilled:
            self.queue_consumer.requeue_message(message)
            done()

    def _work(self, events: list[Any], message: Any = None) -> BaseException | None:
        """Run the method in a worker; return the error that it raised.

        The trace is that of `message`, if there is one.
        """
        ended = Event()

        def handle_result(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            ended.send(exc_info[1] if exc_info else None)
            return result, exc_info

        context = {} if message is None else self.unpack_message_headers(message)
        context.setdefault("trace_id", uuid.uuid4().hex)

        try:
            self.container.spawn_worker(
                self, (events,), {}, context_data=context, handle_result=handle_result
            )
        except ContainerBeingKilled as error:
            return error

        found: BaseException | None = ended.wait()
        self.activity.note()
        return found

    def _settle(self, messages: Sequence[Any], started: float, error: BaseException | None) -> None:
        """Acknowledge messages, hold them, or first make them safe elsewhere.

        This never raises: an error here would end the process.
        """
        task = self.method_name
        self.activity.note()
        metrics.task_duration.labels(task).observe(time.perf_counter() - started)

        if error is None:
            metrics.task_success.labels(task).inc()
            for message in messages:
                metrics.event_settled.labels(self._queue_name_of(message)).inc()
            self.pauses.settle(self.queue.name, messages)
            for message in messages:
                self.queue_consumer.ack_message(message)
            return

        reason = error.reason if isinstance(error, InvalidMessage) else type(error).__name__
        metrics.task_failure.labels(task, reason).inc()

        if isinstance(error, Outage) and error.server:
            self._hold(messages, error)
        else:
            self.pauses.settle(self.queue.name, messages)
            self._move_on([(message, error) for message in messages])

    def _hold(self, messages: Sequence[Any], outage: Outage) -> None:
        """Hold messages until the server is back. Those to blame for its absence move on."""
        to_blame: list[tuple[Any, BaseException]] = []
        for message in messages:
            again = partial(self._accept, bytes(message.body), message)
            blamed = self.pauses.meet(self.queue.name, outage, message, again)
            if blamed is not None:
                to_blame.append((message, blamed))
        if to_blame:
            self._move_on(to_blame)

    def _move_on(self, failed: Sequence[tuple[Any, BaseException]]) -> None:
        """Send messages on to the delay ladder or the dead letters."""
        messages = [message for message, _ in failed]
        settle = self.queue_consumer.ack_message
        onward = [self._onward(message, error) for message, error in failed]

        try:
            self.shared.outlet.send(onward)
        except Outage as outage:
            self._hold(messages, outage)
            return
        except Unavailable as unavailable:
            log.warning("retry_not_scheduled", queue=self.queue.name, error=str(unavailable))
            # Without a pause, RabbitMQ would hand the messages back at once, in a hot loop.
            eventlet.sleep(REQUEUE_PAUSE_S)
            settle = self.queue_consumer.requeue_message
        else:
            for letter in onward:
                if letter.exchange == DEAD_EXCHANGE:
                    metrics.event_settled.labels(letter.routing_key).inc()

        for message in messages:
            settle(message)

    def _onward(self, message: Any, error: BaseException) -> EncodedMessage:
        reason = error.reason if isinstance(error, InvalidMessage) else type(error).__name__
        queue = self._queue_name_of(message)
        headers = dict(message.headers or {})
        history = [
            *headers.get(HEADER_HISTORY, []),
            {"at": time.time(), "error": f"{type(error).__name__}: {error}"},
        ]

        headers |= {HEADER_QUEUE: queue, HEADER_HISTORY: history[-50:]}
        delay_s = self._next_delay_s(len(history), error)
        if delay_s is None:
            headers[HEADER_REASON] = reason
            metrics.dead_letter.labels(queue, reason).inc()
            log.error("message_dead_lettered", queue=queue, reason=reason, error=str(error))
            exchange = DEAD_EXCHANGE
        else:
            metrics.task_retry.labels(self.method_name).inc()
            log.warning("retry_scheduled", queue=queue, delay_s=delay_s, error=str(error))
            exchange = retry_exchange_name(delay_s)

        return EncodedMessage(
            exchange,
            queue,
            bytes(message.body),
            headers,
            message_id=message.properties.get("message_id", ""),
        )

    def _queue_name_of(self, message: Any) -> str:  # noqa: ARG002 - handlers of several queues look at it
        """Return the name of the queue that a message came from."""
        return self.queue.name

    def _next_delay_s(self, failures: int, error: BaseException) -> int | None:
        """Return the delay in seconds after so many failures; None for the dead letters."""
        if isinstance(error, InvalidMessage):
            return None
        if self.vital and isinstance(error, Unavailable):
            patient = [delay_s for delay_s in self.delays_s if delay_s <= VITAL_RETRY_MAX_S]
            return patient[min(failures, len(patient)) - 1]
        if isinstance(error, SchemaBehind):
            return self.delays_s[min(failures, len(self.delays_s)) - 1]
        return self.delays_s[failures - 1] if failures <= len(self.delays_s) else None


class _Gathered(NamedTuple):
    key: str
    event: Any
    message: Any
    size: int


class GatheringHandler(EventHandler):
    """Entrypoint behind `gathering_handler`: one run of the method at a time, with all events due.

    The first event of a key runs at once. Events that come within `every_s` of that run go together
    after it.
    """

    queue_consumer = GatheringConsumer()

    def __init__(
        self,
        source_service: str,
        event_type: str,
        body_type: type,
        *,
        key_of: Callable[[Any], str],
        every_s: float,
        vital: bool = False,
        **kwargs: Any,
    ):
        self.key_of = key_of
        self.every_s = every_s
        self._arrived: LightQueue = LightQueue()
        self._held: dict[str, list[_Gathered]] = {}
        self._last_s: dict[str, float] = {}
        self._runner: Any = None
        super().__init__(source_service, event_type, body_type, vital=vital, **kwargs)

    def start(self) -> None:
        super().start()
        self._runner = self.container.spawn_managed_thread(self._gather_for_ever)

    def stop(self) -> None:
        """Stop. RabbitMQ delivers the held events again."""
        super().stop()
        if self._runner is not None:
            self._runner.kill()

    def _accept(self, body: bytes, message: Any) -> None:
        started = time.perf_counter()
        try:
            event = self.decoder.decode(body)
            key = self.key_of(event)
        except (msgspec.DecodeError, LookupError) as error:
            self._settle([message], started, InvalidMessage("event_unreadable", str(error)))
            return
        self._arrived.put(_Gathered(key, event, message, len(body)))

    def _gather_for_ever(self) -> None:
        while True:
            self._wait()
            gathered = self._take_due(time.monotonic())
            if gathered:
                self._take_up_all(gathered)

    def _wait(self) -> None:
        """Return when an event is due, with all events that have arrived."""
        due_s = min((self._due_s(key) for key in self._held), default=None)
        timeout_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        with contextlib.suppress(Empty):
            self._gather(self._arrived.get(timeout=timeout_s))
        while not self._arrived.empty():
            self._gather(self._arrived.get())

    def _gather(self, item: _Gathered) -> None:
        self._held.setdefault(item.key, []).append(item)

    def _due_s(self, key: str) -> float:
        return self._last_s.get(key, float("-inf")) + self.every_s

    def _take_due(self, now_s: float) -> list[_Gathered]:
        """Return the events that are due, without those of a broken connection."""
        sizes = [item.size for items in self._held.values() for item in items]
        is_full = len(sizes) >= GATHERED_AT_MOST // 2 or sum(sizes) >= GATHERED_BYTES
        keys = [key for key in self._held if is_full or self._due_s(key) <= now_s]
        self._last_s = {key: at_s for key, at_s in self._last_s.items() if now_s - at_s < self.every_s}
        self._last_s |= dict.fromkeys(keys, now_s)
        gathered = [item for key in keys for item in self._held.pop(key)]
        # RabbitMQ delivers again the events of a broken connection.
        return [item for item in gathered if item.message.channel.connection]

    def _take_up_all(self, gathered: list[_Gathered]) -> None:
        """Handle events that are in hand together.

        An event in whose handling the process ended before is handled alone.
        """
        suspects = [item for item in gathered if self.in_hand.is_suspect(self.queue.name, item.message)]
        for item in suspects:
            self._take_up(item.message, partial(self._handle_alone, item))
        others = [item for item in gathered if item not in suspects]
        if others:
            with self.in_hand.together([(self.queue.name, item.message) for item in others]):
                self._handle_gathered(others)

    def _handle_alone(self, item: _Gathered, done: Callable[[], None]) -> None:
        def run() -> None:
            self._handle_gathered([item])
            done()

        self.container.spawn_managed_thread(run)

    def _handle_gathered(self, gathered: list[_Gathered]) -> None:
        """Handle events together. When that fails because of one event, handle each alone.

        The faulty event then costs no other event a try.
        """
        started = time.perf_counter()
        error = self._work([item.event for item in gathered])
        if isinstance(error, ContainerBeingKilled):
            return  # RabbitMQ delivers them again
        if isinstance(error, Outage):
            for item in gathered:
                self._last_s.pop(item.key, None)  # it is due again as soon as the server is back
        if error is None or isinstance(error, Unavailable) or len(gathered) == 1:
            self._settle([item.message for item in gathered], started, error)
            return

        log.warning("event_batch_divided", task=self.method_name, events=len(gathered), error=repr(error))
        for item in gathered:
            self._handle_gathered([item])


def gathering_handler(
    source_service: str,
    event_type: str,
    body_type: type,
    *,
    key_of: Callable[[Any], str],
    every_s: float,
    vital: bool = False,
) -> Callable[[F], F]:
    """Run the method with a list of events, never twice at once.

    The events of one key are handled at most once in `every_s` seconds. Use it for events that may
    come by the thousand and must not keep other events waiting. The handler has a connection of its
    own, and holds one of the service's workers at most.
    """
    decorator: Callable[[F], F] = GatheringHandler.decorator(
        source_service, event_type, body_type, key_of=key_of, every_s=every_s, vital=vital
    )
    return decorator


def event_handler(
    source_service: str, event_type: str, body_type: type, *, vital: bool = False
) -> Callable[[F], F]:
    """Run the method for every `event_type` of `source_service`.

    The body is decoded as `body_type`. A `vital` handler never gives up on `Unavailable`.
    """
    decorator: Callable[[F], F] = EventHandler.decorator(source_service, event_type, body_type, vital=vital)
    return decorator
