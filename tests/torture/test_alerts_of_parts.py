"""Each part is held down in turn: the right alert fires in a real Prometheus, and clears when the part is back."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ops.stack import Stack
from ops.supervisor import Process
from tests import prometheus
from tests.prometheus import Prometheus

FASTER = 12
"""Two minutes become ten seconds; a scrape is a second."""
FIRE_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 120.0
CLEAR_TIMEOUT_S = 180.0


class Part(NamedTuple):
    """A process of the stack, and the alert that its absence raises."""

    process: str
    alert: str
    labels: dict[str, str]


PARTS = [
    *(
        Part(name, "VigilProcessMissing", {"service": name})
        for name in ("directory", "telemetry", "location", "alerts", "notifications", "watchdog")
    ),
    Part("mqtt_gateway-alert", "VigilGatewayDisconnected", {"lane": "alert"}),
    Part("mqtt_gateway-bulk", "VigilGatewayDisconnected", {"lane": "bulk"}),
    Part("mosquitto", "VigilGatewayDisconnected", {"lane": "alert"}),
    Part("noc_gateway", "VigilDown", {}),
    *(
        Part(process, "VigilDependencyDown", {"dependency": dependency})
        for process, dependency in (
            ("mosquitto", "mqtt"),
            ("rabbitmq", "amqp"),
            ("redis", "redis"),
            ("postgres", "postgres"),
        )
    ),
]


@pytest.fixture(scope="module")
def watched(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    with prometheus.running(
        directory, target=stack.addresses()["http"], poll=stack.supervisor.poll, faster=FASTER, scrape_s=1
    ) as server:
        yield server


def hold_down(stack: Stack, name: str) -> Process:
    """Stop a process; the supervisor leaves what it was told to stop."""
    [process] = [process for process in stack.supervisor.processes if process.name == name]
    stack.supervisor.stop(only=[name])
    return process


def bring_back(stack: Stack, process: Process) -> None:
    """Start it, and wait for all: some ended because it was gone, and are started again."""
    process.start()
    names = [process.name for process in stack.supervisor.processes]
    assert stack.supervisor.wait_ready(names, timeout_s=READY_TIMEOUT_S) == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.process}-{part.alert}")
def test_a_part_that_is_gone_is_named_and_one_that_is_back_is_not(
    stack: Stack, watched: Prometheus, part: Part
) -> None:
    assert watched.await_true(
        lambda: not watched.firing(part.alert, part.labels), timeout_s=CLEAR_TIMEOUT_S
    ), "fires before anything is done"
    process = hold_down(stack, part.process)
    try:
        assert watched.await_true(
            lambda: watched.firing(part.alert, part.labels), timeout_s=FIRE_TIMEOUT_S
        ), f"{part.process} is gone and {part.alert} does not fire"
    finally:
        bring_back(stack, process)
    assert watched.await_true(
        lambda: not watched.firing(part.alert, part.labels), timeout_s=CLEAR_TIMEOUT_S
    ), f"{part.process} is back and {part.alert} still fires"
