"""Tests in which each part is stopped in turn.

The right alert fires in a real Prometheus, and clears when the part is back.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ops.local.stack import Stack
from tests.support import prometheus
from tests.support.prometheus import Prometheus
from tests.support.stack_parts import SERVERS, held_down

FASTER = 12
"""Factor on the durations. Two minutes become ten seconds, and a scrape is a second."""
FIRE_TIMEOUT_S = 120.0
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
    Part("noc_api", "VigilDown", {}),
    Part("haproxy", "VigilDown", {}),
    Part("noc_gateway", "VigilProcessMissing", {"service": "noc_gateway"}),
    *(
        Part(process, "VigilDependencyDown", {"dependency": dependency})
        for process, dependency in SERVERS.items()
    ),
]


@pytest.fixture(scope="module")
def watched(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    with prometheus.running(
        directory, target=stack.addresses()["http"], poll=stack.supervisor.poll, faster=FASTER, scrape_s=1
    ) as server:
        yield server


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.process}-{part.alert}")
def test_a_part_that_is_gone_is_named_and_one_that_is_back_is_not(
    stack: Stack, watched: Prometheus, part: Part
) -> None:
    assert watched.await_true(
        lambda: not watched.firing(part.alert, part.labels), timeout_s=CLEAR_TIMEOUT_S
    ), "fires before anything is done"
    with held_down(stack, part.process):
        assert watched.await_true(
            lambda: watched.firing(part.alert, part.labels), timeout_s=FIRE_TIMEOUT_S
        ), f"{part.process} is gone and {part.alert} does not fire"
    assert watched.await_true(
        lambda: not watched.firing(part.alert, part.labels), timeout_s=CLEAR_TIMEOUT_S
    ), f"{part.process} is back and {part.alert} still fires"
