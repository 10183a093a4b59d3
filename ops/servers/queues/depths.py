"""Numbers of messages in each queue, queried over AMQP, so that no management plugin is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from amqp.exceptions import AMQPError, NotFound

from ops.environment import PROJECT
from services.contracts.errors import Unavailable
from services.messaging.heartbeats import brief_connection
from services.messaging.topology import DEAD_QUEUE
from services.platform import config as configuration
from services.platform.config import Config

ALERT_LANE = (
    "device_alert_received",
    "alert_condition_met",
    "alert_condition_cleared",
    "notification_requested",
)
"""Words in the names of queues in which an alarm waits."""


OF_A_SHARD = re.compile(r"(?<=[a-z_])[.][0-9]+$")
"""End of the name of a shard's queue, after the name of a queue without shards."""


def names(config: Config) -> list[str]:
    """Return the name of every queue that Vigil has."""
    from ops.servers.queues.declared import all_queues  # imports every service

    return [queue.name for queue in all_queues(config)]


def names_by_process() -> list[str]:
    """Return the same names as `names`, found by another process.

    Finding them imports the code of every service.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ops.servers.queues.depths"],
        check=True,
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    return done.stdout.split()


class QueueState(NamedTuple):
    """State of one queue: messages that wait in it, and its consumers.

    Messages that a consumer holds are not counted.
    """

    messages: int
    consumers: int


def depths(config: Config, wanted: Iterable[str]) -> dict[str, int]:
    """Return the number of messages by queue. Queues that do not exist are left out.

    Raises:
        Unavailable: RabbitMQ does not answer.
    """
    return {name: state.messages for name, state in states(config, wanted).items()}


def states(config: Config, wanted: Iterable[str]) -> dict[str, QueueState]:
    """Return the states by queue. Queues that do not exist are left out.

    Raises:
        Unavailable: RabbitMQ does not answer.
    """
    found: dict[str, QueueState] = {}
    try:
        with brief_connection(config.amqp.uri) as connection:
            channel = connection.channel()
            for name in wanted:
                try:
                    declared = channel.queue_declare(name, passive=True)
                    found[name] = QueueState(int(declared.message_count), int(declared.consumer_count))
                except NotFound:  # closes the channel, not the connection
                    channel = connection.channel()
    except (AMQPError, OSError) as error:
        raise Unavailable(f"RabbitMQ: {error}") from error

    return found


def by_handler(found: Mapping[str, int]) -> dict[str, int]:
    """Return the sums of the depths over all shards, by the name of a queue without shards."""
    summed: dict[str, int] = {}
    for name, depth in found.items():
        base = OF_A_SHARD.sub("", name)
        summed[base] = summed.get(base, 0) + depth
    return summed


def is_alert_lane(queue: str) -> bool:
    return any(word in queue for word in ALERT_LANE)


def overfull(found: Mapping[str, int], *, alert: int, bulk: int) -> list[str]:
    """Return the queues that hold more than they may, with their depths.

    All shards of a handler count as one queue. Another check covers the dead letters.
    """
    return [
        f"{name} holds {depth}"
        for name, depth in sorted(by_handler(found).items())
        if name != DEAD_QUEUE and depth > (alert if is_alert_lane(name) else bulk)
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(names(configuration.load())))
