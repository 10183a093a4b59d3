"""Balance of sources over shards, and of shards over processes. Pure.

It is a simulation with sources of unequal rates. `python -m bench.shard_balance` prints the table
of docs/scaling.md. The checksum of a source's id decides its shard, for ever. The bus gives whole
shards to processes. Each process gets as many as the others, or one more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.messaging.shards import shard_of

SEEDS = 5
SOURCES = (500, 10_000, 1_000_000)
SHARDS = (8, 16, 32)
PROCESSES = (2, 3, 4, 8)


class SourceGroup(NamedTuple):
    """Number of sources among 1,000, each with a message every `every_s` seconds in the median.

    `spread` is the standard deviation of the logarithm: rates of one kind differ by such a factor.
    """

    prefix: str
    of_1000: int
    every_s: float
    spread: float


KINDS = (
    SourceGroup("guard-", 490, 10.0, 0.7),
    SourceGroup("device-", 300, 60.0, 0.7),
    SourceGroup("sensor-", 180, 60.0, 1.0),
    SourceGroup("system-", 20, 60.0, 0.3),
    SourceGroup("tracker-", 10, 1.0, 0.5),
)
"""The mix of the growth figures, and one source in a hundred that reports every second."""


class ShardSpread(NamedTuple):
    """Heaviest part relative to the mean of all parts: 1 is even."""

    mean: float
    worst: float


def rates(sources: int, *, seed: int) -> dict[str, float]:
    """Return the messages a second of each source, by its id.

    The same seed makes the same rates.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation wants repeatable chance
    found: dict[str, float] = {}
    for kind in KINDS:
        # Ids are those of a real register: consecutive numbers from a random first one.
        first = chance.randrange(1, 1_000_000)
        for number in range(sources * kind.of_1000 // 1000):
            found[f"{kind.prefix}{first + number}"] = chance.lognormvariate(0, kind.spread) / kind.every_s
    return found


def by_shard(loads: dict[str, float], shards: int) -> list[float]:
    """Return the messages a second of each shard."""
    found = [0.0] * shards
    for source_id, rate in loads.items():
        found[shard_of(source_id, shards)] += rate
    return found


def by_process(of_shards: Sequence[float], processes: int, *, seed: int) -> list[float]:
    """Return the messages a second of each process.

    Shards are dealt by lot, whatever their load.
    """
    dealt = list(of_shards)
    random.Random(seed).shuffle(dealt)  # noqa: S311 - a simulation wants repeatable chance
    found = [0.0] * processes
    for number, rate in enumerate(dealt):
        found[number % processes] += rate
    return found


def heaviest(parts: Sequence[float]) -> float:
    """Return the heaviest part relative to the mean."""
    return max(parts) * len(parts) / sum(parts)


def spread(found: Sequence[float]) -> ShardSpread:
    """Return the mean and the worst over several seeds."""
    return ShardSpread(sum(found) / len(found), max(found))


def simulate(
    *,
    sources: Sequence[int] = SOURCES,
    shards: Sequence[int] = SHARDS,
    processes: Sequence[int] = PROCESSES,
    seeds: int = SEEDS,
) -> Iterator[tuple[int, int, ShardSpread, dict[int, ShardSpread]]]:
    """Yield (sources, shards, heaviest shard, heaviest process by the number of processes)."""
    for count in sources:
        drawn = [rates(count, seed=seed) for seed in range(seeds)]
        for number in shards:
            loads = [by_shard(one, number) for one in drawn]
            of_processes = {
                each: spread([heaviest(by_process(load, each, seed=seed)) for seed, load in enumerate(loads)])
                for each in processes
            }
            yield count, number, spread([heaviest(load) for load in loads]), of_processes


def lines() -> Iterator[str]:
    """Yield the table as Markdown."""
    titles = ["Sources", "Shards", "Heaviest shard", *(f"{each} processes" for each in PROCESSES)]
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for count, number, of_shards, of_processes in simulate():
        cells = [of_shards, *(of_processes[each] for each in PROCESSES)]
        shown = [f"{cell.mean:.2f} ({cell.worst:.2f})" for cell in cells]
        yield "| " + " | ".join([f"{count:,}", str(number), *shown]) + " |"


if __name__ == "__main__":
    print("\n".join(lines()))
