"""Tests of SIGKILL at random points of an alert's way to its recipients.

They are notified at least once, on time, and never twice without a mark.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ops.local.stack import Stack
from tests.providers import Provider
from tests.support.customer import Customer
from tests.support.outside_clients import OutsideClients

LATE_S = 2.0
STEPS = (0, 3, 6, 9)
ALERTS = 6


def restarted(stack: Stack, name: str) -> None:
    """Kill a process with SIGKILL, and wait until it is ready again."""
    [process] = [process for process in stack.supervisor.processes if process.name == name]
    process.kill()
    deadline_s = time.monotonic() + 30
    while process.state == "ready" and time.monotonic() < deadline_s:
        stack.supervisor.poll()
    assert stack.supervisor.wait_ready([name], timeout_s=30) == []


def test_kills_of_the_notifications_process_lose_nobody(
    stack: Stack,
    outside: OutsideClients,
    tmp_path: Path,
    outer: dict[str, Provider],
    request: pytest.FixtureRequest,
) -> None:
    """One message is on its way at a time to a provider that cannot be queried.

    So a kill can duplicate one message at most.
    """
    kills: int = request.config.getoption("--kills")
    house = Customer(outside, tmp_path, outer, more_guards=kills)
    ladders = {
        kind: {"steps": [{"after_s": 0, "channels": channels, "who": ["contacts"]}], "repeat_s": 3600}
        for kind, channels in (("PANIC", ["sms", "email"]), ("SOS", ["sms", "push"]))
    }
    house.set_policy(ladders, tmp_path)
    for kind in ("smtp", "twilio", "fcm"):
        outer[kind].behave("slow")
    chance = random.Random(11)
    for number, guard in enumerate(house.more):
        outside.publish(f"alert/{'sos' if number % 2 else 'panic'}/{guard}", {"message": f"number {number}"})
        time.sleep(chance.uniform(0.0, 0.6))
        restarted(stack, "notifications")

    query = (
        "SELECT source_id, state, replace(reference::text, '-', '') FROM notification"
        " JOIN mqtt_device_alert USING (alert_id) WHERE tenant_id = %s"
    ).replace("tenant_id =", "notification.tenant_id =")

    def finished() -> list[tuple[Any, ...]] | None:
        rows = outside.rows(query, house.tenant_id)
        done = len(rows) == 2 * kills and {state for _, state, _ in rows} <= {"accepted", "delivered"}
        return rows if done else None

    rows = outside.until(finished, timeout_s=60)
    taken = [message for kind in ("smtp", "twilio", "fcm") for message in house.taken(kind)]
    told = Counter(message["reference"] for message in taken)
    assert {reference for _, _, reference in rows} == set(told), "each was taken, and nothing else was"
    assert {source for source, _, _ in rows} == set(house.more)
    doubles = sum(told.values()) - len(told)
    flagged = sum(message["possible_duplicate"] for message in taken)
    first: set[str] = set()
    for message in taken:
        assert message["reference"] not in first or message["possible_duplicate"], (
            "a double that does not say so"
        )
        first.add(message["reference"])
    house.close()
    print(f"{kills} kills: {len(told)} messages, {doubles} doubles, {flagged} marked as possible doubles")
    assert doubles <= kills


def test_escalation_goes_on_through_kills_of_the_alerts_process(
    stack: Stack, outside: OutsideClients, tmp_path: Path, outer: dict[str, Provider]
) -> None:
    house = Customer(outside, tmp_path, outer, more_guards=ALERTS)
    steps = [{"after_s": after_s, "channels": ["sms"], "who": ["contacts"]} for after_s in STEPS]
    house.set_policy({"CRITICAL": {"steps": steps, "repeat_s": 3600}}, tmp_path)
    chance = random.Random(5)
    for guard in house.more:
        outside.publish(f"alert/panic/{guard}", {})
    outside.until(lambda: len(house.taken("twilio")) == ALERTS)
    ends_s = time.monotonic() + STEPS[-1] + 1
    kills = 0
    while time.monotonic() < ends_s:
        restarted(stack, "alerts")
        kills += 1
        time.sleep(chance.uniform(0.0, 1.0))

    query = (
        "SELECT replace(reference::text, '-', ''), step, received_at FROM notification"
        " JOIN mqtt_device_alert USING (alert_id) WHERE notification.tenant_id = %s"
    )
    count = ALERTS * len(STEPS)
    outside.until(lambda: len(house.taken("twilio")) >= count, timeout_s=20)
    wanted: dict[str, tuple[int, datetime]] = {
        reference: (step, raised_at) for reference, step, raised_at in outside.rows(query, house.tenant_id)
    }
    taken = house.taken("twilio")
    assert sorted(message["reference"] for message in taken) == sorted(wanted), "each step of each alert once"
    assert Counter(step for step, _ in wanted.values()) == dict.fromkeys(range(len(STEPS)), ALERTS)
    late_s = [
        message["at"] - wanted[message["reference"]][1].timestamp() - STEPS[wanted[message["reference"]][0]]
        for message in taken
    ]
    house.close()
    print(f"{kills} kills: {len(taken)} messages, at most {max(late_s):.2f} s late")
    assert max(late_s) <= LATE_S
    assert min(late_s) >= 0
