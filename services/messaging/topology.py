"""Names and arguments of exchanges and queues, and their declaration.

- `<service>.events` (topic) --event type--> `evt-<service>-<event>--<consumer>.<handler>` (quorum).
- `<service>.events` (topic) --event type.shard-->
  `evt-<service>-<event>--<consumer>.<handler>.<shard>` (quorum, one active consumer).
- `vigil.retry.<n>s` (topic) -> `vigil.delay.<n>s` (quorum, TTL n) --expired--> the handler's queue
  again.
- `nameko-rpc` (topic) --`<service>.*`--> `rpc.<service>` (quorum).
- `vigil.dead` (fanout) -> `vigil.dead` (quorum): events given up on, kept until a person decides.
- `vigil.heartbeats` (topic) --process--> `heartbeats-<service>-<uuid>` (exclusive): the processes
  that run, and the parts that are away.

A queue's arguments are fixed once it exists. To change them here, use a new queue name or a
migration.

Wherever possible, the routing key on a topic exchange says where a message goes. RabbitMQ limits
routing keys by user (`ops.servers.rabbitmq_users`). Processes may declare their own queues; `vigil
topology` declares the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Connection, Exchange, Queue

from services.messaging.shards import shard_key
from services.platform.config import AmqpSettings

DEAD_EXCHANGE = DEAD_QUEUE = "vigil.dead"
RPC_EXCHANGE = "nameko-rpc"
HEARTBEAT_EXCHANGE = "vigil.heartbeats"
HEARTBEAT_CHECK = "check"
"""The routing key of messages that only show that RabbitMQ takes messages.

No queue is bound by it.
"""
HEADER_QUEUE = "x-vigil-queue"
HEADER_REASON = "x-vigil-reason"
HEADER_HISTORY = "x-vigil-history"
HEADER_TRACE = "nameko.trace_id"
EVENT_CONTENT_TYPE = "application/vnd.vigil.event+msgpack"

# A dead letter is fetched many times; fetching must never drop it.
DEAD_DELIVERY_LIMIT = 1_000_000


def event_exchange_name(service: str) -> str:
    return f"{service}.events"


def event_exchange(service: str) -> Exchange:
    return _shared(event_exchange_name(service), "topic")


def rpc_exchange() -> Exchange:
    """Return Nameko's exchange for requests and answers."""
    return _shared(RPC_EXCHANGE, "topic")


def heartbeat_exchange() -> Exchange:
    """Return the exchange for the heartbeats of processes, each under the name of its process."""
    return _shared(HEARTBEAT_EXCHANGE, "topic")


def heartbeat_queue_name(service: str, number: str) -> str:
    """Return the name of a queue in which one process hears the heartbeats of all."""
    return f"heartbeats-{service}-{number}"


def _shared(name: str, kind: str) -> Exchange:
    """Return an exchange that a queue's declaration does not declare.

    A process that binds a queue to it may not declare it.
    """
    return Exchange(name, type=kind, durable=True, no_declare=True)


def event_queue_name(
    source: str, event_type: str, consumer: str, handler: str, shard: int | None = None
) -> str:
    name = f"evt-{source}-{event_type}--{consumer}.{handler}"
    return name if shard is None else f"{name}.{shard}"


def shard_queue_names(source: str, event_type: str, consumer: str, handler: str, *, shards: int) -> list[str]:
    """Return the names of all queues of a handler that takes its events by shard."""
    return [event_queue_name(source, event_type, consumer, handler, shard) for shard in range(shards)]


def event_queue(
    source: str, event_type: str, consumer: str, handler: str, *, amqp: AmqpSettings, shard: int | None = None
) -> Queue:
    """Return a handler's queue: replicated and bounded; poison goes to the dead letters.

    A full queue refuses the publisher.

    The queue of a shard has one active consumer. Of several subscribers one gets all messages, and
    the others wait for its end. The order of the subscriptions decides.
    """
    arguments = {
        "x-delivery-limit": amqp.delivery_limit,
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-dead-letter-strategy": "at-least-once",
        "x-max-length-bytes": amqp.queue_max_bytes,
    }

    if shard is not None:
        arguments["x-single-active-consumer"] = True

    return Queue(
        event_queue_name(source, event_type, consumer, handler, shard),
        exchange=event_exchange(source),
        routing_key=event_type if shard is None else shard_key(event_type, shard),
        durable=True,
        queue_arguments=_quorum(arguments),
    )


def is_queue_there(connection: Any, name: str) -> bool:
    """Return whether RabbitMQ has a queue. `connection` is kombu's, or amqp's under it."""
    return _is_there(connection, partial(_look_at_queue, name))


def retire_event_queue(connection: Connection, queue: Queue) -> int | None:
    """Delete a queue that takes no new events, once it is empty and no process reads from it.

    Returns:
        How many messages wait in it; None when it does not exist (any more). While a process reads
        from it, at least 1.
    """
    try:
        with connection.channel() as channel:
            _, messages, consumers = channel.queue_declare(queue.name, passive=True)
            if messages or consumers:
                return max(messages, 1)

            # An older gateway may publish to it. A message that it cannot send any more, it keeps
            # and sends again.
            channel.queue_unbind(queue.name, exchange=queue.exchange.name, routing_key=queue.routing_key)
            _, messages, consumers = channel.queue_declare(queue.name, passive=True)
            if messages or consumers:
                channel.queue_bind(queue.name, exchange=queue.exchange.name, routing_key=queue.routing_key)
                return max(messages, 1)

            channel.queue_delete(queue.name)
    except NotFound:
        pass

    return None


def retry_exchange_name(delay_s: int) -> str:
    return f"vigil.retry.{delay_s}s"


def delay_queue(delay_s: int) -> Queue:
    """Return a rung of the delay ladder.

    Expired messages go to the queue that their routing key names.
    """
    return Queue(
        f"vigil.delay.{delay_s}s",
        exchange=_shared(retry_exchange_name(delay_s), "topic"),
        routing_key="#",
        durable=True,
        queue_arguments=_quorum(
            {
                "x-message-ttl": delay_s * 1000,
                "x-dead-letter-exchange": "",
                "x-dead-letter-strategy": "at-least-once",
            }
        ),
    )


def dead_queue() -> Queue:
    return Queue(
        DEAD_QUEUE,
        exchange=_shared(DEAD_EXCHANGE, "fanout"),
        durable=True,
        queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": DEAD_DELIVERY_LIMIT},
    )


def rpc_queue(service: str) -> Queue:
    """Return the queue of the requests to a service.

    It is replicated: a classic queue cannot be reached while its node is away.
    """
    return Queue(
        f"rpc.{service}",
        exchange=rpc_exchange(),
        routing_key=f"{service}.*",
        durable=True,
        queue_arguments={"x-queue-type": "quorum"},
    )


def retire_rpc_queue(connection: Connection, service: str) -> None:
    """Delete `rpc-<service>`, the queue of requests before they had a replicated one.

    No process reads there any more. A queue that an older process still reads from gets no more
    requests, and is deleted by the next call.
    """
    name = f"rpc-{service}"
    try:
        with connection.channel() as channel:
            channel.queue_declare(name, passive=True)
            channel.queue_unbind(name, exchange=RPC_EXCHANGE, routing_key=f"{service}.*")
            channel.queue_delete(name, if_unused=True)
    except (NotFound, PreconditionFailed):
        return


def shared_queues(amqp: AmqpSettings) -> list[Queue]:
    return [dead_queue(), *(delay_queue(delay_s) for delay_s in amqp.retry_delays_s)]


def declare(connection: Connection, queues: Iterable[Queue]) -> None:
    """Declare queues with their exchanges and bindings.

    Errors are kombu's; the caller names them.
    """
    with connection.channel() as channel:
        for queue in queues:
            declare_exchange(channel, queue.exchange)
            queue(channel).declare()


def declare_exchange(channel: Any, exchange: Exchange) -> None:
    if exchange.name == "":
        return  # the default exchange is always there, and RabbitMQ refuses to declare it
    channel.exchange_declare(exchange.name, exchange.type, durable=True, auto_delete=False)


def declare_missing(connection: Any, queues: Iterable[Queue]) -> None:
    """Declare the queues that do not exist.

    The user may look at all of them and declare few. Errors are amqp's: RabbitMQ refuses access to
    a user who may not declare a missing queue.
    """
    for queue in queues:
        declare_missing_exchange(connection, queue.exchange)
        if not _is_there(connection, partial(_look_at_queue, queue.name)):
            with connection.channel() as channel:
                queue(channel).declare()


def declare_missing_exchange(connection: Any, exchange: Exchange) -> None:
    """Declare an exchange that does not exist. `connection` is kombu's, or amqp's under it."""
    if not _is_there(connection, partial(_look_at_exchange, exchange)):
        with connection.channel() as channel:
            declare_exchange(channel, exchange)


def _look_at_exchange(exchange: Exchange, channel: Any) -> None:
    channel.exchange_declare(exchange.name, exchange.type, passive=True)


def _look_at_queue(name: str, channel: Any) -> None:
    channel.queue_declare(name, passive=True)


def _is_there(connection: Any, ask: Callable[[Any], Any]) -> bool:
    """Return whether a question is answered without `NotFound`.

    A refusal closes its channel, so each question has a channel of its own.
    """
    try:
        with connection.channel() as channel:
            ask(channel)
    except NotFound:
        return False
    return True


def _quorum(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"x-queue-type": "quorum", "x-overflow": "reject-publish", **arguments}
