"""Keeps processes alive: started, watched, started again with back-off, stopped together.

No thread and no signal handler does any work: one loop polls, and everything that a poll finds is decided there.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ops.environment import write_private
from ops.processes import stall_limit_s
from services.restarts import stood_still

BACKOFF_FIRST_S = 0.2
BACKOFF_LAST_S = 10.0
HEALTHY_AFTER_S = 30.0
GRACE_S = 10.0
POLL_S = 0.05
PR_SET_PDEATHSIG = 1
STALL_SIGNAL = signal.SIGPROF
"""Of which a process of Vigil dies when its loop stands still (ops/stall_watch.py)."""

_libc = ctypes.CDLL(None, use_errno=True)


def backoff_s(failures: int) -> float:
    """How long to wait before the start after so many failures in a row."""
    return float(min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2 ** max(0, failures - 1)))


def end_in_words(process: str, code: int) -> str:
    """Return why a process ended, from its exit code (negative: the signal that ended it)."""
    if code == -STALL_SIGNAL:
        return stood_still(stall_limit_s(process))
    if code >= 0:
        return f"it ended with exit code {code}"
    names = {found.value: found.name for found in signal.Signals}
    return f"it was ended by {names.get(-code, f'signal {-code}')}"


def restarts_in_words(process: Mapping[str, Any]) -> str:
    """Return how often a process of a state file was started again, and why the last time."""
    count, last = process["restarts"], process.get("last_end", "")
    words = "1 restart" if count == 1 else f"{count} restarts"
    return f"{words}, last because {last}" if count and last else words


def started_at(pid: int) -> int | None:
    """The start time of a process in clock ticks (proc(5), field 22); with the pid it names a process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _die_with_parent() -> None:
    # In the child, before exec: whoever kills the supervisor must not leave orphans behind.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Process:
    """One supervised process. `ready` is said by itself (sd_notify) or found by `probe`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        probe: Callable[[], bool] | None = None,
        stop_signal: int = signal.SIGTERM,
        grace_s: float = GRACE_S,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.state = "stopped"
        self.restarts = 0
        self.last_end = ""
        self._command = list(command)
        self._log = log
        self._environment = dict(environment)
        self._probe = probe
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._user = user
        self._child: subprocess.Popen[bytes] | None = None
        self._notify: socket.socket | None = None
        self._failures = 0
        self._started_s = 0.0
        self._due_s = 0.0
        self._stop_asked_s: float | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Start it now; output goes to its log file."""
        environment = dict(self._environment)
        if self._probe is None:
            environment["NOTIFY_SOCKET"] = self._listen()
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._log, "ab", opener=_private) as log:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the supervisor has no threads
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                umask=0o077,  # what it writes holds messages, keys and passwords
            )
        self.state = "starting"
        self._started_s = time.monotonic()
        self._stop_asked_s = None

    def poll(self) -> bool:
        """Notice exits, readiness and due restarts; True when something changed."""
        before = (self.state, self.pid)
        if self._child is not None and (code := self._child.poll()) is not None:
            self._ended(code)
        elif self.state == "starting" and self._is_ready():
            self.state = "ready"
        elif self.state == "ready" and time.monotonic() - self._started_s > HEALTHY_AFTER_S:
            self._failures = 0
        elif self.state == "backoff" and time.monotonic() >= self._due_s:
            self.restarts += 1
            self.start()
        elif self.state == "stopping" and self._child is not None:
            self._insist(self._child)
        return before != (self.state, self.pid)

    def ask_to_stop(self) -> None:
        """One signal, once: a second one would hang a service that is stopping."""
        if self._child is None:
            self.state = "stopped"
        elif self.state != "stopping":
            self.state = "stopping"
            self._stop_asked_s = time.monotonic()
            self._child.send_signal(self._stop_signal)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal, for tests and for emergencies; what dies of it is no failure that a pause would mend."""
        if self._child is not None:
            self._failures = 0
            self._child.send_signal(signum)

    def last_lines(self, count: int = 20) -> str:
        """The end of its log."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-count:])

    def _ended(self, code: int) -> None:
        self._child = None
        if self.state == "stopping":
            self.state = "stopped"
            return
        self.last_end = end_in_words(self.name, code)
        self._failures = 1 if time.monotonic() - self._started_s > HEALTHY_AFTER_S else self._failures + 1
        self._due_s = time.monotonic() + backoff_s(self._failures)
        self.state = "backoff"

    def _insist(self, child: subprocess.Popen[bytes]) -> None:
        if self._stop_asked_s is not None and time.monotonic() - self._stop_asked_s > self._grace_s:
            os.killpg(child.pid, signal.SIGKILL)

    def _listen(self) -> str:
        if self._notify is None:
            self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._notify.setblocking(False)
            self._notify.bind(f"\0vigil-{os.getpid()}-{id(self):x}")
        return "@" + self._notify.getsockname()[1:].decode()

    def _is_ready(self) -> bool:
        if self._probe is not None:
            return self._probe()
        assert self._notify is not None
        try:
            return b"READY=1" in self._notify.recv(4096).split(b"\n")
        except BlockingIOError:
            return False


class Supervisor:
    """All processes of a stack. `state_file` always tells what is running."""

    def __init__(self, state_file: Path) -> None:
        self.processes: list[Process] = []
        self._state_file = state_file
        self._facts: dict[str, Any] = {}
        self.interrupted = False

    def add(self, *processes: Process) -> None:
        """Take processes under supervision and start them."""
        for process in processes:
            self.processes.append(process)
            process.start()
        self.write_state()

    def tell(self, **facts: Any) -> None:
        """Keep further facts in the state file (addresses, whether all is up)."""
        self._facts |= facts
        self.write_state()

    def poll(self) -> None:
        """One turn: notice everything, act on it, then rest a little."""
        changed = [process.poll() for process in self.processes]
        if any(changed):
            self.write_state()
        time.sleep(POLL_S)  # the interval of the poll; what is waited for is a condition

    def wait_ready(
        self, names: Sequence[str], *, timeout_s: float, give_up: Callable[[], bool] = lambda: False
    ) -> list[Process]:
        """Poll until these are ready; returns those that are not when the time is up, or `give_up` says so.

        Raises `InterruptedError` once `interrupted` is set, which a signal handler may do at any time.
        """
        deadline_s = time.monotonic() + timeout_s
        wanted = [process for process in self.processes if process.name in names]
        while any(process.state != "ready" for process in wanted) and time.monotonic() < deadline_s:
            if self.interrupted:
                raise InterruptedError
            if give_up():
                break
            self.poll()
        return [process for process in wanted if process.state != "ready"]

    def stop(self, *, only: Sequence[str] | None = None) -> None:
        """Stop all, or those named, together; hard after their grace."""
        stopping = [process for process in self.processes if only is None or process.name in only]
        for process in stopping:
            process.ask_to_stop()
        while any(process.state != "stopped" for process in stopping):
            self.poll()
        self.write_state()

    def remove(self, *names: str) -> None:
        """Stop these, and forget them."""
        self.stop(only=names)
        self.processes = [process for process in self.processes if process.name not in names]
        self.write_state()

    def start(self, *, only: Sequence[str]) -> None:
        """Start those named that were stopped; until then they stay down, whatever happens."""
        for process in self.processes:
            if process.name in only and process.state == "stopped":
                process.start()
        self.write_state()

    def write_state(self) -> None:
        state = {
            "supervisor": {"pid": os.getpid(), "started_at": started_at(os.getpid())},
            "processes": [
                {
                    "name": process.name,
                    "pid": process.pid,
                    "state": process.state,
                    "restarts": process.restarts,
                    "last_end": process.last_end,
                    "started_at": started_at(process.pid) if process.pid else None,
                }
                for process in self.processes
            ],
            **self._facts,
        }
        write_private(self._state_file, json.dumps(state, indent=1))
