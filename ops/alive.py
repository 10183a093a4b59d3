"""Is a process well, seen from beside it: `python -m ops.alive NAME`, for a container's health check.

A process that is ready writes a sign of life to a file in `VIGIL_RUNTIME_DIR` every second, from the hub that does all
its work. When the hub hangs or the process is held, the file grows old. Docker starts again what has ended, not what is
unhealthy: so this check ends a process whose file is too old, by the same rule as the supervisor of `vigil up` and
systemd (`supervision.stall_timeout_s`), and the container is started again.

The watchdog has a file for each lane besides, written by each test message that arrives: it is well when messages
arrive, so that `docker compose up --wait` fails when they do not.

Nothing but the standard library is imported: the check runs every few seconds.
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
"""A machine that slept, and a process that waits for its turn, get so long to say that they are well."""
END_S = 1.0
POLL_S = 0.1
END_SIGNAL = signal.SIGPROF
"""Of which a process of Vigil dies and leaves where it stood (ops/stall_watch.py)."""


class Sign(NamedTuple):
    """A sign of life: when (the machine's monotonic clock), of which process, and when it is too old."""

    at_s: float
    pid: int
    timeout_s: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.at_s


def tell(process: str, timeout_s: float) -> bool:
    """Write this process's sign of life; without a directory, nobody looks. Return False when it cannot be written."""
    directory = os.environ.get(DIRECTORY)
    if not directory:
        return True
    try:
        # One write of one line: who reads meanwhile reads the old one, the new one, or nothing.
        Path(directory, f"{process}.alive").write_text(f"{time.monotonic()} {os.getpid()} {timeout_s}\n")
    except OSError:
        return False
    return True


def last_sign(process: str, directory: str) -> Sign | None:
    """Return the last sign of life; None when there is none, or it is being written."""
    try:
        at_s, pid, timeout_s = Path(directory, f"{process}.alive").read_text().split()
        return Sign(float(at_s), int(pid), float(timeout_s))
    except (FileNotFoundError, ValueError):
        return None


def finding(process: str, directory: str | None, url: str | None) -> str:
    """Return what is wrong, in words; "" when nothing is.

    Ends a process that has given no sign of life for too long.
    """
    if not directory:
        return f"{DIRECTORY} is not set: nobody can tell whether {process} is well"
    sign = _sign_of_late(process, directory)
    if sign is None:
        return f"{process} is not ready yet, or its {DIRECTORY} is not {directory}"
    if sign.age_s > sign.timeout_s:
        end(sign.pid, process)
        return f"{process} gave no sign of life for {sign.age_s:.0f} s; it is ended, to be started again"
    if process == "watchdog":
        return _finding_messages(directory)
    return _finding_http(url) if url else ""


def tell_arrived(lane: str, *, good_for_s: float) -> None:
    """Note that a test message of a lane has arrived, and for how long that is news."""
    directory = os.environ.get(DIRECTORY)
    if directory:
        Path(directory, f"{lane}.arrived").write_text(str(time.time() + good_for_s))


def _finding_messages(directory: str) -> str:
    for lane in LANES:
        try:
            good_until = float(Path(directory, f"{lane}.arrived").read_text())
        except FileNotFoundError:
            return f"no test message of the {lane} lane has arrived yet: `vigil watchdog test` says where it is lost"
        except ValueError:
            continue  # it is being written at this moment
        if good_until < time.time():
            return f"test messages of the {lane} lane no longer arrive: `vigil watchdog test` says where they are lost"
    return ""


def end(pid: int, process: str) -> None:
    """End a process that stands still or is held: so that it leaves where it stood, or else at once."""
    for signum in (END_SIGNAL, signal.SIGCONT, signal.SIGKILL):
        if signum == signal.SIGKILL:
            deadline_s = time.monotonic() + END_S
            while _is_process(pid, process) and time.monotonic() < deadline_s:
                time.sleep(POLL_S)  # there is no event for the end of a process that is not our child
        if _is_process(pid, process):
            os.kill(pid, signum)


def _sign_of_late(process: str, directory: str) -> Sign | None:
    """Return the last sign of life, after another look when it is missing or too old."""
    deadline_s = time.monotonic() + LOOK_AGAIN_S
    while True:
        sign = last_sign(process, directory)
        if (sign is not None and sign.age_s <= sign.timeout_s) or time.monotonic() > deadline_s:
            return sign
        time.sleep(POLL_S)  # a file can only be looked at again


def _is_process(pid: int, process: str) -> bool:
    """Return whether this pid is still that process: what has its number by now is left alone."""
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
        sys.exit("usage: python -m ops.alive NAME [URL]")
    url = sys.argv[2] if len(sys.argv) == 3 else None
    sys.exit(finding(sys.argv[1], os.environ.get(DIRECTORY), url) or 0)


if __name__ == "__main__":
    main()
