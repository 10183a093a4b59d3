"""Tests of processes that are asked to stop, and of processes that a signal holds.

They end in order and come back, and no message is lost.
"""

from __future__ import annotations

import json
import secrets
import signal
import time

import pytest

from tests.support.outside_clients import OutsideClients
from tests.support.process_stops import (
    LONG_ENOUGH_S,
    STOPPED_WITHIN_S,
    LogEnd,
    await_ready,
    until,
    uptime_s,
    vigils,
)


@pytest.mark.timeout(240)
def test_every_process_that_is_asked_to_stop_ends_in_order_and_is_back(outside: OutsideClients) -> None:
    # Given a stack that ran so long that its signs of life no longer fit into a queue, and
    # a session
    await_ready(outside.stack)
    processes = vigils(outside.stack)
    until(outside.stack, lambda: all(uptime_s(found) > LONG_ENOUGH_S for found in processes), 60)
    screen = outside.screen()
    screen.wait("snapshot")
    logs = {process.name: LogEnd(outside.stack, process.name) for process in processes}
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
        outside.stack,
        lambda: all((p.pid, p.restarts) != before[p.name] for p in processes),
        STOPPED_WITHIN_S + asked_s - time.monotonic(),
    )

    # Then each has ended with 0 and logged so, without a traceback, and each is back
    await_ready(outside.stack)
    for process in processes:
        assert process.last_end == "it ended with exit code 0", (process.name, logs[process.name].text())
        assert process.restarts == before[process.name][1] + 1
        events = logs[process.name].events()
        assert events.count("stop_requested") == events.count("process_stopped") == 1, (process.name, events)
        assert "Traceback" not in logs[process.name].text(), logs[process.name].text()

    # And the session got a frame that the gateway is going away, and the panic is stored
    assert screen.closed_with == 1001
    query = "SELECT 1 FROM mqtt_device_alert WHERE source_id = %s"
    until(outside.stack, lambda: outside.rows(query, guard), 60)


@pytest.mark.timeout(240)
def test_a_process_that_is_held_is_named_and_started_again_and_nothing_is_lost(
    outside: OutsideClients,
) -> None:
    # Given a lane of the gateway that a stop signal holds
    await_ready(outside.stack)
    [lane] = [process for process in vigils(outside.stack) if process.name == "mqtt_gateway-alert"]
    pid, restarts = lane.pid, lane.restarts
    lane.kill(signal.SIGSTOP)

    # When a panic is pressed
    guard = f"guard-{secrets.randbelow(10**8)}"
    outside.publish(
        f"alert/panic/{guard}", {"msg_id": secrets.token_hex(8), "message": "while the lane is held"}
    )

    # Then the supervisor starts the lane again and says why, and the panic is stored
    until(outside.stack, lambda: lane.state == "ready" and lane.pid != pid, 60)
    assert lane.restarts == restarts + 1
    assert lane.last_end == "it was held by a stop signal, and has not reported for 10 s"
    [state] = [
        found
        for found in json.loads((outside.stack.home / "state.json").read_text())["processes"]
        if found["name"] == lane.name
    ]
    assert state["last_end"] == lane.last_end
    assert state["last_end_at"]
    query = "SELECT 1 FROM mqtt_device_alert WHERE source_id = %s"
    until(outside.stack, lambda: outside.rows(query, guard), 60)
