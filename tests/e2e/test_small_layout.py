"""Tests of the layout for a small machine.

The domain services share one process, on the data of the usual layout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local.stack import Stack
from ops.local.supervisor import Process
from ops.processes import GROUPS
from tests.providers import Provider
from tests.support.commands import run_vigil
from tests.support.customer import Customer
from tests.support.outside_clients import OutsideClients

GROUP = "domains"
PARTS = GROUPS[GROUP]


@pytest.fixture
def group(stack: Stack) -> Iterator[Process]:
    """Yield the process that hosts the parts of the group, in their place."""
    supervisor = stack.supervisor
    supervisor.stop(only=PARTS)
    made = stack._service(GROUP)
    supervisor.add(made)
    try:
        assert supervisor.wait_ready([GROUP], timeout_s=60) == [], made.last_lines()
        yield made
    finally:
        supervisor.remove(GROUP)
        supervisor.start(only=PARTS)
        assert supervisor.wait_ready(PARTS, timeout_s=60) == []


def test_parts_that_share_a_process_do_their_work_and_switching_needs_nothing_else(
    stack: Stack, group: Process, outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]
) -> None:
    # Given a control room that is logged in, and a person who is notified
    login, password = outside.person()
    status, session = outside.request("POST", "/api/v1/session", {"user": login, "password": password})
    assert status == 200, session
    house = Customer(outside, tmp_path, outer)
    screen = outside.screen(tenant_id=house.tenant_id)
    screen.wait("snapshot")

    # When a guard moves, and presses the button
    outside.publish(f"guard/{house.guard}/gps", {"latitude": 12.9, "longitude": 77.5})
    house.press()

    # Then the control room sees both, and the person is called
    outside.until(lambda: screen.seen("critical_alert"))
    outside.until(lambda: house.guard in json.dumps(screen.seen("positions"), default=str))
    outside.until(lambda: house.taken("twilio"))
    house.close()

    # And every part reports under its own name: nothing is offline, and messages of both lanes
    # come through
    for lane in ("alert", "bulk"):
        [found] = json.loads(run_vigil(outside.env, "watchdog", "test", "--lane", lane, "--json"))
        assert found["lost"] is None
    screen.wait("heartbeat", lambda frame: frame["blind"] is False and not frame["away"], timeout_s=30)
    checks = {
        check["name"]: check for check in json.loads(run_vigil(outside.env, "health", "--json", check=False))
    }
    assert checks[f"process {GROUP}"]["ok"]

    # When it is killed, a panic is shown without it
    group.kill()
    house.press("sos")
    outside.until(lambda: len(screen.seen("critical_alert")) > 1)
    while group.state == "ready":
        stack.supervisor.poll()
    assert stack.supervisor.wait_ready([GROUP], timeout_s=60) == [], group.last_lines()

    # When it is asked to stop, it does so in order
    stack.supervisor.stop(only=[GROUP])
    said = [json.loads(line) for line in group.last_lines(5).splitlines() if line.startswith("{")]
    assert said[-1]["event"] == "process_stopped", said
    assert "work_abandoned" not in group.last_lines(200)
