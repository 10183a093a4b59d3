"""Each part of a stack is frozen for 40 s in turn: every screen says so within 10 s, and sees again within 10 s."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from ops.processes import PROCESSES
from tests.commands import run_vigil
from tests.freezing import freeze
from tests.outside import Outside
from tests.parts import SERVERS

HOLD_S = float(os.environ.get("VIGIL_FREEZE_S", "40"))
HEALTH_WITHIN_S = 15.0
TOLD = sorted(set(PROCESSES) - {"noc_gateway"})
"""A frozen noc_gateway says nothing: its screens notice by their own clocks (tests/e2e)."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
figures: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _print_figures() -> Iterator[None]:
    yield
    print("\npart, s to blind, s to clear, named\n" + "\n".join(figures))


@pytest.mark.parametrize("process", [*SERVERS, *TOLD])
def test_every_screen_names_the_frozen_part_and_sees_again(outside: Outside, process: str) -> None:
    # Given
    part = SERVERS.get(process, process)
    screens = [outside.screen() for _ in range(3)] + [outside.screen(tenant_id=4491, role="viewer")]
    for screen in screens:
        screen.wait("snapshot")

    # When
    told = freeze(outside, screens, process=process, part=part, hold_s=HOLD_S)

    # Then
    figures.append(f"{process}, {told.blind_s:.1f}, {told.clear_s:.1f}, {' '.join(sorted(told.named))}")
    assert told.named == {part}


@pytest.mark.parametrize("process", SERVERS)
def test_health_ends_in_time_while_a_server_is_frozen(outside: Outside, process: str) -> None:
    with outside.frozen(process):
        started_s = time.monotonic()
        checks = json.loads(run_vigil(outside.env, "health", "--json", check=False))
        took_s = time.monotonic() - started_s
    figures.append(f"vigil health, {process} frozen: {took_s:.1f} s")
    assert took_s < HEALTH_WITHIN_S
    assert not next(check for check in checks if check["name"] == SERVERS[process])["ok"]
