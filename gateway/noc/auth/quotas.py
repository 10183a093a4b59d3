"""Limits of sockets for each user and tenant, and of messages for each user, over all gateways.

Each gateway counts frames and bytes by itself: a count in Redis for every frame would cost more
than the frame.

Each gateway writes its counts to a board in Redis, and reads the boards of the others. A board that
is not renewed is void, because its gateway is gone. Without Redis each gateway counts only its own
sockets.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import redis
import structlog

from gateway.noc.auth.tokens import Principal
from services.contracts.errors import TooMany
from services.platform import redis_client
from services.platform.config import Config
from services.platform.token_buckets import TokenBuckets

log = structlog.get_logger(__name__)

BOARD_LIFE_S = 15
RENEW_INTERVAL_S = 5.0


class Quotas:
    """Counters of sockets, messages, frames and bytes.

    `gateway` is the name of this gateway. It stays the same after a restart, so the new process
    replaces the counts of the old one.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        prefix: str,
        gateway: str,
        user_sockets: int,
        tenant_sockets: int,
        messages: int,
        messages_window_s: float,
        frames: int,
        bytes_: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = client
        self._prefix = prefix
        self._gateway = gateway
        self._most = {"user": user_sockets, "tenant": tenant_sockets}
        self._messages = messages
        self._window_s = messages_window_s
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._sent: dict[str, deque[float]] = {}
        self._frames = TokenBuckets(count=frames, window_s=messages_window_s)
        self._bytes = TokenBuckets(count=bytes_, window_s=messages_window_s)

    @classmethod
    def from_config(cls, config: Config) -> Quotas:
        noc = config.noc
        return cls(
            redis_client.make_redis(config),
            prefix=config.redis.key_prefix,
            gateway=f"{socket.gethostname()}:{noc.feed_port}",
            user_sockets=noc.sockets_per_user,
            tenant_sockets=noc.sockets_per_tenant,
            messages=noc.client_messages,
            messages_window_s=noc.client_messages_window_s,
            frames=noc.client_frames,
            bytes_=noc.client_bytes,
        )

    def open(self, principal: Principal) -> None:
        """Count one more socket. Raises `TooMany`."""
        names = _names(principal)
        # The write comes before the read: of two gateways that do this at once at least one sees
        # both.
        self._open.update(names.values())

        elsewhere = self._elsewhere(list(names.values()))
        for (kind, name), others in zip(names.items(), elsewhere, strict=True):
            if self._open[name] + others > self._most[kind]:
                self.close(principal)
                self._elsewhere(list(names.values()))  # the board must not keep the refused socket
                whose = principal.login if kind == "user" else f"tenant {principal.tenant_id}"
                raise TooMany(f"{whose} has {self._most[kind]} sessions open; close one")

    def close(self, principal: Principal) -> None:
        """Uncount a socket that is gone."""
        self._open.subtract(_names(principal).values())
        for name in _names(principal).values():
            if self._open[name] <= 0:
                del self._open[name]

    @property
    def open_sockets(self) -> int:
        return sum(count for name, count in self._open.items() if name.startswith("user:"))

    def allow_message(self, principal: Principal) -> bool:
        """Return True when the user may send one more message, over all sockets and gateways."""
        user, now_s = _names(principal)["user"], self._clock()
        return self._allow_here(user, now_s) and self._allow_anywhere(user, now_s)

    def allow_frame(self, principal: Principal) -> bool:
        """Return True when the user may send one more frame, over all sockets of this gateway.

        A frame of any kind counts.
        """
        return self._frames.take(_names(principal)["user"], now_s=self._clock()) is None

    def allow_bytes(self, principal: Principal, size_bytes: int) -> bool:
        """Return True when the user may send so many bytes, over all sockets of this gateway."""
        user = _names(principal)["user"]
        return self._bytes.take(user, now_s=self._clock(), tokens=size_bytes) is None

    def renew(self) -> None:
        """Rewrite the whole board, and forget users who sent nothing within the window."""
        now_s = self._clock()
        for user, times in list(self._sent.items()):
            if now_s - times[-1] > self._window_s:
                del self._sent[user]

        pipeline = self._redis.pipeline(transaction=True)
        pipeline.delete(self._board(self._gateway))
        self._write(pipeline, self._open)

        try:
            pipeline.execute()
        except redis.RedisError as error:
            log.warning("socket_quota_not_shared", error=str(error))

    def withdraw(self) -> None:
        """Delete the board, because this gateway stops."""
        try:
            self._redis.delete(self._board(self._gateway))
        except redis.RedisError as error:
            log.warning("socket_quota_not_released", error=str(error))

    def _write(self, pipeline: Any, counts: Mapping[str, int]) -> None:
        key = self._board(self._gateway)
        if counts:
            pipeline.hset(key, mapping=dict(counts))
            pipeline.expire(key, BOARD_LIFE_S)
        pipeline.hset(self._gateways, self._gateway, repr(self._clock()))

    def _elsewhere(self, names: list[str]) -> list[int]:
        """Return the count of each name at the other gateways.

        It is 0 when Redis does not answer: sessions have priority over limits.
        """
        try:
            boards = self._boards_of_others(names)
        except redis.RedisError as error:
            log.warning("socket_quota_not_shared", error=str(error))
            boards = []
        return [sum(int(board[at] or 0) for board in boards) for at in range(len(names))]

    def _boards_of_others(self, names: list[str]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=True)
        self._write(pipeline, {name: self._open[name] for name in names})
        pipeline.hgetall(self._gateways)
        since_s = self._clock() - BOARD_LIFE_S
        others = [
            gateway.decode()
            for gateway, renewed_s in pipeline.execute()[-1].items()
            if gateway != self._gateway.encode() and float(renewed_s) >= since_s
        ]

        pipeline = self._redis.pipeline(transaction=False)
        for other in others:
            pipeline.hmget(self._board(other), names)

        return list(pipeline.execute())

    def _allow_here(self, user: str, now_s: float) -> bool:
        times = self._sent.setdefault(user, deque(maxlen=self._messages))
        if len(times) == self._messages and now_s - times[0] <= self._window_s:
            return False
        times.append(now_s)
        return True

    def _allow_anywhere(self, user: str, now_s: float) -> bool:
        """Return True when the user is within the limit over all gateways.

        The user's newest messages are a list in Redis. The entry beyond the limit shows if there
        were too many.
        """
        key = f"{self._prefix}:messages:{user}"
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.lpush(key, repr(now_s))
        pipeline.lindex(key, self._messages)
        pipeline.ltrim(key, 0, self._messages)
        pipeline.expire(key, int(self._window_s) + 1)

        try:
            earlier: Any = pipeline.execute()[1]
        except redis.RedisError as error:
            log.warning("message_quota_not_shared", error=str(error))
            return True

        return earlier is None or now_s - float(earlier) > self._window_s

    def _board(self, gateway: str) -> str:
        return f"{self._prefix}:sockets:{gateway}"

    @property
    def _gateways(self) -> str:
        return f"{self._prefix}:gateways"


def _names(principal: Principal) -> dict[str, str]:
    """Return the names that a socket counts for.

    They hold no login in clear: Redis gets ciphertext.
    """
    login = hashlib.sha256(f"{principal.tenant_id}\0{principal.login}".encode()).hexdigest()[:32]
    return {"user": f"user:{login}", "tenant": f"tenant:{principal.tenant_id}"}
