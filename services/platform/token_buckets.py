"""Rate limits by key: a token bucket each for users, addresses or sources. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

FORGOTTEN_AT_ONCE = 4
"""Full buckets that one call may drop.

The number is more than one call adds, so that the number of buckets follows the load.
"""


class RateRefusal(NamedTuple):
    """A refused request.

    `wait_s`: seconds until the bucket has enough tokens. `is_first`: it is the first one in a row.
    """

    wait_s: float
    is_first: bool


class _Bucket:
    __slots__ = ("is_refusing", "tokens", "updated_s")

    def __init__(self, tokens: float, now_s: float) -> None:
        self.tokens = tokens
        self.updated_s = now_s
        self.is_refusing = False


class TokenBuckets:
    """Buckets of `count` tokens, each refilled with `count` tokens in `window_s` seconds.

    A key that has been quiet for `window_s` has a full bucket, and a full bucket need not be kept.
    """

    def __init__(self, *, count: float, window_s: float) -> None:
        if count <= 0 or window_s <= 0:
            raise ValueError("a bucket holds more than nothing, and is refilled within a time")
        self._count = count
        self._window_s = window_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, *, now_s: float, tokens: float = 1.0) -> RateRefusal | None:
        """Take tokens from the key's bucket.

        Returns:
            None when the tokens were there. Otherwise nothing is taken, and the refusal says when
            to try again.
        """
        self._forget(now_s)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._count, now_s)
        else:
            self._buckets.move_to_end(key)
            gained = max(0.0, now_s - bucket.updated_s) * self._count / self._window_s
            bucket.tokens = min(self._count, bucket.tokens + gained)
            bucket.updated_s = now_s

        if bucket.tokens >= tokens:
            bucket.tokens -= tokens
            bucket.is_refusing = False
            return None

        is_first, bucket.is_refusing = not bucket.is_refusing, True
        return RateRefusal((tokens - bucket.tokens) * self._window_s / self._count, is_first)

    def _forget(self, now_s: float) -> None:
        """Drop buckets that are full again: they are the ones used longest ago."""
        for _ in range(FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._buckets.values()), None)
            if oldest is None or now_s - oldest.updated_s < self._window_s:
                return
            self._buckets.popitem(last=False)
