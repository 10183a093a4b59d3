"""Tests in which each part of a stack is frozen for 40 s in turn.

Every session reports it within 10 s, and recovers within 10 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.local import servers
from ops.processes import PROCESSES
from tests.support.commands import run_vigil
from tests.support.freezing import FaultReports, await_all_parts_back, dependency_up, fault, freeze
from tests.support.outside_clients import OutsideClients
from tests.support.stack_parts import SERVERS

HOLD_S = float(os.environ.get("VIGIL_FREEZE_S", "40"))
HEALTH_WITHIN_S = 15.0
READY_WITHIN_S = 2.0
KNOWN_WITHIN_S = 10.0
ALARMS = {
    "set_vm_memory_high_watermark": (["0.00001"], ["0.4"]),
    "set_disk_free_limit": (["100000GB"], ["50MB"]),
}
"""Commands that give RabbitMQ an alarm, and end it."""
TOLD = sorted(set(PROCESSES) - {"noc_gateway"})
"""A frozen noc_gateway sends nothing: its sessions notice by their own clocks (tests/e2e)."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
figures: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _print_figures() -> Iterator[None]:
    yield
    print("\npart, s to blind, s to clear, named\n" + "\n".join(figures))


@pytest.mark.parametrize("process", [*SERVERS, *TOLD])
def test_every_screen_names_the_frozen_part_and_sees_again(outside: OutsideClients, process: str) -> None:
    # Given
    part = SERVERS.get(process, process)
    screens = [outside.screen() for _ in range(3)] + [outside.screen(tenant_id=4491, role="viewer")]
    for screen in screens:
        screen.wait("snapshot")

    # When
    told = freeze(outside, screens, process=process, part=part, hold_s=HOLD_S)

    # Then
    note(process, told)
    assert told.named == {part}
    assert told.ready.status == 503
    assert part in told.ready.away
    assert told.ready.took_s < READY_WITHIN_S


def note(what: str, told: FaultReports) -> None:
    ready = f"readyz {told.ready.status} after {told.ready.took_s:.2f} s: {' '.join(sorted(told.ready.away))}"
    figures.append(f"{what}, {told.blind_s:.1f}, {told.clear_s:.1f}, {' '.join(sorted(told.named))}, {ready}")


@pytest.mark.parametrize("process", ["noc_gateway", "haproxy"])
def test_vigil_watch_says_by_its_own_clock_that_nothing_comes(
    outside: OutsideClients, process: str, tmp_path: Path
) -> None:
    # Given
    said = tmp_path / "said"
    command = [sys.executable, "-m", "ops.cli", "watch"]
    with (
        said.open("w") as out,
        (tmp_path / "frames").open("w+") as frames,
        subprocess.Popen(command, stdout=frames, stderr=out, env=outside.env, cwd=PROJECT) as watching,
    ):
        try:
            outside.until(lambda: "snapshot" in (tmp_path / "frames").read_text(), timeout_s=30)
            await_all_parts_back(outside.screen())

            # When
            with outside.frozen(process):
                began_s = time.monotonic()
                outside.until(lambda: "may not arrive since" in said.read_text(), timeout_s=10)
                told_s = time.monotonic() - began_s
                outside.until(lambda: time.monotonic() - began_s > HOLD_S / 2, timeout_s=HOLD_S)
            ended_s = time.monotonic()

            # Then
            outside.until(lambda: "works again" in said.read_text(), timeout_s=10)
            figures.append(f"vigil watch, {process}: {told_s:.1f}, {time.monotonic() - ended_s:.1f}")
        finally:
            watching.terminate()
    assert said.read_text().count("may not arrive since") == 1, said.read_text()


@pytest.mark.parametrize("alarm", ["set_vm_memory_high_watermark", "set_disk_free_limit"])
def test_every_screen_says_that_rabbitmq_takes_nothing_while_it_has_an_alarm(
    outside: OutsideClients, alarm: str
) -> None:
    # Given
    screens = [outside.screen(), outside.screen(tenant_id=4491, role="viewer")]
    for screen in screens:
        screen.wait("snapshot")
    alarms, ends = ALARMS[alarm]

    @contextmanager
    def alarmed() -> Iterator[None]:
        control(outside, alarm, *alarms)
        try:
            yield
        finally:
            control(outside, alarm, *ends)

    # When
    told = fault(outside, screens, alarmed, part="amqp", hold_s=20.0)

    # Then
    note(f"rabbitmq {alarm}", told)
    assert told.named == {"amqp"}
    assert told.ready.status == 503
    assert "amqp" in told.ready.away
    assert told.ready.took_s < READY_WITHIN_S


def control(outside: OutsideClients, *arguments: str) -> None:
    """Run a command of an operator in RabbitMQ."""
    stack = outside.stack
    environment = servers.rabbitmq_settings(stack.home, stack._ports, dict(os.environ))
    command = [str(servers.rabbitmq_sbin() / "rabbitmqctl"), *arguments]
    subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize("process", SERVERS)
def test_the_metrics_know_a_frozen_server_in_time(outside: OutsideClients, process: str) -> None:
    name = SERVERS[process]
    others = set(SERVERS.values()) - {name}
    outside.until(lambda: set(dependency_up(outside).values()) == {1.0}, timeout_s=60)
    with outside.frozen(process):
        outside.until(lambda: dependency_up(outside)[name] == 0.0, timeout_s=KNOWN_WITHIN_S)
        assert {dependency_up(outside)[other] for other in others} == {1.0}
    outside.until(lambda: dependency_up(outside)[name] == 1.0, timeout_s=KNOWN_WITHIN_S)


@pytest.mark.parametrize("process", SERVERS)
def test_health_ends_in_time_while_a_server_is_frozen(outside: OutsideClients, process: str) -> None:
    with outside.frozen(process):
        started_s = time.monotonic()
        checks = json.loads(run_vigil(outside.env, "health", "--json", check=False))
        took_s = time.monotonic() - started_s
    figures.append(f"vigil health, {process} frozen: {took_s:.1f} s")
    assert took_s < HEALTH_WITHIN_S
    assert not next(check for check in checks if check["name"] == SERVERS[process])["ok"]
