"""Tests that the kind of an error distinguishes an outage from the fault of one message."""

import amqp
import pytest
import redis
from kombu.exceptions import OperationalError as KombuOperationalError
from psycopg2 import OperationalError as PsycopgOperationalError
from psycopg2 import errors
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.contracts.errors import Outage, Unavailable
from services.platform.outages import ServerAway, outage_in, unavailable


def of_postgres(cls: type[DBAPIError], original: BaseException) -> DBAPIError:
    return cls("SELECT 1", {}, original)


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (of_postgres(OperationalError, PsycopgOperationalError("connection refused")), ("postgres", True)),
        (PoolTimeout("QueuePool limit of size 8 overflow 0 reached"), ("postgres", False)),
        (redis.ConnectionError("Error 111 connecting"), ("redis", False)),
        (redis.TimeoutError("Timeout reading from socket"), ("redis", False)),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), ("redis", False)),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), ("redis", False)),
        (
            redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"),
            ("redis", False),
        ),
        (redis.exceptions.MasterDownError("Link with MASTER is down"), ("redis", False)),
        (redis.sentinel.MasterNotFoundError("No master found for 'vigil'"), ("redis", False)),
        (KombuOperationalError("[Errno 111] Connection refused"), ("amqp", False)),
        (amqp.exceptions.ConnectionForced("broker forced connection closure"), ("amqp", False)),
        (amqp.exceptions.RecoverableConnectionError("Socket was disconnected"), ("amqp", False)),
        (amqp.exceptions.InternalError("INTERNAL_ERROR"), ("amqp", False)),
        (ConnectionResetError(104, "Connection reset by peer"), ("amqp", False)),
        (TimeoutError("timed out"), ("amqp", False)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_keeps_everybody_waiting_is_an_outage(error: Exception, away: tuple[str, bool]) -> None:
    assert outage_in(error) == ServerAway(*away)
    made = unavailable(error, "in words")
    assert isinstance(made, Outage)
    assert (made.server, made.hung_up, str(made)) == (*away, "in words")


@pytest.mark.parametrize(
    "error",
    [
        of_postgres(OperationalError, errors.LockNotAvailable("canceling statement due to lock timeout")),
        of_postgres(DataError, errors.NumericValueOutOfRange("out of range")),
        of_postgres(IntegrityError, errors.UniqueViolation("duplicate key")),
        redis.ResponseError("WRONGTYPE Operation against a key"),
        redis.exceptions.NoPermissionError("NOPERM this user has no permissions"),
        redis.DataError("Invalid input of type"),
        amqp.exceptions.NotFound("no exchange"),
        amqp.exceptions.PreconditionFailed("inequivalent arg"),
        amqp.exceptions.AccessRefused("access refused"),
        amqp.exceptions.ContentTooLarge("content too large"),
        amqp.exceptions.FrameError("frame too large"),
        ValueError("a bug"),
        KeyError("a bug"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_one_message_brings_about_is_no_outage(error: Exception) -> None:
    assert outage_in(error) is None
    assert type(unavailable(error, "in words")) is Unavailable
