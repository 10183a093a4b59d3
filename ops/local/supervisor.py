"""Keeps processes alive: starts and watches them, restarts them with back-off, stops them together.

A process that gives no sign of life for `stall_timeout_s` is ended and started again. When another
program has the port of a process, the process is started as soon as the port is free. The state
file names both, with the reason and the time.

One loop polls and decides everything that a poll finds. No thread does any work, and signal
handlers only wake the loop. While all is well the loop sleeps, and the end of a process wakes it
(`pidfd_open`).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ops.environment import write_private
from ops.local import ports
from ops.processes import STALL_SIGNAL, STALL_TIMEOUT_S, stall_limit_s
from services.supervision import port_owner, sd_notify
from services.supervision.restarts import stalled_in_words

BACKOFF_FIRST_S = 0.2
BACKOFF_LAST_S = 10.0
HEALTHY_AFTER_S = 30.0
GRACE_S = 10.0
START_TIMEOUT_S = 120.0
"""A starting process that sends nothing for this time is started again.

systemd's `TimeoutStartSec` is the same.
"""
INSIST_S = 2.0
"""A process that `STALL_SIGNAL` does not end within this time is killed."""
SUSPECT_S = 2.0
LONGEST_TURN_S = 1.0
"""Longest time that one turn of the supervisor counts.

While the machine sleeps, no process fails to give signs of life.
"""
PORT_LOOK_S = 1.0
POLL_S = 0.05
"""Time between two turns while a process starts or ends."""
CALM_POLL_S = 0.5
"""Time between two turns while all processes of a stack are ready.

The end of a process makes it shorter.
"""
CALM = frozenset({"ready", "stopped"})
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def backoff_s(failures: int) -> float:
    """Return the pause before a start, after this many failures in a row."""
    return float(min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2 ** max(0, failures - 1)))


def end_in_words(process: str, code: int, stall_timeout_s: float = STALL_TIMEOUT_S) -> str:
    """Return why a process ended, from its exit code (negative: the signal that ended it)."""
    if code == -STALL_SIGNAL:
        return stalled_in_words(stall_limit_s(process, stall_timeout_s))
    if code >= 0:
        return f"it ended with exit code {code}"
    names = {found.value: found.name for found in signal.Signals}
    return f"it was ended by {names.get(-code, f'signal {-code}')}"


def restarts_in_words(process: Mapping[str, Any]) -> str:
    """Return how often a process of a state file was started again, and the last reason."""
    count, last = process["restarts"], process.get("last_end", "")
    words = "1 restart" if count == 1 else f"{count} restarts"
    at = f" at {process['last_end_at']}" if process.get("last_end_at") else ""
    return f"{words}, last{at} because {last}" if count and last else words


def state_in_words(process: Mapping[str, Any]) -> str:
    """Return the state of a process of a state file.

    Unless it is ready, with its time and reason.
    """
    state, doing = str(process["state"]), process.get("doing", "")
    if state == "ready":
        return f"ready, but {doing}" if doing else "ready"
    since = f" since {process['since']}" if process.get("since") else ""
    why = doing or (process.get("last_end", "") if state == "backoff" else "")
    return f"{state}{since}: {why}" if why else f"{state}{since}"


def state_of(pid: int) -> str:
    """Return the state letter of a process (proc(5), field 3), or "" when it is gone.

    `T` is a process that a signal holds.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def waited_for_cpu_s(pid: int) -> float:
    """Return for how long the main thread of a process waited for a processor (`schedstat`)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def started_at(pid: int) -> int | None:
    """Return the start time of a process in clock ticks (proc(5), field 22).

    Together with the pid it identifies a process for ever.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _die_with_parent() -> None:
    # Runs in the child, before exec. A supervisor that is killed must not leave orphans.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Process:
    """One supervised process.

    It reports that it is ready itself (sd_notify), or `probe` finds out. `ports` maps the ports
    that it listens on to the remedy when another program has one.
    """

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
        ports: Mapping[int, str] = MappingProxyType({}),
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.doing = ""
        self.last_end = ""
        self.last_end_at = ""
        self.since = _now()
        self._state = "stopped"
        self._command = list(command)
        self._log = log
        self._environment = dict(environment)
        self._probe = probe
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._user = user
        self._ports = dict(ports)
        self._stall_timeout_s = stall_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._notify: socket.socket | None = None
        self._failures = 0
        self._started_s = 0.0
        self._due_s = 0.0
        self._stop_asked_s: float | None = None
        self._silence = _TimeWithoutSign()
        self._fault = ""
        self._has_run = False

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    @property
    def state(self) -> str:
        """Return the state of the process.

        It is one of starting, ready, blocked (by a taken port), stalled (being ended), backoff,
        stopping, stopped.
        """
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state != self._state:
            self._state, self.since = state, _now()

    def start(self) -> None:
        """Start it now, or as soon as its ports are free; output goes to its log file."""
        if problem := self._taken_port():
            self.state, self.doing = "blocked", problem
            self._due_s = time.monotonic() + PORT_LOOK_S
            return

        self.restarts += self._has_run
        self._has_run = True
        self.doing = self._fault = ""
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
                umask=0o077,  # its files hold messages, keys and passwords
            )

        self._pidfd = os.pidfd_open(self._child.pid)
        self.state = "starting"
        self._started_s = time.monotonic()
        self._stop_asked_s = None
        self._silence = _TimeWithoutSign()

    @property
    def pidfd(self) -> int | None:
        """Return a descriptor that can be read once the process has ended."""
        return self._pidfd

    def poll(self) -> bool:
        """Notice exits, signs of life and due starts; return True when something changed."""
        before = (self.state, self.pid, self.doing)
        heard = self._hear()

        if self._child is not None and (code := self._child.poll()) is not None:
            self._ended(code)
        elif self._child is None:
            if self.state in ("backoff", "blocked") and time.monotonic() >= self._due_s:
                self.start()
        elif self.state == "stopping":
            self._insist(self._child)
        elif self.state == "stalled":
            if time.monotonic() >= self._due_s:
                _kill_group(self._child)
        else:
            self._watch(self._child, heard)

        return before != (self.state, self.pid, self.doing)

    def ask_to_stop(self) -> None:
        """Send the stop signal once.

        A held process is continued, so that it can take the signal.
        """
        if self._child is None:
            self.state = "stopped"
        elif self.state != "stopping":
            self.state = "stopping"
            self._stop_asked_s = time.monotonic()
            self._child.send_signal(self._stop_signal)
            self._child.send_signal(signal.SIGCONT)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal, for tests and for emergencies.

        A process that ends by it does not count as failed, so no pause comes before its next start.
        """
        if self._child is not None:
            self._failures = 0
            self._child.send_signal(signum)

    def last_lines(self, count: int = 20) -> str:
        """Return the end of its log."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-count:])

    def _watch(self, child: subprocess.Popen[bytes], heard: bool) -> None:
        """Check whether a running process is ready, and whether it still gives signs of life."""
        if self.state == "starting" and self._probe is not None and self._probe():
            self.state = "ready"
        elif self.state == "ready" and time.monotonic() - self._started_s > HEALTHY_AFTER_S:
            self._failures = 0
        if self._probe is not None:
            return
        limit_s = self._stall_timeout_s if self.state == "ready" else START_TIMEOUT_S
        if self._silence.turn(time.monotonic(), heard, child.pid) >= limit_s:
            self._end_stalled(child, limit_s)

    def _end_stalled(self, child: subprocess.Popen[bytes], silent_s: float) -> None:
        """End a process that gives no sign of life, by the signal that leaves its stack."""
        held = "it was held by a stop signal, and " if state_of(child.pid) == "T" else "it "
        self.doing = self._fault = f"{held}has not reported for {silent_s:g} s"
        self.state = "stalled"
        self._due_s = time.monotonic() + INSIST_S
        child.send_signal(STALL_SIGNAL)
        child.send_signal(signal.SIGCONT)

    def _hear(self) -> bool:
        """Read all messages of the process; return whether there were any."""
        heard = False
        while (datagram := self._receive()) is not None:
            heard = True
            said = sd_notify.read(datagram)
            if said.get("READY") == "1" and self.state in ("starting", "blocked"):
                self.state = "ready"
            if (blocked := said.get(sd_notify.BLOCKED)) is not None and self.state in ("starting", "blocked"):
                self.state = "blocked" if blocked else "starting"
            self.doing = said.get("STATUS", self.doing)
            self._fault = said.get(sd_notify.FAULT, self._fault)

        return heard

    def _receive(self) -> bytes | None:
        if self._notify is None:
            return None
        try:
            return self._notify.recv(4096)
        except BlockingIOError:
            return None

    def _taken_port(self) -> str:
        """Return a sentence about a port that another program has, or ""."""
        taken = next((port for port in self._ports if not ports.is_free(port)), None)
        return "" if taken is None else port_owner.sentence(taken, self._ports[taken])

    def _ended(self, code: int) -> None:
        self._child = None
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

        self.doing = ""
        if self.state == "stopping":
            self.state = "stopped"
            self._has_run = False
            return

        self.last_end = self._fault or end_in_words(self.name, code, self._stall_timeout_s)
        self.last_end_at = _now()
        self._failures = 1 if time.monotonic() - self._started_s > HEALTHY_AFTER_S else self._failures + 1
        self._due_s = time.monotonic() + backoff_s(self._failures)
        self.state = "backoff"

    def _insist(self, child: subprocess.Popen[bytes]) -> None:
        if self._stop_asked_s is not None and time.monotonic() - self._stop_asked_s > self._grace_s:
            _kill_group(child)

    def _listen(self) -> str:
        """Return the address for the process's messages.

        Messages of the process before are dropped.
        """
        if self._notify is None:
            self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._notify.setblocking(False)
            self._notify.bind(f"\0vigil-{os.getpid()}-{id(self):x}")
        while self._receive() is not None:
            pass
        return "@" + self._notify.getsockname()[1:].decode()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


class _TimeWithoutSign:
    """Time without a sign of life of a process, counted by turns of the supervisor.

    Two times do not count: time in which the process waited for a processor, and time in which the
    supervisor itself did not run.
    """

    def __init__(self) -> None:
        self._silent_s = 0.0
        self._looked_s: float | None = None
        self._waited_s: float | None = None

    def turn(self, now_s: float, heard: bool, pid: int) -> float:
        """Count one turn; return the time without a sign of life in seconds."""
        elapsed_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, LONGEST_TURN_S)
        self._looked_s = now_s

        if heard:
            self._silent_s, self._waited_s = 0.0, None
            return 0.0

        self._silent_s += elapsed_s
        if self._silent_s >= SUSPECT_S:
            waited_s = waited_for_cpu_s(pid)
            if self._waited_s is not None:
                self._silent_s -= min(elapsed_s, max(0.0, waited_s - self._waited_s))
            self._waited_s = waited_s

        return self._silent_s


class Supervisor:
    """Supervisor of all processes of a stack. `state_file` always says what is running."""

    def __init__(self, state_file: Path) -> None:
        self.processes: list[Process] = []
        self._state_file = state_file
        self._facts: dict[str, Any] = {}
        self.interrupted = False
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def interrupt(self, *_: object) -> None:
        """Ask the loop to end, and wake it; for use as a signal handler."""
        self.interrupted = True
        with suppress(BlockingIOError):
            os.write(self._wake, b"\0")

    def add(self, *processes: Process) -> None:
        """Take processes under supervision and start them."""
        for process in processes:
            self.processes.append(process)
            process.start()
        self.write_state()

    def add_facts(self, **facts: Any) -> None:
        """Keep further facts in the state file (addresses, whether all is up)."""
        self._facts |= facts
        self.write_state()

    def poll(self, *, calm_s: float = POLL_S) -> None:
        """Do one turn: notice everything, act on it, then rest.

        The rest is up to `calm_s` while no process starts or ends.
        """
        changed = [process.poll() for process in self.processes]
        if any(changed):
            self.write_state()
        self._rest(calm_s)

    def _rest(self, calm_s: float) -> None:
        """Sleep until the next turn. The end of a process, or of all, ends the sleep."""
        if any(process.state not in CALM for process in self.processes):
            time.sleep(POLL_S)  # the interval of the poll, as the loop waits for a condition
            return
        ends = [process.pidfd for process in self.processes if process.pidfd is not None]
        select.select([*ends, self._woken], [], [], calm_s)

    def wait_ready(
        self, names: Sequence[str], *, timeout_s: float, give_up: Callable[[], bool] = lambda: False
    ) -> list[Process]:
        """Poll until these processes are ready.

        Returns:
            The processes that are not ready when the time is up, or when `give_up` says so.

        Raises:
            InterruptedError: `interrupt` was called, which a signal handler may do at any time.
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
        """Stop all processes, or those named, together; kill them after their grace."""
        stopping = [process for process in self.processes if only is None or process.name in only]
        for process in stopping:
            process.ask_to_stop()
        while any(process.state != "stopped" for process in stopping):
            self.poll()
        self.write_state()

    def remove(self, *names: str) -> None:
        """Stop these processes, and forget them."""
        self.stop(only=names)
        self.processes = [process for process in self.processes if process.name not in names]
        self.write_state()

    def start(self, *, only: Sequence[str]) -> None:
        """Start the named processes that were stopped. Nothing else starts a stopped process."""
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
                    "since": process.since,
                    "doing": process.doing,
                    "restarts": process.restarts,
                    "last_end": process.last_end,
                    "last_end_at": process.last_end_at,
                    "started_at": started_at(process.pid) if process.pid else None,
                }
                for process in self.processes
            ],
            **self._facts,
        }
        write_private(self._state_file, json.dumps(state, indent=1))
