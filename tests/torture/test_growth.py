"""Tests of two of every Vigil process on clusters of the real servers.

One server dies under load, and the ledger balances. Each test prints the time for which nothing was
stored, and the counts of the ledger.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import eventlet
import pytest
import websocket
from sqlalchemy import create_engine

from bench.ledger import checker, load, messages
from bench.ledger.checker import LedgerBalance
from ops.local.stack import Stack
from ops.local.supervisor import Process
from ops.processes import PROCESSES
from services.messaging import dead_letter_queue
from services.platform.database import database_url
from tests.support import clusters
from tests.support.clusters import PostgresPair, RabbitNodes, RedisWithSentinels, vigil_on
from tests.support.outside_clients import OutsideClients

RATE = 300.0
TWO_OF_EACH = dict.fromkeys([process for process in PROCESSES if process != "watchdog"], 2)
SHARED = {"VIGIL_MQTT_SHARED_GROUP": "vigil"}
Story = Iterator[None]


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield a directory outside pytest's own, which is closed to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="vigil-growth-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


class Run:
    """A load with its ledger, while a story goes on."""

    def __init__(self, stack: Stack, *, count: int) -> None:
        self._stack = stack
        self._env = stack.operator_environment()
        self._count = count
        self._run = f"g{secrets.token_hex(4)}"
        self._story: Story = iter(())
        self._told = False
        self.stored_s: list[float] = []

    def go(self, story: Story) -> LedgerBalance:
        """Send all messages, run the story to its end, and return the balance."""
        self._story = story
        entries = messages.make(count=self._count, sources=100, seed=7, run=self._run, now=datetime.now(UTC))
        host, port = self._env["MQTT_BROKER_ADDRESS"], int(self._env["MQTT_BROKER_PORT"])
        receipts = load.Receipts(host, port, f"receipts-{self._run}", "")
        result = load.run(
            entries, host=host, port=port, receipts=receipts, during=self._turn, quiet_s=45, rate=RATE
        )
        assert result.acknowledged == result.published
        self.sent_until_s = result.acknowledged_s
        while not self._told:
            self._turn()
        self.stored_s = [result.started_s, *sorted(receipts.stored.values())]
        engine = create_engine(database_url(self._env["VIGIL_OWNER_DATABASE_URL"]))
        try:
            return checker.wait(
                entries,
                engine,
                run=self._run,
                dead_bodies=lambda: dead_letter_queue.bodies(self._env["AMQP_URI"]),
                quiet_s=60,
                during=self._stack.supervisor.poll,
            )
        finally:
            engine.dispose()

    def longest_gap_s(self, *, since_s: float, until_s: float) -> float:
        """Return the longest time in seconds without a receipt `stored`.

        Only the gaps that overlap this span of time count.
        """
        pairs = zip(self.stored_s, self.stored_s[1:], strict=False)
        return max(
            (after - before for before, after in pairs if after >= since_s and before <= until_s), default=0.0
        )

    def restarts(self) -> dict[str, int]:
        found = {process.name: process.restarts for process in self._stack.supervisor.processes}
        return {name: count for name, count in found.items() if count}

    def _turn(self) -> None:
        self._stack.supervisor.poll()
        self._told = self._told or next(self._story, self) is self


def passed(seconds: float) -> Story:
    """Wait for so many seconds."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        yield


class Readiness:
    """A probe that asks every NOC gateway again and again whether it is ready.

    Each answer takes an RPC to two services.
    """

    def __init__(self, stack: Stack) -> None:
        self._addresses = [value for name, value in stack.addresses().items() if name.startswith("http")]
        assert len(self._addresses) == 2
        self.seen: list[tuple[float, str, bool]] = []
        self._asking = [eventlet.spawn(self._ask_on, address) for address in self._addresses]

    def stop(self) -> None:
        for asking in self._asking:
            asking.kill()

    def since(self, when_s: float) -> float | None:
        """Return the seconds after a moment until each gateway was asked and ready, or None."""
        first = [
            min(
                (at for at, who, ready in self.seen if who == address and ready and at > when_s), default=None
            )
            for address in self._addresses
        ]
        return None if None in first else max(at for at in first if at is not None) - when_s

    def _ask_on(self, address: str) -> None:
        while True:
            eventlet.spawn(self._ask, address, time.monotonic())
            eventlet.sleep(0.5)

    def _ask(self, address: str, asked_s: float) -> None:
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=15) as answer:
                ready = bool(json.load(answer)["ready"])
        except (urllib.error.URLError, OSError):
            ready = False
        # The time of the request counts: an answer that was on its way at the kill says nothing.
        self.seen.append((asked_s, address, ready))


def kill_leaders(nodes: RabbitNodes, ready: Readiness, told: list[tuple[str, float, float]]) -> Story:
    """Kill, twice, the node that leads the most queues.

    The node stays away for 12 s, and comes back with all its members.
    """
    for _ in range(2):
        yield from passed(8)
        queues = yield from listed(nodes)
        assert clusters.all_there(queues), "a queue is not on three nodes"
        victim = nodes.names[clusters.leader_of_most(queues)]
        nodes.kill(victim)
        killed_s = time.monotonic()
        yield from passed(12)
        back = ready.since(killed_s)
        assert back is not None, f"RPC did not come back while {victim} was away: {ready.seen[-8:]}"
        told.append((victim, killed_s, back))
        while not nodes.bring_back(victim):
            yield
        while not clusters.all_there((yield from listed(nodes))):
            yield


def listed(nodes: RabbitNodes) -> Any:
    """List the queues without making the load wait."""
    asked = nodes.queues_later()
    while asked.poll() is None:
        yield
    assert asked.stdout is not None
    found = asked.stdout.read()
    return json.loads(found) if asked.returncode == 0 else []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_nodes_of_rabbitmq_die_under_load(home: Path) -> None:
    with RabbitNodes(home / "rabbit") as nodes:
        given = {**SHARED, "AMQP_URI": nodes.uri}
        with vigil_on(home / "vigil", given, instances=TWO_OF_EACH) as stack:
            kinds = {queue["name"]: queue["type"] for queue in nodes.queues()}
            lasting = [name for name in kinds if not name.startswith(("rpc.reply-", "heartbeats-"))]
            assert {kinds[name] for name in lasting} == {"quorum"}, kinds
            ready, told = Readiness(stack), []
            run = Run(stack, count=60_000)
            balance = run.go(kill_leaders(nodes, ready, told))
            ready.stop()
            for victim, killed_s, back_s in told:
                gap_s = run.longest_gap_s(since_s=killed_s, until_s=killed_s + 12)
                print(
                    f"{victim} killed: nothing stored for {gap_s:.1f} s, RPC ready again after {back_s:.1f} s"
                )
            print(balance, "restarts:", run.restarts())
            assert len(told) == 2
            assert all(killed_s < run.sent_until_s for _, killed_s, _ in told), "not under load"
            assert balance.holds, balance
            assert balance.dead == 0
            assert not run.restarts()


SCALED = ("location", "telemetry")
LATE_BY_US = re.compile(r"^vigil_late_by_us_total (.+)$", re.MULTILINE)


def late_by_us(stack: Stack) -> float:
    """Return the number of fixes that were overtaken within Vigil, in the current processes."""
    with urllib.request.urlopen(f"http://{stack.addresses()['http']}/metrics/export/", timeout=20) as answer:
        return sum(float(count) for count in LATE_BY_US.findall(answer.read().decode()))


def come_go_and_die(stack: Stack, late: list[float]) -> Story:
    """Stop, kill and restart processes.

    Each service has three.

    Two of them stop in order and come back, one is killed, and all are restarted.
    """
    processes = {process.name: process for process in stack.supervisor.processes}
    others = [processes[f"{name}@{number}"] for name in SCALED for number in (2, 3)]
    yield from passed(5)
    for process in others:
        process.ask_to_stop()
    while any(process.state != "stopped" for process in others):
        yield
    late.append(late_by_us(stack))
    yield from passed(5)
    for process in others:
        process.start()
    yield from ready_again(others)
    yield from passed(5)
    late.append(late_by_us(stack))
    for name in SCALED:
        pid = processes[name].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    yield from passed(5)
    yield from ready_again([processes[name] for name in SCALED])
    late.append(late_by_us(stack))
    for process in others:
        process.ask_to_stop()
        while process.state != "stopped":
            yield
        process.start()
        yield from ready_again([process])
    yield from passed(5)
    late.append(late_by_us(stack))


def ready_again(processes: Sequence[Process]) -> Story:
    while any(process.state != "ready" for process in processes):
        yield


@pytest.mark.long
@pytest.mark.timeout(600)
def test_processes_that_come_go_and_die_under_load_keep_the_order_of_each_source(home: Path) -> None:
    with vigil_on(home, {}, instances=dict.fromkeys(SCALED, 3)) as stack:
        late: list[float] = []
        run = Run(stack, count=24_000)
        balance = run.go(come_go_and_die(stack, late))
        print(
            balance,
            "late by us:",
            late,
            "longest gap:",
            run.longest_gap_s(since_s=0, until_s=time.monotonic()),
        )
        assert balance.holds, balance
        assert balance.dead == 0
        assert late == [0.0] * 4


def fail_over(pair: PostgresPair, told: dict[str, float]) -> Story:
    """Kill the primary for good, and promote the replica after three seconds.

    An operator may need the three seconds for the decision.
    """
    yield from passed(10)
    pair.kill("postgres")
    told["killed"] = time.monotonic()
    yield from passed(3)
    pair.promote()
    told["promoted"] = time.monotonic()
    yield from passed(20)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_primary_of_postgresql_dies_under_load_and_the_replica_is_promoted(home: Path) -> None:
    with PostgresPair(home / "pair") as pair:
        given = {
            **SHARED,
            "DATABASE_URL": pair.url("vigil_service"),
            "VIGIL_OWNER_DATABASE_URL": pair.url("vigil"),
        }
        with vigil_on(home / "vigil", given, instances=TWO_OF_EACH) as stack:
            told: dict[str, float] = {}
            run = Run(stack, count=15_000)
            balance = run.go(fail_over(pair, told))
            gap_s = run.longest_gap_s(since_s=told["killed"], until_s=told["promoted"] + 15)
            waited_s = told["promoted"] - told["killed"]
            print(
                f"primary killed, replica promoted after {waited_s:.1f} s: nothing stored for {gap_s:.1f} s"
            )
            print(balance, "restarts:", run.restarts())
            assert told["killed"] < run.sent_until_s, "not under load"
            assert pair.ask("replica", "SELECT pg_is_in_recovery()") is False
            assert balance.holds, balance
            assert balance.dead == 0
            assert not run.restarts()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_master_of_redis_dies_and_the_feed_goes_on(home: Path) -> None:
    with RedisWithSentinels(home / "redis") as stores:
        given = {**SHARED, "REDIS_URL": stores.url}
        with (
            vigil_on(home / "vigil", given, instances=TWO_OF_EACH) as stack,
            OutsideClients(stack) as outside,
        ):
            screen = outside.screen()
            screen.wait("snapshot")
            guard = f"guard-{outside.run}"
            outside.publish(f"alert/panic/{guard}-1", {"message": "before"})
            screen.wait("critical_alert")
            before = screen.last_id

            old = stores.master()
            stores.kill(old)
            killed_s = time.monotonic()
            outside.publish(f"alert/panic/{guard}-2", {"message": "meanwhile"})
            clusters.until(lambda: screen.closed_with, between=stack.supervisor.poll)
            assert screen.closed_with in (1013, 4408)

            fresh = clusters.until(lambda: came_back(outside, since=before), between=stack.supervisor.poll)
            back_s = time.monotonic() - killed_s
            assert fresh.wait("connected")[1]["resumed"] is False
            _, snapshot = fresh.wait("snapshot")
            outside.until(lambda: shows(fresh, snapshot, f"{guard}-2"), timeout_s=30)
            outside.publish(f"alert/panic/{guard}-3", {"message": "after"})
            _, after = fresh.wait("critical_alert", lambda frame: frame["data"]["source_id"] == f"{guard}-3")
            assert after["id"] > before
            print(f"{old} killed, now {stores.master()}: a screen had its snapshot {back_s:.1f} s later")

            clusters.until(lambda: stores.bring_back(old))
            clusters.until(lambda: role_of(stores, old) == "slave")
            run = Run(stack, count=3_000)
            balance = run.go(iter(()))
            print(balance, "restarts:", run.restarts())
            assert balance.holds, balance


def came_back(outside: OutsideClients, *, since: int) -> Any:
    """Return a session that got its first frame, or None while the gateway cannot serve it yet."""
    try:
        screen = outside.screen(since=since)
        outside.until(lambda: screen.seen("snapshot") or screen.closed_with, timeout_s=20)
    except (OSError, AssertionError, websocket.WebSocketException):
        return None
    return screen if screen.seen("snapshot") else None


def shows(screen: Any, snapshot: dict[str, Any], source: str) -> bool:
    """Return whether the session shows an alert of the source.

    The alert may be in its snapshot or in a later frame.
    """
    alerts = [*snapshot["data"]["alerts"], *(frame["data"] for frame in screen.seen("critical_alert"))]
    return any(alert["source_id"] == source for alert in alerts)


def role_of(stores: RedisWithSentinels, name: str) -> str:
    return str(stores.client(name).info("replication")["role"])
