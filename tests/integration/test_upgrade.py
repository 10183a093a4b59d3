"""Tests of `vigil upgrade`.

It reports its steps without any change, tries them for real, and does them.
"""

import json
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from ops.data.schema import revisions
from ops.local.stack import Stack
from tests.integration.test_backup import databases_of
from tests.support.commands import run_vigil
from tests.support.table_rows import fill, rows_of


def schema_and_rows(environment: dict[str, str], engine: Engine) -> tuple[str, dict[str, list[str]]]:
    url = make_url(environment["VIGIL_OWNER_DATABASE_URL"])
    program = next(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    command = [
        program,
        "--schema-only",
        "-h",
        url.host,
        "-p",
        str(url.port),
        "-U",
        "vigil",
        "-d",
        url.database,
    ]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, env={"PGPASSWORD": str(url.password)}
    )
    with engine.connect() as connection:
        # pg_dump puts a random word against injection into each output.
        said = [
            line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
        ]
        return "\n".join(said), rows_of(connection)


@pytest.fixture
def older(environment: dict[str, str], engine: Engine, servers: Stack) -> dict[str, str]:
    """Return an installation at an older revision, with rows, and with those that a rollback kept."""
    home = servers.home / f"upgrade-{environment['VIGIL_REDIS_PREFIX']}"
    with engine.begin() as connection:
        fill(connection)
    revisions.down(revisions.engine(environment["VIGIL_OWNER_DATABASE_URL"]), "0005")
    return {**environment, "VIGIL_HOME": str(home)}


@pytest.mark.parametrize("options", [(), ("--with-data",)])
def test_a_dry_run_says_everything_and_touches_nothing(
    older: dict[str, str], engine: Engine, servers: Stack, options: tuple[str, ...]
) -> None:
    before = schema_and_rows(older, engine)
    databases_before = databases_of(servers)
    plan = json.loads(run_vigil(older, "upgrade", "--dry-run", "--json", *options))
    assert (plan["current"], plan["newest"]) == ("0005", revisions.newest())
    [step, *_] = plan["steps"]
    assert step["revision"] == "0006"
    assert "owe the alerts service" in step["description"]
    assert any("CREATE TABLE owed_event" in statement for statement in step["sql"])
    assert step["locks"]["tenant"] == "ShareRowExclusiveLock", "a foreign key to tenant holds its writers"
    assert step["seconds"] > 0
    assert "2 rows: table owed_event" in plan["kept"]
    assert plan["tried_with_data"] is bool(options)
    assert "no verified backup" in plan["backup"]
    assert schema_and_rows(older, engine) == before
    assert databases_of(servers) == databases_before


def test_an_upgrade_wants_a_fresh_verified_backup_and_the_way_back_keeps_the_data(
    older: dict[str, str], engine: Engine
) -> None:
    refused = run_vigil(older, "upgrade", check=False)
    assert "no verified backup" in refused
    assert "run `vigil backup` first" in refused
    run_vigil(older, "backup")
    said = run_vigil(older, "upgrade")
    assert "put back 2 rows: owed_event" in said
    assert f"schema is at {revisions.newest()}" in said
    with engine.connect() as connection:
        upgraded = rows_of(connection)
        assert revisions.revision_of(connection) == revisions.newest()
    assert len(upgraded["owed_event"]) == 2
    said = run_vigil(older, "upgrade", "--rollback", "--to", "0005")
    assert "kept 2 rows: table owed_event" in said
    run_vigil(older, "upgrade", "--without-backup")
    with engine.connect() as connection:
        assert rows_of(connection) == upgraded


def test_a_queue_that_is_missing_or_other_is_named(older: dict[str, str]) -> None:
    run_vigil(older, "topology")
    before = json.loads(run_vigil(older, "topology", "--check", "--json"))
    assert {queue["state"] for queue in before} == {"there"}
    changed = Path(older["VIGIL_HOME"]) / "config.yaml"
    changed.parent.mkdir(parents=True, exist_ok=True)
    text = (Path(__file__).parents[2] / "config.yaml").read_text()
    changed.write_text(
        text.replace("delivery_limit: 20", "delivery_limit: 21").replace("30, 300]", "30, 301]")
    )
    said = run_vigil({**older, "VIGIL_CONFIG": str(changed)}, "upgrade", "--dry-run")
    assert "queue vigil.delay.301s missing: it will be declared." in said
    assert "differs: its arguments are fixed" in said
    assert "x-delivery-limit" in said
    after = {queue["queue"] for queue in json.loads(run_vigil(older, "topology", "--check", "--json"))}
    assert "vigil.delay.301s" not in after
