"""Cost of a stack without traffic: cores and memory, by process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.measures.cpu import Meter

SETTLE_S = 5.0
"""Pause between a stack's last message and its measurement, in seconds."""
KIB = 1024


class RestFigures(NamedTuple):
    """Cores and memory by process.

    Memory is the proportional set size in MiB, in which shared pages are counted once.
    """

    cores: dict[str, float]
    mib: dict[str, float]

    def figures(self) -> dict[str, float]:
        return {"cores": round(sum(self.cores.values()), 4), "mib": round(sum(self.mib.values()))}


def measure(pids: Mapping[str, int], *, seconds: float) -> RestFigures:
    """Measure processes for some seconds in which nothing sends messages."""
    time.sleep(SETTLE_S)
    meter, started_s = Meter(pids), time.monotonic()
    time.sleep(seconds)
    passed_s = time.monotonic() - started_s
    cores = {name: round(used_s / passed_s, 4) for name, used_s in sorted(meter.read().items())}
    return RestFigures(cores, {name: pss_mib(pid) for name, pid in sorted(pids.items())})


def pss_mib(pid: int) -> float:
    """Return the memory of a process and all its descendants, in MiB.

    Ended processes count as 0.
    """
    total_kib = 0
    for member in family(pid):
        try:
            total_kib += pss_kib(Path(f"/proc/{member}/smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return round(total_kib / KIB, 1)


def pss_kib(rollup: str) -> int:
    """Return the figure, in KiB, from a text of /proc/PID/smaps_rollup. Pure."""
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def family(pid: int) -> Iterator[int]:
    """Yield a process, its children, and their descendants."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield from family(int(child))
