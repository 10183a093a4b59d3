"""Tests of every process that is asked to stop again and again, without a load and under one.

A stop signal also holds each process for long.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from bench.ledger import checker, load, messages
from ops.local.stack import Stack
from ops.processes import PROCESSES
from services.messaging import dead_letter_queue
from services.platform.database import database_url
from tests.support.process_stops import StopRound, await_ready, figures, until, vigils

RATE = 200.0
HELD_S = 30.0
SETTLED_S = 60.0
FROZEN_S = 90.0
LADDER_S = 420.0
"""Seconds that a failed event may wait.

After a statement's timeout, it may be at the top of the delay ladder (300 s).
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]


class Load:
    """A ledger of messages, sent at a rate for as long as something goes on."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._env = stack.operator_environment()
        self._sent: dict[str, list[messages.LedgerEntry]] = {}

    def send(self, seconds: float, during: Callable[[], None]) -> None:
        """Send for so many seconds.

        Raises:
            AssertionError: The broker did not take a message.
        """
        run, now = f"s{secrets.token_hex(4)}", datetime.now(UTC)
        count = int(seconds * RATE)
        entries = messages.make(count=count, sources=100, seed=len(self._sent), run=run, now=now)
        self._sent[run] = entries
        result = load.run(
            entries,
            host=self._env["MQTT_BROKER_ADDRESS"],
            port=int(self._env["MQTT_BROKER_PORT"]),
            during=during,
            rate=RATE,
        )
        assert result.acknowledged == result.published

    def unbalanced(self, *, settled_s: float = SETTLED_S) -> list[checker.LedgerBalance]:
        """Return the balances that do not hold, once all is accounted for or after this time."""
        engine = create_engine(database_url(self._env["VIGIL_OWNER_DATABASE_URL"]))
        deadline_s = time.monotonic() + settled_s
        try:
            while found := [
                balance for balance in self._balances(engine) if not balance.holds or balance.dead
            ]:
                if time.monotonic() > deadline_s:
                    break
                self._stack.supervisor.poll()
            return found
        finally:
            engine.dispose()

    @property
    def count(self) -> int:
        return sum(map(len, self._sent.values()))

    def _balances(self, engine: Engine) -> Iterator[checker.LedgerBalance]:
        dead = dead_letter_queue.bodies(self._env["AMQP_URI"])
        for run, entries in self._sent.items():
            yield checker.check(entries, engine, run=run, dead_bodies=lambda: dead)


def report(capsys: Any, title: str, text: str) -> None:
    with capsys.disabled():
        print(f"\n{title}\n{text}")


def test_each_process_that_is_asked_to_stop_without_a_load_ends_in_order(
    stack: Stack, request: pytest.FixtureRequest, capsys: Any
) -> None:
    await_ready(stack)
    stops = StopRound(stack, request.config.getoption("--stops"))
    while not stops.is_over:
        stops.step()
    report(capsys, "asked to stop, idle", figures(stops.found))
    assert [stop for stop in stops.found if not stop.is_clean] == []


def test_each_process_that_is_asked_to_stop_under_a_load_ends_in_order_and_nothing_is_lost(
    stack: Stack, request: pytest.FixtureRequest, capsys: Any
) -> None:
    await_ready(stack)
    stops, sent = StopRound(stack, request.config.getoption("--stops")), Load(stack)
    while not stops.is_over:
        sent.send(20, stops.step)
    report(capsys, f"asked to stop, {RATE:g} messages/s", figures(stops.found))
    assert [stop for stop in stops.found if not stop.is_clean] == []
    assert sent.unbalanced() == []
    report(capsys, "ledger", f"{sent.count} messages, none lost, none double, none dead")


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_that_is_held_for_half_a_minute_is_started_again_and_nothing_is_lost(
    stack: Stack, name: str, capsys: Any
) -> None:
    # Given a load, and a process that a stop signal holds
    await_ready(stack)
    [process] = [found for found in vigils(stack) if found.name == name]
    pid, restarts, held_s, back_s = process.pid, process.restarts, time.monotonic(), 0.0
    process.kill(signal.SIGSTOP)
    sent = Load(stack)

    def during() -> None:
        nonlocal back_s
        stack.supervisor.poll()
        if not back_s and process.pid != pid and process.state == "ready":
            back_s = time.monotonic() - held_s

    # When it has been held for so long that the supervisor acts
    sent.send(HELD_S, during)
    until(stack, lambda: process.state == "ready", 60)

    # Then it is another process, the record has the reason, and nothing is lost
    assert (process.restarts, process.pid == pid) == (restarts + 1, False)
    assert process.last_end == "it was held by a stop signal, and has not reported for 10 s"
    assert sent.unbalanced() == []
    report(
        capsys, f"{name} held", f"ready after {back_s:.1f} s; {sent.count} messages, none lost, none double"
    )


def test_processes_that_wait_for_a_frozen_database_say_so_and_are_left_alone(
    stack: Stack, capsys: Any
) -> None:
    # Given a database that is frozen, for longer than work may stand still, under a load
    await_ready(stack)
    before = {process.name: process.pid for process in vigils(stack)}
    said: set[str] = set()

    def during() -> None:
        stack.supervisor.poll()
        said.update(f"{process.name}: {process.doing}" for process in vigils(stack) if process.doing)

    sent = Load(stack)
    with frozen_tree(stack, "postgres"):
        sent.send(FROZEN_S, during)

    # Then, after it goes on, no process was ended, those with work in hand named what they wait
    # for, and all is stored
    await_ready(stack)
    report(capsys, "PostgreSQL frozen", "\n".join(sorted(said)))
    assert {process.name: process.pid for process in vigils(stack)} == before
    assert any(line.startswith("location: ") and line.endswith("it waits for postgres") for line in said)
    assert sent.unbalanced(settled_s=LADDER_S) == []
    until(stack, lambda: not any(process.doing for process in vigils(stack)), 60)


@contextmanager
def frozen_tree(stack: Stack, name: str) -> Iterator[None]:
    """Stop a server with all its children for the length of the block."""
    [server] = [process for process in stack.supervisor.processes if process.name == name]
    assert server.pid is not None
    held: list[int] = []
    while found := [pid for pid in (server.pid, *children_of(server.pid)) if pid not in held]:
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        held += found
    try:
        yield
    finally:
        for pid in held:
            with suppress(ProcessLookupError):  # a process that was about to end has ended
                os.kill(pid, signal.SIGCONT)


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue  # it has ended meanwhile
            if int(parent) == pid:
                found.append(int(path.name))
    return found
