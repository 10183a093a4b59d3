"""Tests of the schema's migrations, up and down.

They never delete evidence without being asked to.
"""

import subprocess
import sys

import pytest
from sqlalchemy import Engine, text

from ops.checks import health
from ops.environment import PROJECT
from services.contracts.errors import SchemaBehind, VigilError
from services.platform.database import Database
from services.platform.schema import catalog
from services.platform.schema.expected import FILE, as_file
from tests.support.commands import run_vigil


def test_status_and_history_tell_where_the_schema_is(environment: dict[str, str]) -> None:
    assert "database 0018, newest 0018" in run_vigil(environment, "migrate", "status")
    assert "0001" in run_vigil(environment, "migrate", "history")
    assert "0003" in run_vigil(environment, "migrate", "history")


def test_going_down_to_nothing_refuses_while_rows_are_there_and_says_to_back_up(
    environment: dict[str, str], engine: Engine
) -> None:
    said = run_vigil(environment, "migrate", "down", "--to", "base", check=False)
    assert "tenant" in said
    assert "Back them up first" in said
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tenant")).scalar_one() == 1
    engine.dispose()
    run_vigil(environment, "migrate", "down", "--to", "base", "--destroy-data")
    assert "database base" in run_vigil(environment, "migrate", "status", check=False)
    run_vigil(environment, "migrate", "up")
    assert "database 0018" in run_vigil(environment, "migrate", "status")


def test_an_empty_schema_goes_down_without_asking(environment: dict[str, str]) -> None:
    assert "0001" in run_vigil(environment, "migrate", "down", "--to", "0001")
    assert "base" in run_vigil(environment, "migrate", "down")
    run_vigil(environment, "migrate", "up")


def test_the_registry_is_kept_by_commands(environment: dict[str, str]) -> None:
    run_vigil(environment, "tenant", "add", "7", "Seven Seas")
    run_vigil(environment, "guard", "add", "guard-9", "--tenant", "7", "--no-credential")
    run_vigil(environment, "zone", "add", "dock", "--circle", "12.9", "77.5", "100", "--tenant", "7")
    run_vigil(environment, "guard", "disable", "guard-9", "--tenant", "7")
    assert '"enabled":false' in run_vigil(environment, "guard", "list", "--tenant", "7", "--json")
    assert "no guard" in run_vigil(environment, "guard", "disable", "guard-9", "--tenant", "8", check=False)
    assert "radius_m" in run_vigil(
        environment, "zone", "add", "bad", "--circle", "12.9", "77.5", "0", "--tenant", "7", check=False
    )


def test_a_new_database_is_what_the_code_needs_to_the_last_column(
    environment: dict[str, str], engine: Engine
) -> None:
    with engine.connect() as connection:
        found = catalog.read(connection)
    assert as_file(found) == FILE.read_text(), (
        "`vigil migrate describe >services/platform/schema/expected.json`"
    )
    assert "is what this version needs" in run_vigil(environment, "migrate", "check")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("DROP TABLE road_heard", "table road_heard is missing"),
        (
            "ALTER TABLE source_state DROP COLUMN silent_since",
            "table source_state: column silent_since is missing",
        ),
        (
            "ALTER TABLE guard_state ALTER COLUMN jumps TYPE text",
            "column jumps is `text, not null, default`, not `real",
        ),
        ("ALTER TABLE guard_state ALTER COLUMN jumps DROP DEFAULT", "column jumps is `real, not null`"),
        ("DROP INDEX guard_shift_now", "index guard_shift_now is missing"),
        (
            "ALTER TABLE zone DROP CONSTRAINT zone_of_tenant CASCADE",
            "table zone: constraint zone_of_tenant is missing",
        ),
        ("DROP POLICY vigil_ingest ON road_heard", "table road_heard: policy vigil_ingest is missing"),
        (
            "ALTER TABLE contact DISABLE ROW LEVEL SECURITY",
            "table contact is `table`, not `table, row security`",
        ),
        ("DROP TRIGGER zone_kept ON zone", "table zone: trigger zone_kept is missing"),
        ("DROP FUNCTION vigil_partition_report()", "function vigil_partition_report() is missing"),
        ("REVOKE INSERT ON road_heard FROM vigil_location_ingest", "GRANT INSERT ON TABLE road_heard"),
    ],
)
def test_what_a_database_lacks_is_named_by_health_though_its_revision_is_the_newest(
    damage: str, sentence: str, environment: dict[str, str], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert health.migrations().startswith("at ")
    with engine.begin() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(VigilError) as failed:
        health.migrations()
    assert sentence in str(failed.value)
    assert "vigil migrate up" in str(failed.value)


def test_the_way_up_warns_of_what_it_cannot_mend_and_lets_the_services_start(
    environment: dict[str, str], engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX guard_shift_now")
        connection.exec_driver_sql("REVOKE INSERT ON road_heard FROM vigil_location_ingest")
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "migrate", "up"],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "index guard_shift_now is missing" in done.stderr
    assert "road_heard" not in done.stderr, "the right is back"


def test_a_revision_that_nobody_knows_is_refused_in_one_sentence(
    environment: dict[str, str], engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    said = run_vigil(environment, "migrate", "up", check=False)
    assert "the database is at revision 9999, which this version does not have" in said
    assert "Traceback" not in said


def test_what_a_statement_names_and_the_schema_lacks_is_no_fault_of_the_message(database: Database) -> None:
    for statement in ("SELECT nothing FROM guard", "SELECT 1 FROM nowhere", "SELECT vigil_nothing()"):
        with pytest.raises(SchemaBehind, match="vigil migrate up"), database.across() as connection:
            connection.execute(text(statement))
