"""`python -m bench.queries`: duration of a control room's queries with many stored positions.

It fills its own database with the positions of guards who work eight hours a day. The order is that
in which such fixes come, so the fixes of one guard lie far apart. After a warm-up, each query runs
as its service runs it, with other guards and places each time. It is not part of `make bench`: 100
million fixes take 25 GB and about half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, event, text

from ops.local.stack import Stack, running_servers
from services.alerts.escalation_worker import EscalationPolicies
from services.alerts.grouping import AlertGrouping
from services.alerts.store import AlertStore
from services.location.tracks.nearby import NearbyGuards
from services.location.tracks.queries import TrackQueries
from services.platform import config
from services.platform.database import Database, database_url

TENANT = 1
FIXES_A_DAY = 2_500
"""Number of fixes of one guard: one every 11.5 s of a shift of eight hours."""
SHIFT_S = 8 * 3600
SHOWN_POINTS = 500
ALERTS = 200_000
OPEN_ALERTS = 300
LAT, LON, SPREAD = 12.97, 77.59, 0.2
GUARDS = """
INSERT INTO guard (guard_id, tenant_id, name)
SELECT 'guard-' || n, 1, 'Guard ' || n FROM generate_series(1, :guards) n
"""
STATES = """
INSERT INTO guard_state (guard_id, tenant_id, recorded_at, received_at, location, lat, lon, accuracy, speed, heading,
                         in_geofence, geofence_violation, belief)
SELECT 'guard-' || n, 1, now(), now(), ST_SetSRID(ST_MakePoint(lon, lat), 4326), lat, lon, 5, 1.4, 90, true, false,
       decode(repeat('ab', 300), 'hex')
FROM (SELECT n, :lat + (random() - 0.5) * :spread AS lat, :lon + (random() - 0.5) * :spread AS lon
      FROM generate_series(1, :guards) n) places
"""
# A month of past shifts, two weeks of future ones, and half of the guards on shift now.
SHIFTS = """
INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)
SELECT 1, guard_id, at, at + interval '12 hours'
FROM guard, generate_series(now() - interval '30 days' - CASE WHEN hashtext(guard_id) % 2 = 0 THEN interval '6 hours'
                            ELSE interval '18 hours' END, now() + interval '14 days', interval '1 day') at
WHERE guard.tenant_id = 1
"""
FIXES = """
INSERT INTO mqtt_guard_location (tenant_id, guard_id, message_key, msg_id, recorded_at, received_at, clock_suspect,
                                 lat, lon, accuracy, speed, heading, mock, in_geofence, geofence_violation)
SELECT 1, 'guard-' || n, gen_random_uuid(), 'm-' || step * :guards + n, at, at + interval '1 second', false,
       :lat + n * 1e-6 + step * 1e-7, :lon + n * 1e-6, 5, 1.4, n % 360, false, true, false
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) step,
     LATERAL (SELECT CAST(:began AS timestamptz) + step * make_interval(secs => :pause_s) AS at) times,
     generate_series(1, :guards) n
"""
ALERT_ROWS = """
INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id, dedup_key, message,
                               recorded_at, received_at, last_seen_at, closed_at)
SELECT gen_random_uuid(), 1, 'LOW_BATTERY', 'MEDIUM', CASE WHEN is_open THEN 'NEW' ELSE 'RESOLVED' END,
       'guard-' || 1 + n % :guards, 'key-' || n, 'Battery at 19 %', at, at, at, CASE WHEN is_open THEN NULL ELSE at END
FROM generate_series(1, :alerts) n,
     LATERAL (SELECT now() - n * interval '10 seconds' AS at, n % (:alerts / :open) = 0 AS is_open) of_it
"""
IN_A_HURRY = ("fsync = off", "full_page_writes = off", "max_wal_size = '16GB'", "autovacuum = off")
"""Settings of the filled database, which is temporary.

None of them changes how a query is answered.
"""
SIZE = """
SELECT (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('mqtt_guard_location')) AS heap,
       (SELECT sum(pg_indexes_size(relid)) FROM pg_partition_tree('mqtt_guard_location')
        WHERE isleaf) AS indexes,
       (SELECT CAST(sum(reltuples) AS bigint) FROM pg_class JOIN pg_partition_tree('mqtt_guard_location') ON relid = oid
        WHERE isleaf AND reltuples > 0) AS fixes
"""


class QueryTimes(NamedTuple):
    """Milliseconds of many calls.

    `queries_ms` is the time in the database and on the wire. `calls_ms` also holds the process's
    work with the result.
    """

    queries_ms: list[float]
    calls_ms: list[float]

    def figures(self) -> dict[str, float]:
        found = {}
        for name, values in (("query", sorted(self.queries_ms)), ("call", sorted(self.calls_ms))):
            for share in (50, 95):
                found[f"{name}_p{share}_ms"] = round(values[(len(values) - 1) * share // 100], 1)
        return found


class Stopwatch:
    """Time of statements, result included: psycopg2 has all rows when `execute` returns."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._began_s = 0.0

    def watch(self) -> None:
        """Measure every engine of this process."""
        event.listen(Engine, "before_cursor_execute", self._begin)
        event.listen(Engine, "after_cursor_execute", self._end)

    def _begin(self, *_: Any) -> None:
        self._began_s = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.total_s += time.perf_counter() - self._began_s

    def ask(self, question: Callable[[], Any], *, rounds: int, warm_up: int) -> QueryTimes:
        asked = QueryTimes([], [])
        for number in range(warm_up + rounds):
            before_s, began_s = self.total_s, time.perf_counter()
            question()
            if number >= warm_up:
                asked.calls_ms.append((time.perf_counter() - began_s) * 1000)
                asked.queries_ms.append((self.total_s - before_s) * 1000)
        return asked


def fill(engine: Engine, *, fixes: int, guards: int, say: Callable[[str], None]) -> list[datetime]:
    """Insert the rows. Return the days on which all guards worked."""
    values = {"guards": guards, "lat": LAT, "lon": LON, "spread": SPREAD}
    with engine.begin() as connection:
        connection.execute(text("SET synchronous_commit = off"))
        for statement in (GUARDS, STATES, SHIFTS):
            run(connection, statement, values)
        run(connection, ALERT_ROWS, {"guards": guards, "alerts": ALERTS, "open": OPEN_ALERTS})

    count = max(1, fixes // (guards * FIXES_A_DAY))
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    days = [midnight - timedelta(days=count - number) for number in range(count)]
    steps = 50
    for day in days:
        began_s = time.monotonic()
        for first in range(0, FIXES_A_DAY, steps):
            with engine.begin() as connection:
                connection.execute(text("SET synchronous_commit = off"))
                times = {"began": day, "pause_s": SHIFT_S / FIXES_A_DAY}
                run(connection, FIXES, {**values, **times, "first": first, "last": first + steps - 1})
        rate = guards * FIXES_A_DAY / (time.monotonic() - began_s)
        say(f"{guards * FIXES_A_DAY:,} fixes of {day:%d %B}, {rate:,.0f}/s")

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))

    return days


def run(connection: Connection, statement: str, values: dict[str, Any]) -> None:
    used = {name: value for name, value in values.items() if f":{name}" in statement}
    connection.execute(text(statement), used)


def questions(settings: config.Config, days: list[datetime], *, guards: int) -> dict[str, Callable[[], Any]]:
    """Return the measured queries by name. Each call uses another guard or place."""
    chance = random.Random(1)  # noqa: S311 - a benchmark wants repeatable chance
    database = Database(settings, name="bench", pool_size=1)
    where, tracks = NearbyGuards(database), TrackQueries(database)
    guidance = EscalationPolicies.from_config(settings)
    alerts = AlertStore(database, ladder=guidance.ladder, storms=AlertGrouping(settings.alerts.storm))

    def day_of_a_guard() -> Any:
        day = chance.choice(days)
        return tracks.track(
            f"guard-{chance.randint(1, guards)}",
            tenant_id=TENANT,
            since=day.isoformat(),
            until=(day + timedelta(days=1)).isoformat(),
            max_points=SHOWN_POINTS,
        )

    def nearest_ten() -> Any:
        lat, lon = (middle + (chance.random() - 0.5) * SPREAD for middle in (LAT, LON))
        busy = {f"guard-{chance.randint(1, guards)}" for _ in range(20)}
        return where.nearest(lat, lon, tenant_id=TENANT, busy=busy, limit=10, max_age_s=86_400, explain=False)

    return {
        f"latest positions of {guards:,}": lambda: where.positions(TENANT, limit=guards),
        "a guard's day": day_of_a_guard,
        "nearest 10": nearest_ten,
        "open alerts": lambda: alerts.list_alerts(tenant_id=TENANT, status="open", limit=100),
        "gravest alerts": lambda: alerts.list_gravest(tenant_id=TENANT, limit=100),
    }


def filled(stack: Stack, *, fixes: int, guards: int) -> list[datetime]:
    """Fill the database of a home unless that was done before. Return the stored days."""
    mark = stack.home / "filled.json"
    if mark.exists():
        return [datetime.fromisoformat(day) for day in json.loads(mark.read_text())]

    stack.run("migrations", "migrate", "up")
    stack.run("seed", "seed")

    superuser = create_engine(database_url(stack.superuser_url()), isolation_level="AUTOCOMMIT")
    with superuser.connect() as connection:
        for setting in IN_A_HURRY:
            connection.execute(text(f"ALTER SYSTEM SET {setting}"))
        connection.execute(text("SELECT pg_reload_conf()"))

    with closing_engine(stack) as owner:
        days = fill(owner, fixes=fixes, guards=guards, say=print_line)

    mark.write_text(json.dumps([day.isoformat() for day in days]))
    return days


@contextmanager
def closing_engine(stack: Stack) -> Iterator[Engine]:
    """Yield an engine of the owner, without a time limit for statements."""
    url = database_url(stack.operator_environment()["VIGIL_OWNER_DATABASE_URL"])
    engine = create_engine(url, connect_args={"options": "-c statement_timeout=0"})
    try:
        yield engine
    finally:
        engine.dispose()


def measure(stack: Stack, *, fixes: int, guards: int, rounds: int) -> dict[str, Any]:
    days = filled(stack, fixes=fixes, guards=guards)
    with closing_engine(stack) as owner, owner.connect() as connection:
        sizes = connection.execute(text(SIZE)).one()

    os.environ |= stack.operator_environment()
    stopwatch = Stopwatch()
    stopwatch.watch()
    figures: dict[str, Any] = {
        "fixes": sizes.fixes,
        "heap_bytes_per_fix": round(float(sizes.heap / sizes.fixes), 1),
        "index_bytes_per_fix": round(float(sizes.indexes / sizes.fixes), 1),
    }

    for name, question in questions(config.load(), days, guards=guards).items():
        figures[name] = stopwatch.ask(question, rounds=rounds, warm_up=rounds // 2).figures()
        print_line(f"{name}: {figures[name]}")

    return figures


def print_line(line: str) -> None:
    print(f"  {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.queries", description=__doc__)
    parser.add_argument("--fixes", type=int, default=100_000_000)
    parser.add_argument("--guards", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--home", default=None, help="a directory to keep, filled once; else a temporary one")

    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="vigil-queries-") as temporary,
        running_servers(Path(chosen.home or temporary)) as stack,
    ):
        figures = measure(stack, fixes=chosen.fixes, guards=chosen.guards, rounds=chosen.rounds)

    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
