"""Tests of the transactional outbox for the alerts service.

Events are published once they can be, in order, even if a process dies in between.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from nameko.containers import ServiceContainer
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from ops.run import nameko_config
from services.alerts import occurrences as alerts_intake
from services.alerts.escalation_worker import EscalationPolicies
from services.alerts.grouping import AlertGrouping
from services.alerts.store import AlertStore
from services.contracts.errors import Unavailable
from services.contracts.events import AlertType, Condition, ConditionsEvent
from services.contracts.families import DEVICE, DeviceReading, DeviceReadingBatch, Fix, FixBatch, Origin
from services.contracts.source_status import StatusPublisher
from services.feed.stream import FeedWriter
from services.ingestion.effects import Effects, Event
from services.ingestion.source_registry import SourceRegistry
from services.ingestion.transactional_outbox import TransactionalOutbox
from services.location.deferred_alerts import DeferredAlerts
from services.location.intake import FixIntake
from services.location.live_positions.position_feed import PositionFeed
from services.location.service import LocationService
from services.location.store import LocationStore
from services.location.zone_cache import ZoneCache
from services.messaging import event_handler
from services.messaging.publisher import ChannelPool, EventPublisher
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import parse_rules
from services.telemetry.service import TelemetryService
from services.telemetry.store import TelemetryStore
from tests.integration.test_bus import wait_until

NOW = datetime.now(UTC)
LAT, LON = 12.9716, 77.5946
JUST_INSIDE, JUST_OUTSIDE = (LAT + metres / 111_195 for metres in (470, 527))
"""Latitudes inside and outside of a zone of 500 m.

The outer one is so near that the zone's confirmation applies, and so far that one fix is sure.
"""
MET, CLEARED = "alert_condition_met", "alert_condition_cleared"


def origin(source: str, minutes: float, **changes: Any) -> Origin:
    at = NOW + timedelta(minutes=minutes)
    base = (source, os.urandom(16), None, f"t/{source}", at, max(at, NOW), False, (), None, "{}", False)
    return Origin(**{**dict(zip(Origin.__struct_fields__, base, strict=True)), **changes})


class Wire:
    """A receiver of what is published. It may be away."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[Condition]]] = []
        self.away = False
        self.meanwhile: Callable[[], object] = lambda: None

    def publish_all(self, events: Sequence[Event]) -> None:
        self.meanwhile()
        if self.away:
            raise Unavailable("RabbitMQ is away")
        for name, body in events:
            if name not in (MET, CLEARED):
                continue
            encoded = msgspec.msgpack.encode(body)
            self.told.append((name, msgspec.msgpack.decode(encoded, type=ConditionsEvent).conditions))

    def said(self) -> list[tuple[str, str, float]]:
        """Return (event, source, minute of the device's clock) of each condition."""
        return [
            (name, condition.source_id, (condition.at - NOW).total_seconds() / 60)
            for name, conditions in self.told
            for condition in conditions
        ]


class Telemetry:
    """A process of the telemetry service without its shell.

    `bad` meets a condition, `good` ends it.
    """

    tells_again = True
    """A batch that comes again publishes its conditions again."""

    def __init__(self, config: Config, database: Database) -> None:
        self.wire = Wire()
        self.store: Any = TelemetryStore(database)
        registry = SourceRegistry(database, registration="open", default_tenant_id=1)
        book = RuleCache(parse_rules(config.rules), registry, lambda _: ())
        self.intake: Any = ReadingIntake(self.store, registry, DEVICE, book)
        self._service: Any = TelemetryService()
        self._service.events = self.wire
        self._service.parts = SimpleNamespace(
            store=self.store, intakes={DEVICE.name: self.intake}, statuses=StatusPublisher()
        )

    @staticmethod
    def bad(minute: float, source: str = "s1", **changes: Any) -> Any:
        return DeviceReading(origin(source, minute, **changes), 5.0, None, None, None)

    @staticmethod
    def good(minute: float, source: str = "s1", **changes: Any) -> Any:
        return DeviceReading(origin(source, minute, **changes), 90.0, None, None, None)

    def handle(self, *batch: Any) -> None:
        self._service.process_device_telemetry([DeviceReadingBatch(list(batch))])

    def dies_after_the_commit_of(self, *batch: Any) -> None:
        self.intake.store(batch, now=NOW)

    def publish_overdue(self, older_than_s: float = 0.0) -> int:
        return int(self.store.owed.publish_overdue(self.wire.publish_all, older_than_s=older_than_s))


class Location(Telemetry):
    """The same for location.

    `bad` is outside of a zone for which one fix is enough. A fix is judged once.
    """

    tells_again = False

    def __init__(self, config: Config, database: Database) -> None:
        self.wire = Wire()
        self.store = LocationStore(database)
        registry = SourceRegistry(database, registration="open", default_tenant_id=1)
        zones = ZoneCache(database, registry, config.location)
        self.intake = FixIntake(self.store, registry, zones, config.location)
        self._service = LocationService()
        self._service.events = self.wire
        shown = PositionFeed(FeedWriter.from_config(config), shortest_s=0.03, longest_s=0.25)
        self._service.parts = SimpleNamespace(
            store=self.store, intake=self.intake, positions=shown, statuses=StatusPublisher()
        )

    @staticmethod
    def bad(minute: float, source: str = "s1", **changes: Any) -> Any:
        return Fix(origin(source, minute, **changes), JUST_OUTSIDE, LON, 5.0, None, None, "gps", False)

    @staticmethod
    def good(minute: float, source: str = "s1", **changes: Any) -> Any:
        return Fix(origin(source, minute, **changes), JUST_INSIDE, LON, 5.0, None, None, "gps", False)

    def handle(self, *batch: Any) -> None:
        self._service.process_guard_gps([FixBatch(list(batch))])


Start = Callable[[], Telemetry]


@pytest.fixture(params=[Telemetry, Location])
def start(request: pytest.FixtureRequest, config: Config, engine: Engine, database: Database) -> Start:
    """Return a function that starts a further process of one of the two services."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')"))
        connection.execute(
            text(
                "INSERT INTO zone (tenant_id, name, area, radius_m, in_force_from, confirmation)"
                " SELECT tenant_id, 'z', :area, 500, '-infinity', CAST(:confirmation AS jsonb) FROM tenant"
            ),
            {
                "area": f"POINT({LON} {LAT})",
                "confirmation": '{"enter": {"fixes": 1}, "exit": {"fixes": 1}}',
            },
        )
    return lambda: request.param(config, database)


def owed(engine: Engine) -> list[tuple[int, str, list[str]]]:
    with engine.connect() as connection:
        query = text(
            "SELECT tenant_id, event, sources FROM owed_event WHERE event LIKE 'alert_condition_%' ORDER BY id"
        )
        return [(row.tenant_id, row.event, row.sources) for row in connection.execute(query)]


def test_what_is_owed_is_there_until_it_is_told(start: Start, engine: Engine) -> None:
    one = start()
    seen: list[Any] = []
    one.wire.meanwhile = lambda: seen.append(owed(engine))
    one.handle(one.good(0))
    one.handle(one.bad(1))
    one.handle(one.bad(2))
    one.handle(one.good(3))
    met, cleared = (1, MET, ["s1"]), (1, CLEARED, ["s1"])
    assert seen == [[], [met], [met], [cleared]]
    assert owed(engine) == []
    assert one.wire.said() == [(MET, "s1", 1), (MET, "s1", 2), (CLEARED, "s1", 3)]


def test_what_could_not_be_told_stays_owed_until_somebody_can(start: Start, engine: Engine) -> None:
    one = start()
    one.wire.away = True
    for each in (one.bad(0), one.good(1)):
        with pytest.raises(Unavailable):
            one.handle(each)
    with pytest.raises(Unavailable):
        one.publish_overdue()
    assert owed(engine) == [(1, MET, ["s1"]), (1, CLEARED, ["s1"])]
    one.wire.away = False
    assert one.publish_overdue() >= 2, "and that the guard entered, which is not for the alerts service"
    assert one.wire.said() == [(MET, "s1", 0), (CLEARED, "s1", 1)]
    assert owed(engine) == []
    assert one.publish_overdue() == 0


def test_what_is_younger_than_five_seconds_is_its_own_process_to_tell(start: Start, engine: Engine) -> None:
    one, other = start(), start()
    one.dies_after_the_commit_of(one.bad(0))
    one.dies_after_the_commit_of(one.good(1))
    assert other.publish_overdue(5.0) == 0
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE owed_event SET owed_at = owed_at - interval '5 seconds' WHERE event = :met"),
            {"met": MET},
        )
    assert other.publish_overdue(5.0) == 1
    assert other.wire.said() == [(MET, "s1", 0)]
    assert owed(engine) == [(1, CLEARED, ["s1"])]


def test_a_batch_that_is_rolled_back_owes_nothing(start: Start, engine: Engine) -> None:
    one = start()
    with pytest.raises(RuntimeError, match="killed"), one.store.transaction() as connection:
        one.store.owed.store_events(connection, met(condition()))
        raise RuntimeError("killed before the commit")
    assert owed(engine) == []


def test_what_could_not_be_stored_is_not_owed_and_what_could_is(start: Start, engine: Engine) -> None:
    one = start()
    one.dies_after_the_commit_of(one.bad(0, "a"), one.bad(0, "b", raw="{not json"), one.bad(0, "c"))
    assert [sources for _, _, sources in owed(engine)] == [["a"], ["c"]]
    one.publish_overdue()
    assert one.wire.said() == [(MET, "a", 0), (MET, "c", 0)]


def test_the_parts_of_a_batch_tell_each_condition_once(start: Start, engine: Engine) -> None:
    one = start()
    one.handle(one.bad(0), one.bad(1, "z", raw="{not json"), one.bad(2), one.bad(3))
    assert sorted(one.wire.said()) == [(MET, "s1", 0), (MET, "s1", 2), (MET, "s1", 3)]
    assert owed(engine) == []


def test_each_tenant_has_rows_of_its_own(start: Start, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO guard (guard_id, tenant_id, name) VALUES ('of-2', 2, 'x')"))
        connection.execute(
            text("INSERT INTO device (device_id, tenant_id, name, family) VALUES ('of-2d', 2, 'x', 'device')")
        )
    one = start()
    theirs = "of-2d" if type(one) is Telemetry else "of-2"
    one.dies_after_the_commit_of(one.bad(0), one.bad(0, theirs))
    assert owed(engine) == [(1, MET, ["s1"]), (2, MET, [theirs])]
    one.publish_overdue()
    assert [{c.tenant_id for c in conditions} for _, conditions in one.wire.told] == [{1}, {2}]


def test_two_processes_at_once_tell_each_row_once(start: Start, engine: Engine) -> None:
    one, other = start(), start()
    for number in range(6):
        one.dies_after_the_commit_of(one.bad(number))
    counts: list[int] = []
    one.wire.meanwhile = lambda: counts.append(other.publish_overdue())
    assert one.store.owed.publish_overdue(one.wire.publish_all, older_than_s=0.0, limit=4) == 4
    assert (counts, other.wire.told) == ([0], []), (
        "the rest has its turn after these, or the order would be lost"
    )
    assert other.publish_overdue() == 2
    assert [at for *_, at in one.wire.said() + other.wire.said()] == [0, 1, 2, 3, 4, 5]
    assert owed(engine) == []


def test_who_was_only_slow_waits_for_no_timer(start: Start, engine: Engine) -> None:
    """The timer holds the rows while RabbitMQ confirms.

    The process that wrote them goes on meanwhile.
    """
    slow, other = start(), start()
    effects = slow.intake.store([slow.bad(0)], now=NOW)
    other.wire.meanwhile = lambda: slow.store.owed.forget(effects)
    with capture_logs() as logs:
        assert other.publish_overdue() == 1
    assert [(line["event"], line["count"]) for line in logs] == [("outbox_events_published", 1)]
    assert owed(engine) == []


def test_a_timer_that_dies_before_its_commit_leaves_all_to_the_next(start: Start, engine: Engine) -> None:
    one, other = start(), start()
    one.dies_after_the_commit_of(one.bad(0))

    def die() -> None:
        raise SystemExit("killed")

    one.wire.meanwhile = die
    with pytest.raises(SystemExit):
        one.publish_overdue()
    assert len(owed(engine)) == 1
    assert other.publish_overdue() == 1


@pytest.fixture
def alerts(database: Database, config: Config) -> AlertStore:
    return AlertStore(
        database,
        ladder=EscalationPolicies.from_config(config).ladder,
        storms=AlertGrouping(config.alerts.storm),
    )


def hear(alerts: AlertStore, wire: Wire) -> list[tuple[int, bool]]:
    """Return (occurrences, whether the condition is over) of the resulting alerts.

    The conditions are handled in the order in which they were published.
    """
    for name, conditions in wire.told:
        for each in conditions:
            if name == MET:
                alerts.record([alerts_intake.of_condition(each, now=NOW)], now=NOW)
            else:
                alerts.clear(tenant_id=1, dedup_key=each.dedup_key, at=each.at, note=each.message, now=NOW)
    found = alerts.list_alerts(tenant_id=1, status="all", limit=10)
    return [(alert.occurrences, alert.cleared_at is not None) for alert in found]


def test_what_a_dead_process_owes_is_told_although_its_batch_is_late_by_then(
    start: Start, engine: Engine, alerts: AlertStore
) -> None:
    dead, also_dead, third = start(), start(), start()
    batch = [dead.bad(0), dead.bad(1)]
    dead.dies_after_the_commit_of(*batch)
    also_dead.dies_after_the_commit_of(also_dead.good(2))
    third.handle(*batch)
    third.publish_overdue()
    assert third.wire.said() == [(MET, "s1", 0), (MET, "s1", 1), (CLEARED, "s1", 2)]
    assert hear(alerts, third.wire) == [(2, True)]
    assert owed(engine) == []


def test_an_ending_that_a_dead_process_owes_is_told_although_its_batch_is_late_by_then(
    start: Start, alerts: AlertStore
) -> None:
    dead, living = start(), start()
    living.handle(living.bad(0))
    dead.dies_after_the_commit_of(ending := dead.good(1))
    living.handle(living.good(2))
    living.handle(ending)
    living.publish_overdue()
    assert living.wire.said() == [(MET, "s1", 0), (CLEARED, "s1", 1)]
    assert hear(alerts, living.wire) == [(1, True)]


def test_who_comes_after_a_dead_process_tells_first_what_that_owes_of_the_source(
    start: Start, engine: Engine, alerts: AlertStore
) -> None:
    """The timer alone would be too late.

    It would publish the condition five seconds after its end, and open an alert that nothing ends.
    """
    dead, living = start(), start()
    dead.dies_after_the_commit_of(dead.bad(0))
    dead.dies_after_the_commit_of(dead.bad(0, "another"))
    living.handle(living.good(1))
    assert living.wire.said() == [(MET, "s1", 0), (CLEARED, "s1", 1)]
    assert hear(alerts, living.wire) == [(1, True)]
    assert owed(engine) == [(1, MET, ["another"])]


def test_a_batch_that_comes_again_tells_what_is_met_and_no_ending_twice(start: Start) -> None:
    one = start()
    one.handle(met := one.bad(0))
    one.handle(met)
    one.handle(over := one.good(1))
    one.handle(over)
    again = [(MET, "s1", 0)] if one.tells_again else []
    assert one.wire.said() == [(MET, "s1", 0), *again, (CLEARED, "s1", 1)]


def test_the_end_of_a_shift_does_not_lose_what_a_killed_process_left(
    config: Config, database: Database, engine: Engine
) -> None:
    # Given a violation that a process committed and did not publish, and a shift that is over,
    one = Location(config, database)
    zones = ZoneCache(
        database, SourceRegistry(database, registration="open", default_tenant_id=1), config.location
    )
    one._service.parts.settling = DeferredAlerts(one.store, zones)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO zone (tenant_id, name, area, radius_m, in_force_from, confirmation)"
                " VALUES (1, 'z', :area, 500, '-infinity', CAST(:confirmation AS jsonb))"
            ),
            {
                "area": f"POINT({LON} {LAT})",
                "confirmation": '{"enter": {"fixes": 1}, "exit": {"fixes": 1}}',
            },
        )
    one.handle(one.good(0))
    one.dies_after_the_commit_of(one.bad(1))
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
                " VALUES (1, 's1', now() - interval '3 hours', now() - interval '2 hours')"
            )
        )
    assert owed(engine) == [(1, MET, ["s1"])]
    # when the timer ends what was reported,
    one._service.tell_settled()
    # then the violation is published before its end.
    assert [(event, source) for event, source, _ in one.wire.said()] == [(MET, "s1"), (CLEARED, "s1")]
    assert owed(engine) == []


def condition() -> Condition:
    return Condition(1, "s1", AlertType.LOW_BATTERY, "k", NOW, os.urandom(16), "low")


def met(condition: Condition) -> Effects:
    effects = Effects()
    effects.met = [condition]
    return effects


def test_what_rabbitmq_did_not_confirm_stays_owed(config: Config, database: Database, engine: Engine) -> None:
    """On a real RabbitMQ, an event without a queue is refused.

    With a queue, the very bytes of the commit arrive.
    """
    source, heard = f"s{secrets.token_hex(4)}", []
    outlet = ChannelPool(config.amqp, links=1)
    events = EventPublisher(outlet, source, {}, frozenset())
    owing = TransactionalOutbox(database, "telemetry")
    with database.across() as connection:
        owing.store_events(connection, met(told := condition()))
    with pytest.raises(Unavailable):
        owing.publish_overdue(events.publish_all, older_than_s=0.0)
    assert len(owed(engine)) == 1

    class Listener:
        name = f"listener_{source}"

        @event_handler(source, MET, ConditionsEvent)
        def hear(self, event: ConditionsEvent) -> None:
            heard.append(event)

    container = ServiceContainer(Listener, nameko_config(config, Listener.name))
    container.start()
    try:
        assert owing.publish_overdue(events.publish_all, older_than_s=0.0) == 1
        wait_until(lambda: heard == [ConditionsEvent([told])])
    finally:
        container.stop()
        outlet.close()
    assert owed(engine) == []
