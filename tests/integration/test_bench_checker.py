"""Tests of the checker of the ledger on real tables.

It must see a loss and a duplicate, or it proves nothing.
"""

import os
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from bench.ledger import checker, messages
from bench.ledger.messages import LedgerEntry
from gateway.mqtt.decoding import payloads, topics
from services.contracts.errors import InvalidMessage
from services.contracts.events import RejectedMessage
from services.contracts.families import DEVICE
from services.ingestion import admission
from services.ingestion.source_registry import SourceRegistry
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.rule_cache import RuleCache
from services.telemetry.store import TelemetryStore

NOW = datetime.now(UTC)
RUN = "b1"


@pytest.fixture
def stored(engine: Engine, database: Database) -> list[LedgerEntry]:
    """Store the device readings and refused fixes of a ledger, and return its entries."""
    made = messages.make(count=3000, sources=5, seed=1, run=RUN, now=NOW)
    entries = [entry for entry in made if entry.family == "device" or entry.refused]
    readings, refused = [], []
    for entry in entries:
        topic = topics.parse(entry.topic)
        key = os.urandom(16)
        try:
            readings.append(
                payloads.decode(
                    entry.topic,
                    topic,
                    entry.payload,
                    received_at=NOW,
                    limits=payloads.PayloadLimits(),
                    fresh_key=lambda: b"",
                )
            )
        except InvalidMessage as error:
            refused.append(RejectedMessage(key, entry.topic, entry.payload, error.reason, error.detail, NOW))
    registry = SourceRegistry(database, registration="open", default_tenant_id=1)
    intake = ReadingIntake(TelemetryStore(database), registry, DEVICE, RuleCache((), registry, lambda _: ()))
    intake.store(readings, now=NOW)
    with engine.begin() as connection:
        admission.keep_rejected(connection, refused)
    assert readings
    assert refused
    return entries


def test_what_is_all_there_balances(engine: Engine, stored: list[LedgerEntry]) -> None:
    balance = checker.wait(stored, engine, run=RUN)
    assert balance.holds, balance
    assert balance.stored + balance.refused == len(stored)


def test_a_row_that_is_gone_is_missing(engine: Engine, stored: list[LedgerEntry]) -> None:
    lost = next(entry.msg_id for entry in stored if not entry.refused)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM mqtt_device_telemetry WHERE msg_id = :lost"), {"lost": lost})
    balance = checker.wait(stored, engine, run=RUN, quiet_s=0.3)
    assert balance.missing == [lost]
    assert not balance.holds


def test_a_row_that_is_there_twice_is_doubled(engine: Engine, stored: list[LedgerEntry]) -> None:
    double = next(entry.msg_id for entry in stored if not entry.refused)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO mqtt_system_health (message_key, tenant_id, system_id, msg_id, recorded_at, received_at,"
                " clock_suspect, quality, raw_data)"
                " SELECT message_key, tenant_id, device_id, msg_id, recorded_at, received_at, clock_suspect, quality,"
                " raw_data FROM mqtt_device_telemetry WHERE msg_id = :double"
            ),
            {"double": double},
        )
    balance = checker.wait(stored, engine, run=RUN, quiet_s=0.3)
    assert balance.doubled == [double]
    assert not balance.holds


def test_what_is_only_in_a_dead_letter_is_dead_and_not_lost(
    engine: Engine, stored: list[LedgerEntry]
) -> None:
    dead = next(entry.msg_id for entry in stored if not entry.refused)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM mqtt_device_telemetry WHERE msg_id = :dead"), {"dead": dead})
    balance = checker.check(stored, engine, run=RUN, dead_bodies=lambda: [b"\x91\xa6" + dead.encode()])
    assert (balance.dead, balance.missing) == (1, [])
    assert balance.holds


def test_a_message_that_is_stored_again_after_later_ones_is_out_of_order(
    engine: Engine, stored: list[LedgerEntry]
) -> None:
    assert checker.overtaken(stored, engine, run=RUN) == []
    first = next(entry for entry in stored if not entry.refused)
    later = [e.msg_id for e in stored if e.topic == first.topic and e.msg_id != first.msg_id]
    assert later
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE mqtt_device_telemetry SET battery = battery WHERE msg_id = :first"),
            {"first": first.msg_id},
        )
    assert checker.overtaken(stored, engine, run=RUN) == [first.msg_id]
