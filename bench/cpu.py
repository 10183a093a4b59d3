"""CPU time of processes, from proc(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def used_s(pid: int) -> float:
    """User and system seconds of a process, of its living children, and of those that it has reaped.

    The generator's own children are the stack; they have names of their own.
    """
    if pid == os.getpid():
        return time.process_time()
    total = 0.0
    for member in [pid, *_children(pid)]:
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / TICKS
    return total


def _children(pid: int) -> list[int]:
    try:
        direct = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in direct]


class Meter:
    """Seconds used by each named process since the meter was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: used_s(pid) for name, pid in self._pids.items()}

    def read(self) -> dict[str, float]:
        return {name: used_s(pid) - self._before[name] for name, pid in self._pids.items()}
