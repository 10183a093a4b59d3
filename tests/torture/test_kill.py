"""Tests of SIGKILL of every Vigil process in turn, under load.

No acknowledged message is lost, and none is stored twice.
"""

import secrets
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine

from bench.ledger import checker, load, messages
from ops.local.stack import Stack
from ops.processes import PROCESSES
from services.messaging import dead_letter_queue
from services.platform.database import database_url

RATE = 500.0
"""Messages a second. The load lasts longer than the kills of all processes, one after the other."""


def torture(stack: Stack, names: list[str], *, count: int) -> None:
    env = stack.operator_environment()
    run = f"k{secrets.token_hex(4)}"
    entries = messages.make(count=count, sources=100, seed=7, run=run, now=datetime.now(UTC))
    host, port = env["MQTT_BROKER_ADDRESS"], int(env["MQTT_BROKER_PORT"])
    receipts = load.Receipts(host, port, f"receipts-{run}", "")
    victims = [process for process in stack.supervisor.processes if process.name in names]
    killed: list[str] = []

    def during() -> None:
        stack.supervisor.poll()
        if len(killed) < len(victims) and all(process.state == "ready" for process in victims):
            victims[len(killed)].kill()
            killed.append(victims[len(killed)].name)

    result = load.run(entries, host=host, port=port, receipts=receipts, during=during, quiet_s=30, rate=RATE)
    assert killed == [process.name for process in victims]
    assert stack.supervisor.wait_ready(names, timeout_s=60) == []
    assert result.acknowledged == result.published
    engine = create_engine(database_url(env["VIGIL_OWNER_DATABASE_URL"]))
    deadline_s = time.monotonic() + 60
    while True:
        balance = checker.check(
            entries, engine, run=run, dead_bodies=lambda: dead_letter_queue.bodies(env["AMQP_URI"])
        )
        if balance.holds or time.monotonic() > deadline_s:
            break
        stack.supervisor.poll()
    engine.dispose()
    assert balance.holds, balance
    assert balance.dead == 0


def test_kill_each_process_in_turn_under_load(stack: Stack) -> None:
    torture(stack, list(PROCESSES), count=20_000)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("turn", range(10))
def test_kill_each_process_in_turn_again_and_again(stack: Stack, turn: int) -> None:  # noqa: ARG001
    torture(stack, list(PROCESSES), count=40_000)
