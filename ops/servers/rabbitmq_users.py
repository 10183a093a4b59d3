"""Users of RabbitMQ as definitions that it imports, made from `ops.servers.privileges`.

A user may declare, bind and read only the queues of its own process. Routing keys limit what it may
publish and bind: events of its own service, RPCs that its process calls, and its own queues on the
retry exchanges. The default exchange reaches every queue, so it is closed to all processes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.noc.api.operations.all_operations import OPERATIONS
from ops.servers.privileges import PRIVILEGES
from services.messaging.topology import (
    DEAD_QUEUE,
    HEARTBEAT_CHECK,
    HEARTBEAT_EXCHANGE,
    RPC_EXCHANGE,
    event_exchange_name,
    event_queue_name,
    heartbeat_queue_name,
    retry_exchange_name,
)

OPERATOR = "vigil"
NOTHING = "^$"
EVERYTHING = ".*"
REPLY = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""Routing keys of answers. Each caller makes its own at random."""
SALT_BYTES = 4
OF_A_SHARD = "(\\.[0-9]+)?"
"""End of a pattern that matches with or without the number of a shard."""


class TopicRights(NamedTuple):
    """Routing keys of one exchange: `write` may be published, `read` may bind queues."""

    exchange: str
    write: str
    read: str


class RabbitRights(NamedTuple):
    """Rights of a user of RabbitMQ, as patterns of names.

    Attributes:
        configure: what the user may declare.
        write: exchanges that the user may publish to, and queues that it may bind.
        read: queues that the user may consume from, and exchanges that it may bind to.
    """

    configure: str
    write: str
    read: str
    topics: list[TopicRights]


def rights_of(process: str, *, retry_delays_s: Sequence[int]) -> RabbitRights:
    """Return the rights of the user of one process."""
    may = PRIVILEGES[process]
    handlers = [
        re.escape(event_queue_name(*consumed[:2], may.service, consumed[2])) + OF_A_SHARD
        for consumed in may.consumes
    ]
    replies = [f"rpc\\.reply-{re.escape(may.service)}-{REPLY}"] if may.calls else []
    served = [f"rpc.{may.service}"] if may.serves_rpc else []
    heard = [heartbeat_queue_name(re.escape(may.service), REPLY)] if _hears(process) else []
    own = [*handlers, *map(re.escape, served), *replies, *heard]

    retries = [retry_exchange_name(delay_s) for delay_s in retry_delays_s] if handlers else []
    publishes = [event_exchange_name(may.service)] if may.publishes or handlers else []
    sources = sorted({event_exchange_name(source) for source, _, _ in may.consumes})
    rpc = [RPC_EXCHANGE] if may.calls or may.serves_rpc else []
    dead = [DEAD_QUEUE] if handlers else []
    again = [retry_exchange_name(min(retry_delays_s))] if may.settles_dead_letters else []

    written = [*publishes, *rpc, *retries, *dead, *again, HEARTBEAT_EXCHANGE]
    read = [
        *sources,
        *rpc,
        *([DEAD_QUEUE] if may.settles_dead_letters else []),
        *([HEARTBEAT_EXCHANGE] if _hears(process) else []),
    ]

    return RabbitRights(
        configure=any_of([*own, *map(re.escape, publishes)]),
        write=any_of([*own, *map(re.escape, written)]),
        read=any_of([*own, *map(re.escape, read)]),
        topics=[
            # One line for each exchange, because a service may consume its own events.
            *(
                TopicRights(
                    name,
                    any_of(map(_event_key, may.publishes if name in publishes else ())),
                    any_of(_events_of(process, name)),
                )
                for name in sorted({*publishes, *sources})
            ),
            *(TopicRights(name, any_of(_rpc_written(process)), any_of(_rpc_bound(process))) for name in rpc),
            *(TopicRights(name, any_of(handlers), NOTHING) for name in retries),
            # The process that settles dead letters may send those of all services again. It may
            # send nothing else there.
            *(TopicRights(name, "^evt-.*$", NOTHING) for name in again),
            # A process may send only its own heartbeat.
            TopicRights(
                HEARTBEAT_EXCHANGE,
                any_of(map(re.escape, [process, *([HEARTBEAT_CHECK] if may.checks_servers else [])])),
                any_of(map(re.escape, _hears(process))),
            ),
        ],
    )


def any_of(patterns: Iterable[str]) -> str:
    """Return a pattern that matches each of the patterns as a whole; without patterns, nothing."""
    found = list(patterns)
    return f"^({'|'.join(found)})$" if found else NOTHING


def definitions(
    passwords: Mapping[str, str],
    *,
    operator_password: str,
    vhost: str,
    retry_delays_s: Sequence[int],
    operator: str = OPERATOR,
) -> dict[str, Any]:
    """Return the users in the form for `rabbitmqctl import_definitions` and `load_definitions`.

    The user of operators' commands declares the shared objects. It may do everything in the virtual
    host.

    Args:
        passwords: the password of each process.
        operator_password: the password of the user of operators' commands.
        vhost: the virtual host in which the rights hold.
        retry_delays_s: the delays of the retry exchanges.
        operator: the name of the user of operators' commands.
    """
    users = {operator: operator_password, **passwords}
    rights = {process: rights_of(process, retry_delays_s=retry_delays_s) for process in passwords}
    everything = {"configure": EVERYTHING, "write": EVERYTHING, "read": EVERYTHING}

    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": name,
                "password_hash": _hash(password, salt=f"{vhost}/{name}"),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for name, password in users.items()
        ],
        "permissions": [
            {"user": operator, "vhost": vhost, **everything},
            *(
                {"user": name, "vhost": vhost, "configure": r.configure, "write": r.write, "read": r.read}
                for name, r in rights.items()
            ),
        ],
        "topic_permissions": [
            {
                "user": name,
                "vhost": vhost,
                "exchange": topic.exchange,
                "write": topic.write,
                "read": topic.read,
            }
            for name, r in rights.items()
            for topic in r.topics
        ],
    }


def _events_of(process: str, exchange: str) -> list[str]:
    may = PRIVILEGES[process]
    return [_event_key(event) for source, event, _ in may.consumes if event_exchange_name(source) == exchange]


def _hears(process: str) -> list[str]:
    """Return the processes whose heartbeats a process hears."""
    may = PRIVILEGES[process]
    if may.hears_heartbeats:
        return list(PRIVILEGES)
    return [process] if may.shares_shards else []


def _event_key(event: str) -> str:
    """Return a pattern for the routing keys of an event: its type, with or without a shard."""
    return re.escape(event) + OF_A_SHARD


def calls_of(process: str) -> set[tuple[str, str]]:
    """Return (service, method) of every RPC that a process may call."""
    may = PRIVILEGES[process]
    calls = {(service, method) for service, methods in may.calls.items() for method in methods}
    return calls | ({(o.service, o.rpc) for o in OPERATIONS} if may.serves_api else set())


def _rpc_written(process: str) -> list[str]:
    calls = [f"{re.escape(service)}\\.{re.escape(method)}" for service, method in sorted(calls_of(process))]
    return [*calls, *([REPLY] if PRIVILEGES[process].serves_rpc else [])]


def _rpc_bound(process: str) -> list[str]:
    may = PRIVILEGES[process]
    served = [f"{re.escape(may.service)}\\.\\*"] if may.serves_rpc else []
    return [*served, *([REPLY] if may.calls else [])]


def _hash(password: str, *, salt: str) -> str:
    """Return a password hash as RabbitMQ keeps it.

    It is base64 of the salt and of the SHA-256 of salt and password.

    The passwords are random, so the salt need not be. The same users always make the same file.
    """
    own = hashlib.sha256(salt.encode()).digest()[:SALT_BYTES]
    return base64.b64encode(own + hashlib.sha256(own + password.encode()).digest()).decode()
