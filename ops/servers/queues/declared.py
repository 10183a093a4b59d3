"""Every queue that a handler of Vigil reads from, found in the service classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import amqp
import eventlet
from kombu import Queue
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from ops.processes import PROCESSES, service_class
from ops.servers.queues.definitions import QueueDefinition
from services.contracts.errors import Unavailable
from services.messaging.consumer import EventHandler
from services.messaging.handlers.fair_handler import FairHandler
from services.messaging.handlers.shard_handler import ShardHandler
from services.messaging.publisher import BROKEN, connect
from services.messaging.topology import (
    declare,
    declare_exchange,
    event_exchange,
    event_queue,
    heartbeat_exchange,
    is_queue_there,
    retire_event_queue,
    retire_rpc_queue,
    rpc_exchange,
    shared_queues,
)
from services.platform.config import Config

STANDING_TIMEOUT_S = 60.0


def declare_all(config: Config) -> list[Queue]:
    """Declare the objects that processes may not declare, and the processes' queues.

    Returns:
        The queues.

    Raises:
        Unavailable: RabbitMQ does not answer.
    """
    queues = all_queues(config)
    services = sorted({service_class(process).name for process in PROCESSES})

    try:
        with connect(config.amqp.uri) as connection:
            declare(connection, queues)
            with connection.channel() as channel:
                for exchange in (rpc_exchange(), heartbeat_exchange(), *map(event_exchange, services)):
                    declare_exchange(channel, exchange)
            for service in services:
                retire_rpc_queue(connection, service)
    except BROKEN as error:
        raise Unavailable(f"RabbitMQ: {error}") from error

    return queues


def all_queues(config: Config) -> list[Queue]:
    """Return the shared queues, then one queue for each event handler."""
    queues = list(shared_queues(config.amqp))
    for process in PROCESSES:
        cls = service_class(process)
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ()):
                if _is_by_shard(entrypoint):
                    queues += [
                        _queue_of(entrypoint, cls.name, name, config, n) for n in range(config.amqp.shards)
                    ]
                elif isinstance(entrypoint, EventHandler):
                    queues.append(_queue_of(entrypoint, cls.name, name, config))

    return queues


def retire_old_queues(config: Config) -> dict[str, int]:
    """Delete empty queues of versions that had no shards, or more shards.

    Returns:
        Numbers of messages that still wait in such queues, by queue. The services process them.

    Raises:
        Unavailable: RabbitMQ does not answer.
    """
    left: dict[str, int] = {}
    try:
        with connect(config.amqp.uri) as connection:
            for process in PROCESSES:
                cls = service_class(process)
                for name, method in inspect.getmembers(cls, inspect.isfunction):
                    for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ()):
                        if _is_by_shard(entrypoint):
                            left |= _retire(
                                connection, partial(_queue_of, entrypoint, cls.name, name, config), config
                            )
    except BROKEN as error:
        raise Unavailable(f"RabbitMQ: {error}") from error

    return left


def _is_by_shard(entrypoint: Any) -> bool:
    return isinstance(entrypoint, ShardHandler) or (
        isinstance(entrypoint, FairHandler) and entrypoint.by_shard
    )


def _retire(connection: Any, queue_of: Callable[[int | None], Queue], config: Config) -> dict[str, int]:
    left: dict[str, int] = {}
    queues = [queue_of(None)]

    number = config.amqp.shards
    while is_queue_there(connection, queue_of(number).name):
        queues.append(queue_of(number))
        number += 1

    for queue in queues:
        messages = retire_event_queue(connection, queue)
        if messages is not None:
            left[queue.name] = messages

    return left


def _queue_of(
    entrypoint: EventHandler, service: str, handler: str, config: Config, shard: int | None = None
) -> Queue:
    source, event = entrypoint.source_service, entrypoint.event_type
    return event_queue(source, event, service, handler, amqp=config.amqp, shard=shard)


def queue_states(config: Config) -> list[QueueDefinition]:
    """Return the state of RabbitMQ's queues, without declaring any. Raises `Unavailable`."""
    late = Unavailable(f"RabbitMQ did not list its queues within {STANDING_TIMEOUT_S:g} s")
    deadline = eventlet.Timeout(STANDING_TIMEOUT_S, late)
    try:
        with connect(config.amqp.uri) as connection:
            return [_standing(connection, queue) for queue in all_queues(config)]
    except BROKEN as error:
        raise Unavailable(f"RabbitMQ: {error or type(error).__name__}") from error
    finally:
        deadline.cancel()


def _standing(connection: Any, queue: Queue) -> QueueDefinition:
    # A refusal closes its channel, so each question has its own channel.
    try:
        with connection.channel() as channel:
            messages = queue(channel).queue_declare(passive=True).message_count
    except amqp.exceptions.NotFound:
        return QueueDefinition(queue.name, "missing")

    try:
        with connection.channel() as channel:
            # The queue is there. Declared again it stays as it is, and RabbitMQ reports
            # differences.
            queue(channel).queue_declare()
    except amqp.exceptions.PreconditionFailed as error:
        return QueueDefinition(queue.name, "differs", messages, str(error.reply_text))

    return QueueDefinition(queue.name, "there", messages)
