"""Is a process well, seen from beside it: `python -m ops.alive NAME`, for a container's health check.

A process that is ready touches a file in `VIGIL_RUNTIME_DIR` every second, from the hub that does all its work; when
the hub hangs, the file grows old. The watchdog has a file for each lane besides, written by each test message that
arrives: it is well when messages arrive, so that `docker compose up --wait` fails when they do not. Nothing but the
standard library is imported: the check runs every few seconds.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

DIRECTORY = "VIGIL_RUNTIME_DIR"
OLD_AFTER_S = 30.0
LANES = ("alert", "bulk")
HTTP_TIMEOUT_S = 3.0


def tell(process: str) -> None:
    """Touch the file of this process; without a directory, nobody looks."""
    directory = os.environ.get(DIRECTORY)
    if directory:
        Path(directory, f"{process}.alive").touch()


def tell_arrived(lane: str, *, good_for_s: float) -> None:
    """Note that a test message of a lane has arrived, and for how long that is news."""
    directory = os.environ.get(DIRECTORY)
    if directory:
        Path(directory, f"{lane}.arrived").write_text(str(time.time() + good_for_s))


def age_s(process: str, directory: str) -> float | None:
    """How long ago the process said that it is well; None when it never did."""
    try:
        return time.time() - Path(directory, f"{process}.alive").stat().st_mtime
    except FileNotFoundError:
        return None


def finding(process: str, directory: str | None, url: str | None) -> str:
    """What is wrong, in words; empty when nothing is."""
    if not directory:
        return f"{DIRECTORY} is not set: nobody can tell whether {process} is well"
    age = age_s(process, directory)
    if age is None:
        return f"{process} is not ready yet, or its {DIRECTORY} is not {directory}"
    if age > OLD_AFTER_S:
        return f"{process} has not said for {age:.0f} s that it is well; start it again"
    if process == "watchdog":
        return _finding_messages(directory)
    return _finding_http(url) if url else ""


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
