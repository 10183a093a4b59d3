"""Health check of one process from outside: `python -m ops.hosting.liveness NAME`, for containers.

A process that is ready writes a sign of life to a file in `VIGIL_RUNTIME_DIR` every second. The
write comes from the hub that does all work of the process. When the hub hangs or the process is
held, the file grows old.

Docker restarts a container that has ended, but not one that is unhealthy. Therefore this check ends
a process whose file is too old, and the container is started again. The limit is the same as for
the supervisor of `vigil up` and for systemd (`supervision.stall_timeout_s`).

The watchdog also has a file for each lane. Each test message that arrives writes the file of its
lane. The watchdog is well while test messages arrive, so `docker compose up --wait` fails when they
do not.

The module imports only the standard library, because the check runs every few seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

DIRECTORY = "VIGIL_RUNTIME_DIR"
LANES = ("alert", "bulk")
HTTP_TIMEOUT_S = 3.0
LOOK_AGAIN_S = 1.5
"""Time to give a sign of life after the machine slept, or while the process waits for its turn."""
END_S = 1.0
POLL_S = 0.1
END_SIGNAL = signal.SIGPROF
"""Ends a process of Vigil and leaves its stack for the log (ops/hosting/stall_watch.py)."""


class LifeSign(NamedTuple):
    """A sign of life of one process.

    Attributes:
        at_s: when it was given, by the machine's monotonic clock.
        pid: the process that gave it.
        timeout_s: the age at which it is too old.
    """

    at_s: float
    pid: int
    timeout_s: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.at_s


def write_sign(process: str, timeout_s: float) -> bool:
    """Write this process's sign of life.

    Without a directory (`VIGIL_RUNTIME_DIR`), nothing is written, because nothing reads the file.

    Returns:
        False when the file cannot be written.
    """
    directory = os.environ.get(DIRECTORY)
    if not directory:
        return True
    try:
        # One write of one line: a reader sees the old line, the new line, or nothing.
        Path(directory, f"{process}.alive").write_text(f"{time.monotonic()} {os.getpid()} {timeout_s}\n")
    except OSError:
        return False
    return True


def last_sign(process: str, directory: str) -> LifeSign | None:
    """Return the last sign of life, or None when there is none or it is being written."""
    try:
        at_s, pid, timeout_s = Path(directory, f"{process}.alive").read_text().split()
        return LifeSign(float(at_s), int(pid), float(timeout_s))
    except (FileNotFoundError, ValueError):
        return None


def finding(process: str, directory: str | None, url: str | None) -> str:
    """Return what is wrong with a process, in words, or "" when nothing is wrong.

    End the process when it has given no sign of life for too long.
    """
    if not directory:
        return f"{DIRECTORY} is not set: there is no check whether {process} is well"

    sign = _sign_of_late(process, directory)
    if sign is None:
        return f"{process} is not ready yet, or its {DIRECTORY} is not {directory}"
    if sign.age_s > sign.timeout_s:
        end(sign.pid, process)
        return f"{process} has not reported for {sign.age_s:.0f} s; it is ended and restarted"
    if process == "watchdog":
        return _finding_messages(directory)

    return _finding_http(url) if url else ""


def note_arrival(lane: str, *, good_for_s: float) -> None:
    """Note that a test message of a lane has arrived, and for how many seconds that counts."""
    directory = os.environ.get(DIRECTORY)
    if directory:
        Path(directory, f"{lane}.arrived").write_text(str(time.time() + good_for_s))


def _finding_messages(directory: str) -> str:
    for lane in LANES:
        try:
            good_until = float(Path(directory, f"{lane}.arrived").read_text())
        except FileNotFoundError:
            return f"no test message of the {lane} lane has arrived yet: `vigil watchdog test` shows where it is lost"
        except ValueError:
            continue  # it is being written at this moment
        if good_until < time.time():
            return f"test messages of the {lane} lane no longer arrive: `vigil watchdog test` shows where they are lost"

    return ""


def end(pid: int, process: str) -> None:
    """End a process that stands still or is held.

    The first signal makes it leave its stack for the log. After `END_S` it is killed.
    """
    for signum in (END_SIGNAL, signal.SIGCONT, signal.SIGKILL):
        if signum == signal.SIGKILL:
            deadline_s = time.monotonic() + END_S
            while _is_process(pid, process) and time.monotonic() < deadline_s:
                time.sleep(POLL_S)  # the end of a process that is not a child sends no event
        if _is_process(pid, process):
            os.kill(pid, signum)


def _sign_of_late(process: str, directory: str) -> LifeSign | None:
    """Return the last sign of life; look again for a while when it is missing or too old."""
    deadline_s = time.monotonic() + LOOK_AGAIN_S
    while True:
        sign = last_sign(process, directory)
        if (sign is not None and sign.age_s <= sign.timeout_s) or time.monotonic() > deadline_s:
            return sign
        time.sleep(POLL_S)  # the file sends no event, so look again


def _is_process(pid: int, process: str) -> bool:
    """Return whether this pid is still that process.

    Another process may have the same number by now. It must not be ended.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return False
    return "ops.run" in words and process in words


def _finding_http(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S):  # noqa: S310 - an address of our own container
            return ""
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"


def main() -> None:
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: python -m ops.hosting.liveness NAME [URL]")
    url = sys.argv[2] if len(sys.argv) == 3 else None
    sys.exit(finding(sys.argv[1], os.environ.get(DIRECTORY), url) or 0)


if __name__ == "__main__":
    main()
