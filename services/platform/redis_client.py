"""Connections to Redis, and their limits.

This is the only file that makes Redis clients. It is apart from the database, whose library not
every process needs.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from services.platform.config import Config
from services.platform.outages import unavailable
from services.platform.server_lists import SentinelAddresses, sentinels

REDIS_LIMITS: dict[str, Any] = {
    "socket_connect_timeout": 0.5,
    "socket_timeout": 0.9,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "decode_responses": False,
}
"""Limits of a connection: no worker waits for a Redis that hangs longer than a second.

A read that blocks says for how long, and for less.
"""
SENTINEL_LIMITS = {"socket_connect_timeout": 0.3, "socket_timeout": 0.3}


def check_redis(config: Config) -> None:
    """Return when Redis answers. Raises `Unavailable`."""
    client = make_redis(config)
    try:
        client.ping()
    except redis.RedisError as error:
        raise unavailable(error, f"Redis: {error}") from error
    finally:
        client.close()


def make_redis(config: Config) -> redis.Redis:
    """Return a Redis client whose every wait ends.

    Errors are redis.RedisError; callers say what that means.
    """
    several = sentinels(config.redis.url)
    if several is not None:
        return _master_of(several)
    return redis.Redis.from_url(config.redis.url, retry=_once(), **REDIS_LIMITS)


def _master_of(several: SentinelAddresses) -> redis.Redis:
    """Return a client of the current master.

    The sentinels are asked each time a connection is made.
    """
    asked = {**SENTINEL_LIMITS, "retry": _once(), "password": several.sentinel_password}
    manager = Sentinel(several.hosts, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    client: redis.Redis = manager.master_for(  # type: ignore[no-untyped-call]
        several.master,
        db=several.database,
        username=several.username,
        password=several.password,
        retry=_once(),
        **REDIS_LIMITS,
    )

    return client


def _once() -> Retry:
    """Return the policy that tries a command once.

    The library's own policy tries it four times, each with its full wait.
    """
    return Retry(NoBackoff(), 0)
