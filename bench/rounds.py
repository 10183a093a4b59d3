"""One round each for Vigil, the naive pipeline and the floor, on the servers of one stack."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg2
from sqlalchemy import create_engine, text

from bench import checker, growth, latency, load, messages
from bench.checker import Balance
from bench.cpu import Meter
from gateway.noc.auth import Tokens
from ops.environment import PROJECT
from ops.stack import Stack
from services import envelope
from services.bus import dead_letters
from services.providers import database_url

LATENCY_RATE = 200.0
WARM_UP = 20_000
WARM_UP_AGE = timedelta(seconds=5)
"""The warm-up has older timestamps, so that no fix of the measured run comes late."""
NAIVE_WARM_UP = 500
COUNT_EVERY_S = 0.1
NAIVE_QUIET_S = 15.0
# A partitioned table is the sum of its partitions; of any other there is no tree.
SIZE = """
SELECT (SELECT count(*) FROM {table}),
       coalesce(sum(pg_total_relation_size(relid))::bigint, pg_total_relation_size('{table}'))
FROM pg_partition_tree('{table}')
"""
NAIVE_COUNT = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table})" for table in ("telemetry", "location", "sensor", "system", "alert")
)


class Round(NamedTuple):
    """Messages a second, from the first publish to the last commit, and CPU seconds of each process for 1,000.

    `elsewhere` is the share of the machine that somebody else had meanwhile.
    """

    per_s: float
    cpu_s_per_1000: dict[str, float]
    elsewhere: float


class Rounds:
    """`say` is called with each line of progress."""

    def __init__(self, stack: Stack, *, sources: int, seed: int, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._sources = sources
        self._seed = seed
        self._say = say
        self._env = stack.operator_environment()
        self._host = self._env["MQTT_BROKER_ADDRESS"]
        self._port = int(self._env["MQTT_BROKER_PORT"])

    def latency(self, *, seconds: float) -> dict[str, float]:
        """Percentiles in ms at an even pace; see `bench.latency`."""
        env = self._env
        token = Tokens(env["JWT_SECRET"]).make(name="bench", tenant_id=1, role="viewer", lifetime_s=3600)
        return latency.measure(
            host=self._host,
            port=self._port,
            url=f"ws://127.0.0.1:{env['VIGIL_HTTP_PORT']}/ws/noc/dashboard/",
            token=token,
            keys=envelope.tenant_keys(env["CHANNELS_ENCRYPTION_KEY"], 1),
            seconds=seconds,
            rate=LATENCY_RATE,
        )

    def vigil(self, count: int) -> tuple[Round, Balance, dict[str, Any]]:
        """A small run first, so that caches and sources are as in daily work. Last: what the database grew by."""
        self._vigil_once(WARM_UP, before_now=WARM_UP_AGE)
        before = self._sizes()
        measured, balance = self._vigil_once(count)
        return measured, balance, growth.of_run(before, self._sizes())

    def _sizes(self) -> dict[str, growth.Size]:
        engine = create_engine(database_url(self._env["VIGIL_OWNER_DATABASE_URL"]))
        try:
            with engine.connect() as connection:
                return {
                    table: growth.Size(*connection.execute(text(SIZE.format(table=table))).one())
                    for table in growth.TABLES
                }
        finally:
            engine.dispose()

    def _vigil_once(self, count: int, *, before_now: timedelta = timedelta()) -> tuple[Round, Balance]:
        run, entries = self._ledger(count, before_now=before_now)
        receipts = load.Receipts(self._host, self._port, f"bench-receipts-{run}", "")
        meter = Meter(self._pids())
        result = load.run(entries, host=self._host, port=self._port, receipts=receipts, say=self._say)
        used_s = meter.read()
        elsewhere = meter.elsewhere(used_s)
        receipts.sock.close()
        balance = self._balance(run, entries, result.unacknowledged)
        expected = sum(not entry.refused for entry in entries)
        if balance.holds and len(receipts.stored) < expected:
            # The last commit is known by its receipt; with receipts gone the time would be too short.
            raise RuntimeError(f"{expected - len(receipts.stored)} receipts did not come: no time to report")
        return _round(result.published, result.stored_s - result.started_s, used_s, elsewhere), balance

    def _balance(self, run: str, entries: Sequence[messages.Entry], unacknowledged: set[str]) -> Balance:
        engine = create_engine(database_url(self._env["VIGIL_OWNER_DATABASE_URL"]))
        try:
            return checker.wait(
                entries,
                engine,
                run=run,
                dead_bodies=lambda: dead_letters.bodies(self._env["AMQP_URI"]),
                unacknowledged=unacknowledged,
            )
        finally:
            engine.dispose()

    def naive(self, count: int) -> Round:
        """The naive pipeline in a database of its own.

        It has a small run first, as Vigil has.
        """
        url = database_url(self._env["VIGIL_OWNER_DATABASE_URL"]).replace("+psycopg2", "")
        with closing(psycopg2.connect(url)) as admin:
            admin.autocommit = True
            admin.cursor().execute("CREATE DATABASE naive")
        naive_url = url.rpartition("/")[0] + "/naive"
        environment = {
            **self._env,
            "NAIVE_DATABASE_URL": naive_url.replace("postgresql://", "postgresql+psycopg2://"),
            "NAIVE_AMQP_URI": self._env["AMQP_URI"],
            "NAIVE_MQTT_HOST": self._host,
            "NAIVE_MQTT_PORT": str(self._port),
            "NAIVE_TOPIC_PREFIX": "naive/",
        }
        with (
            _part("naive", environment, "service") as service,
            _part("naive", environment, "gateway") as gateway,
        ):
            pids = self._pids(naive_service=service.pid, naive_gateway=gateway.pid)
            self._naive_once(NAIVE_WARM_UP, naive_url, pids, before=0)
            return self._naive_once(count, naive_url, pids, before=NAIVE_WARM_UP)

    def _naive_once(self, count: int, url: str, pids: Mapping[str, int], *, before: int) -> Round:
        """It refuses nothing with a reason and knows no duplicate: it is sent what it can store, and once."""
        _, made = self._ledger(count + count // 50)
        entries = [entry._replace(copies=1) for entry in made if not entry.refused][:count]
        meter = Meter(pids)
        result = load.run(entries, host=self._host, port=self._port, prefix="naive/", say=self._say)
        rows, last_s = _count_until_quiet(url, before + count)
        used_s = meter.read()
        elsewhere = meter.elsewhere(used_s)
        self._say(f"naive stored {rows - before} of {count}")
        return _round(rows - before, last_s - result.started_s, used_s, elsewhere)

    def floor(self, count: int) -> Round:
        """The floor, into Vigil's tables."""
        _, entries = self._ledger(count)
        # A prefix of its own: the sessions of Vigil's gateway live on at the broker and would be sent all of it.
        environment = {**self._env, "VIGIL_TOPIC_PREFIX": "floor/"}
        total = sum(entry.copies for entry in entries)
        with _part("floor", environment, str(total)) as floor:
            meter = Meter(self._pids())
            result = load.run(entries, host=self._host, port=self._port, prefix="floor/", say=self._say)
            assert floor.stdout is not None
            answer = json.loads(floor.stdout.readline())
            used_s = {**meter.read(), "floor": answer["cpu_s"]}
            elsewhere = meter.elsewhere(used_s)
        self._say(f"the floor stored {answer['stored']} of {total}")
        return _round(answer["stored"], answer["last_s"] - result.started_s, used_s, elsewhere)

    def _ledger(self, count: int, *, before_now: timedelta = timedelta()) -> tuple[str, list[messages.Entry]]:
        run = f"b{secrets.token_hex(4)}"
        now = datetime.now(UTC) - before_now
        return run, messages.make(count=count, sources=self._sources, seed=self._seed, run=run, now=now)

    def _pids(self, **further: int) -> dict[str, int]:
        running = {p.name: p.pid for p in self._stack.supervisor.processes if p.pid}
        return {**running, **further, "generator": os.getpid()}


def _round(count: int, seconds: float, used_s: Mapping[str, float], elsewhere: float) -> Round:
    cpu = {name: round(1000 * used / count, 4) for name, used in sorted(used_s.items())}
    return Round(per_s=count / seconds, cpu_s_per_1000=cpu, elsewhere=round(elsewhere, 3))


def _count_until_quiet(url: str, total: int) -> tuple[int, float]:
    """(rows, when the last of them was seen); ends when all are there or none has come for a while."""
    stored, changed_s = 0, time.monotonic()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while stored < total and time.monotonic() - changed_s < NAIVE_QUIET_S:
            cursor.execute(NAIVE_COUNT)
            before, (stored,) = stored, cursor.fetchone()
            if stored > before:
                changed_s = time.monotonic()
            time.sleep(COUNT_EVERY_S)  # the interval at which the tables are counted
    return stored, changed_s


@contextmanager
def _part(module: str, environment: Mapping[str, str], argument: str) -> Iterator[subprocess.Popen[str]]:
    """One process of a contestant, from when it says that it is ready to the end of the block."""
    command = [sys.executable, "-W", "ignore", "-m", f"bench.{module}", argument]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=dict(environment), cwd=PROJECT
    ) as part:
        try:
            assert part.stdout is not None
            if part.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{module} {argument} did not start")
            yield part
        finally:
            part.kill()


def counts(balance: Balance) -> dict[str, Any]:
    """The ledger's figures, for the report."""
    names = ("sent", "stored", "refused", "dead", "duplicates", "unconfirmed")
    return {name: getattr(balance, name) for name in names}
