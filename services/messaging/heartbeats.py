"""Heartbeats of processes over RabbitMQ: sent by every process, heard by those that report faults.

A heartbeat is confirmed and not persistent. It has a connection of its own, so that it waits for no
work. RabbitMQ blocks that connection as it blocks all publishers (memory or disk alarm). A cause
that delays alarms therefore delays heartbeats too.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import amqp
import eventlet
import structlog
from amqp.exceptions import AccessRefused, NotFound
from eventlet.event import Event

from services.messaging.publisher import BROKEN, connect
from services.messaging.topology import HEARTBEAT_EXCHANGE, heartbeat_queue_name
from services.platform.config import Config
from services.supervision.process_heartbeats import (
    AMQP,
    HEARTBEATS,
    INTERVAL_S,
    SILENT_AFTER_S,
    Heartbeat,
    HeartbeatJudge,
    KnownFaults,
    PartFault,
    decode,
    encode,
)

log = structlog.get_logger(__name__)

INSTANCE = uuid.uuid4().hex
"""The id of this run of this process."""
DEADLINE_S = 4.0
"""Seconds that a connection or a confirm may take; then another connection is tried."""
PAUSE_S = 0.5
TICK_S = 0.5
MOST_WAITING = 1000
NOT_PERSISTENT = 1
REFUSED = (AccessRefused, NotFound)


class _Known:
    """The faults that this process knows, and whether RabbitMQ refuses its heartbeats.

    `changed` wakes the sender.
    """

    def __init__(self) -> None:
        self.faults = KnownFaults()
        self.changed: Event = Event()
        self.are_refused = False
        self.takes: set[str] = set()

    def wake(self) -> None:
        if not self.changed.ready():
            self.changed.send(None)


_known = _Known()


def report_away(part: str, *, since_s: float) -> None:
    """Report that a part is away, with a heartbeat that goes out now.

    `since_s`: `time.monotonic()`.
    """
    if _known.faults.note(part, since_s=since_s):
        _known.wake()


def report_back(part: str) -> None:
    """Report that a part works again."""
    if _known.faults.clear(part):
        _known.wake()


def announce(consumer: str) -> None:
    """Announce that a consumer is subscribed to all shards of its service.

    The heartbeat goes out now.
    """
    if consumer not in _known.takes:
        _known.takes.add(consumer)
        _known.wake()


def withdraw(consumer: str) -> None:
    """Announce that a consumer leaves its shards to others."""
    if consumer in _known.takes:
        _known.takes.discard(consumer)
        _known.wake()


class HeartbeatSender:
    """Sender of the heartbeats of this process, for as long as it lives."""

    def __init__(self, config: Config, process: str) -> None:
        self._uri = config.amqp.uri
        self._process = process
        self._connection: Any = None
        self._channel: Any = None
        self._fails = False

    def run(self) -> NoReturn:
        while True:
            _known.changed = changed = Event()
            self._send_in_time()
            with eventlet.Timeout(PAUSE_S if self._fails else INTERVAL_S, False):
                changed.wait()

    def _send_in_time(self) -> None:
        try:
            with _deadline():
                self._send()
        except BROKEN as error:
            abort(self._connection)
            self._connection = None
            _known.are_refused = isinstance(error, REFUSED)
            if not self._fails:
                log.warning("heartbeat_not_sent", error=str(error) or type(error).__name__)
            self._fails = True
        else:
            if self._fails:
                log.info("heartbeat_resumed")
            self._fails = _known.are_refused = False

    def _send(self) -> None:
        if self._connection is None:
            self._connection = connect(self._uri)
            self._channel = self._connection.channel()
        faults = _known.faults.list(now_s=time.monotonic())
        heartbeat = Heartbeat(self._process, INSTANCE, faults, tuple(sorted(_known.takes)))
        publish_confirmed(self._channel, self._process, encode(heartbeat))


class HeartbeatListener:
    """Listener that hears the heartbeats of all processes, and knows the parts that are away."""

    def __init__(self, config: Config, *, service: str, expected: Collection[str]) -> None:
        self._uri = config.amqp.uri
        self._service = service
        self._processes = frozenset({*expected, service})
        self._heard = HeartbeatJudge(expected, instance=INSTANCE, started_s=time.monotonic())

    def faults(self) -> list[PartFault]:
        """Return the parts that are away now, at most one fault for each."""
        found = self._heard.faults(now_s=time.monotonic())
        if not _known.are_refused:
            return found
        return [PartFault(HEARTBEATS, fault.for_s) if fault.part == AMQP else fault for fault in found]

    def run(self) -> NoReturn:
        """Listen; take a new connection when nothing is heard on the old one."""
        ticking = eventlet.spawn(self._tick)
        try:
            self._listen_for_ever()
        finally:
            ticking.kill()

    def _tick(self) -> None:
        while True:
            self._heard.tick(now_s=time.monotonic())
            eventlet.sleep(TICK_S)

    def _listen_for_ever(self) -> NoReturn:
        while True:
            connection = None
            try:
                with _deadline():
                    connection = connect(self._uri)
                    self._consume(connection)
                while True:
                    connection.drain_events(timeout=SILENT_AFTER_S)
            except BROKEN as error:
                log.warning("heartbeats_not_received", error=str(error) or type(error).__name__)
            finally:
                abort(connection)

            eventlet.sleep(PAUSE_S)

    def _consume(self, connection: Any) -> None:
        def take(heartbeat: Heartbeat) -> None:
            self._heard.receive(heartbeat, now_s=time.monotonic())

        receive_heartbeats(connection.channel(), self._service, self._processes, take)


def receive_heartbeats(
    channel: Any, service: str, processes: Iterable[str], take: Callable[[Heartbeat], None]
) -> None:
    """Have `take` called with each heartbeat of these processes while the channel is open."""

    def receive(message: Any) -> None:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        heartbeat = decode(body)
        # RabbitMQ lets each user send only under the name of its own process.
        if heartbeat is not None and heartbeat.process == message.delivery_info["routing_key"]:
            take(heartbeat)

    name = heartbeat_queue_name(service, str(uuid.uuid4()))
    channel.queue_declare(
        name, durable=False, exclusive=True, auto_delete=True, arguments={"x-max-length": MOST_WAITING}
    )

    for process in processes:
        channel.queue_bind(name, HEARTBEAT_EXCHANGE, routing_key=process)

    channel.basic_consume(name, no_ack=True, callback=receive)


def publish_confirmed(channel: Any, routing_key: str, body: bytes) -> None:
    """Publish to the exchange of heartbeats and wait for the confirm. Raises one of `BROKEN`.

    Unless the caller sets a deadline, this waits for as long as RabbitMQ blocks publishers.
    """
    message = amqp.Message(body, content_encoding="binary", delivery_mode=NOT_PERSISTENT)
    channel.basic_publish_confirm(message, exchange=HEARTBEAT_EXCHANGE, routing_key=routing_key)


@contextmanager
def _deadline() -> Iterator[None]:
    """Raise `TimeoutError` after `DEADLINE_S`.

    Inside, the timeout is no `Exception`. kombu takes a `TimeoutError` for one of the network, and
    tries again.
    """
    timer = eventlet.Timeout(DEADLINE_S)
    try:
        yield
    except eventlet.Timeout as late:
        if late is not timer:
            raise
        raise TimeoutError(f"RabbitMQ did not answer within {DEADLINE_S:g} s") from None
    finally:
        timer.cancel()


@contextmanager
def brief_connection(uri: str) -> Iterator[Any]:
    """Open a connection for one question.

    After a success the connection is closed in order. After a failure it is closed without waiting.

    Raises:
        OSError: RabbitMQ does not answer. Other errors of `BROKEN` are raised too.
    """
    connection = connect(uri)
    try:
        yield connection
    except BaseException:
        abort(connection)
        raise
    connection.release()


def abort(connection: Any) -> None:
    """Close the socket without a question: no server may be there to answer."""
    transport = connection._connection if connection is not None else None
    if transport is not None:
        transport.collect()
