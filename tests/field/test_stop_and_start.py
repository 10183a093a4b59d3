"""Processes that are asked to stop, and processes that are held: they end in order, come back, and nothing is lost."""

from __future__ import annotations

import json
import secrets
import signal
import time
from pathlib import Path

import pytest

from ops.processes import PROCESSES
from ops.supervisor import Process, started_at
from tests.outside import Outside

LONG_ENOUGH_S = 15.0
"""An uptime after which more signs of life were sent than a socket's queue holds."""
STOPPED_WITHIN_S = 10.0
TICKS = 100


def processes_of(outside: Outside) -> list[Process]:
    return [found for found in outside.stack.supervisor.processes if found.name in PROCESSES]


def uptime_s(pid: int) -> float:
    """Seconds since the start of a process."""
    started = started_at(pid)
    assert started is not None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / TICKS


def await_ready(outside: Outside, *, timeout_s: float = 90) -> None:
    late = outside.stack.supervisor.wait_ready(list(PROCESSES), timeout_s=timeout_s)
    assert late == [], [(process.name, process.last_lines()) for process in late]


def until(outside: Outside, condition: object, timeout_s: float) -> None:
    """Poll the supervisor until the condition holds."""
    assert callable(condition)
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        outside.stack.supervisor.poll()


class LogEnd:
    """The lines of a process's log from now on."""

    def __init__(self, outside: Outside, name: str) -> None:
        self._path = Path(outside.stack.home, "log", f"{name}.log")
        self._from = self._path.stat().st_size

    def text(self) -> str:
        return self._path.read_bytes()[self._from :].decode(errors="replace")

    def events(self) -> list[str]:
        lines = [line for line in self.text().splitlines() if line.startswith("{")]
        return [str(json.loads(line)["event"]) for line in lines]


@pytest.mark.timeout(240)
def test_every_process_that_is_asked_to_stop_ends_in_order_and_is_back(outside: Outside) -> None:
    # Given a stack that has run for longer than its signs of life fit into a queue, and a screen
    await_ready(outside)
    processes = processes_of(outside)
    until(outside, lambda: all(uptime_s(p.pid) > LONG_ENOUGH_S for p in processes if p.pid is not None), 60)
    screen = outside.screen()
    screen.wait("snapshot")
    logs = {process.name: LogEnd(outside, process.name) for process in processes}
    before = {process.name: (process.pid, process.restarts) for process in processes}
    guard = f"guard-{secrets.randbelow(10**8)}"

    # When every process is asked to stop, twice, and a panic is pressed meanwhile
    for process in processes:
        process.kill(signal.SIGTERM)
    asked_s = time.monotonic()
    for process in processes:
        process.kill(signal.SIGINT)
    outside.publish(
        f"alert/panic/{guard}", {"msg_id": secrets.token_hex(8), "message": "in the middle of a stop"}
    )
    until(
        outside,
        lambda: all((p.pid, p.restarts) != before[p.name] for p in processes),
        STOPPED_WITHIN_S + asked_s - time.monotonic(),
    )

    # Then each has ended with 0 and said so, without a traceback, and each is back
    await_ready(outside)
    for process in processes:
        assert process.last_end == "it ended with exit code 0", (process.name, logs[process.name].text())
        assert process.restarts == before[process.name][1] + 1
        events = logs[process.name].events()
        assert events.count("stopping") == events.count("stopped") == 1, (process.name, events)
        assert "Traceback" not in logs[process.name].text(), logs[process.name].text()

    # And the screen was told that the gateway goes, and the panic is stored
    assert screen.closed_with == 1001
    query = "SELECT 1 FROM mqtt_device_alert WHERE source_id = %s"
    until(outside, lambda: outside.rows(query, guard), 60)


@pytest.mark.timeout(240)
def test_a_process_that_is_held_is_named_and_started_again_and_nothing_is_lost(outside: Outside) -> None:
    # Given a lane of the gateway that a stop signal holds
    await_ready(outside)
    [lane] = [process for process in processes_of(outside) if process.name == "mqtt_gateway-alert"]
    pid, restarts = lane.pid, lane.restarts
    lane.kill(signal.SIGSTOP)

    # When a panic is pressed
    guard = f"guard-{secrets.randbelow(10**8)}"
    outside.publish(
        f"alert/panic/{guard}", {"msg_id": secrets.token_hex(8), "message": "while the lane is held"}
    )

    # Then the supervisor starts the lane again and says why, and the panic is stored
    until(outside, lambda: lane.state == "ready" and lane.pid != pid, 60)
    assert lane.restarts == restarts + 1
    assert lane.last_end == "it was held by a stop signal, and gave no sign of life for 10 s"
    [state] = [
        found
        for found in json.loads((outside.stack.home / "state.json").read_text())["processes"]
        if found["name"] == lane.name
    ]
    assert state["last_end"] == lane.last_end
    assert state["last_end_at"]
    query = "SELECT 1 FROM mqtt_device_alert WHERE source_id = %s"
    until(outside, lambda: outside.rows(query, guard), 60)
