"""CPU time of processes, from proc(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def used_s(pid: int) -> float:
    """Return user and system seconds of a process, its living children, and its reaped children.

    The generator's own children are the stack, and have their own names. So they do not count here.
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


def machine_busy_s(stat: str) -> float:
    """Return the seconds in which a core was not idle, from the text of /proc/stat. Pure.

    Time stolen by the host counts as busy. Fields: user nice system idle iowait irq softirq steal.
    Guests are already in user.
    """
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


class Meter:
    """CPU seconds of each named process, and of the whole machine, since the meter was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._started_s = time.monotonic()
        self._busy_before_s = machine_busy_s(Path("/proc/stat").read_text())
        self._before = {name: used_s(pid) for name, pid in self._pids.items()}

    def read(self) -> dict[str, float]:
        return {name: used_s(pid) - self._before[name] for name, pid in self._pids.items()}

    def elsewhere(self, used_s: Mapping[str, float]) -> float:
        """Return the share of the machine, 0 to 1, that other work used.

        A figure taken then is too low.
        """
        busy_s = machine_busy_s(Path("/proc/stat").read_text()) - self._busy_before_s
        capacity_s = (time.monotonic() - self._started_s) * (os.cpu_count() or 1)
        return max(0.0, min(1.0, (busy_s - sum(used_s.values())) / capacity_s))
