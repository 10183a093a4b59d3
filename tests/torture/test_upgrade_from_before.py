"""Test of the way from an earlier version: its installation goes on with the present code.

`BEFORE` is the last commit before every file moved to a folder of its subject. Its code comes from
the history of this repository, and has a home, servers and processes of its own.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from bench.ledger import checker, load
from bench.ledger.messages import LedgerEntry, make
from ops.commands.stack.stack import gone
from ops.environment import PROJECT, read_env
from ops.servers.queues import depths
from services.messaging import dead_letter_queue
from services.platform import config
from services.platform.database import database_url
from tests.support.mqtt_device import ConnectionRefused, MqttClient

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

BEFORE = "389ca4ea15eac0e77047b4a3fe57784449e18b36"
CONSUMERS = ("telemetry", "location", "alerts", "notifications")
GATEWAYS = ("mqtt_gateway-alert", "mqtt_gateway-bulk")
COMMAND_S = 300.0
COUNT, SOURCES, RATE = 400, 40, 200.0
POLL_S = 0.1
GUARD = "guard-4711"


class Home:
    """The home of one installation, and the tree whose code runs there."""

    def __init__(self, path: Path, tree: Path) -> None:
        self.path = path
        self.tree = tree

    def vigil(self, *arguments: str) -> str:
        """Run a command of the tree's version, and return its output."""
        taken = ("VIGIL_", "MQTT_", "DATABASE_URL", "AMQP_URI", "REDIS_URL", "PYTHONPATH")
        given = {name: value for name, value in os.environ.items() if not name.startswith(taken)}
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            cwd=self.tree,
            env={**given, "VIGIL_HOME": str(self.path), "PYTHONPATH": str(self.tree)},
        )

        assert done.returncode == 0, f"vigil {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        return found

    @property
    def settings(self) -> dict[str, str]:
        """Return what operators' commands know while the stack runs."""
        return read_env(self.path / "stack.env") | read_env(self.path / "operator.env")

    def stop(self) -> None:
        """Stop everything, also after a failure while the supervisor stood still."""
        if (self.path / "state.json").exists():
            supervisor = self.state["supervisor"]
            if not gone(supervisor["pid"], supervisor["started_at"], timeout_s=0):
                os.kill(supervisor["pid"], signal.SIGCONT)
        self.vigil("down")

    def port(self, name: str) -> int:
        return int(self.state["addresses"][name].rpartition(":")[2])


class Ledger:
    """Messages that were sent to an installation. Each must be found in its tables."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._sent: dict[str, list[LedgerEntry]] = {}

    def send(self) -> str:
        """Send a number of messages, and return the name of the run.

        The broker acknowledges each.
        """
        run = f"u{secrets.token_hex(4)}"
        entries = make(count=COUNT, sources=SOURCES, seed=len(self._sent), run=run, now=datetime.now(UTC))
        result = load.run(entries, host="127.0.0.1", port=self._home.port("mqtt"), rate=RATE)

        assert result.acknowledged == result.published
        self._sent[run] = entries
        return run

    def count_found(self, run: str) -> int:
        """Return the number of messages of a run that are stored or refused."""
        with connected(self._home) as engine:
            balance = checker.check(self._sent[run], engine, run=run)
        return balance.stored + balance.refused

    def balances(self) -> list[checker.LedgerBalance]:
        """Return the balance of each run, when every message is found or nothing changes."""
        uri = self._home.settings["AMQP_URI"]
        with connected(self._home) as engine:
            return [
                checker.wait(
                    entries,
                    engine,
                    run=run,
                    dead_bodies=lambda: dead_letter_queue.bodies(uri),
                    quiet_s=60.0,
                )
                for run, entries in self._sent.items()
            ]


@contextmanager
def connected(home: Home) -> Iterator[Engine]:
    """Yield an engine for the owner's tables of an installation."""
    engine = create_engine(database_url(home.settings["VIGIL_OWNER_DATABASE_URL"]))
    try:
        yield engine
    finally:
        engine.dispose()


def git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(PROJECT), *arguments], check=False, capture_output=True)
    assert done.returncode == 0, (
        f"this test reads commit {BEFORE} from the history; run it in a clone with the whole history"
        f" (`git fetch --unshallow`): {done.stderr.decode()}"
    )
    return done.stdout


@pytest.fixture
def tree_before(tmp_path: Path) -> Path:
    """Return a directory with the files of the earlier version."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", BEFORE))) as archive:
        archive.extractall(tmp_path / "before", filter="data")
    return tmp_path / "before"


@pytest.fixture
def home(tree_before: Path) -> Iterator[Home]:
    """Yield the home of the earlier version.

    The directory is not pytest's own, because PostgreSQL's user could not enter that one.
    """
    with tempfile.TemporaryDirectory(prefix="vigil-before-") as path:
        made = Home(Path(path), tree_before)
        try:
            yield made
        finally:
            made.stop()


def until(condition: Callable[[], bool], what: str, *, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(POLL_S)  # the state of other programs sends no event


def stop_processes(home: Home, names: Sequence[str]) -> None:
    """Ask some processes to stop, and wait for their ends. Their supervisor stands still."""
    pids = [process["pid"] for process in home.state["processes"] if process["name"] in names]
    starts = [process["started_at"] for process in home.state["processes"] if process["name"] in names]
    assert len(pids) == len(names)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)

    for pid, started_at in zip(pids, starts, strict=True):
        assert gone(pid, started_at, timeout_s=60), pid


def waiting(home: Home) -> int:
    """Return the number of events that wait in RabbitMQ for the stopped consumers."""
    settings = config.load(environ={**home.settings, "VIGIL_ENV": "development"})
    found = depths.by_handler(depths.depths(settings, depths.names(settings)))
    return sum(count for name, count in found.items() if any(f"--{one}." in name for one in CONSUMERS))


def log_in(home: Home) -> str:
    """Log the operator in with the password from the first start, and return the token."""
    lines = (home.path / "login.txt").read_text().splitlines()
    body = dict(line.split(" ", 1) for line in lines)
    request = urllib.request.Request(
        f"http://127.0.0.1:{home.port('http')}/api/v1/session",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        token: str = json.load(answer)["token"]
    return token


def press(home: Home, password: str, msg_id: str) -> None:
    """Press the guard's button with the guard's own credential."""
    client = MqttClient(home.port("mqtt"), GUARD, username=GUARD, password=password)
    body = {"message": "help", "msg_id": msg_id, "timestamp": datetime.now(UTC).isoformat()}
    client.publish(f"alert/panic/{GUARD}", json.dumps(body).encode())
    client.settle(1)
    client.close()


def has_occurrence(home: Home, msg_id: str) -> bool:
    query = text("SELECT count(*) FROM alert_occurrence WHERE msg_id = :msg_id")
    with connected(home) as engine, engine.connect() as connection:
        return connection.execute(query, {"msg_id": msg_id}).scalar_one() == 1


def test_an_installation_of_the_version_before_goes_on_and_loses_nothing(home: Home) -> None:
    # Given an installation of the version before, with a guard's credential and stored messages
    home.vigil("up", "--detach", "--timeout", "120")
    password = json.loads(home.vigil("guard", "add", "4711", "--json"))["password"]
    ledger = Ledger(home)
    stored = ledger.send()
    until(lambda: ledger.count_found(stored) == COUNT, "the first messages are stored")

    # And messages that wait in RabbitMQ for stopped services, a panic among them
    supervisor = home.state["supervisor"]
    os.kill(supervisor["pid"], signal.SIGSTOP)  # it would start them again
    stop_processes(home, CONSUMERS)
    queued = ledger.send()
    press(home, password, "waits-1")
    until(lambda: waiting(home) >= COUNT // 2, "events wait in RabbitMQ")

    # And messages that wait in Mosquitto for stopped gateways
    stop_processes(home, GATEWAYS)
    before = waiting(home)
    held = ledger.send()
    assert (ledger.count_found(queued), ledger.count_found(held), waiting(home)) == (0, 0, before)

    # When it is stopped, and the present version starts in its home
    os.kill(supervisor["pid"], signal.SIGTERM)
    os.kill(supervisor["pid"], signal.SIGCONT)
    assert gone(supervisor["pid"], supervisor["started_at"], timeout_s=90)
    home.tree = PROJECT
    home.vigil("up", "--detach", "--timeout", "120")

    # Then every message is stored once, or refused with a reason, and none is dead
    for balance in ledger.balances():
        assert balance.holds, balance
        assert not balance.dead, balance
    until(lambda: has_occurrence(home, "waits-1"), "the panic that waited is on record")

    # And the queues are those of the code, the log-in works, and the guard's credential does
    home.vigil("topology", "--check")
    home.vigil("migrate", "check")
    assert log_in(home)
    with pytest.raises(ConnectionRefused):
        press(home, "wrong", "never-1")
    press(home, password, "after-1")
    until(lambda: has_occurrence(home, "after-1"), "the panic of the present version is on record")
