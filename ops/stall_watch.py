"""Ends a process whose loop stands still, so that whoever supervises it starts it again.

Everything that a process does, it does in one thread, by eventlet's hub. Two things make the hub stand:

- It computes. Native code, for instance a regular expression, holds the interpreter's lock all the while: no thread of
  ours would run. So the kernel counts the processor time of the process (`ITIMER_PROF`) and sends SIGPROF, of which
  the process dies. Each turn of the hub winds the timer up again.
- It waits, for instance for a file or a lock. That costs no processor time. A native thread sees that the hub has not
  turned for a while during which the main thread slept in the kernel, and sends the same signal.

Neither counts time in which the process could not run: while the machine sleeps, while SIGSTOP holds the process and
while others take the processor, no processor time is used, and the thread, which counts its own turns, has none.

faulthandler writes the stack in the signal's handler, without the interpreter's lock; the next start logs it.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import IO, Any

import eventlet
import structlog
from eventlet import patcher

from ops.supervisor import STALL_SIGNAL
from services import restarts

log = structlog.get_logger(__name__)

SIGNAL = STALL_SIGNAL
WHY = "why: "
"""Begins the first line of a report when something else than the loop stood still."""
TURN_S = 1.0
"""At most so long between two turns; a quarter of a short limit."""
SLEEPS = "S"
"""State of a thread that waits for something (proc(5)); one that waits for its turn, or for a disk, has another."""

_time: Any = patcher.original("time")
_thread: Any = patcher.original("_thread")


class StallWatch:
    """The watch over the hub of this process; there is one of it."""

    def __init__(self, limit_s: float, report: Path | None) -> None:
        self._limit_s = limit_s
        self._turn_s = min(TURN_S, limit_s / 4)
        self._report_path = report
        self._report: IO[str] | None = None
        self._turns = 0
        self._watching = False

    def last_report(self) -> str:
        """Return the stack that the process before this one left when it stood still, and forget it."""
        if self._report_path is None or not self._report_path.exists():
            return ""
        found = self._report_path.read_text(errors="replace")
        self._report_path.unlink()
        return found

    def start(self) -> None:
        """Watch from now on. Raises `OSError` when the stack could not be written in the end."""
        if self._report_path is not None:
            self._report_path.parent.mkdir(parents=True, exist_ok=True)
            self._report = self._report_path.open("w")
        options = {} if self._report is None else {"file": self._report}
        faulthandler.register(SIGNAL, all_threads=False, chain=True, **options)
        self._watching = True
        self.turn()
        eventlet.spawn_n(self._keep_turning)
        _thread.start_new_thread(self._count_sleep, ())

    def stop(self) -> None:
        """Watch no longer: the process ends in order."""
        self._watching = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        faulthandler.unregister(SIGNAL)
        if self._report is not None:
            self._report.close()

    def end(self, why: str) -> None:
        """End this process now, as for a loop that stands still, and leave the reason for the next one."""
        if self._report is not None:
            self._report.write(f"{WHY}{why}\n")
            self._report.flush()
        os.kill(os.getpid(), SIGNAL)

    def turn(self) -> None:
        """The hub turns."""
        self._turns += 1
        signal.setitimer(signal.ITIMER_PROF, self._limit_s)

    def _keep_turning(self) -> None:
        while self._watching:
            self.turn()
            eventlet.sleep(self._turn_s)

    def _count_sleep(self) -> None:
        """Run in a native thread: no logging here, it would wait for the hub."""
        seen, slept_s = 0, 0.0
        while self._watching:
            _time.sleep(self._turn_s)
            if self._turns != seen:
                seen, slept_s = self._turns, 0.0
            elif _state_of_main_thread() == SLEEPS:
                slept_s += self._turn_s
            if self._watching and slept_s >= self._limit_s:
                os.kill(os.getpid(), SIGNAL)
                return


def why_of(report: str) -> str:
    """Return the reason that a process left in its report; "" when its loop stood still."""
    first, _, _ = report.partition("\n")
    return first.removeprefix(WHY) if first.startswith(WHY) else ""


def log_end(process: str, record: restarts.Record, report: str) -> None:
    """Say in the log how the process before this one ended."""
    if report:
        log.error("loop_stood_still", process=process, ended=restarts.in_words(record), stack=report)
    else:
        log.warning("process_died", process=process, ended=restarts.in_words(record))


def _state_of_main_thread() -> str:
    pid = os.getpid()
    stat = Path(f"/proc/self/task/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]
