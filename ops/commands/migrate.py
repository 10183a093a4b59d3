"""`vigil migrate`: the database's schema, up and down."""

from __future__ import annotations

import time

import click
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text

from ops.environment import PROJECT, apply_environment
from services import config
from services.errors import Refused
from services.providers import database_url, transaction

OWN_TABLES = text(
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
    " AND NOT c.relispartition AND c.relname NOT IN ('alembic_version', 'spatial_ref_sys', 'registry_version')"
    " ORDER BY 1"
)


def alembic() -> AlembicConfig:
    """Alembic's configuration, wherever the command is run from."""
    found = AlembicConfig(str(PROJECT / "setup.cfg"))
    found.set_main_option("script_location", str(PROJECT / "migrations"))
    return found


def engine() -> Engine:
    database = config.load().database
    return create_engine(database_url(database.owner_url or database.url))


def revisions(connection: Connection) -> tuple[str | None, str | None]:
    """(revision of the database, newest revision there is)."""
    current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory.from_config(alembic()).get_current_head()


def filled_tables(connection: Connection) -> list[str]:
    """Tables that hold at least one row."""
    names = [row[0] for row in connection.execute(OWN_TABLES)]
    return [name for name in names if connection.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first()]


@click.group()
def migrate() -> None:
    """The database's schema: up, down, status, history."""
    apply_environment()


@migrate.command()
def up() -> None:
    """Bring the schema to the newest revision."""
    started_s = time.monotonic()
    command.upgrade(alembic(), "head")
    with transaction(engine()) as connection:
        click.echo(f"schema is at {revisions(connection)[0]} ({time.monotonic() - started_s:.1f} s)")


@migrate.command()
@click.option(
    "--to", default="-1", show_default=True, help="Revision to go down to, `base` for an empty database."
)
@click.option("--destroy-data", is_flag=True, help="Drop tables although they hold rows.")
def down(to: str, destroy_data: bool) -> None:
    """Take the schema back. Refuses while tables hold rows: they are evidence."""
    with transaction(engine()) as connection:
        filled = filled_tables(connection)
    if filled and not destroy_data:
        raise Refused(
            f"going down would destroy the rows of {', '.join(filled)}. Back them up first (`pg_dump`), "
            "then say `vigil migrate down --destroy-data`"
        )
    command.downgrade(alembic(), to)
    with transaction(engine()) as connection:
        click.echo(f"schema is at {revisions(connection)[0] or 'base'}")


@migrate.command()
def status() -> None:
    """Tell which revision the database has, and which is the newest. Exit code 1 when they differ."""
    with transaction(engine()) as connection:
        current, newest = revisions(connection)
    click.echo(f"database {current or 'base'}, newest {newest}")
    if current != newest:
        raise SystemExit(1)


@migrate.command()
def history() -> None:
    """List the revisions, newest first."""
    for script in ScriptDirectory.from_config(alembic()).walk_revisions():
        click.echo(f"{script.revision}  {(script.doc or '').splitlines()[0]}")
