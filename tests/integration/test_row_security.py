"""Tests that the database refuses to mix tenants, whatever the services request."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from services.platform.config import Config
from services.platform.database import DATABASE_ROLES, Database, make_engine
from tests.support.tenant_rows import fill, fingerprint, tenant_tables, word_of

OURS, THEIRS = 11, 22


@pytest.fixture
def ids(engine: Engine) -> dict[int, dict[str, str]]:
    """Write two tenants with a row in every table, and return their ids."""
    with engine.begin() as connection:
        return {tenant: fill(connection, tenant) for tenant in (OURS, THEIRS)}


@pytest.fixture
def ours(config: Config, ids: dict[int, dict[str, str]]) -> Iterator[Connection]:  # noqa: ARG001
    """Yield a connection as a service has it for our tenant. Its changes are rolled back."""
    made = make_engine(config, name="test", pool_size=1, role="vigil_tenant")
    with made.connect() as connection:
        connection.execute(text("SELECT set_config('vigil.tenant_id', :t, false)"), {"t": str(OURS)})
        connection.commit()
        yield connection
        connection.rollback()
    made.dispose()


def readable(connection: Connection, table: str) -> bool:
    query = text("SELECT has_any_column_privilege(current_user, :table, 'SELECT')")
    return bool(connection.execute(query, {"table": table}).scalar_one())


def columns(connection: Connection, table: str) -> str:
    query = text(
        "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns WHERE table_name = :table"
        " AND has_column_privilege(current_user, :table, column_name, 'SELECT')"
    )
    return str(connection.execute(query, {"table": table}).scalar_one())


def test_every_table_with_a_tenant_has_row_security_and_every_row_says_whose_it_is(
    engine: Engine, ids: dict[int, dict[str, str]]
) -> None:
    assert ids
    with engine.connect() as connection:
        tables = tenant_tables(connection)
        unprotected = connection.execute(
            text("SELECT relname FROM pg_class WHERE relname = ANY(:tables) AND NOT relrowsecurity"),
            {"tables": tables},
        ).scalars()
        assert list(unprotected) == []
        for table in tables:
            shown = str(
                connection.execute(text(f"SELECT r::text FROM {table} r WHERE tenant_id = {OURS}")).all()
            )
            encoded = word_of(OURS).encode().hex()
            mine = ids[OURS]
            words = (word_of(OURS), encoded, mine["guard_id"], mine["alert_id"], mine["line_hash"])
            assert any(word in shown for word in words), table
    assert len(tables) >= 27


def test_one_tenant_sees_its_own_rows_and_none_of_another(ours: Connection, engine: Engine) -> None:
    with engine.connect() as owner:
        tables = tenant_tables(owner)
    seen = 0
    for table in tables:
        if not readable(ours, table):
            continue
        found = ours.execute(text(f"SELECT {columns(ours, table)} FROM {table}")).mappings().all()
        assert {row["tenant_id"] for row in found} == {OURS}, table
        seen += len(found)
    assert seen >= 18


def test_without_a_tenant_nothing_is_seen_at_all(config: Config, ids: dict[int, dict[str, str]]) -> None:
    assert ids
    made = make_engine(config, name="test", pool_size=1, role="vigil_tenant")
    with made.connect() as connection:
        for table in ("guard", "mqtt_device_alert", "mqtt_guard_location", "tenant", "contact"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
    made.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE guard SET tenant_id = 22",
        "UPDATE mqtt_device_alert SET tenant_id = 22",
        "INSERT INTO guard (guard_id, tenant_id, name) VALUES ('x', 22, 'x')",
        "INSERT INTO zone (tenant_id, name, area, radius_m) VALUES (22, 'x', 'POINT(1 1)', 5)",
        "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by)"
        " SELECT alert_id, 22, now(), 'x', 'NEW', 'x' FROM mqtt_device_alert",
        "DELETE FROM mqtt_device_alert",
        "DELETE FROM alert_timeline",
        "UPDATE alert_timeline SET note = 'another'",
        "UPDATE alert_timeline SET seq = 7",
        "UPDATE timeline_head SET seq = 7",
        "INSERT INTO timeline_erased (tenant_id, seq, prev_hash, hash, digest) VALUES (11, 1, '', '', '')",
        "DELETE FROM timeline_erased",
        "TRUNCATE alert_timeline",
        "TRUNCATE guard",
        "DROP TABLE guard",
        "ALTER TABLE guard DISABLE ROW LEVEL SECURITY",
        "SELECT password_hash FROM app_user",
        "SELECT * FROM user_session",
        "SELECT * FROM refresh_token",
        "SELECT * FROM message_seen",
        "SELECT * FROM owed_event",
        "SELECT * FROM mqtt_guard_location_default",
        "SELECT vigil_make_partitions(1)",
        "SELECT * FROM vigil_partition_report()",
        "SELECT vigil_retire_rows('alerts', 'mqtt_device_alert', 1, 0, 100, false)",
        "SELECT vigil_drop_partition('positions', 'mqtt_guard_location_default', 1)",
        "DELETE FROM retention_policy",
        "DELETE FROM erasure",
        "INSERT INTO zone_version SELECT (jsonb_populate_record(v, '{\"version\": 9}')).* FROM zone_version v",
        "UPDATE zone_version SET in_force_to = now()",
        "DELETE FROM zone_version",
        "INSERT INTO guard_profile (tenant_id, guard_id, changed_by) SELECT 22, guard_id, 'x' FROM guard",
        "DELETE FROM guard_profile",
        "UPDATE profile_change SET by = 'x'",
        "DELETE FROM profile_change",
        "INSERT INTO alert_people (alert_id, tenant_id, taken_at, content)"
        " SELECT alert_id, 11, now(), '{}' FROM mqtt_device_alert",
        "UPDATE alert_people SET content = '{}'",
        "DELETE FROM alert_people",
        "DELETE FROM zone",
        "UPDATE zone SET tenant_id = 22",
        "UPDATE zone_transition SET superseded_at = now()",
        "DELETE FROM implausible_fix",
        "SELECT * FROM track_checkpoint",
        "SELECT * FROM condition_clear",
        "INSERT INTO source_id (source_key, tenant_id, guard_id) SELECT 'x', 11, guard_id FROM guard",
        "UPDATE source_id SET source_key = 'x'",
        "DELETE FROM source_id",
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " SELECT 22, guard_id, now() + interval '1 day', now() + interval '25 hours' FROM guard",
        "CREATE TABLE mine (a int)",
    ],
)
def test_what_a_tenant_may_not_do_is_refused_by_the_database(ours: Connection, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied|row-level security|must be owner"):
        ours.execute(text(statement))


def test_what_names_another_tenant_s_rows_changes_nothing(
    ours: Connection, engine: Engine, ids: dict[int, dict[str, str]]
) -> None:
    with engine.connect() as owner:
        before = fingerprint(owner, THEIRS)
    theirs = ids[THEIRS]
    for statement in (
        "UPDATE guard SET enabled = false WHERE guard_id = :guard_id",
        "UPDATE device SET enabled = false WHERE device_id = :device_id OR true",
        "UPDATE mqtt_device_alert SET status = 'RESOLVED' WHERE alert_id = CAST(:alert_id AS uuid)",
        "DELETE FROM contact WHERE contact_id = CAST(:contact_id AS int)",
        "DELETE FROM guard_group WHERE group_id = CAST(:group_id AS int)",
    ):
        ours.execute(text(statement), theirs)
    ours.commit()
    with engine.connect() as owner:
        assert fingerprint(owner, THEIRS) == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO guard (guard_id, tenant_id, site_id, name) VALUES ('x', 11, CAST(:site_id AS int), 'x')",
        "UPDATE mqtt_device_alert SET site_id = CAST(:site_id AS int)",
        "INSERT INTO guard_group_member (tenant_id, group_id, guard_id)"
        " SELECT 11, group_id, :guard_id FROM guard_group",
        "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by)"
        " VALUES (CAST(:alert_id AS uuid), 11, now(), 'x', 'NEW', 'x')",
        "INSERT INTO device_carrier (tenant_id, device_id, guard_id, since) VALUES (11, :device_id, :guard_id, now())",
        "UPDATE zone SET site_id = CAST(:site_id AS int)",
        "UPDATE zone SET group_id = CAST(:group_id AS int)",
        "UPDATE zone SET guard_id = :guard_id",
        "INSERT INTO guard_profile (tenant_id, guard_id, changed_by) VALUES (11, :guard_id, 'x')",
        "INSERT INTO site_profile (tenant_id, site_id, changed_by) VALUES (11, CAST(:site_id AS int), 'x')",
        "UPDATE device_profile SET device_id = :device_id",
    ],
)
def test_a_row_cannot_refer_to_another_tenant_s(
    ours: Connection, ids: dict[int, dict[str, str]], statement: str
) -> None:
    with pytest.raises(IntegrityError, match="foreign key"):
        ours.execute(text(statement), ids[THEIRS])


def test_the_services_own_nothing_and_their_roles_are_no_more_than_they_need(
    config: Config, engine: Engine, database: Database
) -> None:
    with engine.connect() as connection:
        owners = set(
            connection.execute(
                text(
                    "SELECT tableowner FROM pg_tables WHERE schemaname = current_schema() AND tablename <> :t"
                ),
                {"t": "spatial_ref_sys"},
            ).scalars()
        )
        weak = connection.execute(
            text(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY(:r) AND (rolsuper OR rolbypassrls OR rolcreaterole)"
            ),
            {"r": [*DATABASE_ROLES, "vigil_service"]},
        ).all()
    assert owners == {"vigil"}
    assert weak == []
    service = make_engine(config, name="test", pool_size=1)
    with service.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one() == "vigil_service"
        assert connection.execute(text("SELECT count(*) FROM guard")).scalar_one() == 0
    service.dispose()
    with database.people() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("SELECT * FROM guard"))
    with database.across() as connection:
        refused: list[Any] = []
        for statement in (
            "SELECT password_hash FROM app_user",
            "DELETE FROM rejected_message",
            "UPDATE guard SET name = ''",
        ):
            try:
                with connection.begin_nested():
                    connection.execute(text(statement))
            except ProgrammingError as error:
                refused.append(error)
        assert len(refused) == 3


def test_the_tenant_ends_with_the_transaction(database: Database, ids: dict[int, dict[str, str]]) -> None:
    for tenant in (OURS, THEIRS):
        with database.of(tenant) as connection:
            assert (
                connection.execute(text("SELECT guard_id FROM guard")).scalar_one() == ids[tenant]["guard_id"]
            )
