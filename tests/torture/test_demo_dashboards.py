"""`make demo` as a newcomer runs it, and Prometheus with the intervals that it ships with: data after three minutes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlet
import pytest

from ops.environment import PROJECT
from tests import prometheus, promql

UP_TIMEOUT_S = 180.0
THREE_MINUTES_S = 180.0
STOP_TIMEOUT_S = 90.0


@contextmanager
def demo(home: Path) -> Iterator[str]:
    """`vigil demo` in a home of its own; yields the address of its HTTP port."""
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
            process.kill()  # what it supervises dies with it
            process.wait(timeout=STOP_TIMEOUT_S)


def _await_address(process: subprocess.Popen[bytes], home: Path) -> str:
    deadline_s = time.monotonic() + UP_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        state = home / "state.json"
        facts = json.loads(state.read_text()) if state.exists() else {}
        names = {one["name"] for one in facts.get("processes", ()) if one["state"] == "ready"}
        if facts.get("up") and "simulator" in names:
            return str(facts["addresses"]["http"])
        eventlet.sleep(0.5)
    raise AssertionError((home / "demo.log").read_text())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_after_three_minutes_of_the_demo_every_panel_has_data(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="vigil-demo-") as directory,
        demo(Path(directory)) as target,
        prometheus.running(tmp_path, target=target, poll=lambda: None) as server,
    ):
        started_s = time.monotonic()
        assert not server.await_true(lambda: False, timeout_s=THREE_MINUTES_S)
        empty = [
            place for place, query in promql.panel_queries(rate_interval="1m") if not server.query(query)
        ]
        assert time.monotonic() - started_s < THREE_MINUTES_S + 60
        assert empty == []
        assert {
            rule["name"]: rule.get("lastError") for rule in server.rules() if rule["health"] != "ok"
        } == {}
