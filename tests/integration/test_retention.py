"""Tests of retention on a real PostgreSQL.

Partitions are made ahead. Data that are too old by class and tenant are deleted, and never data
that are needed.
"""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from msgspec.inspect import StructType, type_info
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from ops.commands.data import migrate
from ops.watchdog import sources
from services.contracts.errors import Unavailable
from services.contracts.families import FAMILIES
from services.contracts.retention_classes import FOLLOWING, OF_IDENTITIES, TENANT_CLASSES, RetentionDays
from services.platform.config import Config
from services.platform.database import Database
from services.retention.keeper import RemovalStep, RetentionKeeper
from tests.support.commands import run_vigil
from tests.support.tenant_rows import fill

OURS, THEIRS = 11, 22
FIELD = ("mqtt_device_telemetry", "mqtt_guard_location", "mqtt_sensor_reading", "mqtt_system_health")


@pytest.fixture
def keeper(config: Config) -> Iterator[RetentionKeeper]:
    """Yield a keeper with the rights of the telemetry service."""
    made = Database(config, name="retention", pool_size=2)
    yield RetentionKeeper(made, config)
    made.close()


@pytest.fixture
def tenants(engine: Engine) -> None:
    with engine.begin() as connection:
        for tenant in (OURS, THEIRS):
            fill(connection, tenant)
        connection.execute(text("DELETE FROM retention_policy"))


def one(engine: Engine, query: str, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query), values).scalar_one()


def test_the_classes_of_the_function_are_those_that_the_code_declares(engine: Engine) -> None:
    # Given the rows of the function in the newest schema
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM vigil_retention_classes()")).mappings().all()

    # Then each class has its policy, its floor and, for a family, its table
    own = {name: name for name in TENANT_CLASSES} | dict.fromkeys(OF_IDENTITIES, "seen")
    assert {row["class"]: row["policy"] for row in rows} == own | dict(FOLLOWING)
    shape = type_info(RetentionDays)
    assert isinstance(shape, StructType)
    floors = {field.name.removesuffix("_days"): getattr(field.type, "ge", None) for field in shape.fields}
    assert floors == {row["class"]: row["floor_days"] for row in rows if row["class"] in TENANT_CLASSES}
    tables = {row["class"]: row["table_name"] for row in rows}
    stored = [family for family in FAMILIES if family.table]
    assert {family.name: tables[family.retention] for family in stored} == {
        family.name: family.table for family in stored
    }


def fix(connection: Connection, tenant: int, *, days_ago: float, guard: str = "g") -> None:
    connection.execute(
        text(
            "INSERT INTO mqtt_guard_location (tenant_id, guard_id, message_key, recorded_at, received_at,"
            " clock_suspect, quality, raw_data, lat, lon, mock, in_geofence, geofence_violation)"
            " VALUES (:tenant, :guard, CAST(:key AS uuid), :at, :at, false, '{}', '{}', 12, 77, false,"
            " true, false)"
        ),
        {
            "tenant": tenant,
            "guard": guard,
            "key": str(uuid4()),
            "at": datetime.now(UTC) - timedelta(days=days_ago),
        },
    )


def policy(engine: Engine, tenant: int, of_class: str, days: int) -> None:
    with engine.begin() as connection:
        values = {"t": tenant, "c": of_class, "d": days}
        connection.execute(
            text("INSERT INTO retention_policy (tenant_id, class, days) VALUES (:t, :c, :d)"), values
        )


def fixes(engine: Engine, tenant: int) -> int:
    return int(one(engine, "SELECT count(*) FROM mqtt_guard_location WHERE tenant_id = :t", t=tenant))


def weeks(engine: Engine, table: str = "mqtt_guard_location") -> int:
    return int(one(engine, "SELECT partitions FROM vigil_partition_report() WHERE table_name = :t", t=table))


def run(keeper: RetentionKeeper, *, dry_run: bool = False) -> list[RemovalStep]:
    return [step for step in keeper.steps(dry_run=dry_run) if step.rows or step.partitions]


def test_partitions_are_made_ahead_and_the_report_says_until_when(
    engine: Engine, keeper: RetentionKeeper
) -> None:
    with engine.begin() as connection:
        names = connection.execute(
            text("SELECT relation FROM vigil_partitions() WHERE lower_at > now() AND table_name = ANY(:t)"),
            {"t": list(FIELD)},
        ).scalars()
        for name in list(names):
            connection.execute(text(f"DROP TABLE {name}"))
    assert one(engine, "SELECT max(horizon) < now() + interval '7 days' FROM vigil_partition_report()")
    assert {made.table for made in keeper.make_partitions()} == set(FIELD)
    assert one(engine, "SELECT min(horizon) > now() + interval '27 days' FROM vigil_partition_report()")
    assert keeper.make_partitions() == []


def test_two_that_make_partitions_at_once_make_each_once(engine: Engine, config: Config) -> None:
    with engine.begin() as connection:
        for name in connection.execute(
            text("SELECT relation FROM vigil_partitions() WHERE lower_at > now()")
        ).scalars():
            connection.execute(text(f"DROP TABLE {name}"))
    made: list[int] = []

    def work() -> None:
        database = Database(config, name="retention", pool_size=2)
        made.append(len(RetentionKeeper(database, config).make_partitions()))
        database.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sum(made) == 16
    assert len(made) == 2


def test_rows_of_the_default_partition_move_into_their_week_and_what_makes_no_sense_stays(
    engine: Engine, keeper: RetentionKeeper, database: Database
) -> None:
    with database.across() as connection:
        for days_ago in (40, 40, 100, 5_000, -400):
            fix(connection, 1, days_ago=days_ago)
    report = "SELECT default_rows FROM vigil_partition_report() WHERE table_name = 'mqtt_guard_location'"
    assert one(engine, report) == 5
    assert sorted(made.moved for made in keeper.make_partitions()) == [1, 2]
    assert one(engine, report) == 2
    assert fixes(engine, 1) == 5
    with database.across() as connection:
        fix(connection, 1, days_ago=40)
    assert one(engine, report) == 2


@pytest.mark.usefixtures("tenants")
def test_a_new_partition_is_seen_through_its_parent_only_and_each_tenant_sees_its_own(
    engine: Engine, keeper: RetentionKeeper, database: Database
) -> None:
    with database.across() as connection:
        for tenant in (OURS, THEIRS):
            fix(connection, tenant, days_ago=40)
    [made] = keeper.make_partitions()
    child = one(
        engine,
        "SELECT relation FROM vigil_partitions() WHERE lower_at = CAST(:m AS timestamptz)",
        m=made.monday,
    )
    for opened in (database.of(OURS), database.across(), database.people()):
        with pytest.raises(ProgrammingError, match="permission denied"), opened as connection:
            connection.execute(text(f"SELECT * FROM {child}"))
    with database.of(OURS) as connection:
        found = connection.execute(
            text(
                "SELECT DISTINCT tenant_id FROM mqtt_guard_location WHERE recorded_at < now() - interval '30 days'"
            )
        ).scalars()
        assert list(found) == [OURS]
    assert one(
        engine,
        "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relname LIKE 'mqtt%' AND relispartition"
        " AND relkind = 'r'",
    )
    assert one(engine, "SELECT count(*) FROM pg_indexes WHERE tablename = :t", t=child) == 2


def test_a_partition_waits_for_nobody_long(engine: Engine, keeper: RetentionKeeper) -> None:
    with engine.begin() as connection:
        fix(connection, 1, days_ago=40)
    with engine.begin() as blocker:
        blocker.execute(text("LOCK TABLE mqtt_guard_location_default IN SHARE MODE"))
        started = datetime.now(UTC)
        with pytest.raises(Unavailable, match="lock timeout"):
            keeper.make_partitions()
        assert datetime.now(UTC) - started < timedelta(seconds=8)
    assert [made.moved for made in keeper.make_partitions()] == [1]


@pytest.mark.usefixtures("tenants")
def test_whole_weeks_go_when_no_tenant_needs_them_and_rows_of_shorter_tenants_go_before(
    engine: Engine, keeper: RetentionKeeper
) -> None:
    policy(engine, OURS, "positions", 20)
    policy(engine, THEIRS, "positions", 200)
    with engine.begin() as connection:
        for tenant in (OURS, THEIRS, 1):
            for days_ago in (30, 120, 300):
                fix(connection, tenant, days_ago=days_ago)
    keeper.make_partitions()
    before = weeks(engine)
    dry = run(keeper, dry_run=True)
    assert (fixes(engine, OURS), fixes(engine, THEIRS), weeks(engine)) == (4, 4, before)
    steps = run(keeper)
    assert steps == dry
    # Besides these, each tenant has today's row, which `fill` wrote.
    assert (fixes(engine, OURS), fixes(engine, THEIRS), fixes(engine, 1)) == (1, 3, 1)
    assert weeks(engine) == before - 1
    assert [step.partitions for step in steps if step.partitions] == [1]
    assert run(keeper) == []
    removed = one(engine, "SELECT removed FROM retention_run ORDER BY started_at LIMIT 1")
    assert removed["positions"]["rows"] == 3
    assert removed["positions"]["partitions"] == 1


@pytest.mark.usefixtures("tenants")
def test_closed_alerts_go_whole_and_leave_their_digests_and_open_ones_never_go(
    engine: Engine, keeper: RetentionKeeper, environment: dict[str, str]
) -> None:
    old = datetime.now(UTC) - timedelta(days=1200)
    with engine.begin() as connection:
        connection.execute(text("UPDATE mqtt_device_alert SET received_at = :old"), {"old": old})
        for tenant, closed in ((OURS, old), (OURS, old + timedelta(days=200)), (THEIRS, old)):
            connection.execute(
                text(
                    "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id,"
                    " dedup_key, message, recorded_at, received_at, last_seen_at, closed_at) VALUES (CAST(:id AS uuid),"
                    " :t, 'PANIC', 'CRITICAL', 'RESOLVED', 'g', :id, 'm', :at, :at, :at, :at)"
                ),
                {"id": (alert := str(uuid4())), "t": tenant, "at": closed},
            )
            connection.execute(
                text(
                    "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by)"
                    " VALUES (CAST(:id AS uuid), :t, :at, 'raised', 'NEW', 'g')"
                ),
                {"id": alert, "t": tenant, "at": closed},
            )
    policy(engine, THEIRS, "alerts", 3_000)
    run(keeper)
    kept = "SELECT count(*) FROM mqtt_device_alert WHERE tenant_id = :t"
    assert one(engine, kept, t=OURS) == 2
    assert one(engine, kept, t=THEIRS) == 2
    assert one(engine, "SELECT count(*) FROM timeline_erased WHERE tenant_id = :t AND seq > 0", t=OURS) == 1
    assert one(engine, "SELECT count(*) FROM mqtt_device_alert WHERE status = 'NEW'") == 2
    with engine.begin() as connection:  # rows that `fill` writes so that each table has one
        connection.execute(text("DELETE FROM timeline_erased WHERE seq = 0"))
    for tenant in (OURS, THEIRS):
        run_vigil(environment, "alert", "verify", "--tenant", str(tenant))


@pytest.mark.usefixtures("tenants")
def test_each_class_goes_by_its_own_time(engine: Engine, keeper: RetentionKeeper) -> None:
    with engine.begin() as connection:
        for statement in (
            "UPDATE rejected_message SET received_at = now() - interval '31 days' WHERE tenant_id = 11",
            "UPDATE user_session SET expires_at = now() - interval '31 days' WHERE tenant_id = 11",
            "UPDATE operator_presence SET minute = now() - interval '400 days' WHERE tenant_id = 11",
            "UPDATE guard_shift SET starts_at = now() - interval '92 days', ends_at = now() - interval '91 days'"
            " WHERE tenant_id = 11",
            "UPDATE profile_change SET at = now() - interval '1100 days' WHERE tenant_id = 11",
            "UPDATE alert_group SET last_at = now() - interval '1100 days' WHERE tenant_id = 11",
            "INSERT INTO message_seen SELECT gen_random_uuid(), now() - n * interval '1 day'"
            " FROM generate_series(0, 49) n",
        ):
            connection.execute(text(statement))
    totals = {step.kind: step.rows for step in run(keeper)}
    assert totals == {
        "rejected": 1,
        "sessions": 1,
        "presence": 1,
        "profile_changes": 1,
        "shifts": 1,
        "storms": 1,
        "seen": 20,
    }
    assert one(engine, "SELECT count(*) FROM refresh_token") == 1


def test_a_run_that_is_stopped_in_the_middle_is_gone_on_with(engine: Engine, keeper: RetentionKeeper) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO rejected_message (message_key, topic, payload, reason, received_at)"
                " SELECT gen_random_uuid(), 't', convert_to(repeat('x', 1500), 'UTF8'), 'r', now() - interval '60 days'"
                " FROM generate_series(1, 6000)"
            )
        )
    count = "SELECT count(*) FROM rejected_message"
    steps = keeper.steps()
    for step in steps:
        if step.kind == "rejected" and step.left:
            break
    steps.close()  # type: ignore[attr-defined]
    assert 0 < one(engine, count) < 6000
    assert one(engine, "SELECT count(*) FROM retention_run") == 0
    # The service works in portions too: a time of zero is still one step.
    keeper.work(now=datetime.now(UTC).replace(hour=2), budget_s=0)
    assert one(engine, "SELECT count(*) FROM retention_run") == 0
    keeper.work(now=datetime.now(UTC), budget_s=60)
    assert one(engine, count) == 0
    assert one(engine, "SELECT count(*) FROM retention_run") == 1
    keeper.work(now=datetime.now(UTC).replace(hour=2), budget_s=60)
    assert one(engine, "SELECT count(*) FROM retention_run") == 1


def test_of_two_runs_at_once_one_works(engine: Engine, keeper: RetentionKeeper, config: Config) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO message_seen SELECT gen_random_uuid(), now() - interval '60 days'")
        )
    first = keeper.steps()
    begun = next(first).rows
    other = Database(config, name="retention", pool_size=2)
    assert list(RetentionKeeper(other, config).steps()) == []
    assert begun + sum(step.rows for step in first) == 1
    assert len(list(RetentionKeeper(other, config).steps())) > 0
    other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT vigil_drop_partition('positions', relation, 1) FROM vigil_partitions() WHERE lower_at <= now()"
        " AND upper_at > now() AND table_name = 'mqtt_guard_location'",
        "SELECT vigil_drop_partition('positions', 'mqtt_guard_location_default', 1)",
        "SELECT vigil_retire_rows('positions', 'mqtt_device_alert', 1, 0, 100, false)",
        "SELECT vigil_retire_rows('tenants', 'tenant', 1, 0, 100, false)",
        "SELECT vigil_make_partition('tenant', '2026-03-02')",
        "SELECT vigil_make_partition('mqtt_guard_location', '2026-03-03')",
        "DELETE FROM mqtt_guard_location",
        "DELETE FROM retention_policy",
        "INSERT INTO retention_policy (tenant_id, class, days) VALUES (1, 'alerts', 1)",
    ],
)
def test_a_service_cannot_have_removed_what_is_needed(database: Database, statement: str) -> None:
    refused = "still needed|holds nothing|no class|no partitioned|no Monday|denied"
    with pytest.raises(DBAPIError, match=refused), database.across() as connection:
        connection.execute(text(statement))


@pytest.mark.usefixtures("tenants")
def test_a_service_that_was_taken_over_removes_no_alert_younger_than_the_floor(
    engine: Engine, database: Database
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE mqtt_device_alert SET status = 'RESOLVED', closed_at = now() - interval '20 days'")
        )
    with database.across() as connection:
        query = text("SELECT vigil_retire_rows('alerts', 'mqtt_device_alert', 0, 0, 100, false)")
        assert connection.execute(query).scalar_one() == 0


def test_tenants_have_policies_of_their_own_by_command(environment: dict[str, str], engine: Engine) -> None:
    run_vigil(environment, "retention", "set", "positions", "7", "--tenant", "1")
    shown = json.loads(run_vigil(environment, "retention", "show", "--json"))
    assert {"class": "positions", "tenant_id": 1, "days": 7} in shown
    assert {"class": "positions", "tenant_id": None, "days": 90} in shown
    assert "no tenant 9" in run_vigil(
        environment, "retention", "set", "positions", "7", "--tenant", "9", check=False
    )
    with engine.begin() as connection:
        for days_ago in (10, 1, 40):
            fix(connection, 1, days_ago=days_ago)
    assert '"rows":2' in run_vigil(environment, "retention", "run", "--dry-run", "--json")
    assert fixes(engine, 1) == 3
    said = run_vigil(environment, "retention", "run")
    assert "1 partitions made, 1 rows moved" in said
    assert fixes(engine, 1) == 1
    run_vigil(environment, "retention", "remove", "positions", "--tenant", "1")
    assert "no policy" in run_vigil(
        environment, "retention", "remove", "positions", "--tenant", "1", check=False
    )


def test_test_messages_live_for_two_days(engine: Engine, config: Config) -> None:
    sources.prepare(config)
    sources.prepare(config)
    query = "SELECT count(*) FROM retention_policy WHERE tenant_id = :t AND days = 2"
    assert one(engine, query, t=config.watchdog.tenant_id) == 9


@pytest.mark.usefixtures("tenants")
def test_the_schema_goes_down_and_up_again_with_rows_in_every_table(
    environment: dict[str, str],
    engine: Engine,
    keeper: RetentionKeeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with engine.begin() as connection:
        fix(connection, OURS, days_ago=40)
    keeper.make_partitions()
    counted = "SELECT count(*) FROM mqtt_guard_location"
    before = one(engine, counted)
    command.downgrade(migrate.alembic(), "0006")
    assert one(engine, counted) == before
    assert one(engine, "SELECT to_regclass('guard_shift') IS NULL")
    assert one(engine, "SELECT vigil_make_partitions(5)") == 4
    command.upgrade(migrate.alembic(), "head")
    assert one(engine, counted) == before
    assert one(engine, "SELECT count(*) FROM mqtt_device_alert") == 2
