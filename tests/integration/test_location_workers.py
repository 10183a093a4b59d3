"""Tests of two location processes at one queue, which die at every point of their work.

The result is always that of a single process.
"""

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from services.alerts.service import AlertsParts, AlertsService
from services.contracts.events import ConditionsEvent
from services.contracts.families import FixBatch
from services.location.conditions import is_prompt, returning, speeding_key, violation_key
from services.location.store import belief_of
from services.platform.config import Config
from tests.oracle import patrol
from tests.oracle.broker import Queue, orders_of
from tests.oracle.installed import as_kept, install, message_of, rows_of
from tests.oracle.verdicts import Oracle
from tests.oracle.words import Row, Rules, Zone
from tests.oracle.worker import Order, Told
from tests.oracle.worlds import Guard, World, guard, world

TIE_M = 1e-6
BATCH = 60
DEATHS = ("within the transaction", "after the commit", "after publishing")


class Wire:
    """A wire without effect: the alerts service's own events have no part in this."""

    def publish(self, *_: Any) -> None: ...

    def publish_all(self, *_: Any) -> None: ...


class Alerts:
    """The alerts service, at the other end of the location processes' events."""

    def __init__(self, config: Config) -> None:
        self._service: Any = AlertsService()
        self._service.parts = AlertsParts(config)
        self._service.events = Wire()

    def hear(self, told: Told) -> None:
        if told.event not in ("alert_condition_met", "alert_condition_cleared"):
            return
        event = msgspec.msgpack.decode(told.body, type=ConditionsEvent)
        handler = "open_for_location" if told.event == "alert_condition_met" else "clear_for_location"
        getattr(self._service, handler)(event)


@pytest.fixture
def rules(config: Config) -> Rules:
    return Rules(**{name: getattr(config.location, name) for name in Rules.__dataclass_fields__})


@pytest.fixture
def alerts(config: Config) -> Alerts:
    return Alerts(config)


@pytest.fixture
def seed() -> Iterator[int]:
    """Yield the seed, which pytest prints when the test fails."""
    number = secrets.randbelow(10**9)
    print(f"seed {number}")
    return number


def strollers(random: Random, place: World, count: int) -> list[Guard]:
    """Return guards for whom rounding decides nothing.

    Their clocks are right: times are corrected before the track is judged.
    """
    found: list[Guard] = []
    while len(found) < count:
        who = as_kept(guard(random, place, f"guard-{len(found)}", 30))
        timely = [
            replace(fix, received_at=max(fix.received_at, fix.recorded_at - timedelta(seconds=10)))
            for fix in who.fixes
        ]
        who = replace(who, groups=who.groups - {patrol.GROUP}, fixes=tuple(timely))
        oracle = Oracle(place.zones, place.rules, who.guard_id, who.groups)
        oracle.judge(list(who.fixes))
        if oracle.slack > TIE_M:
            found.append(who)
    return found


def said(zones: list[Zone], rules: Rules, who: Guard) -> list[Row]:
    """Return the oracle's rows for a guard, in the form in which the database has them."""
    rows = Oracle(zones, rules, who.guard_id, who.groups).judge(list(who.fixes))
    return [
        replace(
            row,
            error_radius_m=None,
            changes=tuple(sorted(row.changes, key=lambda c: (c.kind, c.zone_id or 0, c.at))),
        )
        for row in rows
    ]


def test_two_workers_that_die_come_to_what_the_oracle_says(
    environment: dict[str, str], engine: Engine, rules: Rules, alerts: Alerts, seed: int
) -> None:
    random = Random(seed)
    begins = datetime.now(UTC) - timedelta(hours=1)
    place = world(random, begins=begins, rules=rules)
    place = replace(place, zones=patrol.only(place.zones, (1, 2)))
    walking = strollers(random, place, 12)
    patrolling = [
        as_kept(patrol.patrol(random, f"patrol-{nth}", begins, episodes=4 + nth % 2)) for nth in range(8)
    ]
    zones = [*place.zones, *patrol.ZONES]
    with engine.begin() as connection:
        install(connection, zones, [*walking, *patrolling])
    batches = [
        FixBatch([message_of(*item) for item in batch])
        for batch in patrol.mixed_up(random, [*walking, *patrolling], size=BATCH)
    ]
    deaths = dict(zip(random.sample(range(len(batches)), 2 * len(DEATHS)), 2 * DEATHS, strict=True))
    queue = Queue(environment, count=2, hears=alerts.hear)
    try:
        # The timers work between the batches, so that findings of late fixes alone are sent while
        # they are true.
        queue.work_off([order for batch in orders_of(batches, deaths) for order in (batch, Order())])
        # First comes the outbox of the dead workers, then the findings of late fixes alone, then
        # their outbox.
        queue.work_off([Order(), Order()])
    finally:
        queue.stop()
    assert queue.deaths == len(deaths)
    everybody = {who.guard_id: said(zones, rules, who) for who in (*walking, *patrolling)}
    assert {guard_id: rows_of(engine, guard_id) for guard_id in everybody} == everybody
    violating = {guard_id for guard_id, rows in everybody.items() if rows[-1].violation}
    assert standing(engine) <= violating
    assert violating - standing(engine) <= untold(engine)
    for who in patrolling:
        kinds = Counter(change.kind for row in everybody[who.guard_id] for change in row.changes)
        expected = {
            violation_key(who.guard_id): (min(kinds["violation_began"], 1), kinds["violation_ended"]),
            speeding_key(who.guard_id, 103): (min(kinds["speeding_began"], 1), kinds["speeding_ended"]),
        }
        assert told(engine, who.guard_id) == {
            key: counts for key, counts in expected.items() if counts != (0, 0)
        }


def standing(engine: Engine) -> set[str]:
    """Return the guards that an alert shows as in violation now."""
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT source_id FROM mqtt_device_alert WHERE cleared_at IS NULL"
                " AND dedup_key = 'GEOFENCE_VIOLATION:' || source_id"
            )
        )
        return set(found.scalars())


def untold(engine: Engine) -> set[str]:
    """Return the guards whose alert may differ from the verdict.

    Their newest fix says nothing about the present, or contradicts the findings of late
    fixes alone.
    """
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT guard_id, belief, recorded_at, received_at FROM guard_state WHERE belief IS NOT NULL"
            )
        )
        return {row.guard_id for row in found if returning(belief_of(row.belief)) or not is_prompt(row)}


def told(engine: Engine, guard_id: str) -> dict[str, tuple[int, int]]:
    """Return, by condition, the number of alerts and the number of ends.

    Each alert stays open until a person closes it.
    """
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT dedup_key, count(DISTINCT alert_id), count(*) FILTER (WHERE action = 'cleared')"
                " FROM mqtt_device_alert JOIN alert_timeline USING (alert_id) WHERE source_id = :g GROUP BY dedup_key"
            ),
            {"g": guard_id},
        )
        return {key: (alerts, ends) for key, alerts, ends in found}
