"""Ends a process whose loop stands still, so that its supervisor starts it again.

A process does all its work in one thread, in eventlet's hub. Two things make the hub stand still:

- It computes. Native code, for instance a regular expression, holds the interpreter's lock for the
  whole time, so no thread of Python can run. Therefore the kernel counts the processor time of the
  process (`ITIMER_PROF`) and sends SIGPROF, which ends the process. Each turn of the hub starts the
  timer again.
- It waits, for instance for a file or a lock. That takes no processor time. A native thread notices
  that the hub has not turned for a while, and that the main thread slept in the kernel for that
  time. It sends the same signal.

Neither counts time in which the process could not run. While the machine sleeps, SIGSTOP holds the
process, or others take the processor, no processor time is used. The thread counts its own turns,
and has none in that time.

faulthandler writes the stack in the signal's handler, without the interpreter's lock. The next
start logs it.
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

from ops.processes import STALL_SIGNAL
from services.supervision import restarts

log = structlog.get_logger(__name__)

SIGNAL = STALL_SIGNAL
WHY = "why: "
"""Start of the first line of a report, when the cause was not the loop."""
TURN_S = 1.0
"""Longest time between two turns. With a short limit, it is a quarter of the limit."""
SLEEPS = "S"
"""State of a thread that waits for an event (proc(5)).

A thread that waits for a processor or a disk has another state.
"""

_time: Any = patcher.original("time")
_thread: Any = patcher.original("_thread")


class StallWatch:
    """The only watch over the hub of this process."""

    def __init__(self, limit_s: float, report: Path | None) -> None:
        self._limit_s = limit_s
        self._turn_s = min(TURN_S, limit_s / 4)
        self._report_path = report
        self._report: IO[str] | None = None
        self._turns = 0
        self._watching = False

    def last_report(self) -> str:
        """Return and remove the stack that the previous process left when it stood still."""
        if self._report_path is None or not self._report_path.exists():
            return ""
        found = self._report_path.read_text(errors="replace")
        self._report_path.unlink()
        return found

    def start(self) -> None:
        """Start to watch. Raises `OSError` when the stack could not be written."""
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
        """Stop watching, because the process ends in order."""
        self._watching = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        faulthandler.unregister(SIGNAL)
        if self._report is not None:
            self._report.close()

    def end(self, why: str) -> None:
        """End this process now, and leave the reason for the next one.

        The process ends in the same way as for a loop that stands still.
        """
        if self._report is not None:
            self._report.write(f"{WHY}{why}\n")
            self._report.flush()
        os.kill(os.getpid(), SIGNAL)

    def turn(self) -> None:
        """Count one turn of the hub."""
        self._turns += 1
        signal.setitimer(signal.ITIMER_PROF, self._limit_s)

    def _keep_turning(self) -> None:
        while self._watching:
            self.turn()
            eventlet.sleep(self._turn_s)

    def _count_sleep(self) -> None:
        """Count sleep, in a native thread.

        Logging is not allowed here, as it would wait for the hub.
        """
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


def reason_left_by(report: str) -> str:
    """Return the reason that a process left in its report; "" when its loop stood still."""
    first, _, _ = report.partition("\n")
    return first.removeprefix(WHY) if first.startswith(WHY) else ""


def log_end(process: str, record: restarts.RestartRecord, report: str) -> None:
    """Log how the previous process ended."""
    if report:
        log.error("event_loop_stalled", process=process, ended=restarts.in_words(record), stack=report)
    else:
        log.warning("process_died", process=process, ended=restarts.in_words(record))


def _state_of_main_thread() -> str:
    pid = os.getpid()
    stat = Path(f"/proc/self/task/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]
