"""Tests in which each part of a stack is taken away in turn.

`vigil health` names the part and its page. Once the part is back, all checks pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import pytest

from ops.checks.health import RUNBOOK
from ops.environment import PROJECT
from ops.local.stack import Stack
from services.messaging import dead_letter_queue
from tests.support import runbook
from tests.support.stack_parts import PARTS, SERVERS, held_down

HEALTH_TIMEOUT_S = 120.0
WELL_AGAIN_S = 120.0
ANCHORS = {page.anchor for page in runbook.pages()}

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def health(stack: Stack) -> tuple[int, list[dict[str, Any]]]:
    """Return (exit code, checks) of `vigil health --json`, while the supervisor goes on watching."""
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "health", "--json"],
            stdout=out,
            env=stack.operator_environment(),
            cwd=PROJECT,
        )
        deadline_s = time.monotonic() + HEALTH_TIMEOUT_S
        while child.poll() is None:
            if time.monotonic() > deadline_s:
                child.kill()
                child.wait()
                pytest.fail(f"vigil health did not end within {HEALTH_TIMEOUT_S:g} s")
            stack.supervisor.poll()
        out.seek(0)
        return child.returncode, json.load(out)


def failing(checks: list[dict[str, Any]]) -> dict[str, str]:
    """Return the names of the checks that failed, and their pages."""
    return {check["name"]: check["runbook"] for check in checks if not check["ok"]}


def await_well(stack: Stack) -> None:
    deadline_s = time.monotonic() + WELL_AGAIN_S
    while True:
        code, checks = health(stack)
        if not failing(checks):
            assert code == 0
            return
        assert time.monotonic() < deadline_s, [check for check in checks if not check["ok"]]


@pytest.mark.parametrize("part", PARTS)
def test_health_names_the_part_that_is_down_and_its_page_until_it_is_back(stack: Stack, part: str) -> None:
    dead_letter_queue.settle(stack.operator_environment()["AMQP_URI"], lambda _: True, again_after_s=None)
    await_well(stack)
    with held_down(stack, part):
        code, checks = health(stack)
        found = failing(checks)
        assert code == 1
        assert found[f"process {part}"] == f"{RUNBOOK}vigilprocessmissing"
        if part in SERVERS:
            assert found[SERVERS[part]] == f"{RUNBOOK}vigildependencydown"
        pages = {page.removeprefix(RUNBOOK) for page in found.values()}
        assert pages <= ANCHORS
    await_well(stack)
