"""Tests of batches of fixes and readings on a real PostGIS.

Each is stored once, late ones as late, and a poison message is refused alone.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from services.contracts.families import DEVICE, DeviceReading, Fix, Origin
from services.ingestion.source_registry import Source, SourceRegistry
from services.location.deferred_alerts import DeferredAlerts
from services.location.guards.battery import battery_rule
from services.location.intake import FixIntake
from services.location.store import LocationStore
from services.location.zone_cache import ZoneCache
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.intake import ReadingIntake
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import parse_rules
from services.telemetry.store import TelemetryStore

NOW = datetime.now(UTC)
LAT, LON = 12.9716, 77.5946


def origin(source: str, *, seconds: float = 0, **changes: Any) -> Origin:
    """Return the origin of a message that was received when it was recorded.

    A message that was recorded before `NOW` was received at `NOW`.
    """
    at = NOW + timedelta(seconds=seconds)
    base = (source, os.urandom(16), None, f"t/{source}", at, max(at, NOW), False, (), None, "{}", False)
    return Origin(**{**dict(zip(Origin.__struct_fields__, base, strict=True)), **changes})


def fix(source: str = "guard-1", *, lat: float = LAT, seconds: float = 0, **changes: Any) -> Fix:
    return Fix(origin(source, seconds=seconds, **changes), lat, LON, 5.0, None, None, "gps", False)


@pytest.fixture
def registry(database: Database) -> SourceRegistry:
    return SourceRegistry(database, registration="open", default_tenant_id=1)


@pytest.fixture
def location(engine: Engine, database: Database, registry: SourceRegistry, config: Config) -> FixIntake:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO zone (tenant_id, name, area, radius_m, in_force_from)"
                " VALUES (1, 'z', :area, 500, '-infinity')"
            ),
            {"area": f"POINT({LON} {LAT})"},
        )
    return location_intake(database, registry, config)


def location_intake(database: Database, registry: SourceRegistry, config: Config) -> FixIntake:
    zones = ZoneCache(database, registry, config.location)
    return FixIntake(
        LocationStore(database), registry, zones, config.location, battery_rule=battery_rule(config.rules)
    )


@pytest.fixture
def telemetry(config: Config, database: Database, registry: SourceRegistry) -> ReadingIntake:
    book = RuleCache(parse_rules(config.rules), registry, lambda _: ())
    return ReadingIntake(TelemetryStore(database), registry, DEVICE, book)


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


OUT_AND_BACK = [
    LAT + metres / 111_195 for metres in (400, 440, 480, 520, 560, 600, 640, 600, 560, 520, 480, 440, 400)
]
"""Places on foot over the edge at 500 m and back, one each half minute."""
OUTSIDE = LAT + 0.01
"""612 m outside of the zone. Half a minute is enough to get there."""


def test_the_same_batch_twice_is_stored_and_judged_once(location: FixIntake, engine: Engine) -> None:
    batch = [fix(lat=LAT), fix(lat=OUTSIDE, seconds=30), fix(lat=OUTSIDE, seconds=60, msg_id="m")]
    first, again = (location.store([*batch, batch[0]], now=NOW) for _ in range(2))
    assert (first.stored, first.admitted, again.stored) == (3, 3, 0)
    assert (len(first.met), again.met, again.moves) == (1, [], {})
    assert [(event, body) for event, body in again.earlier if event == "alert_condition_met"], (
        "what the first run owes is told by the second"
    )
    assert [r.msg_id for r in first.receipts] == [r.msg_id for r in again.receipts] == ["m"]
    assert rows(engine, "SELECT count(*) FROM mqtt_guard_location") == [(3,)]


def test_a_violation_is_told_once_it_is_sure_again_while_it_lasts_and_ended(
    location: FixIntake, engine: Engine
) -> None:
    told = [
        (len(outcome.met), len(outcome.cleared), outcome.violations_begun)
        for half_minutes, lat in enumerate(OUT_AND_BACK)
        for outcome in [location.store([fix(lat=lat, seconds=30 * half_minutes)], now=NOW)]
    ]
    quiet, begun, again, over = (0, 0, 0), (1, 0, 1), (1, 0, 0), (0, 1, 0)
    assert told == [*[quiet] * 4, begun, *[again] * 6, over, quiet]
    kept = rows(engine, "SELECT geofence_violation FROM mqtt_guard_location ORDER BY recorded_at")
    assert [violation for (violation,) in kept] == [*[False] * 4, *[True] * 7, *[False] * 2]
    kinds = rows(engine, "SELECT kind, late FROM zone_transition ORDER BY confirmed_at, kind")
    assert kinds == [
        ("entered", False),
        ("exited", False),
        ("violation_began", False),
        ("entered", False),
        ("violation_ended", False),
    ]


@pytest.mark.parametrize(("replay", "told"), [("false", (0, 0, 0)), ("true", (7, 1, 0))])
def test_what_is_old_is_told_in_the_tenant_of_replays_alone(
    location: FixIntake, engine: Engine, replay: str, told: tuple[int, int, int]
) -> None:
    """This is a shift of yesterday, fix by fix in its order."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE tenant SET settings = '{{\"replay\": {replay}}}'")
    outcomes = [
        location.store([fix(lat=lat, seconds=30 * half_minutes - 86_400)], now=NOW)
        for half_minutes, lat in enumerate(OUT_AND_BACK)
    ]
    kinds = rows(engine, "SELECT DISTINCT kind FROM zone_transition ORDER BY 1")
    assert kinds == [("entered",), ("exited",), ("violation_began",), ("violation_ended",)]
    assert (
        sum(len(outcome.met) for outcome in outcomes),
        sum(len(outcome.cleared) for outcome in outcomes),
        sum(outcome.violations_begun for outcome in outcomes),
    ) == told


def test_what_comes_late_today_leaves_last_weeks_record_as_it_is(
    location: FixIntake, engine: Engine, database: Database, registry: SourceRegistry, config: Config
) -> None:
    for half_minutes, lat in enumerate(OUT_AND_BACK):
        location.store([fix(lat=lat, seconds=30 * half_minutes - 10 * 86_400)], now=NOW)
    with engine.begin() as connection:
        # The zones were edited since, so long ago that the zones which judged that shift are no
        # longer at hand.
        changed = {"at": NOW - timedelta(days=9)}
        connection.execute(
            text(
                "INSERT INTO zone_version SELECT (jsonb_populate_record(v, jsonb_build_object("
                " 'version', 2, 'radius_m', 5000, 'in_force_from', CAST(:at AS timestamptz)))).* FROM zone_version v"
            ),
            changed,
        )
        connection.execute(text("UPDATE zone_version SET in_force_to = :at WHERE version = 1"), changed)
    kept = "SELECT message_key, geofence_violation FROM mqtt_guard_location ORDER BY recorded_at LIMIT 13"
    transitions = "SELECT transition_id, superseded_at FROM zone_transition WHERE zone_version = 1 ORDER BY 1"
    before = rows(engine, kept), rows(engine, transitions)
    assert len(before[1]) == 5
    today = location_intake(database, registry, config)
    today.store([fix(seconds=-30)], now=NOW)
    today.store([fix(seconds=-60)], now=NOW)
    assert (rows(engine, kept), rows(engine, transitions)) == before


def test_an_excursion_within_one_batch_is_on_record_and_raises_nothing(
    location: FixIntake, engine: Engine
) -> None:
    batch = [fix(lat=lat, seconds=30 * half_minutes) for half_minutes, lat in enumerate(OUT_AND_BACK)]
    outcome = location.store(batch, now=NOW)
    assert (outcome.met, outcome.cleared) == ([], [])
    kinds = {kind for (kind,) in rows(engine, "SELECT kind FROM zone_transition")}
    assert kinds == {"entered", "exited", "violation_began", "violation_ended"}
    assert [event for event, _ in outcome.events] == ["zone_entered", "zone_exited"]
    assert [len(moves) for moves in outcome.moves.values()] == [2, 1]


def test_a_violation_says_at_which_site_its_guard_is_and_of_which_zone(
    location: FixIntake, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO site (tenant_id, name) VALUES (1, 'dock')"))
        connection.execute(
            text(
                "INSERT INTO guard (guard_id, tenant_id, site_id, name) SELECT 'g', 1, site_id, 'G' FROM site"
            )
        )
    [condition] = location.store([fix("g", lat=OUTSIDE), fix("g", lat=OUTSIDE, seconds=1)], now=NOW).met
    assert rows(engine, "SELECT site_id FROM site") == [(condition.site_id,)]
    # 612 m by a distance that tests/oracle measures separately
    assert condition.message == "g is outside z by 612 m"
    [(transition_id,)] = rows(engine, "SELECT transition_id::text FROM zone_transition")
    assert condition.detail["transition_id"] == transition_id
    assert condition.dedup_key == "GEOFENCE_VIOLATION:g"


def test_a_late_fix_repairs_history_and_neither_alarms_nor_moves_the_marker(
    location: FixIntake, engine: Engine
) -> None:
    location.store([fix(seconds=60)], now=NOW)
    later = {"lat": OUTSIDE, "received_at": NOW + timedelta(seconds=61)}
    outcome = location.store([fix(seconds=5, **later), fix(seconds=6, **later)], now=NOW)
    assert (outcome.stored, outcome.events, outcome.positions) == (2, [], [])
    assert rows(engine, "SELECT lat FROM guard_state") == [(LAT,)]
    assert rows(engine, "SELECT kind, late FROM zone_transition ORDER BY kind") == [("violation_began", True)]
    kept = rows(engine, "SELECT geofence_violation FROM mqtt_guard_location ORDER BY recorded_at")
    assert kept == [(False,), (True,), (True,)], "one fix within is not yet enough to be back"


def test_a_fix_that_nobody_believes_is_listed_and_changes_nothing(
    location: FixIntake, engine: Engine
) -> None:
    location.store([fix()], now=NOW)
    mock = msgspec.structs.replace(fix(lat=OUTSIDE, seconds=30), mock=True)
    far = fix(lat=LAT + 1, seconds=31)
    outcome = location.store([mock, far], now=NOW)
    assert (outcome.stored, outcome.positions, outcome.events) == (2, [], [])
    listed = rows(
        engine, "SELECT reason, (detail->>'distance_m')::float > 100000 FROM implausible_fix ORDER BY 1"
    )
    assert listed == [("mock", None), ("teleport", True)]
    assert rows(engine, "SELECT lat, in_geofence FROM guard_state") == [(LAT, True)]
    assert rows(engine, "SELECT in_geofence FROM mqtt_guard_location") == [(True,)] * 3


def test_a_value_that_json_cannot_hold_costs_its_own_message_only(
    location: FixIntake, engine: Engine
) -> None:
    bad = fix(raw="{not json")
    outcome = location.store([fix(), bad, fix(seconds=1)], now=NOW)
    assert outcome.stored == 2
    assert [message.reason for message in outcome.rejected] == ["unstorable"]
    assert rows(engine, "SELECT reason FROM rejected_message") == [("unstorable",)]


def test_a_claim_of_another_tenant_is_refused_and_kept(location: FixIntake, engine: Engine) -> None:
    outcome = location.store([fix(claimed_tenant_id=2), fix(claimed_tenant_id="1")], now=NOW)
    assert outcome.stored == 1
    assert rows(engine, "SELECT reason, source_id FROM rejected_message") == [
        ("identity_mismatch", "guard-1")
    ]


def test_when_registration_is_closed_a_stranger_is_refused(database: Database, config: Config) -> None:
    closed = SourceRegistry(database, registration="closed", default_tenant_id=1)
    outcome = location_intake(database, closed, config).store([fix()], now=NOW)
    assert [message.reason for message in outcome.rejected] == ["unknown_source"]


def reading(battery: float, seconds: float) -> DeviceReading:
    at = NOW + timedelta(seconds=seconds)
    return DeviceReading(origin("d1", seconds=seconds, received_at=at), battery, -60.0, None, "ONLINE")


def test_low_battery_is_told_each_time_and_its_end_once(telemetry: ReadingIntake, engine: Engine) -> None:
    low = telemetry.store([reading(10, 0), reading(22, 1)], now=NOW)
    assert (len(low.met), len(low.cleared)) == (1, 0)
    charged = telemetry.store([reading(80, 2), reading(81, 3)], now=NOW)
    assert (len(charged.met), len(charged.cleared)) == (0, 1)
    assert rows(engine, "SELECT conditions, reading->>'battery' FROM source_state") == [([], "81")]
    late = telemetry.store([reading(5, 1)], now=NOW)
    assert late.met == []


def test_rows_lie_in_the_partition_of_their_week(location: FixIntake, engine: Engine) -> None:
    location.store([fix()], now=NOW)
    [(partition,)] = rows(engine, "SELECT tableoid::regclass::text FROM mqtt_guard_location")
    assert partition == f"mqtt_guard_location_{NOW:%G}w{NOW:%V}"


def test_a_change_of_the_registry_is_seen_within_two_seconds(engine: Engine, database: Database) -> None:
    clock = [0.0]
    registry = SourceRegistry(database, registration="open", default_tenant_id=1, clock=lambda: clock[0])
    assert registry.lookup(["g"], kind="guard", family="guard")["g"].enabled
    with engine.begin() as connection:
        connection.execute(text("UPDATE guard SET enabled = false"))
    clock[0] += 1.0
    assert not registry.lookup(["g"], kind="guard", family="guard")["g"].enabled
    assert registry.lookup_any("g").kind == "guard"  # type: ignore[union-attr]


def test_tenants_of_many_sources_are_asked_for_at_once_and_nothing_is_registered(
    engine: Engine, database: Database
) -> None:
    # Given sources of two tenants, and a registry that registers every source that sends
    clock, asked = [0.0], list[list[str]]()
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Others')")
        connection.exec_driver_sql("INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-7', 2, 'B')")
        connection.exec_driver_sql(
            "INSERT INTO device (device_id, tenant_id, name, family) VALUES ('d', 1, 'A', 'device')"
        )
    registry = SourceRegistry(database, registration="open", default_tenant_id=1, clock=lambda: clock[0])
    select = registry._select

    def noted(connection: Any, ids: Any) -> dict[str, Source]:
        asked.append(list(ids))
        return select(connection, ids)

    registry._select = noted  # type: ignore[method-assign]

    # When their tenants are asked for, some twice and one under a short form of its id
    ids = ["7", "d", "nobody", "d", "guard-7"]
    assert registry.tenants_of(ids) == [2, 1, 1, 1, 2]

    # Then one query finds them, the known ones are not queried again, and no source is registered
    assert asked == [["7", "d", "guard-7", "nobody"]]
    assert registry.tenants_of(["d", "guard-7"]) == [1, 2]
    assert len(asked) == 1
    assert rows(engine, "SELECT count(*) FROM source_id") == [(2,)]


def spoken(location: FixIntake, fixes: list[Fix]) -> list[tuple[str, str]]:
    """Store fixes one by one.

    Return (type, message) of the conditions that were met and cleared.
    """
    outcomes = [location.store([item], now=item.origin.received_at) for item in fixes]
    return [
        (found.alert_type, found.message) for outcome in outcomes for found in outcome.met + outcome.cleared
    ]


def test_a_low_battery_of_a_guards_phone_is_told_once_and_its_end(location: FixIntake) -> None:
    batteries = [80.0, 19.0, 3.0, None, 24.0, 25.0, 20.0]
    fixes = [
        msgspec.structs.replace(fix(seconds=second), battery=battery)
        for second, battery in enumerate(batteries)
    ]
    assert spoken(location, fixes) == [
        ("LOW_BATTERY", "Battery at 19 %"),
        ("LOW_BATTERY", "Battery back at 25 %"),
    ]


def test_a_battery_of_an_hour_ago_is_no_alarm(location: FixIntake) -> None:
    assert spoken(location, [msgspec.structs.replace(fix(seconds=-3600), battery=3.0)]) == []


def test_two_phones_that_take_turns_are_told_of_and_one_place_is_shown(
    location: FixIntake, engine: Engine
) -> None:
    # Given two phones of one guard, 3.3 km apart, when their fixes come in turn,
    far = LAT + 3_300 / 111_195
    fixes = [fix(lat=LAT if nth % 2 == 0 else far, seconds=5 * nth) for nth in range(20)]
    told = spoken(location, fixes)
    # then all are stored, the first phone is believed, and a person is notified, once.
    assert [kind for kind, _ in told] == ["EQUIPMENT_FAILURE"]
    assert "two devices report for this guard" in told[0][1]
    assert rows(engine, "SELECT count(*) FROM mqtt_guard_location") == [(20,)]
    assert rows(engine, "SELECT lat FROM guard_state") == [(LAT,)]
    # When the first phone stops sending, the other is believed as soon as it agrees with itself
    # over half a minute.
    spoken(location, [fix(lat=far, seconds=105 + 10 * nth) for nth in range(5)])
    assert rows(engine, "SELECT lat FROM guard_state") == [(far,)]


def test_what_a_device_kept_raises_nothing_by_itself(
    location: FixIntake, engine: Engine, database: Database, registry: SourceRegistry, config: Config
) -> None:
    # Given fixes outside of two minutes ago that the device marks as kept, in one batch or
    # in several,
    kept = [fix(lat=OUTSIDE, seconds=-120 + n, buffered=True) for n in range(6)]
    first = location.store(kept[:3], now=NOW)
    second = location.store([*kept[3:], fix(seconds=1)], now=NOW)
    # then nothing is raised, now or by the timer, although each of them is prompt by its times.
    assert (first.met, second.met) == ([], [])
    assert rows(engine, "SELECT count(*) FROM zone_transition WHERE kind = 'violation_began'") == [(1,)]
    settling = DeferredAlerts(LocationStore(database), ZoneCache(database, registry, config.location))
    drawn = settling.settle(now=NOW + timedelta(minutes=5))
    assert (drawn.met, drawn.cleared) == ([], [])


def test_a_clock_of_a_guard_is_kept_and_forgotten_when_it_is_right(
    location: FixIntake, engine: Engine
) -> None:
    known = "SELECT clock IS NOT NULL FROM guard_state"
    spoken(location, [fix(seconds=n) for n in range(3)])
    assert rows(engine, known) == [(False,)]
    received = [NOW + timedelta(seconds=100 + n) for n in range(5)]
    slow = [fix(seconds=100 + n - 1200, received_at=received[n]) for n in range(5)]
    spoken(location, slow)
    assert rows(engine, known) == [(True,)]
    corrected = "SELECT count(*) FROM mqtt_guard_location WHERE 'clock_corrected' = ANY(quality)"
    assert rows(engine, corrected) == [(3,)]
    # The same fix again gives the same result, and teaches nothing.
    assert sum(location.store([item], now=NOW).stored for item in slow) == 0
    spoken(location, [fix(seconds=200)])
    assert rows(engine, known) == [(False,)]


def test_a_fix_at_0_0_is_kept_as_no_fix_and_shown_nowhere(location: FixIntake, engine: Engine) -> None:
    nowhere = msgspec.structs.replace(fix(lat=0.0), lon=0.0)
    assert location.store([nowhere], now=NOW).positions == []
    assert rows(engine, "SELECT reason FROM implausible_fix") == [("no_fix",)]
    assert rows(engine, "SELECT count(*) FROM guard_state") == [(0,)]
    # A true fix right after it is believed at once.
    assert len(location.store([fix(seconds=1)], now=NOW).positions) == 1
