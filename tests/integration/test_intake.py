"""Batches of fixes and readings on a real PostGIS: once each, late ones late, poison alone."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.config import Config
from services.location.intake import Intake as LocationIntake
from services.location.store import LocationStore
from services.messages import DeviceReading, Fix, Origin
from services.providers import Database
from services.registry import Registry
from services.telemetry.intake import Intake as TelemetryIntake
from services.telemetry.rulebook import RuleBook
from services.telemetry.rules import parse_rules
from services.telemetry.store import DEVICE, TelemetryStore

NOW = datetime.now(UTC)
LAT, LON = 12.9716, 77.5946


def origin(source: str, *, seconds: float = 0, **changes: Any) -> Origin:
    at = NOW + timedelta(seconds=seconds)
    base = (source, os.urandom(16), None, f"t/{source}", at, NOW, False, (), None, "{}")
    return Origin(**{**dict(zip(Origin.__struct_fields__, base, strict=True)), **changes})


def fix(source: str = "guard-1", *, lat: float = LAT, seconds: float = 0, **changes: Any) -> Fix:
    return Fix(origin(source, seconds=seconds, **changes), lat, LON, 5.0, None, None, "gps", False)


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database, registration="open", default_tenant_id=1)


@pytest.fixture
def location(engine: Engine, database: Database, registry: Registry) -> LocationIntake:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO zone (tenant_id, name, area, radius_m) VALUES (1, 'z', :area, 500)"),
            {"area": f"POINT({LON} {LAT})"},
        )
    return LocationIntake(LocationStore(database), registry)


@pytest.fixture
def telemetry(config: Config, database: Database, registry: Registry) -> TelemetryIntake:
    book = RuleBook(parse_rules(config.rules), registry, lambda _: ())
    return TelemetryIntake(TelemetryStore(database), registry, DEVICE, book)


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_the_same_batch_twice_is_stored_once_and_says_the_same(
    location: LocationIntake, engine: Engine
) -> None:
    batch = [fix(lat=LAT), fix(lat=13.5, seconds=1, msg_id="m")]
    first, again = (location.store([*batch, batch[0]], now=NOW) for _ in range(2))
    assert (first.stored, first.admitted, again.stored) == (2, 2, 0)
    assert [c.key for c in first.met] == [c.key for c in again.met]
    assert [r.msg_id for r in first.receipts] == [r.msg_id for r in again.receipts] == ["m"]
    assert rows(engine, "SELECT count(*) FROM mqtt_guard_location") == [(2,)]


def test_verdicts_are_stored_and_a_violation_is_told_and_ended(
    location: LocationIntake, engine: Engine
) -> None:
    outcome = location.store(
        [fix(), fix(lat=13.5, seconds=1), fix(lat=13.5, seconds=2), fix(seconds=3)], now=NOW
    )
    assert rows(
        engine, "SELECT in_geofence, geofence_violation FROM mqtt_guard_location ORDER BY recorded_at"
    ) == [
        (True, False),
        (False, True),
        (False, True),
        (True, False),
    ]
    assert (len(outcome.met), len(outcome.cleared), outcome.violations_begun) == (2, 1, 1)


def test_a_violation_says_at_which_site_its_guard_is(location: LocationIntake, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO site (tenant_id, name) VALUES (1, 'dock')"))
        connection.execute(
            text(
                "INSERT INTO guard (guard_id, tenant_id, site_id, name) SELECT 'g', 1, site_id, 'G' FROM site"
            )
        )
    [condition] = location.store([fix("g", lat=13.5)], now=NOW).met
    assert rows(engine, "SELECT site_id FROM site") == [(condition.site_id,)]


def test_a_late_fix_repairs_history_and_neither_alarms_nor_moves_the_marker(
    location: LocationIntake, engine: Engine
) -> None:
    location.store([fix(seconds=10)], now=NOW)
    outcome = location.store([fix(lat=13.5, seconds=5)], now=NOW)
    assert (outcome.stored, outcome.met, outcome.newest) == (1, [], [])
    assert rows(engine, "SELECT lat FROM guard_state") == [(LAT,)]


def test_a_value_that_json_cannot_hold_costs_its_own_message_only(
    location: LocationIntake, engine: Engine
) -> None:
    bad = fix(raw="{not json")
    outcome = location.store([fix(), bad, fix(seconds=1)], now=NOW)
    assert outcome.stored == 2
    assert [message.reason for message in outcome.refused] == ["unstorable"]
    assert rows(engine, "SELECT reason FROM rejected_message") == [("unstorable",)]


def test_a_claim_of_another_tenant_is_refused_and_kept(location: LocationIntake, engine: Engine) -> None:
    outcome = location.store([fix(claimed_tenant_id=2), fix(claimed_tenant_id="1")], now=NOW)
    assert outcome.stored == 1
    assert rows(engine, "SELECT reason, source_id FROM rejected_message") == [
        ("identity_mismatch", "guard-1")
    ]


def test_when_registration_is_closed_a_stranger_is_refused(database: Database) -> None:
    closed = Registry(database, registration="closed", default_tenant_id=1)
    outcome = LocationIntake(LocationStore(database), closed).store([fix()], now=NOW)
    assert [message.reason for message in outcome.refused] == ["unknown_source"]


def reading(battery: float, seconds: float) -> DeviceReading:
    return DeviceReading(origin("d1", seconds=seconds), battery, -60.0, None, "ONLINE")


def test_low_battery_is_told_each_time_and_its_end_once(telemetry: TelemetryIntake, engine: Engine) -> None:
    low = telemetry.store([reading(10, 0), reading(22, 1)], now=NOW)
    assert (len(low.met), len(low.cleared)) == (1, 0)
    charged = telemetry.store([reading(80, 2), reading(81, 3)], now=NOW)
    assert (len(charged.met), len(charged.cleared)) == (0, 1)
    assert rows(engine, "SELECT conditions, reading->>'battery' FROM source_state") == [([], "81")]
    late = telemetry.store([reading(5, 1)], now=NOW)
    assert late.met == []


def test_rows_lie_in_the_partition_of_their_week(location: LocationIntake, engine: Engine) -> None:
    location.store([fix()], now=NOW)
    [(partition,)] = rows(engine, "SELECT tableoid::regclass::text FROM mqtt_guard_location")
    assert partition == f"mqtt_guard_location_{NOW:%G}w{NOW:%V}"


def test_a_change_of_the_registry_is_seen_within_two_seconds(engine: Engine, database: Database) -> None:
    clock = [0.0]
    registry = Registry(database, registration="open", default_tenant_id=1, clock=lambda: clock[0])
    assert registry.lookup(["g"], kind="guard", family="guard")["g"].enabled
    with engine.begin() as connection:
        connection.execute(text("UPDATE guard SET enabled = false"))
    clock[0] += 1.0
    assert not registry.lookup(["g"], kind="guard", family="guard")["g"].enabled
    assert registry.lookup_any("g").kind == "guard"  # type: ignore[union-attr]
