"""Handling of events by tenants in turn: a tenant's thousands of events delay no other tenant.

RabbitMQ hands out a queue's events in the order in which they came. A process therefore takes many
of them, not acknowledged, and starts them by turns (`fair_turns`). Each is acknowledged when it was
handled, as by `event_handler`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import eventlet
import structlog
from eventlet.event import Event
from eventlet.queue import Empty, LightQueue
from nameko.extensions import SharedExtension

from services.contracts.errors import Unavailable
from services.messaging.handlers.fair_turns import FairTurns, Sender
from services.messaging.handlers.shard_handler import (
    ShardConsumer,
    ShardedHandler,
    ShardSubscription,
    TakenEvent,
)
from services.platform import metrics

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

HELD_AT_MOST = 2_000
"""Events of one queue that a process takes.

Turns are taken among these. Behind them an event waits for its place.
"""
HELD_BYTES = 16_777_216
"""While so many bytes are held, no further event is read. One event is always allowed."""
LOOK_FOR_ROOM_S = 1.0
"""Seconds between two checks for room that no event reported."""
PART_OF_TENANT = 0.75
"""The share of a service's workers that the events of one tenant may have."""

SendersOf = Callable[[Any, Sequence[Any]], list[Sender]]
"""Function that is given a service's resource and events, and returns each event's sender."""


class _Held(NamedTuple):
    handler: FairHandler
    event: Any
    message: Any


class FairIntake(SharedExtension):
    """The events that a process has taken and not started, of all its fair handlers."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived: LightQueue = LightQueue()
        self._rooms: dict[int, tuple[Any, int]] = {}
        self._held_bytes = 0
        self._room: Event | None = None
        self._is_stopping = False
        self._is_started = False

    def setup(self) -> None:
        places = self.container.max_workers
        self._turns: FairTurns[_Held] = FairTurns(
            places=places, of_tenant=max(1, int(places * PART_OF_TENANT))
        )

    def start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self.container.spawn_managed_thread(self._work)

    def stop_taking(self) -> None:
        """Start no further event. RabbitMQ delivers the held events again."""
        self._is_stopping = True
        self._wake()
        self._tell_of_room()

    def await_room(self, message: Any, size: int) -> None:
        """Block until there is room for so many bytes, and take it until the message is settled."""
        while self._is_full(size) and not self._is_stopping:
            self._room = self._room or Event()
            with eventlet.Timeout(LOOK_FOR_ROOM_S, False):
                self._room.wait()
        self._rooms[id(message)] = message, size
        self._held_bytes += size

    def _is_full(self, size: int) -> bool:
        if self._held_bytes + size > HELD_BYTES:
            # Messages are settled in many places: look from outside for those that are settled.
            for message, _ in list(self._rooms.values()):
                self.give_room(message)
        return bool(self._held_bytes) and self._held_bytes + size > HELD_BYTES

    def give_room(self, message: Any) -> None:
        """Give back the room of a message, if it is settled or will be delivered again."""
        if not message.acknowledged and message.channel.connection:
            return  # it waits for a server that is away
        _, size = self._rooms.pop(id(message), (None, 0))
        self._held_bytes -= size
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.send()

    def put(self, held: _Held) -> None:
        """Take an event that is to be started when its turn has come."""
        metrics.events_held.labels(held.handler.queue.name).inc()
        self._arrived.put(held)

    def _wake(self) -> None:
        self._arrived.put(None)

    def _work(self) -> None:
        while not self._is_stopping:
            self._sort(self._take_arrived())
            while not self._is_stopping and (taken := self._turns.take()) is not None:
                self._begin(*taken)

    def _take_arrived(self) -> list[_Held]:
        """Wait until something has happened; return the events that have arrived."""
        found = [self._arrived.get()]
        with contextlib.suppress(Empty):
            while True:
                found.append(self._arrived.get_nowait())
        return [held for held in found if held is not None]

    def _sort(self, arrived: Sequence[_Held]) -> None:
        """Give each event its turn. The senders of one handler's events are asked for together."""
        for handler in dict.fromkeys(held.handler for held in arrived):
            mine = [held for held in arrived if held.handler is handler]
            for held, sender in zip(mine, handler.senders_of([held.event for held in mine]), strict=True):
                self._turns.put(sender, held)

    def _begin(self, sender: Sender, held: _Held) -> None:
        """Start an event. `_end` is called once, with whatever result."""
        leave = partial(self._end, sender, held)
        if not held.message.channel.connection:  # RabbitMQ delivers it again
            leave()
            return
        held.handler.begin(held.event, held.message, leave)

    def _end(self, sender: Sender, held: _Held) -> None:
        self.give_room(held.message)
        metrics.events_held.labels(held.handler.queue.name).dec()
        self._turns.leave(sender)
        # The next event is not started from here: it may have to wait for the worker that calls
        # this.
        self._wake()


class FairConsumer(ShardConsumer):
    """A connection for events that wait in the process for their turn."""


class FairLines:
    """The events that a process has of each shard of a handler, and how many of them run."""

    def __init__(self) -> None:
        self._taken: dict[int, list[Any]] = {}
        self._running: Counter[int] = Counter()
        self._idle: Event | None = None

    def add(self, item: TakenEvent) -> None:
        self._taken.setdefault(item.shard.number, []).append(item.message)

    def open(self, shard: int) -> None: ...

    def close(self, shard: int) -> None: ...

    def drop(self, shard: int) -> None:
        """Forget the events taken of a shard: they are delivered again."""
        self._taken.pop(shard, None)

    def begin(self, shard: int) -> None:
        """Note that an event of a shard is being handled."""
        self._running[shard] += 1

    def end(self, shard: int) -> None:
        """Note that the event is settled."""
        self._running[shard] -= 1
        if self._idle is not None and not self._running.total():
            self._idle.send()
            self._idle = None

    def await_idle(self) -> None:
        """Return when no event is being handled."""
        if self._running.total():
            self._idle = self._idle or Event()
            self._idle.wait()

    def is_running(self, shard: int) -> bool:
        return self._running[shard] > 0

    def waiting(self, shard: int) -> Sequence[Any]:
        """Return the messages of a shard that are not settled."""
        left = [m for m in self._taken.get(shard, ()) if not m.acknowledged and m.channel.connection]
        self._taken[shard] = left
        return left

    def in_hand(self, shard: int) -> int:
        return len(self.waiting(shard))


class FairHandler(ShardedHandler):
    """Entrypoint behind `fair_handler`."""

    queue_consumer = FairConsumer()
    intake = FairIntake()

    def __init__(
        self,
        source_service: str,
        event_type: str,
        body_type: type,
        *,
        senders_of: SendersOf,
        resource: str,
        by_shard: bool = False,
        vital: bool = False,
        **kwargs: Any,
    ):
        self.by_shard = by_shard
        self._senders_of = senders_of
        self._resource = resource
        super().__init__(source_service, event_type, body_type, vital=vital, **kwargs)

    def setup(self) -> None:
        super().setup()
        self.lines = FairLines()
        if not self.by_shard:
            self.shards, self.shard_count = [ShardSubscription(self.queue, 0, is_common=True)], 1
        self.prefetch = HELD_AT_MOST // self.shard_count

    def old_shards(self, is_there: Callable[[str], bool]) -> list[ShardSubscription]:
        return super().old_shards(is_there) if self.by_shard else []

    @property
    def is_paused(self) -> bool:
        """Return whether a server that every event needs is away."""
        return self.pauses.is_paused(self.queue.name)

    def stop(self) -> None:
        self.intake.stop_taking()
        self.queue_consumer.withdraw()
        self.lines.await_idle()
        super().stop()

    def receive(self, item: TakenEvent) -> None:
        """Take an event that RabbitMQ delivered.

        The reading thread waits for room here, and so do all events behind this one.
        """
        self.intake.await_room(item.message, item.size)
        self.lines.add(item)
        self.container.spawn_managed_thread(partial(self.handle_message, item.body, item.message))

    def _accept(self, body: bytes, message: Any) -> None:
        event = self._decoded(body, message, time.perf_counter())
        if event is None:
            self.intake.give_room(message)
        else:
            self.intake.put(_Held(self, event, message))

    def begin(self, event: Any, message: Any, leave: Callable[[], None]) -> None:
        """Handle an event whose turn has come, and call `leave` at the end."""
        queue = self._queue_name_of(message)
        shard = next(shard for shard in self.shards if shard.queue.name == queue)
        if shard.is_leaving:  # RabbitMQ delivers it to another process
            leave()
            return

        if self.pauses.is_paused(self.queue.name) and not self.pauses.is_tried(self.queue.name, message):
            again = partial(self._accept, bytes(message.body), message)
            self.pauses.hold(self.queue.name, message, again)
            leave()
            return

        def run(done: Callable[[], None]) -> None:
            def settled() -> None:
                done()
                self.lines.end(shard.number)
                leave()

            self._run(event, message, time.perf_counter(), settled)

        self.lines.begin(shard.number)
        if not self._take_up(message, run):
            self.lines.end(shard.number)
            leave()

    def senders_of(self, events: Sequence[Any]) -> list[Sender]:
        """Return the senders of events. When they are unknown, all events count as one tenant's."""
        try:
            return self._senders_of(self._given(), events)
        except Unavailable as error:
            log.warning("senders_not_identified", task=self.method_name, events=len(events), error=str(error))
        except Exception:
            # A bug of ours, or an id that the database does not take. The event's own handling
            # reports it.
            log.exception("senders_not_identified", task=self.method_name, events=len(events))
        return [Sender(None, str(number)) for number, _ in enumerate(events)]

    def _given(self) -> Any:
        [found] = [made for made in self.container.dependencies if made.attr_name == self._resource]
        return found.get_dependency(None)


def fair_handler(
    source_service: str,
    event_type: str,
    body_type: type,
    *,
    senders_of: SendersOf,
    resource: str = "parts",
    by_shard: bool = False,
    vital: bool = False,
) -> Callable[[F], F]:
    """Run the method for every event, as `event_handler` does: tenants in turn.

    Each tenant has a share of the workers. Events of one source are handled one after another, in
    the order in which they came.

    Args:
        source_service: The service that publishes the events.
        event_type: The type of the events.
        body_type: The type that a body is decoded as.
        senders_of: Returns the sender of each of a list of events. It is given the service's
            resource.
        resource: The name of that resource in the service's class.
        by_shard: The publisher sends each event under the shard of its source (`shards.shard_key`).
            The order of a source's events then holds over all processes of the service.
        vital: Never give up on `Unavailable`.
    """
    decorator: Callable[[F], F] = FairHandler.decorator(
        source_service,
        event_type,
        body_type,
        senders_of=senders_of,
        resource=resource,
        by_shard=by_shard,
        vital=vital,
    )
    return decorator
