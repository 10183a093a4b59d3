"""Limits of log-in attempts, and queues for expensive work."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from eventlet.event import Event

from services.contracts.errors import TooMany
from services.platform import redis_client, security_events
from services.platform.config import Config
from services.platform.outages import unavailable

MANY = 10
"""Factor of the failure limit for an address, and for a user over all addresses."""
PART_OF_ONE = 4
"""One holder may fill a quarter of a queue."""
BUSY_RETRY_S = 2
LATE_S = 60.0
"""Older failures, in seconds, do not count when the next turn is given."""
FAILURES_REMEMBERED = 5_000


class TurnQueue:
    """Queue for expensive work, with limits of running and of waiting requests in this process.

    Holders take turns, and holders with fewer recent failures go first. A wrong password is a
    failure.

    In a full queue, a new request may replace the newest request of the holder that has the most.
    The new holder must have fewer requests in the queue, or as many and fewer failures. A request
    without a place is refused before any service is called. `what` names the work in the refusal.
    """

    def __init__(self, what: str, *, at_once: int, waiting: int, wait_s: float) -> None:
        self._what = what
        self._free = at_once
        self._waiting: dict[str, deque[Event]] = {}
        """Waiting requests by holder, in the order of their turns.

        An event carries True for a turn.
        """

        self._failures: deque[tuple[float, str]] = deque()
        self._failed: Counter[str] = Counter()
        self._most_waiting = waiting
        self._wait_s = wait_s

    @classmethod
    def of_passwords(cls, config: Config) -> TurnQueue:
        """Return the queue for password checks.

        A check takes a tenth of a second of computing, and its caller is not logged in.
        """
        noc = config.noc
        return cls(
            "log-ins", at_once=noc.password_checks, waiting=noc.password_queue, wait_s=noc.password_wait_s
        )

    @classmethod
    def of_heavy_requests(cls, config: Config) -> TurnQueue:
        """Return the queue for evidence and files.

        Each takes seconds of the process that makes it, and megabytes in transfer.
        """
        noc = config.noc
        return cls(
            "requests of this kind",
            at_once=noc.heavy_requests,
            waiting=noc.heavy_queue,
            wait_s=noc.heavy_wait_s,
        )

    @contextmanager
    def turn(self, holder: str) -> Iterator[None]:
        """Wait for a turn, and hold it. `holder` is the address or the tenant. Raises `TooMany`."""
        self._wait(holder)
        try:
            yield
        except Exception:
            self._note_failure(holder, time.monotonic())
            raise
        finally:
            self._pass_on()

    def _wait(self, holder: str) -> None:
        if self._free:
            self._free -= 1
            return

        place = self._place_for(holder)
        try:
            has_turn = place.wait(timeout=self._wait_s)
        except BaseException:
            # No request takes the turn any more, and it may have come at this moment.
            if self._settled(holder, place):
                self._pass_on()
            raise

        if not has_turn and not self._settled(holder, place):
            raise self._busy()

    def _settled(self, holder: str, place: Event) -> bool:
        """Return True when a request that no longer waits has the turn.

        Else remove it from the queue.
        """
        if place.ready():
            return bool(place.wait())
        self._leave(holder, place)
        return False

    def _place_for(self, holder: str) -> Event:
        """Return a place for the holder, behind its others. Raises `TooMany` when there is none."""
        mine = len(self._waiting.get(holder, ()))
        if mine >= min(self._most_waiting, max(1, self._most_waiting // PART_OF_ONE)):
            raise self._busy()

        if sum(map(len, self._waiting.values())) >= self._most_waiting:
            largest = max(self._waiting, key=self._greed)
            if self._greed(largest) <= (mine + 1, self._failed[holder]):
                raise self._busy()
            newest = self._waiting[largest][-1]
            self._leave(largest, newest)
            newest.send(False)

        place = Event()
        self._waiting.setdefault(holder, deque()).append(place)
        return place

    def _leave(self, holder: str, place: Event) -> None:
        places = self._waiting[holder]
        places.remove(place)
        if not places:
            del self._waiting[holder]

    def _pass_on(self) -> None:
        """Give a finished turn to the oldest request of the next holder."""
        if not self._waiting:
            self._free += 1
            return

        self._forget_failures(time.monotonic())
        holder = min(self._waiting, key=lambda waiting: self._failed[waiting])
        place = self._waiting[holder][0]
        self._leave(holder, place)

        if holder in self._waiting:
            self._waiting[holder] = self._waiting.pop(holder)  # behind the other holders

        place.send(True)

    def _greed(self, holder: str) -> tuple[int, int]:
        """Return the number of a holder's waiting requests, and of its recent failures."""
        return len(self._waiting[holder]), self._failed[holder]

    def _note_failure(self, holder: str, now_s: float) -> None:
        self._forget_failures(now_s)
        self._failures.append((now_s, holder))
        self._failed[holder] += 1

    def _forget_failures(self, now_s: float) -> None:
        while self._failures and (
            now_s - self._failures[0][0] > LATE_S or len(self._failures) > FAILURES_REMEMBERED
        ):
            _, holder = self._failures.popleft()
            self._failed[holder] -= 1
            if not self._failed[holder]:
                del self._failed[holder]

    def _busy(self) -> TooMany:
        return TooMany.after(BUSY_RETRY_S, f"too many {self._what} at once; try again in {BUSY_RETRY_S} s")


class LoginLimit:
    """Limit of wrong passwords by user and address in a window.

    The counts are in Redis, under hashes.
    """

    def __init__(self, client: redis.Redis, *, prefix: str, failures: int, window_s: int) -> None:
        self._redis = client
        self._prefix = prefix
        self._failures = failures
        self._window_s = window_s

    @classmethod
    def from_config(cls, config: Config) -> LoginLimit:
        noc = config.noc
        return cls(
            redis_client.make_redis(config),
            prefix=config.redis.key_prefix,
            failures=noc.login_failures,
            window_s=noc.login_window_s,
        )

    def begin(self, login: str, peer: str) -> None:
        """Count an attempt before the password check, so that parallel attempts are all counted.

        Raises:
            TooMany: The user or the address has too many failures.
            Unavailable: Redis does not answer.
        """
        keys = self._keys(login, peer)
        counts = self._add(keys, 1)
        if any(count > most for count, most in zip(counts, keys.values(), strict=True)):
            self._add(
                keys, -1
            )  # a refused attempt does not count, so the window ends even when the attempts go on
            security_events.note("login_limited", peer=peer)
            raise TooMany.after(self._window_s, f"too many wrong passwords; try again in {self._window_s} s")

    def give_back(self, login: str, peer: str) -> None:
        """Take an attempt back: the password was right, or nobody checked it."""
        self._add(self._keys(login, peer), -1)

    def failed(self, peer: str) -> None:
        """Log a wrong password. Its attempt stays counted."""
        security_events.note("login_failed", peer=peer)

    def _add(self, keys: Mapping[str, int], difference: int) -> list[int]:
        """Change the counts. Each count ends one window after its first attempt.

        Raises `Unavailable`.
        """
        pipeline = self._redis.pipeline(transaction=True)
        for key in keys:
            pipeline.incrby(key, difference)
            pipeline.expire(key, self._window_s, nx=True)
        try:
            answers: Any = pipeline.execute()
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error
        return [int(count) for count in answers[::2]]

    def _keys(self, login: str, peer: str) -> dict[str, int]:
        """Return the Redis keys of an attempt, each with its failure limit."""
        together, one, other = (
            hashlib.sha256(part.encode()).hexdigest()[:32]
            for part in (f"{login}\0{peer}", f"l{login}", f"p{peer}")
        )
        limits = {together: self._failures, one: MANY * self._failures, other: MANY * self._failures}
        return {f"{self._prefix}:login:{part}": most for part, most in limits.items()}
