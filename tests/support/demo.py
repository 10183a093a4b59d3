"""`vigil demo`, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.environment import PROJECT

UP_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 90.0


@contextmanager
def demo(home: Path) -> Iterator[str]:
    """Run `vigil demo` in a home of its own, and yield the address of its HTTP port."""
    environment = {**os.environ, "VIGIL_HOME": str(home)}
    with (home / "demo.log").open("wb") as log:
        command = [sys.executable, "-m", "ops.cli", "demo"]
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)
    try:
        yield _await_address(process, home)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # the processes that it supervises die with it
            process.wait(timeout=STOP_TIMEOUT_S)


def _await_address(process: subprocess.Popen[bytes], home: Path) -> str:
    deadline_s = time.monotonic() + UP_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        state = home / "state.json"
        facts = json.loads(state.read_text()) if state.exists() else {}
        names = {one["name"] for one in facts.get("processes", ()) if one["state"] == "ready"}
        if facts.get("up") and "simulator" in names:
            return str(facts["addresses"]["http"])
        time.sleep(0.5)
    raise AssertionError((home / "demo.log").read_text())
