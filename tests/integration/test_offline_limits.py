"""Tests of offline limits by family and by device.

The limits are on by default. They never apply to the time before they were set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.alerts.occurrences import SourceEntry, of_device
from services.contracts.events import AlertType, DeviceAlert
from services.contracts.families import SENSOR, Origin, SensorReading
from services.directory.registry.store import DirectoryStore
from services.ingestion.effects import Effects
from services.ingestion.liveness import ReceptionMarks
from services.ingestion.source_registry import SourceRegistry
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.offline import SourceOfflineWatch, limits_of
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import parse_rules
from services.telemetry.store import TelemetryStore
from tests.support.alerts_domain import AlertsDomain

FAMILIES = ("device", "sensor", "system", "alert")
HOUR_S = 3600.0


class Queue:
    def waiting(self) -> int:
        return 0


class Yard:
    """Devices that went offline hours ago, and watches with the limits of config.yaml."""

    def __init__(self, config: Config, engine: Engine, database: Database, desk: AlertsDomain) -> None:
        self.engine = engine
        self.desk = desk
        self.store = TelemetryStore(database)
        self.directory = DirectoryStore(database)
        self.limits = limits_of(config.location)
        self._listening = ReceptionMarks("telemetry", Queue())
        registry = SourceRegistry(database, registration="open", default_tenant_id=1)
        book = RuleCache(parse_rules(config.rules), registry, lambda _: ())
        self._intake = ReadingIntake(self.store, registry, SENSOR, book)
        self.run("INSERT INTO road_heard VALUES ('telemetry', now() - interval '9 days', now())")

    def run(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def add(self, name: str, family: str, *, tenant_id: int = 1, **columns: Any) -> None:
        names = ["device_id", "tenant_id", "name", "family", *columns]
        self.run(
            f"INSERT INTO device ({', '.join(names)}) VALUES ({', '.join(f':{n}' for n in names)})",
            device_id=name,
            tenant_id=tenant_id,
            name=name,
            family=family,
            **columns,
        )

    def pass_by(self, hours: float) -> None:
        """Make all rows older by so many hours."""
        for table, columns in {
            "source_state": ("recorded_at", "received_at", "heard_at"),
            "device": ("watched_since",),
            "offline_limit": ("since",),
            "alert_occurrence": ("received_at", "recorded_at"),
        }.items():
            changes = ", ".join(f"{c} = {c} - make_interval(secs => :s)" for c in columns)
            self.run(f"UPDATE {table} SET {changes}", s=hours * HOUR_S)

    def look(self, **limits: float) -> Effects:
        return SourceOfflineWatch(self.store, self._listening, {**self.limits, **limits}).look()

    def mark(self) -> None:
        SourceOfflineWatch(self.store, self._listening, self.limits).mark()

    def read(self, source: str, *, age_s: float = 0.1, state: str = "NORMAL") -> Effects:
        at = datetime.now(UTC)
        recorded_at = at - timedelta(seconds=age_s)
        topic = f"sensor/{source}/status"
        origin = Origin(source, os.urandom(16), None, topic, recorded_at, at, False, (), None, "{}")
        return self._intake.store([SensorReading(origin, "status", "SMOKE", None, state)], now=at)

    def press(self, source: str) -> None:
        """Let the source send an alert by itself. The alert does not go through telemetry."""
        at = datetime.now(UTC)
        topic = f"alert/panic/{source}"
        origin = Origin(source, os.urandom(16), None, topic, at, at, False, (), None, "{}")
        alert = DeviceAlert(origin, AlertType.PANIC, None, "help")
        whose = SourceEntry(tenant_id=1, site_id=None, known=True, enabled=True)
        self.desk.store.record([of_device(alert, whose)], now=at)


@pytest.fixture
def yard(config: Config, engine: Engine, database: Database, desk: AlertsDomain) -> Yard:
    return Yard(config, engine, database, desk)


def silent(found: Effects) -> list[str]:
    return sorted(condition.source_id for condition in found.met)


def test_the_limits_of_config_yaml_are_on(yard: Yard) -> None:
    assert yard.limits == {"device": 93_600, "sensor": 93_600, "system": 300, "alert": 86_400}


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (0.08, []),
        (0.09, ["system"]),
        (23.9, ["system"]),
        (24.1, ["alert", "system"]),
        (25.9, ["alert", "system"]),
        (26.1, ["alert", "device", "sensor", "system"]),
    ],
)
def test_each_family_is_offline_after_its_limit_though_it_was_never_heard_of(
    yard: Yard, hours: float, expected: list[str]
) -> None:
    for family in FAMILIES:
        yard.add(family, family)
    assert silent(yard.look()) == []
    yard.pass_by(hours)
    found = yard.look()
    assert silent(found) == expected
    assert silent(yard.look()) == [], "told once"
    for condition in found.met:
        assert condition.message.endswith("no earlier message is known")
        assert condition.dedup_key == f"OFFLINE:{condition.source_id}"


def test_the_upgrade_alarms_on_nothing_that_was_before_it(yard: Yard) -> None:
    for family in FAMILIES:
        yard.add(family, family)
    yard.read("sensor")
    yard.run("UPDATE source_state SET received_at = received_at - interval '30 days'")
    assert silent(yard.look()) == [], "the limits are new, and so is `watched_since`"
    yard.pass_by(30)
    assert silent(yard.look()) == sorted(FAMILIES)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda yard: yard.look(sensor=60), id="a shorter limit"),
        pytest.param(lambda yard: (yard.look(sensor=0), yard.look(sensor=60)), id="off and on"),
        pytest.param(lambda yard: yard.directory.set_silence_limit("s1", 60, tenant_id=1), id="of its own"),
        pytest.param(
            lambda yard: [
                yard.directory.set_enabled("device", "s1", tenant_id=1, enabled=on) for on in (False, True)
            ],
            id="disabled and enabled",
        ),
    ],
)
def test_a_change_counts_from_when_it_was_made(yard: Yard, change: Callable[[Yard], object]) -> None:
    yard.add("s1", "sensor")
    assert silent(yard.look()) == []
    yard.pass_by(25)
    change(yard)
    limits = yard.run("SELECT limit_s FROM offline_limit WHERE family = 'sensor'")
    kept = {"sensor": limits[0][0]}
    assert silent(yard.look(**kept)) == []
    yard.pass_by(0.5)
    of_its_own = yard.run("SELECT silence_limit_s FROM device")[0][0]
    assert silent(yard.look(**kept)) == (["s1"] if 60 in (kept["sensor"], of_its_own) else [])
    yard.pass_by(26)
    assert yard.look(**kept) and yard.run(
        "SELECT count(*) FROM source_state WHERE silent_since IS NOT NULL"
    ) == [(1,)]


def test_a_limit_of_its_own_of_zero_is_never_and_ends_what_was_told(yard: Yard) -> None:
    yard.add("s1", "sensor")
    yard.look()
    yard.pass_by(27)
    assert silent(yard.look()) == ["s1"]
    yard.directory.set_silence_limit("s1", 0, tenant_id=1)
    over = yard.look()
    assert [condition.message for condition in over.cleared] == ["s1 has no offline limit any more"]
    yard.pass_by(1000)
    assert silent(yard.look()) == []


def test_a_mark_keeps_the_time_of_listening_and_tells_of_nobody(yard: Yard) -> None:
    yard.add("s1", "sensor")
    yard.look()
    yard.pass_by(27)
    heard = (
        "SELECT since, marked_at > now() - interval '1 second' FROM road_heard WHERE service = 'telemetry'"
    )
    yard.run("UPDATE road_heard SET marked_at = now() - interval '9 seconds'")
    before = yard.run(heard)
    yard.mark()
    assert yard.run(heard) == [(before[0][0], True)]
    assert silent(yard.look()) == ["s1"]


def test_a_panic_button_is_heard_of_by_its_alerts_alone(yard: Yard) -> None:
    yard.add("b1", "alert")
    yard.look()
    yard.pass_by(20)
    yard.press("b1")
    yard.pass_by(20)
    assert silent(yard.look()) == [], "it was pressed 20 h ago"
    yard.pass_by(5)
    [condition] = yard.look().met
    assert condition.message == "b1 has sent no message for 25 h 0 min; its last message is 25 h 0 min old"
    assert yard.look().cleared == [], "OFFLINE is an alert about it, not one of its own"
    yard.press("b1")
    back = yard.look()
    assert [condition.message for condition in back.cleared] == ["b1 sends messages again"]
    assert [(status.source_id, status.state) for _, status in back.statuses] == [("b1", "online")]
    assert (silent(yard.look()), yard.look().cleared) == ([], [])


def test_a_sensor_that_was_never_heard_of_ends_its_silence_by_its_first_reading(yard: Yard) -> None:
    yard.add("s1", "sensor")
    yard.look()
    yard.pass_by(27)
    [met] = yard.look().met
    outcome = yard.read("s1", state="ALARM")
    assert [condition.alert_type for condition in outcome.met] == [AlertType.FIRE]
    assert [(c.dedup_key, c.at > met.at) for c in outcome.cleared] == [("OFFLINE:s1", True)]
    assert [status.state for _, status in outcome.statuses] == ["online"]


@pytest.mark.parametrize("age_s", [5000, 86_400])
def test_a_late_reading_is_a_sign_of_life_of_a_source_that_has_none(yard: Yard, age_s: float) -> None:
    yard.add("s1", "sensor")
    yard.look()
    yard.pass_by(27)
    assert silent(yard.look()) == ["s1"]
    assert [c.dedup_key for c in yard.read("s1", age_s=age_s).cleared] == ["OFFLINE:s1"]


def test_the_watchdog_s_and_replays_sources_are_not_watched(yard: Yard) -> None:
    yard.run("INSERT INTO tenant (tenant_id, name, settings) VALUES (9, 'Replays', '{\"replay\": true}')")
    yard.add("r1", "device", tenant_id=9)
    yard.add("w1", "alert", registered_by="watchdog")
    yard.look()
    yard.pass_by(1000)
    assert silent(yard.look()) == []


def test_many_that_fall_silent_at_once_are_told_of_in_rounds(yard: Yard) -> None:
    yard.run(
        "INSERT INTO device (device_id, tenant_id, name, family) SELECT 'm' || n, 1, 'm', 'sensor'"
        " FROM generate_series(1, 1200) n"
    )
    yard.look()
    yard.pass_by(27)
    told: list[str] = []
    while (found := yard.look()).met:
        told += silent(found)
        assert found.has_more is (len(found.met) == 500)
    assert len(told) == len(set(told)) == 1200
