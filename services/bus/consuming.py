"""Consuming events: acknowledged after the handler returned, tried again later, or kept as dead.

A handler's outcome decides:
- it returned: acknowledged;
- `InvalidMessage`: to the dead letters with its reason, at once;
- `Unavailable`, or any other error (a bug may be one of timing): on the delay ladder, and at its end to
  the dead letters with the history of every try. A `vital` handler never gives up on `Unavailable`: it goes
  on trying every few seconds, because an alarm must not wait in a dead-letter queue for a database's restart.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import eventlet
import kombu.serialization
import msgspec
import structlog
from nameko.events import EventHandler as NamekoEventHandler
from nameko.exceptions import ContainerBeingKilled
from nameko.messaging import QueueConsumer

from services import metrics
from services.addresses import hosts_of
from services.bus.publishing import Letter, SharedOutlet
from services.bus.topology import (
    DEAD_EXCHANGE,
    EVENT_CONTENT_TYPE,
    HEADER_HISTORY,
    HEADER_QUEUE,
    HEADER_REASON,
    declare_missing_exchange,
    event_queue,
    retry_exchange_name,
)
from services.config import Config
from services.errors import InvalidMessage, Unavailable

log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Any])

VITAL_RETRY_MAX_S = 5
REQUEUE_PAUSE_S = 1.0

# Bytes in, bytes out: each handler decodes its own type, so that a broken body is parked with a reason.
kombu.serialization.register("vigil-event", lambda body: body, bytes, EVENT_CONTENT_TYPE, "binary")


class NodesConsumer(QueueConsumer):
    """Nameko's consumer, for a list of nodes: what it says of them in the log holds no password."""

    def get_consumers(self, consumer_cls: Any, channel: Any) -> Any:
        """The queues are declared with their consumers; the exchanges that they are bound to, only if missing."""
        for provider in self._providers:
            declare_missing_exchange(channel.connection, provider.queue.exchange)
        return super().get_consumers(consumer_cls, channel)

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        log.warning("amqp_disconnected", nodes=hosts_of(self.amqp_uri), error=str(exc), again_in_s=interval)


class EventQueueConsumer(NodesConsumer):
    """A connection for events alone, apart from the one for RPC: neither waits for the other's prefetch."""

    @property
    def accept(self) -> list[str]:
        return [EVENT_CONTENT_TYPE]

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        # Not from us. Rejected, it goes to the dead letters by the queue's own arguments.
        log.error("foreign_message", queue=message.delivery_info, error=str(exc))
        message.reject(requeue=False)


class EventHandler(NamekoEventHandler):
    """Entrypoint behind `event_handler`."""

    queue_consumer = EventQueueConsumer()
    shared = SharedOutlet()

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

    def handle_message(self, body: bytes, message: Any) -> None:
        started = time.perf_counter()
        try:
            event = self.decoder.decode(body)
        except msgspec.DecodeError as error:
            self._settle(message, started, InvalidMessage("event_unreadable", str(error)))
            return

        def handle_result(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            self._settle(message, started, exc_info[1] if exc_info else None)
            return result, exc_info

        context = self.unpack_message_headers(message)
        context.setdefault("trace_id", uuid.uuid4().hex)
        try:
            self.container.spawn_worker(self, (event,), {}, context_data=context, handle_result=handle_result)
        except ContainerBeingKilled:
            self.queue_consumer.requeue_message(message)

    def _settle(self, message: Any, started: float, error: BaseException | None) -> None:
        """Acknowledge, or first make the message safe elsewhere. Never raises: that would end the process."""
        task = self.method_name
        metrics.task_duration.labels(task).observe(time.perf_counter() - started)
        if error is None:
            metrics.task_success.labels(task).inc()
            self.queue_consumer.ack_message(message)
            return
        reason = error.reason if isinstance(error, InvalidMessage) else type(error).__name__
        metrics.task_failure.labels(task, reason).inc()
        try:
            self.shared.outlet.send([self._onward(message, error, reason)])
        except Unavailable as unavailable:
            log.warning("retry_not_possible", queue=self.queue.name, error=str(unavailable))
            eventlet.sleep(REQUEUE_PAUSE_S)  # else RabbitMQ would hand it back at once, in a hot loop
            self.queue_consumer.requeue_message(message)
        else:
            self.queue_consumer.ack_message(message)

    def _onward(self, message: Any, error: BaseException, reason: str) -> Letter:
        headers = dict(message.headers or {})
        history = [
            *headers.get(HEADER_HISTORY, []),
            {"at": time.time(), "error": f"{type(error).__name__}: {error}"},
        ]
        headers |= {HEADER_QUEUE: self.queue.name, HEADER_HISTORY: history[-50:]}
        delay_s = self._next_delay_s(len(history), error)
        if delay_s is None:
            headers[HEADER_REASON] = reason
            metrics.dead_letter.labels(self.queue.name, reason).inc()
            log.error("dead_letter", queue=self.queue.name, reason=reason, error=str(error))
            exchange = DEAD_EXCHANGE
        else:
            metrics.task_retry.labels(self.method_name).inc()
            log.warning("retry_later", queue=self.queue.name, delay_s=delay_s, error=str(error))
            exchange = retry_exchange_name(delay_s)
        return Letter(
            exchange,
            self.queue.name,
            bytes(message.body),
            headers,
            message_id=message.properties.get("message_id", ""),
        )

    def _next_delay_s(self, failures: int, error: BaseException) -> int | None:
        """The rung after so many failures, None for the dead letters."""
        if isinstance(error, InvalidMessage):
            return None
        if self.vital and isinstance(error, Unavailable):
            patient = [delay_s for delay_s in self.delays_s if delay_s <= VITAL_RETRY_MAX_S]
            return patient[min(failures, len(patient)) - 1]
        return self.delays_s[failures - 1] if failures <= len(self.delays_s) else None


def event_handler(
    source_service: str, event_type: str, body_type: type, *, vital: bool = False
) -> Callable[[F], F]:
    """Run the method for every `event_type` of `source_service`, with a body decoded as `body_type`."""
    decorator: Callable[[F], F] = EventHandler.decorator(source_service, event_type, body_type, vital=vital)
    return decorator
