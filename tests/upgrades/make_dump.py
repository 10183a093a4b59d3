"""A writer of the databases of earlier versions.

Usage: `python -m tests.upgrades.make_dump [NAME ...]`; without a name, all. Each state's migrations
are taken from its commit and run on a private PostgreSQL. Two rows go into every table. It needs
the project's history. The files are written once: the result of a commit does not change.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from ops.data.backup import postgres
from ops.environment import PROJECT
from ops.local.stack import Stack, running_servers
from ops.servers import postgres_grants
from services.platform.database import make_operator_engine, transaction
from tests.support.table_rows import fill
from tests.upgrades import STATES, State

ENVIRONMENT = """
from alembic import context
context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""
OF_THE_DATABASE = re.compile(
    r"^(CREATE SCHEMA public;|COMMENT ON SCHEMA .*;|ALTER SCHEMA .*;|\\(un)?restrict .*)$\n", re.MULTILINE
)
"""Lines that every database has already, that only psql understands, or that have no use."""


def main(names: list[str]) -> None:
    wanted = [state for state in STATES if not names or state.name in names]
    with tempfile.TemporaryDirectory(prefix="vigil-dumps-") as home, running_servers(Path(home)) as stack:
        for state in wanted:
            state.file.parent.mkdir(exist_ok=True)
            said = made(stack, state)
            # Without a time in its header, the same SQL gives the same file.
            state.file.write_bytes(gzip.compress(said.encode(), mtime=0))
            sys.stdout.write(
                f"{state.file.name}: {len(said):,} bytes, {state.file.stat().st_size:,} packed\n"
            )


def made(stack: Stack, state: State) -> str:
    """Return the SQL of a database that the migrations of a commit made."""
    url = make_url(stack.operator_environment()["VIGIL_OWNER_DATABASE_URL"])
    with postgres.scratch_database(url) as scratch, tempfile.TemporaryDirectory() as directory:
        archive = subprocess.run(
            ["git", "archive", state.commit, "migrations/versions"],
            check=True,
            capture_output=True,
            cwd=PROJECT,
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(directory, filter="data")
        scripts = Path(directory) / "migrations"
        (scripts / "env.py").write_text(ENVIRONMENT)
        engine = make_operator_engine(scratch.render_as_string(hide_password=False), name="dumps")
        with transaction(engine) as connection:
            settings = AlembicConfig()
            settings.set_main_option("script_location", str(scripts))
            settings.attributes["connection"] = connection
            command.upgrade(settings, state.revision)
            postgres_grants.apply(connection)
        with transaction(engine) as connection:
            fill(connection)
        with transaction(engine) as connection:
            connection.execute(text("ANALYZE"))
            program = postgres.program("pg_dump", connection)
        address = URL.create(
            "postgresql", scratch.username, None, scratch.host, scratch.port, scratch.database
        )
        options = ["--no-owner", "--schema=public", "--inserts", "--exclude-table-data=spatial_ref_sys"]
        done = subprocess.run(
            [program, *options, f"--dbname={address.render_as_string()}"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": str(scratch.password)},
        )
        return OF_THE_DATABASE.sub("", done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
