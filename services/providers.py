"""The two stores that Vigil leans on: how to reach PostgreSQL and Redis, and with which limits.

The only file that makes engines and Redis clients. No library default waits for ever, so every
limit is set here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.config import Config
from services.errors import Misconfigured, Unavailable


def database_url(url: str) -> str:
    """Accept `postgresql://` too, and name the driver that Vigil is tested with."""
    try:
        parsed = make_url(url)
    except Exception as error:
        raise Misconfigured(f"DATABASE_URL is not a database URL: {error}") from error
    if parsed.get_backend_name() != "postgresql":
        raise Misconfigured(f"DATABASE_URL must be a postgresql:// URL, not {parsed.get_backend_name()}://")
    return parsed.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def make_engine(config: Config, *, name: str, pool_size: int | None = None) -> Engine:
    """An engine for one process; `name` shows in pg_stat_activity and picks the pool's size."""
    size = pool_size or config.connections.get(name, 2)
    limits = (
        f"-c statement_timeout={int(config.database.statement_timeout_s * 1000)} "
        f"-c lock_timeout={int(config.database.lock_timeout_s * 1000)} "
        "-c idle_in_transaction_session_timeout=60000 -c timezone=UTC -c jit=off"
    )
    return create_engine(
        database_url(config.database.url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=config.database.statement_timeout_s,
        pool_pre_ping=False,
        pool_recycle=1800,
        connect_args={
            "application_name": f"vigil-{name}",
            "connect_timeout": config.database.connect_timeout_s,
            "options": limits,
            "keepalives": 1,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction; what is the database's fault and may pass comes out as `Unavailable`.

    A `DataError` or `IntegrityError` is not caught: it is about the data, and trying again would not help.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable(f"PostgreSQL: {reason_of(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable(f"PostgreSQL: {reason_of(error)}") from error
        raise


def reason_of(error: Exception) -> str:
    """The first line of a driver's message, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0]


def make_redis(config: Config) -> redis.Redis:
    """A Redis client whose every wait ends. Errors are redis.RedisError; callers say what that means."""
    return redis.Redis.from_url(
        config.redis.url,
        socket_connect_timeout=3,
        socket_timeout=10,
        socket_keepalive=True,
        health_check_interval=15,
        decode_responses=False,
    )
