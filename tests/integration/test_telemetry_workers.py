"""Tests of two telemetry workers with the first readings of new sensors.

Every fire is raised, and every end of a fire is kept.
"""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.alerts.occurrences import of_condition
from services.contracts.events import Condition
from services.contracts.families import SENSOR, Origin, SensorReading
from services.ingestion.effects import Effects, condition_events
from services.ingestion.source_registry import SourceRegistry
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import parse_rules
from services.telemetry.store import TelemetryStore
from tests.support.alerts_domain import AlertsDomain

SENSORS = 200
RUNS = 10
WAYS = {
    "device times": ("status", True),
    "no times": ("status", False),
    "device times, both on the alarm topic": ("alarm", True),
    "no times, both on the alarm topic": ("alarm", False),
}


class Worker:
    """A telemetry process with connections, registry and rules of its own."""

    def __init__(self, config: Config, engine_name: str) -> None:
        self.database = Database(config, name=engine_name, pool_size=2)
        registry = SourceRegistry(self.database, registration="open", default_tenant_id=1)
        self.store = TelemetryStore(self.database)
        book = RuleCache(parse_rules(config.rules), registry, lambda _: ())
        self.intake = ReadingIntake(self.store, registry, SENSOR, book)
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []

    def take(self, *readings: SensorReading) -> Effects:
        outcome = self.intake.store(readings, now=datetime.now(UTC))
        assert outcome.rejected == []
        self.met += outcome.met
        self.cleared += outcome.cleared
        return outcome


@pytest.fixture
def workers(config: Config, engine: Engine) -> Iterator[list[Worker]]:
    assert engine
    made = [Worker(config, f"worker-{n}") for n in range(2)]
    yield made
    for worker in made:
        worker.database.close()


def reading(source: str, state: str, kind: str, age_s: float | None, received_at: datetime) -> SensorReading:
    at = received_at if age_s is None else received_at - timedelta(seconds=age_s)
    suspect = age_s is None
    origin = Origin(
        source, os.urandom(16), None, f"sensor/{source}/{kind}", at, received_at, suspect, (), None, "{}"
    )
    return SensorReading(origin, kind, "SMOKE", None, state)


def at_once(workers: list[Worker], batches: tuple[list[list[SensorReading]], ...]) -> None:
    """Let all workers take their batches at the same time.

    An exception of a worker is raised here.
    """
    ready = threading.Barrier(len(workers), timeout=30)
    failures: list[BaseException] = []

    def work(worker: Worker, mine: list[list[SensorReading]]) -> None:
        try:
            ready.wait()
            for batch in mine:
                worker.take(*batch)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(worker, mine))
        for worker, mine in zip(workers, batches, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def begun_and_ended(
    workers: list[Worker], random: Random, names: list[str], kind: str, *, timed: bool
) -> list[tuple[str, list[Condition]]]:
    """Send a fire and its end for each new sensor, to two workers at once.

    Returns the events about them, in any order.
    """
    now = datetime.now(UTC)
    batches: tuple[list[list[SensorReading]], ...] = ([], [])
    for start in range(0, len(names), 5):
        part = names[start : start + 5]
        begins = [reading(name, "ALARM", kind, 20 if timed else None, now) for name in part]
        later = now + timedelta(milliseconds=1)
        ends = [reading(name, "NORMAL", "status", 10 if timed else None, later) for name in part]
        if kind == "alarm":
            ends = [reading(name, "NORMAL", "alarm", 10 if timed else None, later) for name in part]
        first = random.randrange(2)
        batches[first].append(random.sample(begins, len(begins)))
        batches[1 - first].append(random.sample(ends, len(ends)))
    at_once(workers, batches)
    events: list[tuple[str, list[Condition]]] = []
    for worker in workers:
        for condition in worker.met:
            events += [(name, body.conditions) for name, body in condition_events([condition], [])]
        for condition in worker.cleared:
            events += [(name, body.conditions) for name, body in condition_events([], [condition])]
        worker.met, worker.cleared = [], []
    random.shuffle(events)
    return events


def states(engine: Engine) -> set[tuple[Any, ...]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT conditions, reading->>'state' FROM source_state"))
        return {(tuple(row.conditions), row[1]) for row in found}


@pytest.mark.parametrize("way", WAYS)
def test_of_new_sensors_every_fire_is_raised_and_every_end_is_kept(
    workers: list[Worker], engine: Engine, desk: AlertsDomain, way: str
) -> None:
    random = Random(way)
    kind, timed = WAYS[way]
    names = [f"s{n}" for n in range(SENSORS)]
    events = begun_and_ended(workers, random, names, kind, timed=timed)
    now = datetime.now(UTC)
    for name, conditions in events:
        for condition in conditions:
            if name == "alert_condition_met":
                desk.store.record([of_condition(condition, now=now)], now=now)
            else:
                desk.store.clear(
                    tenant_id=condition.tenant_id,
                    dedup_key=condition.dedup_key,
                    at=condition.at,
                    note=condition.message,
                    now=now,
                )
    with engine.connect() as connection:
        query = "SELECT source_id, alert_type, cleared_at IS NOT NULL FROM mqtt_device_alert"
        found = {tuple(row) for row in connection.execute(text(query))}
    assert found == {(name, "FIRE", True) for name in names}
    assert states(engine) == {((), "NORMAL")}


@pytest.mark.parametrize("way", WAYS)
def test_ten_runs_in_a_row_miss_no_fire_and_no_end(workers: list[Worker], engine: Engine, way: str) -> None:
    random = Random(f"runs {way}")
    kind, timed = WAYS[way]
    for run in range(RUNS):
        names = [f"r{run}-{n}" for n in range(SENSORS)]
        events = begun_and_ended(workers, random, names, kind, timed=timed)
        for event in ("alert_condition_met", "alert_condition_cleared"):
            told = {condition.source_id for name, found in events if name == event for condition in found}
            assert told == set(names), (run, event, set(names) - told)
    assert states(engine) == {((), "NORMAL")}


def test_a_known_source_costs_no_further_round_trip(
    workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    workers[0].take(reading("s1", "NORMAL", "status", 5, now))
    begun: list[int] = []
    transaction = TelemetryStore.transaction

    def counted(store: TelemetryStore) -> Any:
        begun.append(1)
        return transaction(store)

    monkeypatch.setattr(TelemetryStore, "transaction", counted)
    workers[0].take(reading("s1", "NORMAL", "status", 1, now))
    assert len(begun) == 1
    workers[0].take(reading("s2", "NORMAL", "status", 1, now))
    assert len(begun) == 3
