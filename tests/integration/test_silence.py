"""Tests of guards on shift and devices that send nothing.

One worker raises OFFLINE once, and its end.
"""

import json
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from ops.environment import PROJECT
from ops.local.stack import Stack
from ops.local.supervisor import Process, Supervisor
from services.contracts.families import DEVICE, DeviceReading, Fix
from services.ingestion.effects import Effects
from services.ingestion.liveness import BACKLOG, BEHIND_MAX_S, PAUSE_S, ReceptionMarks
from services.ingestion.source_registry import SourceRegistry
from services.location.intake import FixIntake
from services.location.offline import GuardOfflineWatch
from services.location.store import LocationStore
from services.location.zone_cache import ZoneCache
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry import offline as of_devices
from services.telemetry.intake import ReadingIntake
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import parse_rules
from services.telemetry.store import TelemetryStore
from tests.deployment.installed import vhost
from tests.integration.test_intake import LAT, LON, origin
from tests.support.commands import run_vigil
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

LIMIT_S = 3.0


class Queue:
    """RabbitMQ's queue. Only its length matters here."""

    def __init__(self) -> None:
        self.length = 0

    def waiting(self) -> int:
        return self.length


class House:
    """One tenant's guards, and two location workers that watch them."""

    def __init__(self, config: Config, engine: Engine, database: Database) -> None:
        self.engine = engine
        self.store = LocationStore(database)
        self.queue = Queue()
        registry = SourceRegistry(database, registration="open", default_tenant_id=1)
        zones = ZoneCache(database, registry, config.location)
        self.intake = FixIntake(self.store, registry, zones, config.location)
        self.workers = [
            GuardOfflineWatch(self.store, ReceptionMarks("location", self.queue), limit_s=60)
            for _ in range(2)
        ]

    def run(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return [tuple(row) for row in done] if done.returns_rows else []

    def guard(self, name: str, *, started_s: float = 3600, ends_s: float = 3600) -> None:
        """Write a guard, and a shift with these offsets from now when they are not negative."""
        self.run("INSERT INTO guard (guard_id, tenant_id, name) VALUES (:g, 1, :g)", g=name)
        self.run(
            "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
            " VALUES (1, :g, now() - make_interval(secs => :s), now() + make_interval(secs => :e))",
            g=name,
            s=started_s,
            e=ends_s,
        )

    def heard(self, name: str, *, age_s: float = 0.0, **changes: Any) -> Effects:
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        came = origin(name, recorded_at=at, received_at=at)
        fix = Fix(came, LAT, LON, 8.0, None, None, "gps", changes.get("mock", False))
        return self.intake.store([fix], now=datetime.now(UTC))

    def listened(self, for_s: float) -> None:
        """Let the service have received without a pause for so long."""
        self.run(
            "INSERT INTO road_heard VALUES ('location', now() - make_interval(secs => :s), now())"
            " ON CONFLICT (service) DO UPDATE SET since = excluded.since, marked_at = excluded.marked_at",
            s=for_s,
        )

    def look(self, worker: int = 0) -> Effects:
        watch = self.workers[worker]
        return watch.look(judge=watch.is_open())

    def silent(self) -> list[str]:
        return [row[0] for row in self.run("SELECT guard_id FROM guard_silence ORDER BY 1")]


@pytest.fixture
def house(config: Config, engine: Engine, database: Database) -> House:
    made = House(config, engine, database)
    made.listened(3600)
    return made


def test_who_is_silent_on_shift_is_told_of_once_with_the_last_position(house: House) -> None:
    for name in ("guard-1", "guard-2", "guard-3", "guard-4"):
        house.guard(name, started_s=-60 if name == "guard-4" else 3600)
    house.heard("guard-1", age_s=130)
    house.heard("guard-2", age_s=5)
    found = house.look()
    assert sorted(c.source_id for c in found.met) == ["guard-1", "guard-3"]
    first = next(c for c in found.met if c.source_id == "guard-1")
    assert (first.alert_type, first.dedup_key, first.lat, first.lon) == (
        "OFFLINE",
        "OFFLINE:guard-1",
        LAT,
        LON,
    )
    assert first.message == (
        "guard-1 has sent no message for 2 min; last position 12.97160, 77.59460 within 8 m, 2 min old"
    )
    assert (first.detail["limit_s"], first.detail["accuracy_m"]) == (60, 8.0)
    assert 129 < first.detail["last_age_s"] < 140
    never = next(c for c in found.met if c.source_id == "guard-3")
    assert (never.lat, never.message) == (
        None,
        "guard-3 has sent no message for 1 h 0 min; no position is known",
    )
    assert {(tenant, s.source_id, s.state) for tenant, s in found.statuses} == {
        (1, "guard-1", "silent"),
        (1, "guard-3", "silent"),
    }
    assert house.run("SELECT count(*) FROM owed_event") == [(1,)]
    assert (house.look(0).met, house.look(1).met) == ([], [])


def test_silence_is_counted_from_the_start_of_the_shift(house: House) -> None:
    house.guard("guard-1", started_s=50)
    house.heard("guard-1", age_s=900)
    assert house.look().met == []
    house.run("UPDATE guard_shift SET starts_at = now() - interval '61 seconds'")
    assert len(house.look().met) == 1


def test_a_believable_fix_ends_it_and_no_other_does(house: House) -> None:
    house.guard("guard-1")
    house.heard("guard-1", age_s=130)
    [met] = house.look().met
    assert house.heard("guard-1", age_s=1, mock=True).cleared == []
    assert house.heard("guard-1", age_s=500).cleared == [], "late: it says nothing about now"
    outcome = house.heard("guard-1")
    [cleared] = outcome.cleared
    assert (cleared.dedup_key, cleared.message) == (met.dedup_key, "guard-1 sends messages again")
    assert cleared.at > met.at
    assert [(tenant, s.source_id, s.state) for tenant, s in outcome.statuses] == [(1, "guard-1", "online")]
    assert (house.silent(), house.look().met) == ([], [])


def test_a_first_fix_is_shown_as_coming_online(house: House) -> None:
    [(tenant, status)] = house.heard("guard-1").statuses
    assert (tenant, status.source_id, status.state, status.lat) == (1, "guard-1", "online", LAT)
    assert house.heard("guard-1").statuses == []


@pytest.mark.parametrize(
    ("statement", "said", "state"),
    [
        ("UPDATE guard_shift SET ends_at = now()", "guard-1 is no longer on shift", "off_shift"),
        ("DELETE FROM guard_shift", "guard-1 is no longer on shift", "off_shift"),
        ("UPDATE guard SET enabled = false", "guard-1 is disabled", "disabled"),
    ],
)
def test_it_ends_with_the_shift_and_when_the_guard_is_disabled(
    house: House, statement: str, said: str, state: str
) -> None:
    house.guard("guard-1")
    [met] = house.look().met
    house.run(statement)
    found = house.look(1)
    assert [(c.message, c.dedup_key) for c in found.cleared] == [(said, met.dedup_key)]
    assert [s.state for _, s in found.statuses] == [state]
    assert found.cleared[0].at > met.at
    assert (house.silent(), house.look().cleared) == ([], [])


def test_a_shift_that_follows_on_another_changes_nothing(house: House) -> None:
    house.guard("guard-1", ends_s=3600)
    assert len(house.look().met) == 1
    house.run(
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " SELECT 1, guard_id, now(), now() + interval '8 hours' FROM guard_shift WHERE false"
    )
    house.run("UPDATE guard_shift SET ends_at = now() - interval '1 second'")
    house.run(
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " VALUES (1, 'guard-1', now() - interval '1 second', now() + interval '8 hours')"
    )
    again = house.look()
    assert (again.met, again.cleared, house.silent()) == ([], [], ["guard-1"])


def test_of_two_workers_one_tells_and_a_fix_in_hand_is_waited_for(house: House) -> None:
    house.guard("guard-1")
    house.heard("guard-1", age_s=130)
    with house.engine.connect() as other:
        other.execute(text("SELECT FROM guard_state WHERE guard_id = 'guard-1' FOR UPDATE"))
        assert house.look().met == [], "somebody holds its state: there is a fix of it"
        other.rollback()
    with house.store.transaction() as busy:
        assert ReceptionMarks("location", house.queue).my_turn(busy)
        assert house.look(1).met == []
    assert sorted(len(house.look(worker).met) for worker in (0, 1)) == [0, 1]


def test_after_a_pause_of_the_service_silence_counts_anew_for_everybody(house: House) -> None:
    for number in range(1200):
        house.run("INSERT INTO guard (guard_id, tenant_id, name) VALUES (:g, 1, :g)", g=f"g{number}")
    house.run(
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " SELECT 1, guard_id, now() - interval '1 hour', now() + interval '1 hour' FROM guard"
    )
    house.run("UPDATE road_heard SET marked_at = now() - make_interval(secs => :s)", s=PAUSE_S + 1)
    assert house.look().met == []
    house.run("UPDATE road_heard SET since = now() - interval '59 seconds'")
    assert house.look().met == []
    house.run("UPDATE road_heard SET since = now() - interval '61 seconds'")
    told = []
    while (found := house.look()).met:
        told += [condition.source_id for condition in found.met]
        assert found.has_more is (len(found.met) == 500)
    assert len(told) == len(set(told)) == 1200


def test_a_short_pause_as_of_a_restart_changes_nothing(house: House) -> None:
    house.guard("guard-1")
    house.run("UPDATE road_heard SET marked_at = now() - make_interval(secs => :s)", s=PAUSE_S - 2)
    assert len(house.look().met) == 1


def test_while_a_backlog_waits_nobody_is_silent_but_not_for_ever(house: House) -> None:
    house.guard("guard-1")
    clock = iter([0.0, 0.0, BEHIND_MAX_S - 1, BEHIND_MAX_S + 1])
    watch = GuardOfflineWatch(
        house.store, ReceptionMarks("location", house.queue, clock=lambda: next(clock)), limit_s=60
    )
    house.queue.length = BACKLOG + 1
    assert [watch.is_open(), watch.is_open(), watch.is_open()] == [False, False, True]
    house.queue.length = BACKLOG
    assert watch.is_open()
    assert watch.look(judge=False).met == []
    assert len(watch.look(judge=True).met) == 1


def test_a_limit_of_zero_is_never(house: House) -> None:
    house.guard("guard-1")
    watch = GuardOfflineWatch(house.store, ReceptionMarks("location", house.queue), limit_s=0)
    assert not watch.is_open()


def test_a_device_that_falls_silent_and_comes_back(
    config: Config, engine: Engine, database: Database
) -> None:
    store = TelemetryStore(database)
    registry = SourceRegistry(database, registration="open", default_tenant_id=1)
    book = RuleCache(parse_rules(config.rules), registry, lambda _: ())
    intake = ReadingIntake(store, registry, DEVICE, book)
    watch = of_devices.SourceOfflineWatch(
        store, ReceptionMarks("telemetry", Queue()), {"device": 60, "sensor": 0}
    )

    def heard(name: str, age_s: float) -> Any:
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        reading = DeviceReading(origin(name, recorded_at=at, received_at=at), 90.0, None, None, None)
        return intake.store([reading], now=datetime.now(UTC))

    def run(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    assert [s.state for _, s in heard("d1", 100).statuses] == ["online"]
    heard("d2", 10)
    heard("d3", 100)
    run("INSERT INTO road_heard VALUES ('telemetry', now() - interval '1 hour', now())")
    run("UPDATE device SET enabled = false WHERE device_id = 'd3'")
    assert watch.look().met == [], "who switches a limit on does not alarm on the past"
    run("UPDATE offline_limit SET since = now() - interval '1 hour'")
    run("UPDATE device SET watched_since = now() - interval '1 hour'")
    found = watch.look()
    [met] = found.met
    assert (met.dedup_key, met.alert_type) == ("OFFLINE:d1", "OFFLINE")
    assert met.message.startswith("d1 has sent no message for 100 s")
    assert [(s.source_id, s.kind, s.state) for _, s in found.statuses] == [("d1", "device", "silent")]
    assert watch.look().met == []
    assert [row["silent_since"] is not None for row in store.list_states(1, limit=9)] == [True, False, False]
    assert heard("d1", 5000).cleared == [], "late"
    back = heard("d1", 0)
    assert [(c.dedup_key, c.at > met.at) for c in back.cleared] == [("OFFLINE:d1", True)]
    assert [s.state for _, s in back.statuses] == ["online"]
    assert heard("d1", 0).statuses == []

    run("UPDATE source_state SET received_at = received_at - interval '2 minutes' WHERE source_id = 'd2'")
    assert len(watch.look().met) == 1
    run("UPDATE device SET enabled = false WHERE device_id = 'd2'")
    over = watch.look()
    assert [(c.dedup_key, c.message) for c in over.cleared] == [("OFFLINE:d2", "d2 is disabled")]
    assert [s.state for _, s in over.statuses] == ["disabled"]


class Road:
    """The pipeline from MQTT to alerts, apart from the session's.

    It has two location workers and a limit of three seconds.
    """

    NAMES = ("mqtt_gateway-bulk", "location", "location@2", "alerts")

    def __init__(self, servers: Stack, environment: dict[str, str], directory: Path) -> None:
        self._servers = servers
        self.name = f"v{secrets.token_hex(6)}"
        vhost(servers, "add_vhost", self.name)
        vhost(servers, "set_permissions", "-p", self.name, "vigil", ".*", ".*", ".*")
        changed = directory / "config.yaml"
        usual = (PROJECT / "config.yaml").read_text()
        assert "silence_limit_s: 300" in usual
        changed.write_text(usual.replace("silence_limit_s: 300", f"silence_limit_s: {LIMIT_S:g}"))
        self.environment = {
            **environment,
            "VIGIL_CONFIG": str(changed),
            "AMQP_URI": f"{environment['AMQP_URI'].rpartition('/')[0]}/{self.name}",
            "VIGIL_MQTT_CLIENT_ID": f"gateway-{self.name}",
            "MQTT_BROKER_USERNAME": "",
            "PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics"),
        }
        run_vigil(self.environment, "topology")
        (directory / "metrics").mkdir()
        self.supervisor = Supervisor(directory / "state.json")
        self.supervisor.add(*(self._process(name, directory) for name in self.NAMES))
        late = self.supervisor.wait_ready(list(self.NAMES), timeout_s=90)
        assert late == [], [(process.name, process.last_lines()) for process in late]

    def _process(self, name: str, directory: Path) -> Process:
        command = [sys.executable, "-m", "ops.run", name.partition("@")[0]]
        return Process(name, command, log=directory / f"{name}.log", environment=self.environment)

    def stop(self) -> None:
        self.supervisor.stop()
        vhost(self._servers, "delete_vhost", self.name)


@pytest.fixture
def road(servers: Stack, environment: dict[str, str], engine: Engine, tmp_path: Path) -> Iterator[Road]:
    assert engine
    started = Road(servers, environment, tmp_path)
    try:
        yield started
    finally:
        started.stop()


def test_from_mqtt_to_an_alert_with_the_last_position_within_five_seconds_and_back(
    road: Road, engine: Engine
) -> None:
    guard = f"guard-{road.name}"
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO guard (guard_id, tenant_id, name) VALUES (:g, 1, :g)"), {"g": guard}
        )
        connection.execute(
            text(
                "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
                " VALUES (1, :g, now(), now() + interval '1 hour')"
            ),
            {"g": guard},
        )
    client = MqttClient(int(road.environment["MQTT_BROKER_PORT"]), f"c-{road.name}")
    sent = 0

    def send() -> None:
        nonlocal sent
        payload = {"lat": LAT, "lon": LON, "accuracy": 8, "timestamp": datetime.now(UTC).isoformat()}
        topic = f"{road.environment['VIGIL_TOPIC_PREFIX']}guard/{guard}/gps"
        client.publish(topic, json.dumps(payload).encode())
        sent += 1
        client.settle(sent)

    def alerts() -> list[Any]:
        with engine.connect() as connection:
            return list(
                connection.execute(
                    text(
                        "SELECT status, occurrences, message, round(ST_Y(location::geometry)::numeric, 4) AS lat,"
                        " recorded_at, raw_data FROM mqtt_device_alert WHERE source_id = :g"
                        " AND alert_type = 'OFFLINE' ORDER BY received_at"
                    ),
                    {"g": guard},
                )
            )

    def until(condition: Any, timeout_s: float) -> Any:
        deadline_s = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {alerts()}"
            road.supervisor.poll()
            time.sleep(0.02)
        return found

    with engine.connect() as connection:
        position = text("SELECT received_at FROM guard_state WHERE guard_id = :g AND recorded_at > :at")
        began = datetime.now(UTC)
        send()
        [[received_at]] = until(
            lambda: connection.execute(position, {"g": guard, "at": began}).all() or connection.rollback(), 30
        )
    [alert] = until(alerts, LIMIT_S + 60)
    assert LIMIT_S <= (alert.recorded_at - received_at).total_seconds() <= LIMIT_S + 5
    assert (alert.status, alert.occurrences, float(alert.lat)) == ("NEW", 1, round(LAT, 4))
    assert "last position 12.97160, 77.59460 within 8 m" in alert.message
    assert alert.raw_data["limit_s"] == LIMIT_S
    send()
    until(lambda: [row.status for row in alerts()] == ["RESOLVED"], 20)
    until(lambda: len(alerts()) == 2, LIMIT_S + 60)
    assert [row.occurrences for row in alerts()] == [1, 1]


def test_screens_are_told_who_comes_online_and_see_who_is_silent(outside: OutsideClients) -> None:
    guard = f"guard-{outside.run}"
    screen = outside.screen()
    screen.wait("connected")
    outside.publish(f"guard/{guard}/gps", {"lat": LAT, "lon": LON})
    outside.publish(f"device/d-{outside.run}/telemetry", {"battery": 80})
    seen: dict[str, Any] = {}
    while set(seen) < {guard, f"d-{outside.run}"}:
        _, frame = screen.wait("device_status", timeout_s=30)
        seen |= {status["source_id"]: status for status in frame["data"]}
    assert (seen[guard]["state"], seen[guard]["kind"], seen[guard]["lat"]) == ("online", "guard", LAT)
    assert seen[f"d-{outside.run}"]["kind"] == "device"
    # The guard is on shift. Otherwise the offline state would be over within a second.
    outside.execute(
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " VALUES (1, %s, now() - interval '2 hours', now() + interval '1 minute')",
        guard,
    )
    outside.execute(
        "INSERT INTO guard_silence (guard_id, tenant_id, since) VALUES (%s, 1, now() - interval '1 hour')",
        guard,
    )

    def is_shown_silent() -> bool:
        """Return whether a new session shows the guard as offline.

        Sessions that begin within a second share one snapshot, and no frame reports this row.
        """
        again = outside.screen()
        _, frame = again.wait("snapshot")
        again.close()
        return any(
            position["guard_id"] == guard and position["silent_since"]
            for position in frame["data"]["positions"]
        )

    outside.until(is_shown_silent)
    screen.close()
