"""Shards: the messages of each, the process that is to have it, and the events that wait. Pure.

All messages of one source are of one shard, whatever sends them and however often. Each shard has a
queue of its own, which one process empties, in order. No two processes ever wait for each other's
rows.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class SizedEvent(Protocol):
    """A waiting event with its size in bytes."""

    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=SizedEvent)


def shard_of(source_id: str, shards: int) -> int:
    """Return the shard of a source: the same in every process and every version."""
    return zlib.crc32(source_id.encode("utf-8", "surrogatepass")) % shards


def shard_key(event_type: str, shard: int) -> str:
    """Return the routing key of a shard's events."""
    return f"{event_type}.{shard}"


def split(items: Iterable[T], source_of: Callable[[T], str], shards: int) -> dict[int, list[T]]:
    """Return items by the shard of their source, each shard's in the order in which they came."""
    found: dict[int, list[T]] = {}
    for item in items:
        shard = shard_of(source_of(item), shards)
        if shard in found:
            found[shard].append(item)
        else:
            found[shard] = [item]
    return found


def owners(shards: int, members: Collection[str]) -> tuple[str, ...]:
    """Return the member that is to have each shard.

    Every process that knows the same members gets the same result. Two members differ by one shard
    at most, so that none is idle while there are as many shards as members. When a member comes or
    goes, most shards stay where they are.
    """
    if not members:
        raise ValueError("shards are shared out among one member at least")

    ordered = sorted(members)
    least, further = divmod(shards, len(ordered))
    count = dict.fromkeys(ordered, 0)

    found = []
    for shard in range(shards):
        most = least if not further else least + 1
        takes = max(
            (m for m in ordered if count[m] < most), key=lambda m: zlib.crc32(f"{shard}/{m}".encode())
        )
        count[takes] += 1
        further -= count[takes] > least
        found.append(takes)

    return tuple(found)


class ShardMembers:
    """The consumers of one service that take part, by the heartbeats of their processes.

    Args:
        own: The consumer that asks. It always takes part.
        silent_after_s: Seconds without a heartbeat after which a process takes no part.
    """

    def __init__(self, own: str, *, silent_after_s: float) -> None:
        self._own = own
        self._silent_after_s = silent_after_s
        self._heard: dict[str, tuple[float, tuple[str, ...]]] = {}

    def receive(self, instance: str, takes: tuple[str, ...], now_s: float) -> None:
        """Take a heartbeat of a process that came now."""
        self._heard[instance] = now_s, takes

    def list(self, now_s: float) -> frozenset[str]:
        """Return the consumers that take part now."""
        self._heard = {
            instance: (heard_s, takes)
            for instance, (heard_s, takes) in self._heard.items()
            if now_s - heard_s <= self._silent_after_s
        }
        return frozenset({self._own, *(member for _, takes in self._heard.values() for member in takes)})


class TakenItems(NamedTuple, Generic[T]):
    """The items that one run has of one shard."""

    shard: int
    items: list[T]


class ShardLines(Generic[S]):
    """The waiting items of each shard, in order. One run at a time has items of a shard.

    When there is no run, the next one begins at once, with all that waits. Items that come
    meanwhile form the next run. As soon as there is enough for two runs, both begin at once, each
    with half of the shards.

    Args:
        most_bytes: A run takes no more bytes than this, except that it takes one item of each of
            its shards.
        enough_bytes: A run beside another one has so many bytes at least: few large runs cost less
            than many small ones.
    """

    def __init__(self, *, most_bytes: int, enough_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._enough_bytes = enough_bytes
        self._waiting: dict[int, deque[S]] = {}
        self._bytes: dict[int, int] = {}
        self._running: dict[int, int] = {}
        self._closed: set[int] = set()
        self._ready: OrderedDict[int, None] = OrderedDict()

    def put(self, shard: int, item: S) -> None:
        """Put an item behind the others of its shard."""
        self._waiting.setdefault(shard, deque()).append(item)
        self._bytes[shard] = self._bytes.get(shard, 0) + item.size
        self._set_ready(shard)

    def put_back(self, shard: int, items: Sequence[S]) -> None:
        """Put items of a run before the others of their shard."""
        self._waiting.setdefault(shard, deque()).extendleft(reversed(items))
        self._bytes[shard] = self._bytes.get(shard, 0) + sum(item.size for item in items)
        self._set_ready(shard)

    def take(self) -> list[TakenItems[S]]:
        """Return the items of the next run, from shards in turn.

        Call `leave` when the run is over.
        """
        size = sum(self._bytes[shard] for shard in self._ready)
        if not self._ready or (self._running and size < self._enough_bytes):
            return []
        count = len(self._ready)
        if not self._running and size >= 2 * self._enough_bytes:
            count = -(-count // 2)
        return [
            self._take_of(self._ready.popitem(last=False)[0], self._most_bytes // count) for _ in range(count)
        ]

    def take_one(self) -> list[TakenItems[S]]:
        """Return a run of one item: the first of the shard whose turn it is."""
        if not self._ready:
            return []
        return [self._take_of(self._ready.popitem(last=False)[0], 0)]

    def take_all(self, shard: int) -> list[TakenItems[S]]:
        """Return a run of all that waits of one shard."""
        if self._ready.pop(shard, self) is self:
            return []
        items = list(self._waiting.pop(shard))
        del self._bytes[shard]
        self._running[shard] = len(items)
        return [TakenItems(shard, items)]

    def _take_of(self, shard: int, most_bytes: int) -> TakenItems[S]:
        waiting = self._waiting[shard]
        items = [waiting.popleft()]
        size = items[0].size
        while waiting and (size := size + waiting[0].size) <= most_bytes:
            items.append(waiting.popleft())
        self._bytes[shard] -= sum(item.size for item in items)
        self._running[shard] = len(items)
        return TakenItems(shard, items)

    def leave(self, taken: Iterable[TakenItems[S]]) -> None:
        """End a run."""
        for shard, _ in taken:
            del self._running[shard]
            self._set_ready(shard)

    def close(self, shard: int) -> None:
        """Let no further run have items of a shard. A run that has some goes on."""
        self._closed.add(shard)
        self._ready.pop(shard, None)

    def drop(self, shard: int) -> None:
        """Forget the waiting items of a shard: they are delivered again."""
        self._waiting.pop(shard, None)
        self._bytes.pop(shard, None)
        self._ready.pop(shard, None)

    def open(self, shard: int) -> None:
        """Let runs have items of a shard (again)."""
        self._closed.discard(shard)
        self._set_ready(shard)

    def is_running(self, shard: int) -> bool:
        """Return whether a run has items of a shard."""
        return shard in self._running

    def is_idle(self) -> bool:
        """Return whether there is no run."""
        return not self._running

    def waiting(self, shard: int) -> Sequence[S]:
        """Return the waiting items of a shard, without those of a run."""
        return tuple(self._waiting.get(shard, ()))

    def in_hand(self, shard: int) -> int:
        """Return how many items of a shard wait or run."""
        return len(self._waiting.get(shard, ())) + self._running.get(shard, 0)

    def _set_ready(self, shard: int) -> None:
        if self._waiting.get(shard) and shard not in self._running and shard not in self._closed:
            self._ready.setdefault(shard)
