"""Tell an outage of a server that all lean on from a fault that one message brings about.

An outage pauses consumers (`services/bus/pausing`): no message is to blame, and all of them wait until the server is
back. Any other fault costs its message a try (`services/bus/consuming`). The kind of an error decides, never its text.
"""

from __future__ import annotations

from typing import NamedTuple

import psycopg2
import redis
from amqp.exceptions import AMQPError, InternalError, RecoverableConnectionError
from kombu.exceptions import OperationalError as KombuOperationalError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.errors import Outage, Unavailable

POSTGRES, REDIS, AMQP, MQTT = "postgres", "redis", "amqp", "mqtt"
"""Names of the servers, as in `vigil_dependency_up`."""

HUNG_UP = frozenset({"57P01", "57P02", "57P03"})
"""SQLSTATEs of a PostgreSQL that stops, starts or crashed. It may have been the statement that crashed it."""
STATES_OF_OUTAGE = HUNG_UP | {"25006", "58000", "58030"}
"""Besides: a replica that was the primary, and errors of the system below PostgreSQL."""
CONNECTION, RESOURCES = "08", "53"
"""Classes of SQLSTATEs: the connection; and what runs out, which is disk, memory or connections.

No outage: 55P03 (lock timeout), 57014 (statement timeout), 40001 and 40P01 (serialization, deadlock).
"""

_REDIS = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
)
_AMQP = (RecoverableConnectionError, InternalError, KombuOperationalError)


class Away(NamedTuple):
    """A server that is away. `hung_up`: it broke off while it worked, perhaps because of what it was given."""

    server: str
    hung_up: bool = False


def outage_in(error: BaseException) -> Away | None:
    """Return the server that is away, by an error of its driver; None for a fault that is no outage."""
    if isinstance(error, PoolTimeout):
        return Away(POSTGRES)  # others hold all connections: the one that waited is not to blame
    if isinstance(error, DBAPIError):
        return _of_postgres(error)
    if isinstance(error, redis.RedisError):
        return Away(REDIS) if isinstance(error, _REDIS) else None
    if isinstance(error, _AMQP):
        return Away(AMQP)
    if isinstance(error, OSError) and not isinstance(error, AMQPError):
        return Away(AMQP)  # of the four drivers, only kombu's and amqp's let errors of their sockets through
    return None


def unavailable(error: BaseException, message: str) -> Unavailable:
    """Return the error of ours for an error of a driver."""
    away = outage_in(error)
    if away is None:
        return Unavailable(message)
    return Outage.of(away.server, message, hung_up=away.hung_up)


def _of_postgres(error: DBAPIError) -> Away | None:
    state = getattr(error.orig, "pgcode", None)
    if state is None:
        # No server has answered: it was not reached, or hung up. Other errors without a state are misuse.
        is_lost = error.connection_invalidated or type(error.orig) is psycopg2.OperationalError
        return Away(POSTGRES, hung_up=True) if is_lost else None
    if state in STATES_OF_OUTAGE or state.startswith((CONNECTION, RESOURCES)):
        return Away(POSTGRES, hung_up=state in HUNG_UP or state.startswith(CONNECTION))
    return None
