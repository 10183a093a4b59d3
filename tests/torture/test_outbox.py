"""Tests of devices with an outbox.

They lose nothing and duplicate nothing, whether the phone, the broker or the whole machine dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import psycopg2
import pytest

from ops.environment import PROJECT
from ops.local.stack import Stack

RATE = 200.0
PANICS = 1.0
PHONES = 20
SENDS_A_MESSAGE = 1.5
DRAIN_S = 300.0


class Fleet:
    """Phones in a process of their own. The test starts and kills it as often as it likes."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.env = stack.operator_environment()
        self.run = secrets.token_hex(4)
        self.sends = 0
        self.messages = 0
        self._stack = stack
        self._directory = directory / self.run
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, also after a failed test."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def start(self, *, rate: float = RATE) -> None:
        arguments = [str(self._directory), self.env["MQTT_BROKER_PORT"], self.run, str(PHONES), str(rate)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.outbox_phones", *arguments, str(PANICS)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def finish(self) -> dict[str, int]:
        """End the sending, wait for the receipts, and return the process's counts."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + DRAIN_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline_s, "the outboxes do not become empty"
            self._stack.supervisor.poll()
        found: dict[str, int] = json.loads(self._process.communicate()[0].splitlines()[-1])
        return found

    def ledger(self) -> dict[str, str]:
        """Return each message whose send returned, with its kind."""
        lines = (self._directory / "ledger").read_text().splitlines()
        return {msg_id: kind for kind, _, msg_id in (line.partition(" ") for line in lines)}


class Outcome(NamedTuple):
    """Messages of a ledger in the tables."""

    messages: int
    panics: int
    lost: list[str]
    doubled: list[str]


def outcome(fleet: Fleet) -> Outcome:
    ledger = fleet.ledger()
    with (
        contextlib.closing(
            psycopg2.connect(fleet.env["VIGIL_OWNER_DATABASE_URL"].replace("+psycopg2", ""))
        ) as connection,
        connection.cursor() as cursor,
    ):
        found: Counter[str] = Counter()
        for table in ("mqtt_guard_location", "alert_occurrence"):
            cursor.execute(
                f"SELECT msg_id, count(*) FROM {table} WHERE msg_id = ANY(%s) GROUP BY msg_id",  # noqa: S608
                (list(ledger),),
            )
            found.update(dict(cursor.fetchall()))
    return Outcome(
        len(ledger),
        sum(kind == "panic" for kind in ledger.values()),
        [f"{ledger[msg_id]} {msg_id}" for msg_id in ledger if not found[msg_id]],
        [f"{ledger[msg_id]} {msg_id}" for msg_id, count in found.items() if count > 1],
    )


def passed(stack: Stack, seconds: float) -> None:
    """Let the load run for so many seconds while the supervisor watches."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        stack.supervisor.poll()


def pids(stack: Stack, *names: str) -> list[int]:
    found = [process.pid for process in stack.supervisor.processes if not names or process.name in names]
    assert all(found)
    return [pid for pid in found if pid is not None]


@contextlib.contextmanager
def frozen(stack: Stack, *names: str) -> Iterator[None]:
    stopped = pids(stack, *names)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def wait_ready(stack: Stack) -> None:
    names = [process.name for process in stack.supervisor.processes]
    assert stack.supervisor.wait_ready(names, timeout_s=180) == []


def check(fleet: Fleet, said: dict[str, int], capsys: Any, title: str) -> None:
    found = outcome(fleet)
    sends = said["sends"] / max(1, said["messages"])
    with capsys.disabled():
        print(
            f"\n{title}: {found.messages} messages, {found.panics} panics, lost {len(found.lost)},"
            f" doubled {len(found.doubled)}, {sends:.2f} sends a message"
        )
    assert said["pending"] == 0
    assert found.lost == []
    assert found.doubled == []
    assert sends <= SENDS_A_MESSAGE


@pytest.mark.timeout(600)
def test_a_phone_and_a_broker_that_are_killed_lose_and_double_nothing(
    stack: Stack, tmp_path: Path, capsys: Any
) -> None:
    wait_ready(stack)
    with Fleet(stack, tmp_path) as fleet:
        kill_phones_and_broker(stack, fleet)
        check(fleet, fleet.finish(), capsys, "phones and broker killed")


def kill_phones_and_broker(stack: Stack, fleet: Fleet) -> None:
    fleet.start()
    passed(stack, 4)

    # The phones are killed with SIGKILL in the middle of their sending.
    fleet.kill()
    assert fleet.ledger()
    fleet.start()
    passed(stack, 4)

    # The gateways receive nothing, so the messages that the broker acknowledged are in its memory
    # alone when it dies.
    with frozen(stack, "mqtt_gateway-alert", "mqtt_gateway-bulk"):
        # This is shorter than the time for which the supervisor lets a process give no sign
        # of life.
        passed(stack, 6)
        [broker] = [process for process in stack.supervisor.processes if process.name == "mosquitto"]
        broker.kill()
        passed(stack, 2)
    passed(stack, 4)


def crash(stack: Stack) -> None:
    """Kill every server and process at once with SIGKILL, with all their children."""
    killed = pids(stack)
    for pid in killed:
        os.killpg(pid, signal.SIGKILL)
    while set(killed) & {process.pid for process in stack.supervisor.processes}:
        stack.supervisor.poll()


def crashes(stack: Stack, directory: Path, capsys: Any, *, title: str) -> None:
    wait_ready(stack)
    with Fleet(stack, directory) as fleet:
        fleet.start()
        passed(stack, 10)

        crash(stack)
        began_s = time.monotonic()
        wait_ready(stack)
        ready_s = time.monotonic() - began_s
        passed(stack, 5)

        check(fleet, fleet.finish(), capsys, f"{title}, ready after {ready_s:.0f} s")


@pytest.mark.timeout(900)
def test_a_crash_of_the_whole_machine_loses_and_doubles_nothing(
    stack: Stack, tmp_path: Path, capsys: Any
) -> None:
    crashes(stack, tmp_path, capsys, title="whole machine killed")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", range(20))
def test_a_crash_of_the_whole_machine_again_and_again(
    stack: Stack, tmp_path: Path, capsys: Any, turn: int
) -> None:
    crashes(stack, tmp_path, capsys, title=f"whole machine killed, turn {turn + 1}")
