"""Tests of readings of an alarm topic that are refused behind the gateway.

They are kept and notified. Every reading has its own row.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from sqlalchemy import Engine, text

from services.contracts.enum_words import inside
from services.contracts.events import AlertType
from services.contracts.families import DEVICE, SENSOR, DeviceReading, Origin, Reading, SensorReading
from services.ingestion.effects import Effects
from services.ingestion.source_registry import SourceRegistry
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import parse_rules
from services.telemetry.store import TelemetryStore

NOW = datetime.now(UTC)


class Bench:
    def __init__(self, config: Config, engine: Engine, database: Database) -> None:
        self.engine = engine
        self._config = config
        self._database = database

    def store(
        self, *readings: Reading, registration: Literal["open", "closed"] = "open", default_tenant_id: int = 1
    ) -> Effects:
        registry = SourceRegistry(
            self._database, registration=registration, default_tenant_id=default_tenant_id
        )
        book = RuleCache(parse_rules(self._config.rules), registry, lambda _: ())
        shape = SENSOR if isinstance(readings[0], SensorReading) else DEVICE
        return ReadingIntake(TelemetryStore(self._database), registry, shape, book).store(readings, now=NOW)

    def run(self, statement: str) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture
def bench(config: Config, engine: Engine, database: Database) -> Bench:
    return Bench(config, engine, database)


def alarm(source: str = "s1", kind: str = "alarm", state: str = "ALARM", **changes: Any) -> SensorReading:
    fields: dict[str, Any] = {
        "source_id": source,
        "key": os.urandom(16),
        "msg_id": None,
        "topic": f"sensor/{source}/{kind}",
        "recorded_at": NOW - timedelta(seconds=1),
        "received_at": NOW,
        "clock_suspect": False,
        "quality": (),
        "claimed_tenant_id": None,
        "raw": '{"state": "ALARM"}',
    }
    return SensorReading(Origin(**{**fields, **changes}), kind, "SMOKE", None, state)


REFUSED = "SELECT reason, source_id FROM rejected_message"
OWED = "SELECT event FROM owed_event"


@pytest.mark.parametrize(
    ("reason", "changes", "registration"),
    [
        ("identity_mismatch", {"claimed_tenant_id": 2}, "open"),
        ("identity_mismatch", {"claimed_tenant_id": "x"}, "open"),
        ("unknown_source", {}, "closed"),
        ("unstorable", {"raw": "{not json"}, "open"),
    ],
)
def test_a_refused_alarm_is_kept_and_told(
    bench: Bench, reason: str, changes: dict[str, Any], registration: Literal["open", "closed"]
) -> None:
    reading = alarm(**changes)
    outcome = bench.store(reading, registration=registration)
    [condition] = outcome.met
    assert (condition.tenant_id, condition.alert_type) == (1, AlertType.UNREADABLE_ALERT)
    assert condition.dedup_key == "UNREADABLE_ALERT:s1:alarm"
    assert condition.message.startswith(f"Alarm refused ({inside(reason)}): type SMOKE, state ALARM")
    assert len(condition.message) < 320
    assert bench.run(REFUSED) == [(reason, "s1")]
    assert bench.run(OWED) == [("alert_condition_met",)]
    assert outcome.outbox_ids, "told after the commit, and taken away then"
    again = bench.store(reading, registration=registration)
    assert [c.key for c in again.met] == [condition.key], "told twice is one occurrence"


@pytest.mark.parametrize("kind", ["status", "reading"])
def test_what_is_refused_elsewhere_is_kept_and_raises_nothing(bench: Bench, kind: str) -> None:
    outcome = bench.store(alarm(kind=kind, claimed_tenant_id=2))
    assert (outcome.met, bench.run(REFUSED)) == ([], [("identity_mismatch", "s1")])


def test_an_alarm_of_a_disabled_source_is_kept_and_raises_nothing(bench: Bench) -> None:
    bench.store(alarm(state="NORMAL"))
    bench.run("UPDATE device SET enabled = false")
    for claim in (None, 2):
        outcome = bench.store(alarm(claimed_tenant_id=claim))
        assert (outcome.met, len(outcome.rejected)) == ([], 1)
    assert bench.run(REFUSED) == [("source_disabled", "s1")] * 2


def test_a_refused_alarm_of_no_tenant_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.store(alarm("known"))
    outcome = bench.store(alarm("stranger"), alarm("known"), registration="closed", default_tenant_id=77)
    assert [condition.source_id for condition in outcome.met] == ["known"]
    assert ("unknown_source", "stranger") in bench.run(REFUSED)


def test_a_good_reading_beside_a_refused_one_is_stored_and_judged(bench: Bench) -> None:
    outcome = bench.store(alarm("s1"), alarm("s2", raw="{not json"), alarm("s3"))
    assert outcome.stored == 2
    kinds = sorted((c.source_id, c.alert_type) for c in outcome.met)
    assert kinds == [("s1", "FIRE"), ("s2", "UNREADABLE_ALERT"), ("s3", "FIRE")]


@pytest.mark.parametrize("count", [3, 40])
def test_readings_of_one_msg_id_and_other_keys_are_rows_of_their_own(bench: Bench, count: int) -> None:
    for level in range(count):
        at = NOW + timedelta(milliseconds=level)
        origin = Origin("d1", os.urandom(16), "1", "device/d1/telemetry", at, at, False, (), None, "{}")
        assert bench.store(DeviceReading(origin, 90.0 - level, None, None, None)).stored == 1
    kept = bench.run("SELECT battery FROM mqtt_device_telemetry ORDER BY recorded_at")
    assert kept == [(90.0 - level,) for level in range(count)]
