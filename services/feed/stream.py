"""The feed: one Redis stream for each tenant, of frames sealed once, in the order of their ids.

An id is the microsecond at which it was made. Ids therefore keep growing even when Redis has lost
everything. When two writers conflict, Redis refuses the smaller id, and its frame is sealed again
under a larger one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import redis

from services.contracts.errors import Outage, Unavailable
from services.feed.encryption import PlainSealer, Sealer
from services.feed.keyring import KeyRing
from services.platform import redis_client, tracing
from services.platform.config import Config
from services.platform.outages import REDIS, unavailable

ATTEMPTS = 50
LEFT_ALONE_S = 0.5
"""Seconds for which nothing is sent to a Redis that did not answer.

Each worker that tried would wait for a second.
"""


class FrameSealer(Protocol):
    def seal(
        self,
        tenant_id: int,
        *,
        type: str,  # noqa: A002
        id: int,  # noqa: A002
        data: Any,
        now_s: int,
        trace: str | None = None,
        arrived: float | None = None,
    ) -> bytes: ...


def stream_key(prefix: str, tenant_id: int) -> str:
    return f"{prefix}:feed:{tenant_id}"


def feed_id_key(prefix: str, tenant_id: int) -> str:
    return f"{prefix}:feed-id:{tenant_id}"


def make_sealer(config: Config) -> FrameSealer:
    if config.feed.encryption == "fernet":
        return Sealer(KeyRing.from_config(config).sealing)
    return PlainSealer()


class FeedWriter:
    """Writer that seals frames and appends them to the feed. Any green thread may use it."""

    def __init__(
        self,
        client: redis.Redis,
        sealer: FrameSealer,
        *,
        prefix: str,
        max_frames: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = client
        self._sealer = sealer
        self._prefix = prefix
        self._max_frames = max_frames
        self._clock = clock
        self._last_id: dict[int, int] = {}
        self._left_alone_until_s = float("-inf")

    @classmethod
    def from_config(cls, config: Config) -> FeedWriter:
        return cls(
            redis_client.make_redis(config),
            make_sealer(config),
            prefix=config.redis.key_prefix,
            max_frames=config.feed.max_frames,
        )

    def publish(
        self,
        tenant_id: int,
        type: str,  # noqa: A002
        data: Any,
        *,
        arrived: datetime | None = None,
    ) -> int:
        """Append one frame; return its id.

        `arrived`: the time at which the frame's message came to the gateway.

        Raises:
            Unavailable: Redis did not take the frame.
        """
        self._check_not_left_alone()
        key = stream_key(self._prefix, tenant_id)

        for _ in range(ATTEMPTS):
            frame_id, frame = self._seal(
                tenant_id,
                type,
                data,
                trace=tracing.current(),
                arrived=arrived.timestamp() if arrived else None,
            )

            try:
                self._redis.xadd(
                    key,
                    {"type": type, "frame": frame},
                    id=f"{frame_id}-0",
                    maxlen=self._max_frames,
                    approximate=True,
                )
            except redis.ResponseError as error:
                if "equal or smaller" not in str(error):
                    raise unavailable(error, f"Redis refused a feed frame: {error}") from error
                self._catch_up(key, tenant_id)
            except redis.RedisError as error:
                raise self._failed(error) from error
            else:
                return frame_id

        raise Unavailable(f"the feed of tenant {tenant_id} is contended: {ATTEMPTS} ids were taken by others")

    def remove_former_positions(self, tenant_id: int) -> bool:
        """Remove the newest positions that versions before 1.1 kept; return whether there were any.

        Nothing read them, and the ids of guards were their field names in the clear.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            return bool(self._redis.unlink(f"{self._prefix}:hot:{tenant_id}:positions"))
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def _check_not_left_alone(self) -> None:
        if time.monotonic() < self._left_alone_until_s:
            raise Outage.of(REDIS, "Redis did not answer a moment ago")

    def _failed(self, error: redis.RedisError) -> Unavailable:
        """Return our error for one of Redis's. When Redis is away, leave it alone for a moment."""
        found = unavailable(error, f"Redis: {error}")
        if isinstance(found, Outage):
            self._left_alone_until_s = time.monotonic() + LEFT_ALONE_S
        return found

    def seal(self, tenant_id: int, type: str, data: Any) -> bytes:  # noqa: A002
        """Return a sealed frame for one socket only (a snapshot); it is not appended."""
        return self._seal(tenant_id, type, data)[1]

    def _seal(
        self,
        tenant_id: int,
        type: str,  # noqa: A002
        data: Any,
        *,
        trace: str | None = None,
        arrived: float | None = None,
    ) -> tuple[int, bytes]:
        now = self._clock()
        frame_id = max(int(now * 1_000_000), self._last_id.get(tenant_id, 0) + 1)
        self._last_id[tenant_id] = frame_id
        sealed = self._sealer.seal(
            tenant_id, type=type, id=frame_id, data=data, now_s=int(now), trace=trace, arrived=arrived
        )
        return frame_id, sealed

    def _catch_up(self, key: str, tenant_id: int) -> None:
        """Go on from the id of another writer that is ahead, perhaps by a clock that runs fast."""
        try:
            last = self._redis.xrevrange(key, count=1)
        except redis.RedisError as error:
            raise self._failed(error) from error
        if last:
            self._last_id[tenant_id] = max(self._last_id.get(tenant_id, 0), id_of(last[0][0]))


class FeedReader:
    """Reader of the sealed frames, for the NOC gateway. It has no key."""

    def __init__(self, client: redis.Redis, *, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self._redis = client
        self._prefix = prefix
        self._clock = clock

    @classmethod
    def from_config(cls, config: Config) -> FeedReader:
        return cls(redis_client.make_redis(config), prefix=config.redis.key_prefix)

    def ping(self) -> None:
        """Return when Redis answers. Raises `Unavailable`."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def feed_id(self, tenant_id: int, *, fresh: str) -> str:
        """Return the name of this incarnation of the stream.

        `fresh` becomes the name when Redis has none, or no longer has one. Raises `Unavailable`.
        """
        key = feed_id_key(self._prefix, tenant_id)
        try:
            self._redis.set(key, fresh, nx=True)
            held: Any = self._redis.get(key)
            return str((held or b"").decode())
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def last_id(self, tenant_id: int) -> int:
        """Return the newest id in the stream; 0 when there is none. Raises `Unavailable`."""
        try:
            last = self._redis.xrevrange(stream_key(self._prefix, tenant_id), count=1)
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error
        return id_of(last[0][0]) if last else 0

    def server(self) -> str:
        """Return the run id of the Redis that answers.

        The run id differs after a failover and after a restart. Raises `Unavailable`.
        """
        try:
            found: Any = self._redis.info("server")
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error
        return str(found["run_id"])

    def begin(self, server: str) -> None:
        """Note that the feed is this server's from now on.

        The server before it may have had frames that this one never got. Raises `Unavailable`.
        """
        try:
            self._redis.set(self._begun_key(server), self._now_id())
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def begun(self) -> int:
        """Return the id from which on this server lacks no frame. Raises `Unavailable`."""
        key = self._begun_key(self.server())
        try:
            self._redis.set(key, self._now_id(), nx=True)
            held: Any = self._redis.get(key)
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error
        return int(held or self._now_id())

    def _begun_key(self, server: str) -> str:
        return f"{self._prefix}:feed-begun:{server}"

    def _now_id(self) -> int:
        return int(self._clock() * 1_000_000)

    def holds(self, tenant_id: int, frame_id: int) -> bool:
        """Return whether a client that last saw `frame_id` can go on from there without a gap."""
        return frame_id >= self.begun() and self.has(tenant_id, frame_id)

    def has(self, tenant_id: int, frame_id: int) -> bool:
        """Return whether the frame is still in the stream, and so all after it.

        Raises:
            Unavailable: Redis did not answer.
        """
        if not 0 <= frame_id < 2**63:
            return False  # not an id of ours, and Redis does not take it
        at = f"{frame_id}-0"
        try:
            return bool(self._redis.xrange(stream_key(self._prefix, tenant_id), min=at, max=at, count=1))
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

    def read(
        self, after: Mapping[int, int], *, block_ms: int | None = None, count: int = 500
    ) -> Iterable[tuple[int, int, str, bytes]]:
        """Return the frames after the given id of each tenant, in order for each tenant.

        Args:
            after: The last id read, by tenant.
            block_ms: Wait for the first frame for at most so many milliseconds; None: do not wait.
            count: Frames of one tenant at most.

        Returns:
            (tenant_id, id, type, frame) of each frame.

        Raises:
            Unavailable: Redis did not answer.
        """
        if not after:
            return []

        streams = {stream_key(self._prefix, tenant): f"{last}-0" for tenant, last in after.items()}
        try:
            answer: Any = self._redis.xread(streams, count=count, block=block_ms)  # type: ignore[arg-type]
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

        pairs: Any = answer.items() if isinstance(answer, dict) else (answer or [])
        return [
            (int(key.rsplit(b":", 1)[1]), id_of(entry_id), fields[b"type"].decode(), fields[b"frame"])
            for key, entries in pairs
            for entry_id, fields in _flat(entries)
        ]


def _flat(entries: Any) -> Any:
    """Return the entries of a stream.

    redis-py's RESP3 answers nest the entries one list deeper than RESP2's.
    """
    return entries[0] if entries and isinstance(entries[0], list) else entries


def id_of(entry_id: Any) -> int:
    """Return our id from Redis's `<id>-0`."""
    return int(entry_id.split(b"-", 1)[0])
