"""Tests of a backup, each in databases of its own.

A backup is one snapshot, is whole or does not exist, holds no secret, and can be restored.
"""

import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, make_url, text

from ops.data.backup import checking, postgres, taking
from ops.data.backup.manifest import DUMP, Manifest, is_backup
from ops.data.backup.store import manifest_of
from ops.data.schema import revisions
from ops.environment import PROJECT, read_env
from ops.local.stack import EVIDENCE_KEY, SERVERS, Stack
from ops.servers.privileges import PRIVILEGES
from services.contracts.errors import Misconfigured, Refused
from services.platform import config as configuration
from services.platform.database import DATABASE_ROLES, Database, make_operator_engine
from tests.conftest import admin_cursor, databases
from tests.support.commands import run_vigil
from tests.support.table_rows import fill, rows_of

DEADLINE_S = 30.0


class Installation(NamedTuple):
    """A home and a database of its own, with rows in every table."""

    environment: dict[str, str]
    home: Path
    engine: Engine

    @property
    def url(self) -> str:
        return self.environment["VIGIL_OWNER_DATABASE_URL"]

    def backup(self, *options: str) -> dict[str, Any]:
        return json.loads(run_vigil(self.environment, "backup", "--json", *options))

    def refused(self, *arguments: str, **changes: str) -> str:
        command = [sys.executable, "-m", "ops.cli", *arguments]
        environment = {**self.environment, **changes}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, cwd=PROJECT, timeout=60
        )
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr


@pytest.fixture
def installation(environment: dict[str, str], servers: Stack, tmp_path: Path) -> Installation:
    return make_installation(environment, servers, tmp_path / "home")


@pytest.fixture(scope="module")
def quiet(servers: Stack, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return an installation without writers, for the tests that only look at its backup."""
    name = f"q{secrets.token_hex(6)}"
    with admin_cursor(servers) as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {migrated} OWNER vigil")
    environment = {**servers.operator_environment(), **databases(servers, name), "VIGIL_REDIS_PREFIX": name}
    yield make_installation(environment, servers, tmp_path_factory.mktemp("quiet") / "home")
    with admin_cursor(servers) as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def taken(quiet: Installation) -> dict[str, Any]:
    """Return its backup, verified."""
    return quiet.backup()


def make_installation(environment: dict[str, str], servers: Stack, home: Path) -> Installation:
    home.mkdir()
    for name in ("secrets.env", "feed.keys"):
        shutil.copy(servers.home / name, home / name)
    shutil.copytree(servers.home / "mosquitto", home / "mosquitto")
    own = {**environment, "VIGIL_HOME": str(home), "CHANNELS_ENCRYPTION_KEY_FILE": str(home / "feed.keys")}
    own["VIGIL_CA_DIRECTORY"] = str(home / "mosquitto" / "tls")
    own["VIGIL_EVIDENCE_KEY_FILE"] = str(home / EVIDENCE_KEY)
    own["TWILIO_AUTH_TOKEN"] = f"twilio-{secrets.token_hex(12)}"
    run_vigil(own, "alert", "evidence-key")
    engine = make_operator_engine(own["VIGIL_OWNER_DATABASE_URL"], name="test")
    with engine.begin() as connection:
        fill(connection)
    return Installation(own, home, engine)


@pytest.fixture
def other_database(servers: Stack) -> Iterator[str]:
    """Yield the name of a database that does not exist.

    All databases under this name are dropped afterwards.
    """
    name = f"r{secrets.token_hex(5)}"
    yield name
    with admin_cursor(servers) as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{name}%",))
        for (found,) in cursor.fetchall():
            cursor.execute(f'DROP DATABASE "{found}" WITH (FORCE)')


def engine_of(installation: Installation, name: str) -> Engine:
    url = make_url(installation.url).set(database=name)
    return make_operator_engine(url.render_as_string(hide_password=False), name="test")


def all_rows(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        return rows_of(connection)


def databases_of(servers: Stack) -> set[str]:
    with admin_cursor(servers) as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        return {row[0] for row in cursor.fetchall()}


def test_a_backup_is_verified_and_complete_and_holds_no_secret(
    quiet: Installation, taken: dict[str, Any], servers: Stack
) -> None:
    installation = quiet
    directory, keys = Path(taken["directory"]), Path(taken["keys"])
    assert directory.parent == installation.home / "backups"
    assert keys.parent == installation.home / "backups-keys"
    manifest = checking.check_files(directory)
    assert {file.name for file in manifest.files} >= {
        DUMP,
        "config.yaml",
        "queues.json",
        "broker/dynamic-security.json",
        "broker/acl",
        "broker/tls/ca.pem",
    }
    assert manifest.facts.tables["public.mqtt_device_alert"] == 2
    assert manifest.facts.revision == revisions.newest()
    assert [head.tenant_id for head in manifest.facts.heads] == [1001, 1002]
    last = datetime.fromisoformat((directory.parent / "last-success").read_text().strip())
    assert last == manifest.taken_at.replace(microsecond=0)
    assert datetime.now(UTC) - timedelta(minutes=5) < last <= datetime.now(UTC)
    assert [
        row["verified"] for row in json.loads(run_vigil(installation.environment, "backup", "list", "--json"))
    ] == [True]
    assert not any(name.startswith("vigil_scratch") for name in databases_of(servers))

    names = {path.relative_to(keys).as_posix() for path in keys.rglob("*") if path.is_file()}
    assert names >= {
        "manifest.json",
        "environment.env",
        "home/secrets.env",
        "home/feed.keys",
        "home/evidence-key.pem",
        "broker/tls/ca-key.pem",
        "broker/tls/server-key.pem",
    }
    assert [name.partition("-")[2] for name in names if name.startswith("elsewhere/")] == ["fcm-account.json"]
    for path in keys.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.is_file() else 0o700), path
    held = all_bytes(directory)
    planted = secrets_in(keys) | {installation.environment["TWILIO_AUTH_TOKEN"]}
    rotated = (
        len((installation.home / "feed.keys").read_text().split()) - 1
    )  # the first is also in secrets.env
    of_processes = len(PRIVILEGES) * len(SERVERS)
    assert len(planted) == 14 + of_processes + rotated, (
        "ten of the installation, those of each process, three private keys, one of the environment"
    )
    assert [secret for secret in planted if secret.encode() in held] == []


def all_bytes(directory: Path) -> bytes:
    """Return the bytes of every file of a backup, and the dump as SQL."""
    files = b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())
    program = next(Path("/usr/lib/postgresql").glob("*/bin/pg_restore"))
    sql = subprocess.run(
        [program, "--file=-", directory / DUMP], check=True, capture_output=True, timeout=60
    ).stdout
    assert b"CREATE TABLE public.mqtt_device_alert" in sql
    return files + sql


def secrets_in(keys: Path) -> set[str]:
    """Return the secrets, and the longest line of each private key."""
    values = {line.partition("=")[2] for line in (keys / "home" / "secrets.env").read_text().splitlines()}
    values |= set((keys / "home" / "feed.keys").read_text().split())
    for path in keys.rglob("*.pem"):
        values.add(max(path.read_text().splitlines(), key=len))
    return values


def test_a_restored_database_has_every_row_and_serves_the_services(
    quiet: Installation, taken: dict[str, Any], servers: Stack, other_database: str
) -> None:
    installation, directory = quiet, taken["directory"]
    before = all_rows(installation.engine)
    said = json.loads(
        run_vigil(installation.environment, "restore", directory, "--database", other_database, "--json")
    )
    assert said["rows"] == manifest_rows(manifest_of(Path(directory)))
    restored = engine_of(installation, other_database)
    assert all_rows(restored) == before
    with restored.connect() as connection:
        version = "SELECT version FROM registry_version"
        with installation.engine.connect() as old:
            assert (
                connection.exec_driver_sql(version).scalar_one()
                == old.exec_driver_sql(version).scalar_one() + 1
            )
        owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('alert_timeline', 'tenant')"
        assert connection.exec_driver_sql(owners).all() == [("vigil",)]
    use_as_the_services_do(
        Database(
            configuration.load(environ={**installation.environment, **databases(servers, other_database)}),
            name="test",
        )
    )
    assert "not empty" in installation.refused("restore", directory, "--database", other_database)


def manifest_rows(manifest: Manifest) -> int:
    return sum(manifest.facts.tables.values())


def use_as_the_services_do(database: Database) -> None:
    """Use the database as the services do.

    This covers grants, row-level security, the functions with their owner's rights, and the
    guarded timeline.
    """
    with database.of(1001) as connection:
        assert connection.execute(text("SELECT count(*) FROM site")).scalar_one() == 1
        connection.execute(
            text(
                "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by)"
                " SELECT alert_id, tenant_id, now(), 'noted', 'NEW', 'ann' FROM mqtt_device_alert"
            )
        )
    with database.of(1001) as connection:
        assert connection.execute(text("SELECT max(seq) FROM alert_timeline")).scalar_one() == 2
        connection.execute(text("UPDATE site SET name = 'changed'"))
    with pytest.raises(Exception, match="permission denied"), database.of(1001) as connection:
        connection.execute(text("DELETE FROM mqtt_device_alert"))
    with database.across() as connection:
        assert connection.execute(text("SELECT vigil_make_partitions(4)")).scalar_one() >= 0
        assert connection.execute(text("SELECT count(*) FROM message_seen")).scalar_one() == 2
    with database.people() as connection:
        assert connection.execute(text("SELECT count(*) FROM app_user")).scalar_one() == 2
    database.close()


def test_a_database_that_is_replaced_is_put_aside_and_never_while_it_is_used(
    quiet: Installation, taken: dict[str, Any], servers: Stack, other_database: str
) -> None:
    installation, directory = quiet, taken["directory"]
    with admin_cursor(servers) as cursor:
        cursor.execute(f"CREATE DATABASE {other_database} OWNER vigil")
    run_vigil(installation.environment, "restore", directory, "--database", other_database)
    there = engine_of(installation, other_database)
    with there.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tenant (tenant_id, name) VALUES (77, 'since then')")
        arguments = ("restore", directory, "--database", other_database, "--replace")
        said = installation.refused(*arguments)
        assert "in use by vigil-test (1)" in said
        assert "stop Vigil's services" in said
    [aside] = [
        line.split()[6].rstrip(";")
        for line in run_vigil(installation.environment, *arguments).splitlines()
        if line.startswith("what was there")
    ]
    assert '"tenant_id":77' not in "".join(all_rows(there)["tenant"])
    assert '"tenant_id":77' in "".join(all_rows(engine_of(installation, aside))["tenant"])
    left = {name for name in databases_of(servers) if name.startswith(other_database)}
    assert left == {other_database, aside}


def test_what_is_written_while_a_backup_is_taken_is_in_neither_the_dump_nor_its_counts(
    installation: Installation, tmp_path: Path
) -> None:
    number = iter(range(100, 100_000))

    def busy(_line: str) -> None:
        with installation.engine.begin() as connection:
            values = {"id": next(number)}
            connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (:id, 'n' || :id)"), values)

    url = postgres.owner_url(installation.url)
    with installation.engine.connect() as connection:
        before = connection.execute(text("SELECT count(*) FROM tenant")).scalar_one()
    found, dumped_by = taking._dump(url, tmp_path / DUMP, say=busy)
    assert found.tables["public.tenant"] == before
    assert next(number) > 120
    manifest = Manifest(
        name="x",
        taken_at=datetime.now(UTC),
        vigil_version="0",
        dumped_by=dumped_by,
        facts=found,
        files=[],
        notes=[],
    )
    checking.check_in_scratch(tmp_path, manifest, url, say=lambda _: None)
    wrong = manifest.facts.tables | {"public.tenant": 4}
    lied = Manifest(
        name="x",
        taken_at=manifest.taken_at,
        vigil_version="0",
        dumped_by="",
        files=[],
        notes=[],
        facts=postgres.SnapshotFacts(
            schema="public",
            revision=found.revision,
            postgresql="",
            postgis="",
            tables=wrong,
            heads=found.heads,
        ),
    )
    with pytest.raises(Refused, match=rf"public\.tenant has {before} rows, 4 were backed up"):
        checking.check_in_scratch(tmp_path, lied, url, say=lambda _: None)


def test_a_chain_that_was_tampered_with_is_no_verified_backup(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE alert_timeline DISABLE TRIGGER USER")
        connection.exec_driver_sql("UPDATE alert_timeline SET note = 'never said' WHERE tenant_id = 1001")
        connection.exec_driver_sql("ALTER TABLE alert_timeline ENABLE TRIGGER USER")
    said = installation.refused("backup")
    assert "tenant 1001: seq 1: altered" in said
    backups = installation.home / "backups"
    assert not (backups / "last-success").exists()
    assert len([path for path in backups.iterdir() if is_backup(path.name)]) == 1, "it is kept all the same"


def test_a_backup_of_an_older_schema_is_brought_up_with_what_a_rollback_kept(
    installation: Installation, other_database: str
) -> None:
    before = all_rows(installation.engine)
    run_vigil(installation.environment, "migrate", "down", "--to", "0004")
    taken = installation.backup()
    run_vigil(installation.environment, "restore", taken["directory"], "--database", other_database)
    assert all_rows(engine_of(installation, other_database)) == before


def test_a_damaged_backup_is_named_and_not_restored(
    quiet: Installation, taken: dict[str, Any], other_database: str, tmp_path: Path
) -> None:
    installation, directory = quiet, tmp_path / taken["name"]
    shutil.copytree(taken["directory"], directory)
    data = bytearray((directory / DUMP).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / DUMP).write_bytes(data)
    (directory / "config.yaml").unlink()
    said = installation.refused("backup", "verify", str(directory), "--files-only")
    assert f"{DUMP} is not what was written" in said
    assert "config.yaml is missing" in said
    assert "is damaged" in installation.refused("restore", str(directory), "--database", other_database)


def test_keys_and_the_brokers_definitions_come_back_into_a_new_home(
    quiet: Installation, taken: dict[str, Any], tmp_path: Path, other_database: str
) -> None:
    installation, fresh = quiet, tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "secrets.env").write_text("VIGIL_AMQP_PASSWORD=of-this-machine\nJWT_SECRET=other\n")
    environment = {**installation.environment, "VIGIL_HOME": str(fresh)}
    said = run_vigil(
        environment,
        "restore",
        taken["directory"],
        "--database",
        other_database,
        "--keys",
        taken["keys"],
        "--broker-to",
        str(fresh / "mosquitto"),
    )
    for name in (
        "feed.keys",
        "evidence-key.pem",
        "mosquitto/dynamic-security.json",
        "mosquitto/tls/ca-key.pem",
    ):
        assert (fresh / name).read_bytes() == (installation.home / name).read_bytes(), name
    now, was = read_env(fresh / "secrets.env"), read_env(installation.home / "secrets.env")
    assert now["VIGIL_AMQP_PASSWORD"] == "of-this-machine"
    assert now["JWT_SECRET"] == was["JWT_SECRET"]
    assert "broker is running: restart it" in said
    assert "left where it is" in said


def test_old_backups_and_their_keys_go_and_half_made_ones_are_removed(installation: Installation) -> None:
    backups = installation.home / "backups"
    half = backups / "vigil-20260101T000000Z.partial"
    half.mkdir(parents=True)
    first = installation.backup("--no-verify", "--keep", "1")
    assert not half.exists()
    half.mkdir()
    assert json.loads(run_vigil(installation.environment, "backup", "list", "--json")) != []
    assert "was not finished" in installation.refused("backup", "verify", str(half))
    wait_for(lambda: f"{datetime.now(UTC):vigil-%Y%m%dT%H%M%SZ}" != first["name"])
    second = installation.backup("--no-verify", "--keep", "1")
    assert second["removed"] == [first["name"]]
    assert not Path(first["directory"]).exists()
    assert not Path(first["keys"]).exists()
    assert Path(second["keys"]).exists()


def wait_for(condition: Any) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_backup_that_is_stopped_leaves_nothing_half(
    installation: Installation, number: int, servers: Stack
) -> None:
    databases_before = databases_of(servers)
    command = [sys.executable, "-m", "ops.cli", "backup"]
    with installation.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE zone IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            command,
            env=installation.environment,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with installation.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
            wait_for(lambda: watching.exec_driver_sql(waiting).first())
        process.send_signal(number)
        said = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode == 130, said
    assert "no partial backup is left" in said
    for name in ("backups", "backups-keys"):
        assert [path.name for path in (installation.home / name).iterdir()] == [".lock"]
    assert databases_of(servers) == databases_before


def test_errors_name_the_thing_and_the_remedy(installation: Installation, tmp_path: Path) -> None:
    no_owner = installation.refused("backup", VIGIL_OWNER_DATABASE_URL="")
    assert "VIGIL_OWNER_DATABASE_URL is not set" in no_owner
    not_owner = installation.refused(
        "backup", VIGIL_OWNER_DATABASE_URL=installation.environment["DATABASE_URL"]
    )
    assert "does not own the tables" in not_owner
    (tmp_path / "file").write_text("")
    assert "cannot be written" in installation.refused("backup", "--to", str(tmp_path / "file" / "x"))
    inside = installation.refused("backup", "--keys-to", str(installation.home / "backups" / "keys"))
    assert "keep the keys in another directory" in inside
    config_file = tmp_path / "config.yaml"
    config_file.write_text(
        (Path(PROJECT) / "config.yaml")
        .read_text()
        .replace("${TWILIO_AUTH_TOKEN:}", installation.environment["TWILIO_AUTH_TOKEN"])
    )
    assert "holds a password or key" in installation.refused("backup", VIGIL_CONFIG=str(config_file))


def test_a_disk_that_is_full_is_said_and_nothing_half_is_left(installation: Installation) -> None:
    """A limit on the size of files stands in for a full disk. Only the dump is larger."""
    limited = f"ulimit -f 60; exec {sys.executable} -m ops.cli backup"
    done = subprocess.run(
        ["bash", "-c", limited],
        check=False,
        capture_output=True,
        text=True,
        env=installation.environment,
        cwd=PROJECT,
        timeout=60,
    )
    assert done.returncode == 1
    assert "pg_dump failed" in done.stderr
    assert [path.name for path in (installation.home / "backups").iterdir()] == [".lock"]


def test_a_program_that_is_older_than_the_server_or_missing_is_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(postgres, "DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with installation.engine.connect() as connection:
        with pytest.raises(Misconfigured, match="pg_dump is not installed.*postgresql-client-"):
            postgres.program("pg_dump", connection)
        old = tmp_path / "pg_dump"
        old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6'\n")
        old.chmod(0o755)
        with pytest.raises(Misconfigured, match="pg_dump 9 is older than the server"):
            postgres.program("pg_dump", connection)
    assert os.environ["PATH"] == str(tmp_path)
    assert DATABASE_ROLES
