"""Cost of a number of sources, from figures of the bench. Pure.

The figures are messages a second, cores, processes and storage. The mix of sources is that of the
growth figures. `python -m bench.scaling_tables` prints the result for docs/scaling.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.measures.growth import MIX

BUSY = 0.7
"""Share of a core that a process of one thread may use at the peak. Above it, waits grow fast."""
SAFE = 2
"""Least number of each of Vigil's processes, because one may end."""
SERVERS = frozenset({"postgres", "rabbitmq", "redis", "haproxy", "mosquitto"})
"""Servers. Their number depends on connections, disks and safety, not on cores."""
NOT_COUNTED = frozenset({"generator", "epmd"})


class ProcessNeed(NamedTuple):
    """One kind of process: its cores, and the number of its processes."""

    name: str
    cores: float
    processes: int


def messages_per_s(sources: int) -> float:
    """Return the number of messages a second from so many sources of the mix."""
    return sum(sender.sources / sender.every_s for sender in MIX.values()) * sources / 1000


def needs(cpu_s_per_1000: Mapping[str, float], sources: int) -> list[ProcessNeed]:
    """Return the need of each kind of process for so many sources."""
    per_s = messages_per_s(sources)
    found = []
    for name, used in cpu_s_per_1000.items():
        if name not in NOT_COUNTED:
            cores = used * per_s / 1000
            count = 1 if name in SERVERS else max(SAFE, math.ceil(cores / BUSY))
            found.append(ProcessNeed(name, cores, count))
    return found


def table(
    cpu_s_per_1000: Mapping[str, float], gb_per_1000_sources_day: float | None, numbers: Sequence[int]
) -> Iterator[str]:
    """Yield a Markdown table of cores and processes, with a column for each number of sources."""
    columns = [needs(cpu_s_per_1000, number) for number in numbers]
    yield "| | CPU s per 1,000 | " + " | ".join(f"{number:,} sources" for number in numbers) + " |"
    yield "|---" * (2 + len(numbers)) + "|"
    yield "| messages a second | | " + " | ".join(f"{messages_per_s(n):,.0f}" for n in numbers) + " |"

    for row in zip(*columns, strict=True):
        name = row[0].name
        cells = [
            f"{need.cores:.2f} cores" + ("" if name in SERVERS else f", {need.processes} of it")
            for need in row
        ]
        yield f"| {name} | {cpu_s_per_1000[name]:.4f} | " + " | ".join(cells) + " |"

    totals = [sum(need.cores for need in column) for column in columns]
    used = sum(cpu_s_per_1000[need.name] for need in columns[0])
    shown = " | ".join(f"**{total:.1f} cores**, {total / BUSY:.1f} to buy" for total in totals)
    yield f"| all | {used:.4f} | {shown} |"

    if gb_per_1000_sources_day is not None:
        days = " | ".join(f"{gb_per_1000_sources_day * number / 1000:,.0f} GB a day" for number in numbers)
        yield f"| database | | {days} |"
