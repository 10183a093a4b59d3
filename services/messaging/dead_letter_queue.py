"""The dead-letter queue: listed without removing anything, sent again, or dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from amqp.exceptions import AMQPError, NotFound

from services.contracts.errors import Refused, Unavailable
from services.messaging.publisher import connect
from services.messaging.topology import (
    DEAD_QUEUE,
    HEADER_HISTORY,
    HEADER_QUEUE,
    HEADER_REASON,
    is_queue_there,
    retry_exchange_name,
)


class QueuedDeadLetter(msgspec.Struct, frozen=True):
    """One message that was given up on.

    `id` is its own id. For a foreign message without one, it is made from the bytes.
    """

    id: str
    queue: str
    reason: str
    history: list[dict[str, Any]]
    body: bytes


def oldest_dead_letters(uri: str, *, limit: int = 1000) -> list[QueuedDeadLetter]:
    """Return the oldest dead letters; they stay where they are. Raises `Unavailable`."""
    with _fetched(uri, limit) as (_, messages):
        return [dead_letter_of(message) for message in messages]


def bodies(uri: str, *, limit: int = 100_000) -> list[bytes]:
    return [letter.body for letter in oldest_dead_letters(uri, limit=limit)]


def settle(uri: str, wanted: Callable[[QueuedDeadLetter], bool], *, again_after_s: int | None) -> int:
    """Send the wanted dead letters to their queues again, or drop them.

    They go by the retry exchange of `again_after_s`, because RabbitMQ limits no user on the default
    exchange. With `again_after_s` None they are dropped.

    Returns:
        How many were settled.

    Raises:
        Refused: The queue of a dead letter does not exist.
        Unavailable: RabbitMQ did not answer.
    """
    count = 0
    with _fetched(uri, 100_000) as (channel, messages):
        for message in messages:
            letter = dead_letter_of(message)
            if not wanted(letter):
                continue

            if again_after_s is not None:
                queue = _queue_of(channel, letter)
                headers = {k: v for k, v in (message.headers or {}).items() if not k.startswith("x-vigil-")}
                fresh = channel.prepare_message(
                    bytes(message.body),
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    headers=headers,
                    properties={"delivery_mode": 2, "message_id": letter.id},
                )

                channel.basic_publish_confirm(
                    fresh,
                    exchange=retry_exchange_name(again_after_s),
                    routing_key=queue,
                    mandatory=True,
                )

            message.ack()
            count += 1

    return count


def _queue_of(channel: Any, letter: QueuedDeadLetter) -> str:
    """Return the queue that a dead letter goes to.

    It is the message's own queue, or the first shard's when the own queue was split since. Sent to
    a queue that does not exist, the message would wait for ever in a place that nobody checks.
    """
    for queue in (letter.queue, f"{letter.queue}.0"):
        if is_queue_there(channel.connection, queue):
            return queue
    raise Refused(f"dead letter {letter.id}: its queue {letter.queue} does not exist; the dead letter stays")


def dead_letter_of(message: Any) -> QueuedDeadLetter:
    """Return the dead letter of a message.

    RabbitMQ itself dead-letters a message that crashed its consumer too often. The queue is then in
    RabbitMQ's own header.
    """
    headers = message.headers or {}
    deaths = headers.get("x-death") or [{}]
    body = bytes(message.body)

    return QueuedDeadLetter(
        id=message.properties.get("message_id") or hashlib.blake2b(body, digest_size=16).hexdigest(),
        queue=headers.get(HEADER_QUEUE) or deaths[0].get("queue", ""),
        reason=headers.get(HEADER_REASON) or deaths[0].get("reason", "unknown"),
        history=headers.get(HEADER_HISTORY, []),
        body=body,
    )


@contextmanager
def _fetched(uri: str, limit: int) -> Iterator[tuple[Any, list[Any]]]:
    """Fetch up to `limit` messages, unacknowledged.

    Closing the channel puts back the messages that were not settled.
    """
    try:
        with connect(uri) as connection, connection.channel() as channel:
            messages: list[Any] = []
            while len(messages) < limit and (raw := channel.basic_get(DEAD_QUEUE)) is not None:
                messages.append(channel.message_to_python(raw))
            yield channel, messages
    except NotFound:
        yield None, []
    except (AMQPError, OSError) as error:
        raise Unavailable(f"RabbitMQ: {error}") from error
