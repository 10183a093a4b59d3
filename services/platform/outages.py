"""The difference between an outage of a server and a fault that one message causes.

An outage pauses consumers (`services/messaging/outage_pause/pauses`). No message is to blame, and
all of them wait until the server is back. Any other fault costs its message a try
(`services/messaging/consumer`). The kind of an error decides, never its text.

The libraries of PostgreSQL and Redis are not imported: their errors occur only where they are
loaded.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from amqp.exceptions import AMQPError, InternalError, RecoverableConnectionError
from kombu.exceptions import OperationalError as KombuOperationalError

from services.contracts.errors import Outage, Unavailable

POSTGRES, REDIS, AMQP, MQTT = "postgres", "redis", "amqp", "mqtt"
"""Names of the servers, as in `vigil_dependency_up`."""

HUNG_UP = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a PostgreSQL that stops, starts or crashed; the statement may have crashed it."""
STATES_OF_OUTAGE = HUNG_UP | {"25006", "58000", "58030"}
"""SQLSTATEs of an outage: those of `HUNG_UP`, and two further kinds.

The further ones are a replica that was the primary, and errors of the system below PostgreSQL.
"""
CONNECTION, RESOURCES = "08", "53"
"""Classes of SQLSTATEs: of the connection; and of disk, memory or connections that run out.

No outage: 55P03 (lock timeout), 57014 (statement timeout), 40001 and 40P01 (serialization,
deadlock).
"""

_REDIS = ("ConnectionError", "TimeoutError", "ReadOnlyError", "OutOfMemoryError", "ClusterDownError")
_AMQP = (RecoverableConnectionError, InternalError, KombuOperationalError)


class ServerAway(NamedTuple):
    """A server that is away.

    `hung_up`: it broke off while it worked, perhaps because of what it was given.
    """

    server: str
    hung_up: bool = False


def outage_in(error: BaseException) -> ServerAway | None:
    """Return the server that is away, by an error of its driver; None when it is no outage."""
    if _is(error, "sqlalchemy.exc", "TimeoutError"):
        # Other requests hold all connections: the waiting one is not to blame.
        return ServerAway(POSTGRES)
    if _is(error, "sqlalchemy.exc", "DBAPIError"):
        return _of_postgres(error)
    if _is(error, "redis.exceptions", "RedisError"):
        return ServerAway(REDIS) if _is(error, "redis.exceptions", *_REDIS) else None
    if isinstance(error, _AMQP):
        return ServerAway(AMQP)
    if isinstance(error, OSError) and not isinstance(error, AMQPError):
        # Of the four drivers, only kombu's and amqp's pass on errors of their sockets.
        return ServerAway(AMQP)

    return None


def unavailable(error: BaseException, message: str) -> Unavailable:
    """Return our error for an error of a driver."""
    away = outage_in(error)
    if away is None:
        return Unavailable(message)
    return Outage.of(away.server, message, hung_up=away.hung_up)


def _is(error: BaseException, module: str, *names: str) -> bool:
    """Return whether an error is of one of these classes of a library.

    The library may not be imported in this process.
    """
    found = sys.modules.get(module)
    return found is not None and isinstance(error, tuple(getattr(found, name) for name in names))


def _is_lost(error: Any) -> bool:
    psycopg2 = sys.modules.get("psycopg2")
    return psycopg2 is not None and type(error) is psycopg2.OperationalError


def _of_postgres(error: Any) -> ServerAway | None:
    state = getattr(error.orig, "pgcode", None)
    if state is None:
        # No server has answered: it was not reached, or hung up. Other errors without a state are
        # misuse.
        is_lost = error.connection_invalidated or _is_lost(error.orig)
        return ServerAway(POSTGRES, hung_up=True) if is_lost else None
    if state in STATES_OF_OUTAGE or state.startswith((CONNECTION, RESOURCES)):
        return ServerAway(POSTGRES, hung_up=state in HUNG_UP or state.startswith(CONNECTION))
    return None
