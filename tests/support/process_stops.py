"""Stops of a stack's processes, one after the other, and their results."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from ops.local.stack import Stack
from ops.local.supervisor import Process, started_at
from ops.processes import PROCESSES

LONG_ENOUGH_S = 15.0
"""An uptime in seconds after which more signs of life were sent than a socket's queue holds."""
STOPPED_WITHIN_S = 10.0
BACK_WITHIN_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class LogEnd:
    """The lines of a process's log from now on."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._path = Path(stack.home, "log", f"{name}.log")
        self._from = self._path.stat().st_size

    def text(self) -> str:
        return self._path.read_bytes()[self._from :].decode(errors="replace")

    def events(self) -> list[str]:
        lines = [line for line in self.text().splitlines() if line.startswith("{")]
        return [str(json.loads(line)["event"]) for line in lines]


class StoppedProcess(NamedTuple):
    """One process that was asked to stop.

    It has the way of its end, the duration, and the time until the process was ready again.
    """

    name: str
    how: str
    took_s: float
    back_s: float
    events: list[str]
    traceback: str

    @property
    def is_clean(self) -> bool:
        return (
            self.how == "it ended with exit code 0"
            and self.took_s < STOPPED_WITHIN_S
            and "process_stopped" in self.events
            and "work_abandoned" not in self.events
            and not self.traceback
        )


def vigils(stack: Stack) -> list[Process]:
    """Return Vigil's own processes of a stack."""
    return [found for found in stack.supervisor.processes if found.name in PROCESSES]


def uptime_s(process: Process) -> float:
    """Return the seconds since the start of a process."""
    started = started_at(process.pid) if process.pid is not None else None
    return 0.0 if started is None else time.clock_gettime(time.CLOCK_BOOTTIME) - started / TICKS_PER_S


def until(stack: Stack, condition: Callable[[], object], timeout_s: float) -> None:
    """Poll the supervisor until the condition holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        stack.supervisor.poll()


def await_ready(stack: Stack, *, timeout_s: float = 90) -> None:
    late = stack.supervisor.wait_ready(list(PROCESSES), timeout_s=timeout_s)
    assert late == [], [(process.name, process.last_lines()) for process in late]


class StopRound:
    """A round that asks each process in turn to stop, `times` times.

    `step` continues it, beside any other work.
    """

    def __init__(self, stack: Stack, times: int, names: Collection[str] = tuple(PROCESSES)) -> None:
        self.found: list[StoppedProcess] = []
        self._stack = stack
        self._names = names
        self._steps = self._run(times)
        self.is_over = False

    def step(self) -> None:
        """Poll the supervisor once, and do the due step."""
        self._stack.supervisor.poll()
        self.is_over = next(self._steps, "over") == "over"

    def _run(self, times: int) -> Iterator[None]:
        for _ in range(times):
            for process in [found for found in vigils(self._stack) if found.name in self._names]:
                yield from self._ask(process)

    def _ask(self, process: Process) -> Iterator[None]:
        while process.state != "ready" or uptime_s(process) < LONG_ENOUGH_S:
            yield
        log, pid, asked_s = LogEnd(self._stack, process.name), process.pid, time.monotonic()
        process.kill(signal.SIGTERM)
        yield
        # A second request changes nothing, wherever the stop is by now.
        process.kill(signal.SIGINT)
        while process.pid == pid:
            yield
        took_s, text, events = time.monotonic() - asked_s, log.text(), log.events()
        how = process.last_end
        while process.state != "ready":
            assert time.monotonic() < asked_s + BACK_WITHIN_S, (process.name, log.text())
            yield
        back_s = time.monotonic() - asked_s
        self.found.append(StoppedProcess(process.name, how, took_s, back_s, events, _traceback_in(text)))


def _traceback_in(text: str) -> str:
    """Return the lines around the first traceback of a log, or "" when there is none."""
    before, found, after = text.partition("Traceback")
    return before[-300:] + found + after[:3000] if found else ""


def figures(found: list[StoppedProcess]) -> str:
    """Return a line for each process with its number of clean stops, and their durations."""
    lines = []
    for name in PROCESSES:
        of_it = [stop for stop in found if stop.name == name]
        if of_it:
            took, back = sorted(stop.took_s for stop in of_it), sorted(stop.back_s for stop in of_it)
            clean = sum(stop.is_clean for stop in of_it)
            lines.append(
                f"{name:<20} {clean} of {len(of_it)} clean, ended within {took[len(took) // 2]:.1f} s"
                f" ({took[-1]:.1f} at most), ready again after {back[len(back) // 2]:.1f} s ({back[-1]:.1f} at most)"
            )
    return "\n".join(lines)
