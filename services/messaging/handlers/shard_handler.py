"""Handling of events by shard: each source's events by one process at a time, in order, in batches.

Each shard has a queue with one active consumer. A process subscribes to all shards of its handlers,
each on a channel of its own. RabbitMQ gives each shard to one of the processes. When that process
ends, another one has the shard at once.

RabbitMQ never takes a shard away from a process that lives. Processes that hear of each other
therefore compute the same distribution (`shards.owners`), and a process gives up a shard that is
another one's. It starts no further event of it, lets the running ones settle, and closes the
channel. Then it subscribes again, behind the other process. RabbitMQ puts the events that were
taken and not handled back at the head of the queue, in order.

Waiting events of idle shards are handled together. While a run is on its way, the next one gathers.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import eventlet
import msgspec
import structlog
from eventlet.event import Event
from kombu import Queue
from nameko.exceptions import ContainerBeingKilled

from services.contracts.errors import InvalidMessage, Outage, Unavailable
from services.messaging import heartbeats
from services.messaging.consumer import REQUEUE_PAUSE_S, EventHandler, EventQueueConsumer
from services.messaging.outage_pause.blame import OutageBlame
from services.messaging.outage_pause.pauses import (
    FIRST_PAUSE_S,
    HELD_AT_MOST_S,
    LONGEST_PAUSE_S,
    LONGEST_TRIAL_PAUSE_S,
    TRIAL_S,
    Blamed,
    id_of,
)
from services.messaging.publisher import BROKEN, EncodedMessage
from services.messaging.shards import ShardLines, ShardMembers, TakenItems, owners
from services.messaging.topology import (
    EVENT_CONTENT_TYPE,
    declare_missing_exchange,
    event_queue,
    heartbeat_exchange,
    is_queue_there,
    retry_exchange_name,
)
from services.platform import metrics
from services.platform.config import Config
from services.supervision.process_heartbeats import SILENT_AFTER_S, Heartbeat

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

RUNS = 2
"""Runs of one handler at once: the next one is judged while the last one is stored."""
RUN_BYTES, ENOUGH_BYTES = 1_048_576, 262_144
"""Most bytes of a run, and bytes with which a second run begins.

They are some two thousand messages, and five hundred.
"""
NO_SHARD = -1
"""Number in place of a shard's, for a queue that holds events of all shards."""
PREFETCH = 64
"""Events of one shard that a process takes before it has handled them."""
LOOK_S = 1.0
"""Seconds between two checks for shards that a process should give up."""
AGAIN_MAX_S = 60.0
"""Longest pause in seconds before a shard is given up again.

A shard that was given up and is still here is given up again after a pause, which doubles up to
this.
"""


class ShardSubscription:
    """The subscription of one process to one queue.

    `number` is that of the shard. A queue of an older version takes no new events, and its number
    is no shard's. All processes read from a queue that `is_common`, as of a handler without shards.
    """

    def __init__(self, queue: Queue, number: int, *, is_old: bool = False, is_common: bool = False) -> None:
        self.queue = queue
        self.number = number
        self.is_old = is_old
        self.is_common = is_common
        self.channel: Any = None
        self.is_leaving = False
        self.has_taken = False
        self.leave_again_s = 0.0
        self.pause_s = LOOK_S


class TakenEvent(NamedTuple):
    """An event that a process has taken, and the time since when it waits."""

    shard: ShardSubscription
    body: bytes
    message: Any
    since_s: float

    @property
    def size(self) -> int:
        """Return the event's size in bytes."""
        return len(self.body)

    @property
    def is_stale(self) -> bool:
        """Return whether its channel was closed: RabbitMQ delivers the event again."""
        return not self.message.channel.connection


class ShardConsumer(EventQueueConsumer):
    """A connection with one channel for each shard of each handler.

    It also keeps what this process knows of the other processes.
    """

    def setup(self) -> None:
        super().setup()
        # One process may host several services.
        self._kind = f"{self.container.service_name}/{type(self).__name__}/"
        self.id = f"{self._kind}{uuid.uuid4().hex}"
        self._members = ShardMembers(self.id, silent_after_s=SILENT_AFTER_S)
        self._connection: Any = None
        self._looked_s = float("-inf")
        self._known: frozenset[str] = frozenset()
        self._is_withdrawn = False

    def get_consumers(self, consumer_cls: Any, channel: Any) -> Any:  # noqa: ARG002 - kombu's signature
        self._connection = channel.connection
        for exchange in {
            provider.queue.exchange.name: provider.queue.exchange for provider in self._providers
        }.values():
            declare_missing_exchange(self._connection, exchange)
        declare_missing_exchange(self._connection, heartbeat_exchange())
        self._consumers = {provider: _Subscription(self, provider) for provider in self._providers}
        return self._consumers.values()

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kwargs: Any) -> None:
        service = self.container.service_name
        heartbeats.receive_heartbeats(self._connection.channel(), service, [service], self._hear)
        super().on_consume_ready(connection, channel, consumers, **kwargs)
        if not self._is_withdrawn:
            heartbeats.announce(self.id)

    def withdraw(self) -> None:
        """Leave the shards to other processes."""
        self._is_withdrawn = True
        heartbeats.withdraw(self.id)

    def _hear(self, heartbeat: Heartbeat) -> None:
        takes = tuple(member for member in heartbeat.takes if member.startswith(self._kind))
        self._members.receive(heartbeat.instance, takes, time.monotonic())

    def on_iteration(self) -> None:
        self._share_out(time.monotonic())
        for provider in self._consumers:
            for shard in provider.shards:
                if shard.is_leaving and not provider.lines.is_running(shard.number):
                    self._subscribe_again(provider, shard)
        super().on_iteration()

    def _share_out(self, now_s: float) -> None:
        """Mark the shards to give up."""
        members = self._members.list(now_s)
        is_changed = members != self._known
        if self._is_withdrawn or (not is_changed and now_s - self._looked_s < LOOK_S):
            return

        self._looked_s, self._known = now_s, members
        for provider in self._consumers:
            wanted = owners(provider.shard_count, members)
            for shard in provider.shards:
                if shard.is_old or shard.is_common or wanted[shard.number] == self.id:
                    shard.pause_s = LOOK_S
                elif is_changed or (shard.has_taken and now_s >= shard.leave_again_s):
                    self._give_up(provider, shard, now_s)

    def _give_up(self, provider: Any, shard: ShardSubscription, now_s: float) -> None:
        # While a server is away, no process can do more with the shard. Each return would cost its
        # events one of their deliveries.
        if shard.is_leaving or provider.is_paused:
            return
        shard.is_leaving = True
        provider.lines.close(shard.number)
        shard.leave_again_s = now_s + shard.pause_s
        shard.pause_s = min(2 * shard.pause_s, AGAIN_MAX_S)

    def _subscribe_again(self, provider: Any, shard: ShardSubscription) -> None:
        if shard.has_taken:
            log.info(
                "shard_released", queue=shard.queue.name, returned=len(provider.lines.waiting(shard.number))
            )
        shard.channel.close()
        provider.lines.drop(shard.number)
        self.subscribe(provider, shard)

    def subscribe(self, provider: Any, shard: ShardSubscription) -> None:
        """Open a channel for a shard.

        Call this in the thread of this consumer only: the answers are read from its socket.
        """
        shard.is_leaving = shard.has_taken = False
        shard.channel = self._connection.channel()
        shard.channel.basic_qos(0, provider.prefetch, False)
        provider.lines.open(shard.number)
        shard.channel.basic_consume(
            shard.queue.name, callback=partial(self._receive, provider, shard, shard.channel)
        )

    def open_all(self, provider: Any) -> None:
        """Declare the queues of a handler and subscribe to them.

        Subscribe also to the queues of an older version, if they exist.
        """
        with self._connection.channel() as channel:
            provider.shards = [shard for shard in provider.shards if not shard.is_old]
            for shard in provider.shards:
                shard.queue(channel).declare()
        provider.shards += provider.old_shards(partial(is_queue_there, self._connection))
        for shard in provider.shards:
            self.subscribe(provider, shard)

    def _receive(self, provider: Any, shard: ShardSubscription, channel: Any, raw: Any) -> None:
        message = channel.message_to_python(raw)
        if message.content_type != EVENT_CONTENT_TYPE:
            self.on_decode_error(message, TypeError(f"content type {message.content_type!r}"))
            return

        shard.has_taken = True
        if shard.is_leaving or channel is not shard.channel:
            return  # the channel will be closed: the event goes back with the others

        message.delivery_info["queue"] = shard.queue.name
        body = message.body if isinstance(message.body, bytes) else bytes(message.body)
        provider.receive(TakenEvent(shard, body, message, time.monotonic()))

    def _count_for_ever(self) -> None:
        """Show how many events are in hand, again and again."""
        shown: dict[str, int] = {}
        while True:
            for provider in list(self._providers):
                for shard in provider.shards:
                    count = provider.lines.in_hand(shard.number)
                    if shown.get(shard.queue.name) != count:
                        shown[shard.queue.name] = count
                        metrics.event_consumers.labels(shard.queue.name).set(1)
                        metrics.event_in_hand.labels(shard.queue.name).set(count)
            eventlet.sleep(1.0)


class _Subscription:
    """All shards of one handler, as kombu wants a consumer: entered once for each connection."""

    def __init__(self, consumer: ShardConsumer, provider: Any) -> None:
        self._consumer = consumer
        self._provider = provider

    def __enter__(self) -> _Subscription:
        for shard in self._provider.shards:
            self._provider.lines.drop(shard.number)  # items of a connection that is gone
        self._consumer.open_all(self._provider)
        return self

    def __exit__(self, *_: object) -> None:
        for shard in self._provider.shards:
            self._provider.lines.drop(shard.number)

    def cancel(self) -> None:
        """End the subscriptions: events that are not settled go back."""
        for shard in self._provider.shards:
            self._provider.lines.close(shard.number)
            shard.channel.close()


class _HandlerPause:
    """A server that a handler waits for."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.began_s = time.monotonic()


class _Decoded(NamedTuple):
    item: TakenEvent
    event: Any


class ShardedHandler(EventHandler):
    """A handler with a queue for each shard."""

    def setup(self) -> None:
        super().setup()
        self._config: Config = self.container.config["vigil"]
        self.shard_count = self._config.amqp.shards
        self.shards = [
            ShardSubscription(self._queue_of(number), number) for number in range(self.shard_count)
        ]

    def _queue_of(self, shard: int) -> Queue:
        return event_queue(
            self.source_service,
            self.event_type,
            self.container.service_name,
            self.method_name,
            amqp=self._config.amqp,
            shard=shard,
        )

    def old_shards(self, is_there: Callable[[str], bool]) -> list[ShardSubscription]:
        """Return the queues of versions that had no shards, or more shards, to be emptied."""
        found = [ShardSubscription(self.queue, NO_SHARD, is_old=True)] if is_there(self.queue.name) else []
        number = self.shard_count
        while is_there((queue := self._queue_of(number)).name):
            found.append(ShardSubscription(queue, number, is_old=True))
            number += 1
        return found

    def _queue_name_of(self, message: Any) -> str:
        return str(message.delivery_info["queue"])


class ShardHandler(ShardedHandler):
    """Entrypoint behind `shard_handler`."""

    queue_consumer = ShardConsumer()
    prefetch = PREFETCH

    def setup(self) -> None:
        super().setup()
        self.lines: ShardLines[TakenEvent] = ShardLines(most_bytes=RUN_BYTES, enough_bytes=ENOUGH_BYTES)
        self._pause: _HandlerPause | None = None
        self._blame = OutageBlame()
        self._changed: Event | None = None
        self._is_stopping = False

    def start(self) -> None:
        super().start()
        for _ in range(RUNS):
            self.container.spawn_managed_thread(self._run_for_ever)

    def stop(self) -> None:
        """Let the current runs settle. Waiting events go back to RabbitMQ."""
        self._is_stopping = True
        self.queue_consumer.withdraw()
        self._say_changed()
        while not self.lines.is_idle():
            self._wait_for_change()
        super().stop()

    @property
    def is_paused(self) -> bool:
        """Return whether a server that every event needs is away."""
        return self._pause is not None

    def receive(self, item: TakenEvent) -> None:
        """Take an event that RabbitMQ delivered.

        This is called in the thread that reads, so it must not block.
        """
        self.lines.put(item.shard.number, item)
        self._say_changed()

    def _wait_for_change(self) -> None:
        self._changed = self._changed or Event()
        self._changed.wait()

    def _say_changed(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.send()

    def _run_for_ever(self) -> None:
        while not self._is_stopping:
            taken = [] if self.is_paused else self.lines.take()
            if taken:
                self._run_taken(taken)
            else:
                self._wait_for_change()

    def _run_taken(self, taken: Sequence[TakenItems[TakenEvent]], *, is_trial: bool = False) -> bool:
        """Handle the events of a run, and end the run. Return False when it met an outage."""
        left: list[TakenEvent] = []
        try:
            left = self._handle_all([item for _, items in taken for item in items], is_trial=is_trial)
        finally:
            for number, _ in taken:
                self.lines.put_back(number, [i for i in left if i.shard.number == number and not i.is_stale])
            self.lines.leave(taken)
            self._say_changed()
        return not left

    def _handle_all(self, items: list[TakenEvent], *, is_trial: bool) -> list[TakenEvent]:
        """Handle items together, but a suspect alone.

        A suspect is an item in whose handling the process ended before.

        Returns:
            The items that are not settled, because a server is away.
        """
        while items:
            count = next((n for n, item in enumerate(items) if self._is_suspect(item)), len(items))
            part = items[: max(count, 1)]
            items = items[len(part) :]
            left = self._handle_part(part, is_alone=not count, is_trial=is_trial)
            if left:
                return [*left, *items]
        return []

    def _is_suspect(self, item: TakenEvent) -> bool:
        return self.in_hand.is_suspect(item.shard.queue.name, item.message)

    def _handle_part(self, part: list[TakenEvent], *, is_alone: bool, is_trial: bool) -> list[TakenEvent]:
        if is_alone:
            return self._handle_suspect(part[0], is_trial=is_trial)
        with self.in_hand.together([(item.shard.queue.name, item.message) for item in part]):
            return self._handle(part, is_trial=is_trial)

    def _handle_suspect(self, item: TakenEvent, *, is_trial: bool) -> list[TakenEvent]:
        """Handle an event alone: nothing else that this process has in hand runs meanwhile."""
        ended = Event()

        def handle(done: Callable[[], None]) -> None:
            left = self._handle([item], is_trial=is_trial)
            done()
            ended.send(left)

        def start(done: Callable[[], None]) -> None:
            self.container.spawn_managed_thread(partial(handle, done))

        fault = self.in_hand.take(item.shard.queue.name, item.message, start)
        if fault is not None:
            self._fail(item, fault)
            return []

        found: list[TakenEvent] = ended.wait()
        return found

    def _handle(self, items: list[TakenEvent], *, is_trial: bool) -> list[TakenEvent]:
        """Handle items by one call. When one item makes that fail, try halves until it is found.

        Returns:
            The items that are not settled, because a server is away, in their order.
        """
        parts = [self._decoded_of(items)]
        while parts:
            part = parts.pop()
            if not part:
                continue

            started = time.perf_counter()
            error = self._work([event for _, event in part], part[0].item.message)
            if error is None:
                self._done([item for item, _ in part], started)
            elif isinstance(error, ContainerBeingKilled):
                return []  # RabbitMQ delivers them again
            elif isinstance(error, Outage) and error.server:
                rest = [item for later in reversed(parts) for item, _ in later]
                return [*self._meet([item for item, _ in part], error, is_trial=is_trial), *rest]
            elif len(part) == 1:
                self._fail(part[0].item, error, started)
            else:
                log.warning("event_batch_divided", task=self.method_name, events=len(part), error=repr(error))
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]

        return []

    def _decoded_of(self, items: Sequence[TakenEvent]) -> list[_Decoded]:
        """Return the events that can be read. The others then are in the dead letters."""
        found = []
        for item in items:
            try:
                found.append(_Decoded(item, self.decoder.decode(item.body)))
            except msgspec.DecodeError as error:
                self._fail(item, InvalidMessage("event_unreadable", str(error)))
        return found

    def _done(self, items: Sequence[TakenEvent], started: float) -> None:
        """Acknowledge items.

        Of each shard the last item is acknowledged, and with it all before it, which are settled.
        """
        metrics.task_duration.labels(self.method_name).observe(time.perf_counter() - started)
        metrics.task_success.labels(self.method_name).inc()
        self._note_success(items)

        last: dict[str, TakenEvent] = {}
        for item in items:
            last[item.shard.queue.name] = item

        counts = Counter(item.shard.queue.name for item in items)
        for queue, item in last.items():
            metrics.event_settled.labels(queue).inc(counts[queue])
            if not item.is_stale:
                # If the connection breaks now, RabbitMQ delivers the items again.
                with contextlib.suppress(*BROKEN):
                    item.message.ack(multiple=True)

    def _fail(self, item: TakenEvent, error: BaseException, started: float | None = None) -> None:
        """Send an item to the delay ladder or the dead letters."""
        started = time.perf_counter() if started is None else started
        reason = error.reason if isinstance(error, InvalidMessage) else type(error).__name__
        metrics.task_duration.labels(self.method_name).observe(time.perf_counter() - started)
        metrics.task_failure.labels(self.method_name, reason).inc()
        self._note_success([item])
        self._move_on([(item.message, error)])

    def _hold(self, messages: Sequence[Any], outage: Outage) -> None:
        """Return messages that could not be sent on to RabbitMQ, at the head of their queues."""
        log.warning("retry_not_scheduled", queue=self.queue.name, error=str(outage))
        eventlet.sleep(REQUEUE_PAUSE_S)
        for message in messages:
            self.queue_consumer.requeue_message(message)

    def _note_success(self, items: Sequence[TakenEvent]) -> None:
        if self._blame.is_watching:
            for item in items:
                self._blame.succeed(id_of(item.message), time.monotonic())

    def _meet(self, items: Sequence[TakenEvent], outage: Outage, *, is_trial: bool) -> list[TakenEvent]:
        """Pause until the server is back.

        Items that are to blame for the outage move on.

        Returns:
            The items that wait for the server.
        """
        left = []
        for item in items:
            alone = is_trial and outage.hung_up
            if self._blame.meet(id_of(item.message), time.monotonic(), alone=alone):
                self._fail(
                    item,
                    Blamed(
                        f"the server closed the connection each time that this event was handled: {outage}"
                    ),
                )
            else:
                left.append(item)

        metrics.task_failure.labels(self.method_name, type(outage).__name__).inc()
        if self._pause is None:
            self._pause = _HandlerPause(outage.server)
            self._show_paused(self._pause, 1)
            log.warning("consumer_paused", queue=self.queue.name, server=outage.server, error=str(outage))
            self.container.spawn_managed_thread(partial(self._watch, self._pause))
        elif is_trial and self._pause.server != outage.server:
            self._show_paused(self._pause, 0)
            self._pause.server = outage.server
            self._show_paused(self._pause, 1)

        return left

    def _show_paused(self, pause: _HandlerPause, value: int) -> None:
        metrics.consumer_paused.labels(self.queue.name, pause.server).set(value)

    def _watch(self, pause: _HandlerPause) -> None:
        """Return when the handler goes on."""
        pause_s = trial_pause_s = FIRST_PAUSE_S
        while True:
            eventlet.sleep(pause_s)
            self._hand_back_old()
            if not self.pauses.answers(pause.server):
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
                trial_pause_s = FIRST_PAUSE_S
                continue
            if self._gets_through():
                break
            pause_s = trial_pause_s = min(trial_pause_s * 2, LONGEST_TRIAL_PAUSE_S)

        self._pause = None
        self._show_paused(pause, 0)
        lasted_s = round(time.monotonic() - pause.began_s, 1)
        log.info("consumer_resumed", queue=self.queue.name, server=pause.server, after_s=lasted_s)
        self._say_changed()

    def _gets_through(self) -> bool:
        """Try the first event of a shard; return whether it got through.

        True as well when there is no event, or when the event takes long.
        """
        taken = self.lines.take_one()
        if not taken or self._is_stopping:
            self.lines.leave(taken)
            return True
        outcome = Event()
        self.container.spawn_managed_thread(lambda: outcome.send(self._run_taken(taken, is_trial=True)))
        with eventlet.Timeout(TRIAL_S, False):
            return bool(outcome.wait())
        return True

    def _hand_back_old(self) -> None:
        """Put events that are held for long back into their queues.

        RabbitMQ takes them back at the head, in order, and counts a delivery. Only events that were
        delivered often already go by the ladder, behind the others. Otherwise RabbitMQ would take
        them for poison.
        """
        oldest_s = time.monotonic() - HELD_AT_MOST_S
        for shard in self.shards:
            waiting = self.lines.waiting(shard.number)
            if not waiting or waiting[0].since_s > oldest_s or shard.is_leaving:
                continue
            often = max(int((item.message.headers or {}).get("x-delivery-count", 0)) for item in waiting)
            if often < self._config.amqp.delivery_limit // 2:
                shard.is_leaving = True
                self.lines.close(shard.number)
            else:
                self._hand_back_by_ladder(shard)

    def _hand_back_by_ladder(self, shard: ShardSubscription) -> None:
        taken = self.lines.take_all(shard.number)
        exchange = retry_exchange_name(min(self.delays_s))
        letters = [
            EncodedMessage(
                exchange,
                shard.queue.name,
                item.body,
                dict(item.message.headers or {}),
                message_id=item.message.properties.get("message_id", ""),
            )
            for _, items in taken
            for item in items
        ]

        try:
            self.shared.outlet.send(letters)
        except Unavailable as error:
            log.warning("held_events_not_returned", queue=shard.queue.name, error=str(error))
            for number, items in taken:
                self.lines.put_back(number, items)
        else:
            for _, items in taken:
                for item in items:
                    self.queue_consumer.ack_message(item.message)

        self.lines.leave(taken)


def shard_handler(
    source_service: str, event_type: str, body_type: type, *, vital: bool = False
) -> Callable[[F], F]:
    """Run the method with a list of events: all waiting events, up to some thousand messages.

    The publisher sends each event under its shard (`shards.shard_key`). Events of one shard are
    handled by one process at a time, one run after another, in order. A method that raises for one
    event is called again with parts of the list. It then repeats the work that it had done for
    other events.
    """
    decorator: Callable[[F], F] = ShardHandler.decorator(source_service, event_type, body_type, vital=vital)
    return decorator
