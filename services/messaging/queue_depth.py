"""The number of messages that wait in our queues, asked repeatedly over one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import eventlet
from amqp.exceptions import NotFound
from kombu import Connection

from services.contracts.errors import Unavailable
from services.messaging.publisher import BROKEN, connect
from services.platform.config import AmqpSettings

DEADLINE_S = 5.0
AT_A_TIME = 4
"""Queues asked at once, after all of them were asked once."""


class QueueDepth:
    """Depth of some queues, for one green thread at a time.

    Messages that a consumer holds are not counted. Of many queues a few are asked at a time, in
    turn: a backlog that matters stays for longer than a round.
    """

    def __init__(self, config: AmqpSettings, queues: Sequence[str]) -> None:
        self._uri = config.uri
        self._queues = deque(queues)
        self._found: dict[str, int] = {}
        self._connection: Connection | None = None

    def waiting(self) -> int:
        """Return how many messages wait in all queues together. Raises `Unavailable`.

        A queue that does not exist yet holds nothing.
        """
        late = Unavailable(f"RabbitMQ did not say within {DEADLINE_S:g} s how many messages wait")
        try:
            with eventlet.Timeout(DEADLINE_S, late):
                return self._ask()
        except NotFound:
            self.close()  # the question closed its channel
            return sum(self._found.values())
        except BROKEN as error:
            self.close()
            raise Unavailable(f"RabbitMQ: {error}") from error
        except Unavailable:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # This closes the socket without sending anything: the other side may be frozen.
            connection.collect()

    def _ask(self) -> int:
        if self._connection is None:
            self._connection = connect(self._uri)

        channel = self._connection.default_channel
        unknown = len(self._queues) - len(self._found)
        for _ in range(max(unknown, min(AT_A_TIME, len(self._queues)))):
            name = self._queues[0]
            self._queues.rotate(-1)
            self._found[name] = 0  # for a queue that does not exist
            self._found[name] = int(channel.queue_declare(name, passive=True).message_count)

        return sum(self._found.values())
