"""Publishing that makes messages safe at the next hop, or fails with an error.

Every message is persistent, mandatory and confirmed. Several go out in one pipeline and are waited
for together, under one hard deadline. A connection that missed the deadline is closed. Neither
RabbitMQ's flow control nor a frozen broker can hold a caller for longer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import amqp
import eventlet
import msgspec
import structlog
from amqp.exceptions import AccessRefused
from eventlet.queue import LifoQueue
from kombu import Connection
from kombu.exceptions import OperationalError
from nameko.extensions import DependencyProvider, SharedExtension
from nameko.messaging import HeaderEncoder

from services.contracts.errors import Misconfigured, Outage, Unavailable
from services.messaging.topology import (
    EVENT_CONTENT_TYPE,
    HEADER_TRACE,
    declare,
    declare_missing,
    declare_missing_exchange,
    event_exchange,
    event_exchange_name,
    shared_queues,
)
from services.platform import metrics, tracing
from services.platform.config import AmqpSettings, Config
from services.platform.outages import AMQP, unavailable
from services.platform.server_lists import amqp_nodes, hosts_of

log = structlog.get_logger(__name__)

LINKS = 4
CONNECT_TIMEOUT_S = 5.0
PERSISTENT = 2
BROKEN = (amqp.exceptions.AMQPError, OSError, ConnectionError)

_encoder = msgspec.msgpack.Encoder()


class EncodedMessage(NamedTuple):
    """One message for RabbitMQ, already encoded."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any]
    content_type: str = EVENT_CONTENT_TYPE
    mandatory: bool = True
    message_id: str = ""


def connect(uri: str) -> Connection:
    """Return a kombu connection to the first node that answers.

    Each node has its share of the time, so that a frozen node leaves time for the next one.

    Raises:
        ConnectionError: No node answers. Other errors of `BROKEN` are raised too.
    """
    nodes = amqp_nodes(uri)
    connection = Connection(";".join(nodes), connect_timeout=CONNECT_TIMEOUT_S / len(nodes))
    try:
        connection.ensure_connection(
            max_retries=len(nodes), interval_start=0, interval_max=0, timeout=2 * CONNECT_TIMEOUT_S
        )
    except OperationalError as error:  # kombu's own error, which is not in `BROKEN`
        raise ConnectionError(f"no node of {hosts_of(uri)} answers: {error}") from error
    return connection


def check_rabbitmq(config: AmqpSettings) -> None:
    """Return when RabbitMQ answers. Raises `Unavailable`."""
    try:
        with connect(config.uri) as connection, connection.channel():
            return
    except BROKEN as error:
        raise unavailable(error, f"RabbitMQ: {error}") from error


class ConfirmingChannel:
    """One connection and confirming channel; used by one green thread at a time."""

    def __init__(self, config: AmqpSettings) -> None:
        self._connection = connect(config.uri)
        self._channel = self._connection.channel()
        self._channel.confirm_select()
        self._waiting: set[int] = set()
        self._refused: list[str] = []
        self._sent = 0
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)

    def send(self, letters: Sequence[EncodedMessage]) -> list[str]:
        """Publish all messages and wait for all confirms. Raises one of `BROKEN`.

        Returns:
            The reasons of the refused messages.
        """
        self._refused = []
        for letter in letters:
            self._sent += 1
            self._waiting.add(self._sent)
            message = self._channel.prepare_message(
                letter.body,
                content_type=letter.content_type,
                content_encoding="binary",
                headers=dict(letter.headers),
                properties={"delivery_mode": PERSISTENT, "message_id": letter.message_id or uuid.uuid4().hex},
            )

            self._channel.basic_publish(
                message, exchange=letter.exchange, routing_key=letter.routing_key, mandatory=letter.mandatory
            )

        while self._waiting:
            self._connection.drain_events()

        return self._refused

    def abort(self) -> None:
        """Close the socket without a question: no server may be there to answer."""
        transport = self._connection._connection
        if transport is not None:
            transport.collect()

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.append("a queue is full")
        self._settle(tag, multiple)

    def _on_return(self, _error: Exception, exchange: str, routing_key: str, _message: Any) -> None:
        self._refused.append(
            f"no queue takes {routing_key!r} from {exchange or 'the default exchange'!r} yet"
        )

    def _settle(self, tag: int, multiple: bool) -> None:
        self._waiting -= {t for t in self._waiting if t <= tag} if multiple else {tag}


class ChannelPool:
    """A few links, made when needed, shared by the green threads of a process."""

    def __init__(self, config: AmqpSettings, *, links: int = LINKS) -> None:
        self._config = config
        self._idle: LifoQueue = LifoQueue()
        for _ in range(links):
            self._idle.put(None)

    def send(self, letters: Sequence[EncodedMessage]) -> None:
        """Publish messages, confirmed by RabbitMQ.

        After a failure any of the messages may still be in its queue. Senders send again, and
        receivers recognize a message by its key.

        Raises:
            Outage: RabbitMQ is away.
            Unavailable: RabbitMQ did not confirm every message, or had no queue for one.
        """
        if not letters:
            return

        deadline = eventlet.Timeout(
            self._config.publish_deadline_s,
            Outage.of(AMQP, f"RabbitMQ did not confirm within {self._config.publish_deadline_s:g} s"),
        )

        try:
            with self._link() as link:
                refused = link.send(letters)
        except BROKEN as error:
            raise unavailable(error, f"RabbitMQ: {error or type(error).__name__}") from error
        finally:
            deadline.cancel()

        if refused:
            raise Unavailable(f"RabbitMQ did not accept the message: {refused[0]}")

    def declare(self, queues: Sequence[Any]) -> None:
        """Declare queues. Raises `Unavailable`."""
        try:
            with connect(self._config.uri) as connection:
                declare(connection, queues)
        except BROKEN as error:
            raise unavailable(error, f"RabbitMQ: {error}") from error

    def close(self) -> None:
        while not self._idle.empty():
            link = self._idle.get()
            if link is not None:
                link.abort()

    @contextmanager
    def _link(self) -> Iterator[ConfirmingChannel]:
        link = self._idle.get()
        try:
            link = link or ConfirmingChannel(self._config)
            yield link
        except BaseException:
            # Unconfirmed messages are still out on this link, so its bookkeeping is of no more use.
            if link is not None:
                link.abort()
            link = None
            raise
        finally:
            self._idle.put(link)


class SharedChannelPool(SharedExtension):
    """The process's outlet. The shared queues exist before any message is published through it."""

    def setup(self) -> None:
        config: Config = self.container.config["vigil"]
        self.outlet = ChannelPool(config.amqp)
        self._declare(config.amqp)

    def stop(self) -> None:
        self.outlet.close()

    def _declare(self, config: AmqpSettings) -> None:
        try:
            with connect(config.uri) as connection:
                declare_missing(connection, shared_queues(config))
                declare_missing_exchange(connection, event_exchange(self.container.service_name))
        except AccessRefused as error:
            raise Misconfigured(
                f"RabbitMQ lacks queues that this process may not declare: {error}; run `vigil topology`"
            ) from error
        except BROKEN as error:
            raise unavailable(error, f"RabbitMQ: {error}") from error


TraceOf = Callable[[Any], str | None]
"""Function that returns the trace of an event that has its own; None for other events.

An event's own trace replaces that of the current work.
"""


class EventPublisher:
    """Publisher for a service method. It passes the worker's trace id on."""

    def __init__(
        self,
        outlet: ChannelPool,
        service: str,
        headers: Mapping[str, Any],
        optional: frozenset[str],
        trace_of: TraceOf | None = None,
    ) -> None:
        self._outlet = outlet
        self._service = service
        self._exchange = event_exchange_name(service)
        self._headers = headers
        self._optional = optional
        self._trace_of = trace_of

    def publish(self, event_type: str, body: msgspec.Struct) -> None:
        """Publish one event. Raises `Unavailable` unless it is safe in every queue bound to it."""
        self.publish_all([(event_type, body)])

    def publish_all(self, events: Sequence[tuple[str, msgspec.Struct | msgspec.Raw]]) -> None:
        """Publish several events in one pipeline, confirmed together.

        `Raw` is encoded already.

        Raises:
            Unavailable: Any of the events may not be safe in every queue bound to it.
        """
        trace_id = tracing.current() or uuid.uuid4().hex
        headers = {**self._headers, HEADER_TRACE: trace_id, "x-vigil-at": time.time()}
        self._outlet.send(
            [
                EncodedMessage(
                    self._exchange,
                    kind,
                    _encoder.encode(body),
                    self._with_own_trace(headers, body),
                    mandatory=kind not in self._optional,
                )
                for kind, body in events
            ]
        )

        for kind, _ in events:
            metrics.event_published.labels(f"{self._service}.{kind}").inc()

    def _with_own_trace(self, headers: dict[str, Any], body: Any) -> dict[str, Any]:
        trace_id = None if self._trace_of is None else self._trace_of(body)
        return headers if trace_id is None else {**headers, HEADER_TRACE: trace_id}


class Publisher(DependencyProvider, HeaderEncoder):
    """Dependency that injects `EventPublisher`. `optional` names event types that may have no listener."""

    shared = SharedChannelPool()

    def __init__(self, *, optional: Sequence[str] = (), trace_of: TraceOf | None = None) -> None:
        self._optional = frozenset(optional)
        self._trace_of = trace_of

    def get_dependency(self, worker_ctx: Any) -> EventPublisher:
        headers = self.get_message_headers(worker_ctx)
        return EventPublisher(
            self.shared.outlet, self.container.service_name, headers, self._optional, self._trace_of
        )
