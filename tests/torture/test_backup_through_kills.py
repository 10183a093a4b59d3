"""Tests of SIGKILL at random points of backups and restores.

Every backup that exists is whole, and the next run tidies up.
"""

import random
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from ops.data.backup import checking
from ops.data.backup.manifest import is_backup
from ops.environment import PROJECT
from ops.local.stack import Stack
from services.platform.database import make_operator_engine
from tests.conftest import admin_cursor
from tests.support.commands import run_vigil
from tests.support.table_rows import fill, rows_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
KILLS = 12
LONGEST_S = 8.0


@pytest.fixture
def filled(environment: dict[str, str], engine: Engine, tmp_path: Path) -> dict[str, str]:
    with engine.begin() as connection:
        fill(connection)
    home = tmp_path / "home"
    home.mkdir()
    return {**environment, "VIGIL_HOME": str(home)}


@pytest.fixture
def target(servers: Stack) -> Iterator[str]:
    name = f"k{secrets.token_hex(5)}"
    yield name
    with admin_cursor(servers) as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s OR datname LIKE 'vigil\\_scratch\\_%%'",
            (f"{name}%",),
        )
        for (found,) in cursor.fetchall():
            cursor.execute(f'DROP DATABASE "{found}" WITH (FORCE)')


def killed(environment: dict[str, str], chance: random.Random, *arguments: str) -> bool:
    """Run a command, and kill it unless it is done before. Return whether it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", *arguments],
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=chance.uniform(0.5, LONGEST_S))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def test_a_backup_that_was_killed_is_no_backup_and_the_next_one_is(filled: dict[str, str]) -> None:
    chance = random.Random(7)
    backups = Path(filled["VIGIL_HOME"]) / "backups"
    kills = 0
    for _ in range(KILLS):
        kills += killed(filled, chance, "backup")
        for path in backups.glob("*"):
            if is_backup(path.name):
                checking.check_files(path)
    assert kills > 0
    run_vigil(filled, "backup")
    assert list(backups.glob("*.partial")) == []
    assert list(Path(f"{backups}-keys").glob("*.partial")) == []


def test_a_restore_that_was_killed_leaves_no_database_of_that_name_or_a_whole_one(
    filled: dict[str, str], engine: Engine, servers: Stack, target: str
) -> None:
    chance = random.Random(11)
    run_vigil(filled, "backup", "--no-verify")
    [backup] = [path for path in (Path(filled["VIGIL_HOME"]) / "backups").iterdir() if is_backup(path.name)]
    with engine.connect() as connection:
        wanted = rows_of(connection)
    url = make_url(filled["VIGIL_OWNER_DATABASE_URL"]).set(database=target)
    restored = make_operator_engine(url.render_as_string(hide_password=False), name="test")
    for _ in range(KILLS):
        killed(filled, chance, "restore", str(backup), "--database", target)
        with admin_cursor(servers) as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (target,))
            there = cursor.fetchone() is not None
        if there:
            with restored.connect() as connection:
                assert rows_of(connection) == wanted
            with admin_cursor(servers) as cursor:
                cursor.execute(f'DROP DATABASE "{target}" WITH (FORCE)')
    run_vigil(filled, "restore", str(backup), "--database", target)
    with restored.connect() as connection:
        assert rows_of(connection) == wanted
