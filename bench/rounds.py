"""One round each for Vigil and for the other contestants, on the servers of one stack."""

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

from bench.ledger import checker, load, messages
from bench.ledger.checker import LedgerBalance
from bench.measures import growth, rest
from bench.measures.cpu import Meter
from bench.measures.latency import GUARDS, PacedConnection, guard, percentiles, position, rank
from bench.measures.watcher import FeedWatcher, ShownItems, peer_frames, vigil_frames
from bench.pipelines import floor
from bench.pipelines.plain_peer import DATABASE as PEER_DATABASE
from bench.pipelines.plain_peer import PREFIX as PEER_PREFIX
from bench.pipelines.plain_peer import PlainPeer
from gateway.mqtt import packets
from gateway.noc.auth.tokens import Tokens
from ops.environment import PROJECT
from ops.local.stack import Stack
from services.directory.registry.store import DirectoryStore
from services.directory.zones.store import ZoneStore
from services.feed import encryption
from services.messaging import dead_letter_queue
from services.platform import config
from services.platform.database import Database, database_url

LATENCY_RATE = 200.0
PANICS_A_S = 10
RATES = (500.0, 2_000.0, 5_000.0)
WARM_UP_RATE = 400.0
WARM_UP = 20_000
WARM_UP_AGE = timedelta(seconds=3)
"""The warm-up has older timestamps, so that no fix of the measured run comes late."""
SHOWN_TIMEOUT_S = 5.0
ZONES = 100
TENANT_ID = 1
NAIVE_WARM_UP = 500
NAIVE_PREFIX, FLOOR_PREFIX = "naive/", "floor/"
COUNT_EVERY_S = 0.1
NAIVE_QUIET_S = 15.0
# The size of a partitioned table is the sum of its partitions. Other tables have no partition tree.
SIZE = """
SELECT (SELECT count(*) FROM {table}),
       coalesce(sum(pg_total_relation_size(relid))::bigint, pg_total_relation_size('{table}'))
FROM pg_partition_tree('{table}')
"""
NAIVE_COUNT = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {table})" for table in ("telemetry", "location", "sensor", "system", "alert")
)
NAIVE_WAITS = (
    "SELECT msg_id, extract(epoch FROM stored_at - recorded_at) FROM location WHERE msg_id LIKE %(run)s"
)


class BenchRound(NamedTuple):
    """Result of a round.

    `per_s` is messages a second, from the first publish to the last commit. `cpu_s_per_1000` is CPU
    seconds of each process for 1,000 messages. `elsewhere` is the share of the machine that other
    work had meanwhile. `marker_age_s` are the ages of the positions that came to a websocket
    session, sorted.
    """

    per_s: float
    cpu_s_per_1000: dict[str, float]
    elsewhere: float
    marker_age_s: list[float] = []

    @property
    def cpu_of_all(self) -> float:
        """Return CPU seconds for 1,000 messages of all processes but the generator."""
        return sum(used for name, used in self.cpu_s_per_1000.items() if name != "generator")

    def ages(self) -> dict[str, float]:
        """Return percentiles of the markers' ages at their arrival in a websocket session."""
        if not self.marker_age_s:
            return {}
        return {f"marker_age_p{p}_s": round(rank(self.marker_age_s, p), 3) for p in (50, 99, 100)}

    def figures(self) -> dict[str, float]:
        return {
            "per_s": round(self.per_s, 1),
            "cpu_s_per_1000": round(self.cpu_of_all, 4),
            "elsewhere": self.elsewhere,
            **self.ages(),
        }


class LedgerCheck(NamedTuple):
    """Result of a round's ledger: the balance, overtaken messages, and frames out of order."""

    balance: LedgerBalance
    overtaken: list[str]
    went_back: int = 0
    not_shown: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return self.balance.holds and not (self.overtaken or self.went_back or self.not_shown)

    def counts(self) -> dict[str, int]:
        """Return the figures for the report. `lost`: acknowledged by the broker and nowhere."""
        names = ("sent", "stored", "refused", "dead", "duplicates", "unconfirmed")
        return {
            **{name: getattr(self.balance, name) for name in names},
            "lost": len(self.balance.missing),
            "misjudged": len(self.balance.misjudged),
            "overtaken": len(self.overtaken),
            "shown_out_of_order": self.went_back,
            "newest_not_shown": len(self.not_shown),
        }


class PaceFigures(NamedTuple):
    """Percentiles in ms at an even pace, and CPU seconds for 1,000 messages by process."""

    latency: dict[str, float]
    cpu_s_per_1000: dict[str, float]

    def figures(self) -> dict[str, float]:
        total = sum(used for name, used in self.cpu_s_per_1000.items() if name != "generator")
        return {**self.latency, "cpu_s_per_1000": round(total, 3)}


class BenchRounds:
    """Rounds of all contestants. `say` is called with each line of progress."""

    def __init__(self, stack: Stack, *, sources: int, seed: int, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._sources = sources
        self._seed = seed
        self._say = say
        self._env = stack.operator_environment()
        self.host = self._env["MQTT_BROKER_ADDRESS"]
        self.port = int(self._env["MQTT_BROKER_PORT"])
        self._owner_url = database_url(self._env["VIGIL_OWNER_DATABASE_URL"])
        self._until = datetime.now(UTC)

    def plant_zones(self) -> None:
        """Add the tenant's other zones. The seed has made the first."""
        database = Database(config.load(environ=self._env), name="bench", pool_size=1, as_owner=True)
        store = ZoneStore(database)
        [site, *_] = DirectoryStore(database).list_rows("site", tenant_id=TENANT_ID, limit=1)

        for number, (lat, lon, radius_m) in enumerate(messages.zones(ZONES)[1:]):
            area = {"type": "Point", "coordinates": [lon, lat]}
            fields = {
                "name": f"bench {number}",
                "site_id": site["site_id"],
                "area": area,
                "radius_m": radius_m,
            }
            store.add(fields, tenant_id=TENANT_ID, by="bench")

    def latency(self, *, seconds: float) -> PaceFigures:
        """Measure Vigil at an even pace; see `bench.measures.latency`."""
        with closing(self._screen()) as screen:
            return self._paced("", seconds, self._pids(), screen)

    def _screen(self) -> FeedWatcher:
        env = self._env
        token = Tokens(env["JWT_SECRET"]).make(
            name="bench", tenant_id=TENANT_ID, role="viewer", lifetime_s=3600
        )
        keys = encryption.tenant_keys(env["CHANNELS_ENCRYPTION_KEY"], TENANT_ID)
        url = f"ws://127.0.0.1:{env['VIGIL_HTTP_PORT']}/ws/noc/dashboard/"
        return FeedWatcher(url, vigil_frames(keys, TENANT_ID), token=token)

    def _paced(
        self, prefix: str, seconds: float, pids: Mapping[str, int], watcher: FeedWatcher | None
    ) -> PaceFigures:
        with closing(PacedConnection(self.host, self.port, prefix=prefix, watcher=watcher)) as paced:
            paced.warm_up(panics=int(seconds * PANICS_A_S), rate=WARM_UP_RATE)
            return PaceFigures(*paced.measure(seconds=seconds, rate=LATENCY_RATE, meter=Meter(pids)))

    def vigil(self, count: int) -> tuple[BenchRound, LedgerCheck, dict[str, Any]]:
        """Measure Vigil's flood after a small run, so that caches and sources are as in daily work.

        The last part of the result is the growth of the database.
        """
        self.flood(WARM_UP, before_now=WARM_UP_AGE)
        before = self._sizes()
        measured, checked = self.flood(count)
        return measured, checked, growth.of_run(before, self._sizes())

    def _sizes(self) -> dict[str, growth.TableSize]:
        engine = create_engine(self._owner_url)
        try:
            with engine.connect() as connection:
                return {
                    table: growth.TableSize(*connection.execute(text(SIZE.format(table=table))).one())
                    for table in growth.TABLES
                }
        finally:
            engine.dispose()

    def flood(self, count: int, *, before_now: timedelta = timedelta()) -> tuple[BenchRound, LedgerCheck]:
        """Measure Vigil, with a websocket session, as fast as the broker takes the messages."""
        with closing(self._screen()) as screen:
            return self._once(count, pids=self._pids(), screen=screen, before_now=before_now)

    def at_rates(self, *, seconds: float) -> tuple[dict[str, float], list[LedgerCheck]]:
        """Return CPU seconds for 1,000 messages at rates between quiet and flood.

        Batches grow with the rate.
        """
        figures: dict[str, float] = {}
        checks = []
        for rate in RATES:
            count = int(rate * seconds)
            measured, checked = self._once(count, pids=self._pids(), rate=rate)
            figures[f"cpu_s_per_1000_at_{rate:.0f}"] = round(measured.cpu_of_all, 4)
            checks.append(checked)
        return figures, checks

    def _once(
        self,
        count: int,
        *,
        pids: Mapping[str, int],
        prefix: str = "",
        screen: FeedWatcher | None = None,
        url: str | None = None,
        tables: Sequence[str] = checker.TABLES,
        before_now: timedelta = timedelta(),
        rate: float | None = None,
    ) -> tuple[BenchRound, LedgerCheck]:
        """Send a ledger to a contestant with receipts, and check it against the tables at `url`."""
        run, entries = self.ledger(count, before_now=before_now)
        with closing(self.receipts(run, prefix)) as receipts:
            meter = Meter(pids)
            result = load.run(
                entries,
                host=self.host,
                port=self.port,
                prefix=prefix,
                receipts=receipts,
                say=self._say,
                rate=rate,
            )

            used_s = meter.read()
            elsewhere = meter.elsewhere(used_s)

        checked = self.check(run, entries, result.unacknowledged, url=url, tables=tables, screen=screen)
        expected = sum(not entry.refused for entry in entries)
        if checked.balance.holds and len(receipts.stored) < expected:
            # The receipt gives the time of the last commit. With missing receipts the time would be
            # too short.
            raise RuntimeError(f"{expected - len(receipts.stored)} receipts did not come: no time to report")

        ages_s = sorted(screen.seen.ages_s) if screen else []
        seconds = result.stored_s - result.started_s
        return _round(result.published, seconds, used_s, elsewhere, ages_s), checked

    def receipts(self, run: str, prefix: str = "") -> load.Receipts:
        """Return a subscriber of a contestant's receipts."""
        return load.Receipts(self.host, self.port, f"bench-receipts-{run}", prefix)

    def check(
        self,
        run: str,
        entries: Sequence[messages.LedgerEntry],
        unacknowledged: set[str],
        *,
        url: str | None = None,
        tables: Sequence[str] = checker.TABLES,
        screen: FeedWatcher | None = None,
        during: Callable[[], None] = lambda: None,
    ) -> LedgerCheck:
        """Check a ledger against the tables, and against the frames of a websocket session."""
        engine = create_engine(url or self._owner_url)
        try:
            balance = checker.wait(
                entries,
                engine,
                run=run,
                tables=tables,
                dead_bodies=lambda: dead_letter_queue.bodies(self._env["AMQP_URI"]),
                unacknowledged=unacknowledged,
                during=during,
            )
            overtaken = checker.overtaken(entries, engine, run=run, tables=tables)
        finally:
            engine.dispose()

        if screen is None:
            return LedgerCheck(balance, overtaken)

        not_shown = _wait_until_shown(screen.seen, newest_of(entries), during)
        return LedgerCheck(balance, overtaken, screen.seen.went_back, not_shown)

    def naive(self, count: int, *, seconds: float) -> tuple[BenchRound, PaceFigures]:
        """Measure the naive pipeline in its own database, after a small run and at an even pace."""
        naive_url = self._make_database("naive")
        environment = {
            **self._env,
            "NAIVE_DATABASE_URL": naive_url,
            "NAIVE_AMQP_URI": self._env["AMQP_URI"],
            "NAIVE_MQTT_HOST": self.host,
            "NAIVE_MQTT_PORT": str(self.port),
            "NAIVE_TOPIC_PREFIX": NAIVE_PREFIX,
            "NAIVE_ZONES": json.dumps(messages.zones(ZONES)),
        }
        with (
            _part("naive", environment, "service") as service,
            _part("naive", environment, "gateway") as gateway,
        ):
            pids = self._pids(naive_service=service.pid, naive_gateway=gateway.pid)
            self._naive_once(NAIVE_WARM_UP, naive_url, pids, before=0)
            measured = self._naive_once(count, naive_url, pids, before=NAIVE_WARM_UP)
            return measured, self._naive_paced(seconds, naive_url, pids, before=NAIVE_WARM_UP + count)

    def _naive_once(self, count: int, url: str, pids: Mapping[str, int], *, before: int) -> BenchRound:
        """Measure one flood of the naive pipeline.

        It refuses nothing with a reason and knows no duplicate. So it gets only messages that it
        can store, each once.
        """
        _, made = self.ledger(count + count // 50)
        entries = [entry._replace(copies=1) for entry in made if not entry.refused][:count]
        meter = Meter(pids)
        result = load.run(entries, host=self.host, port=self.port, prefix=NAIVE_PREFIX, say=self._say)
        rows, last_s = _count_until_quiet(_plain(url), before + count)
        used_s = meter.read()
        elsewhere = meter.elsewhere(used_s)
        self._say(f"naive stored {rows - before} of {count}")
        return _round(rows - before, last_s - result.started_s, used_s, elsewhere)

    def _naive_paced(self, seconds: float, url: str, pids: Mapping[str, int], *, before: int) -> PaceFigures:
        """Measure positions at an even pace.

        The naive pipeline sends no receipts, so its tables give the time of each store.
        """
        total, run = int(seconds * LATENCY_RATE), f"n{secrets.token_hex(4)}"
        with closing(load.connect(self.host, self.port)) as sock:
            sock.sendall(packets.connect(f"bench-pace-{run}"))
            meter, started_s = Meter(pids), time.monotonic()

            for number in range(total):
                time.sleep(max(0.0, started_s + number / LATENCY_RATE - time.monotonic()))
                sent = position(f"{run}-{number}", guard(number % GUARDS), datetime.now(UTC))
                packet = packets.publish(
                    NAIVE_PREFIX + sent.topic, sent.payload, message_id=number % 65_535 + 1
                )
                sock.sendall(packet)

            _count_until_quiet(_plain(url), before + total)
            used_s = meter.read()

        with closing(psycopg2.connect(_plain(url))) as connection, connection.cursor() as cursor:
            cursor.execute(NAIVE_WAITS, {"run": f"{run}-%"})
            stored_s = {msg_id: float(waited_s) for msg_id, waited_s in cursor.fetchall()}

        if len(stored_s) < total:
            self._say(f"naive lost {total - len(stored_s)} of {total} at an even pace")

        cpu = {name: 1000 * used / total for name, used in sorted(used_s.items())}
        return PaceFigures(percentiles("position_commit", dict.fromkeys(stored_s, 0.0), stored_s), cpu)

    def floor(self, count: int, *, seconds: float) -> tuple[BenchRound, LedgerCheck, PaceFigures]:
        """Measure the floor, with Vigil's tables, after a small run, and at an even pace."""
        with closing(psycopg2.connect(_plain(self._owner_url))) as owner, owner, owner.cursor() as cursor:
            cursor.execute(floor.MAKE_ALERTS)

        # The floor has its own prefix. The sessions of Vigil's gateway still exist at the broker,
        # and would otherwise get all of these messages.
        environment = {**self._env, "VIGIL_TOPIC_PREFIX": FLOOR_PREFIX}
        tables = (*(table for table in checker.TABLES if table != "alert_occurrence"), floor.ALERTS)

        with _part("floor", environment) as process:
            pids = self._pids(floor=process.pid)
            self._once(WARM_UP, pids=pids, prefix=FLOOR_PREFIX, tables=tables, before_now=WARM_UP_AGE)
            measured, checked = self._once(count, pids=pids, prefix=FLOOR_PREFIX, tables=tables)
            return measured, checked, self._paced(FLOOR_PREFIX, seconds, pids, None)

    def peer(self, count: int, *, seconds: float) -> tuple[BenchRound, LedgerCheck, PaceFigures]:
        """Measure the plain peer in its own database, after a small run, and at an even pace."""
        with self.plain_peer() as (peer, url):
            pids = self._pids(**peer.pids)
            with closing(FeedWatcher(peer.url, peer_frames)):
                self._once(WARM_UP, pids=pids, prefix=PEER_PREFIX, url=url, before_now=WARM_UP_AGE)
            with closing(FeedWatcher(peer.url, peer_frames)) as screen:
                measured, checked = self._once(count, pids=pids, prefix=PEER_PREFIX, url=url, screen=screen)
            with closing(FeedWatcher(peer.url, peer_frames)) as screen:
                return measured, checked, self._paced(PEER_PREFIX, seconds, pids, screen)

    @contextmanager
    def plain_peer(self) -> Iterator[tuple[PlainPeer, str]]:
        """Yield the running peer, and the address of its database."""
        url = self._make_database(PEER_DATABASE)
        with PlainPeer(self._env, database_url=_plain(url), zones=messages.zones(ZONES)) as peer:
            yield peer, url

    def _make_database(self, name: str) -> str:
        with closing(psycopg2.connect(_plain(self._owner_url))) as admin:
            admin.autocommit = True
            admin.cursor().execute(f"CREATE DATABASE {name}")
        return f"{self._owner_url.rpartition('/')[0]}/{name}"

    def ledger(
        self, count: int, *, before_now: timedelta = timedelta()
    ) -> tuple[str, list[messages.LedgerEntry]]:
        """Return a run's name and its messages.

        Its times begin after those of the ledger before, so that no fix is late.
        """
        now = datetime.now(UTC) - before_now
        if (early_s := (self._until - now).total_seconds()) > 0:
            time.sleep(early_s)  # the times of the ledger before run faster than the clock
            now += timedelta(seconds=early_s)
        self._until = now + timedelta(seconds=count / messages.NOMINAL_PER_S)
        run = f"b{secrets.token_hex(4)}"
        return run, messages.make(count=count, sources=self._sources, seed=self._seed, run=run, now=now)

    def rest(self, *, seconds: float) -> rest.RestFigures:
        """Measure the stack while nothing sends messages."""
        return rest.measure(self._running(), seconds=seconds)

    def _running(self) -> dict[str, int]:
        return {p.name: p.pid for p in self._stack.supervisor.processes if p.pid}

    def _pids(self, **further: int) -> dict[str, int]:
        return {**self._running(), **further, "generator": os.getpid()}


def newest_of(entries: Sequence[messages.LedgerEntry]) -> dict[str, datetime]:
    """Return the time of each guard's newest position. Pure."""
    found: dict[str, datetime] = {}
    for entry in entries:
        if entry.family == "guard" and not entry.refused:
            found[entry.topic.split("/")[1]] = datetime.fromisoformat(json.loads(entry.payload)["timestamp"])
    return found


def _wait_until_shown(
    seen: ShownItems, newest_sent: Mapping[str, datetime], during: Callable[[], None]
) -> list[str]:
    deadline_s = time.monotonic() + SHOWN_TIMEOUT_S
    while (missing := seen.not_shown(newest_sent)) and time.monotonic() < deadline_s:
        during()
        time.sleep(COUNT_EVERY_S)  # the interval at which the session is checked
    return missing


def _round(
    count: int, seconds: float, used_s: Mapping[str, float], elsewhere: float, ages_s: Sequence[float] = ()
) -> BenchRound:
    cpu = {name: round(1000 * used / count, 4) for name, used in sorted(used_s.items())}
    return BenchRound(count / seconds, cpu, round(elsewhere, 3), list(ages_s))


def _plain(url: str) -> str:
    """Return the address of a database without the name of SQLAlchemy's driver."""
    return url.replace("+psycopg2", "")


def _count_until_quiet(url: str, total: int) -> tuple[int, float]:
    """Return (rows, time of the last new row).

    The count ends when all rows are there, or when none has come for a while.
    """
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
def _part(module: str, environment: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Yield one process of a contestant, from its ready message to the end of the block."""
    command = [sys.executable, "-W", "ignore", "-m", f"bench.{module}", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=dict(environment), cwd=PROJECT
    ) as part:
        try:
            assert part.stdout is not None
            if part.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{module} {' '.join(arguments)} did not start")
            yield part
        finally:
            part.kill()
