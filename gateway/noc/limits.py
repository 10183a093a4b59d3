"""How often a password may be tried."""

from __future__ import annotations

import hashlib
from typing import Any

import redis

from services import providers, security
from services.config import Config
from services.errors import TooMany, Unavailable

MANY = 10
"""How many times as many failures an address, or a user over all addresses, is given."""


class LoginLimit:
    """Wrong passwords by user and address: after so many in a window, no more are tried. Kept in Redis as hashes."""

    def __init__(self, client: redis.Redis, *, prefix: str, failures: int, window_s: int) -> None:
        self._redis = client
        self._prefix = prefix
        self._failures = failures
        self._window_s = window_s

    @classmethod
    def from_config(cls, config: Config) -> LoginLimit:
        noc = config.noc
        return cls(
            providers.make_redis(config),
            prefix=config.redis.key_prefix,
            failures=noc.login_failures,
            window_s=noc.login_window_s,
        )

    def check(self, login: str, peer: str) -> None:
        """Raises `TooMany` before the password is looked at; `Unavailable`."""
        keys = self._keys(login, peer)
        try:
            counts: Any = self._redis.mget(list(keys))
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error
        for (_, most), count in zip(keys.items(), counts, strict=True):
            if count is not None and int(count) >= most:
                security.note("login_limited", peer=peer)
                raise TooMany(f"too many wrong passwords; try again in {self._window_s} s")

    def failed(self, login: str, peer: str) -> None:
        """Count one wrong password."""
        security.note("login_failed", peer=peer)
        pipeline = self._redis.pipeline(transaction=False)
        for key in self._keys(login, peer):
            pipeline.incr(key)
            pipeline.expire(key, self._window_s)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error

    def _keys(self, login: str, peer: str) -> dict[str, int]:
        """Key to the number of failures that it is given."""
        together, one, other = (
            hashlib.sha256(part.encode()).hexdigest()[:32]
            for part in (f"{login}\0{peer}", f"l{login}", f"p{peer}")
        )
        limits = {together: self._failures, one: MANY * self._failures, other: MANY * self._failures}
        return {f"{self._prefix}:login:{part}": most for part, most in limits.items()}
