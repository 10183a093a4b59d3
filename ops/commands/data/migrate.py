"""`vigil migrate`: the database's schema, up and down."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from alembic.script import ScriptDirectory

from ops.data.schema import revisions as schema
from ops.data.schema.revisions import alembic, engine, revisions
from ops.data.schema.rollback.keep_rows import KEPT, RollbackRecord, filled_tables
from ops.data.schema.rollback.restore_rows import RestoredTable
from ops.environment import apply_environment
from services.platform.database import transaction
from services.platform.schema import catalog
from services.platform.schema.expected import as_file

__all__ = ["alembic", "engine", "filled_tables", "revisions"]


@click.group()
def migrate() -> None:
    """The database's schema: up, down, status, history."""
    apply_environment()


@migrate.command()
def up() -> None:
    """Bring the schema to the newest revision, and put back what rollbacks kept."""
    started_s = time.monotonic()
    owner = engine()
    print_returned_rows(schema.up(owner))
    with transaction(owner) as connection:
        click.echo(f"schema is at {revisions(connection)[0]} ({time.monotonic() - started_s:.1f} s)")
        # This is not a failure: the services start after this command, and most of their messages
        # may still be handled.
        for line in schema.unlike(connection):
            click.echo(f"WARNING, the schema is not what this version needs: {line}", err=True)


@migrate.command()
@click.option(
    "--to", default="-1", show_default=True, help="Revision to go down to, `base` for an empty database."
)
@click.option("--destroy-data", is_flag=True, help="Delete data that the older schema has no place for.")
def down(to: str, destroy_data: bool) -> None:
    """Take the schema back to an older revision.

    Rows that the older schema has no place for are kept, and `vigil migrate up` puts them back.
    Down to `base` is refused while tables hold rows: they are evidence.
    """
    owner = engine()
    print_kept_rows(schema.down(owner, to, destroy_data=destroy_data))
    with transaction(owner) as connection:
        click.echo(f"schema is at {revisions(connection)[0] or 'base'}")


def print_kept_rows(record: RollbackRecord | None) -> None:
    """Print the data that a rollback has put aside."""
    if record is None:
        return
    for loss in record.losses:
        if rows := record.rows[loss.table]:
            click.echo(f"kept {rows} rows: {loss}")
    click.echo(f"kept in the schema {KEPT}; `vigil migrate up` puts it back")


def print_returned_rows(outcomes: Sequence[RestoredTable]) -> None:
    """Print the rows that were put back, and those that could not be."""
    for outcome in outcomes:
        if outcome.kept:
            click.echo(
                f"put back {outcome.kept - outcome.orphans - outcome.in_the_way} rows: {outcome.table}"
            )
        if outcome.orphans:
            click.echo(
                f"  {outcome.orphans} rows belonged to data that were deleted in between, and are not put back"
            )
        if outcome.in_the_way:
            click.echo(
                f"  {outcome.in_the_way} rows were replaced by newer rows; the old ones are in {outcome.left_in}"
            )


@migrate.command()
def status() -> None:
    """Tell which revision the database has, and which is the newest. Exit code 1 when they differ."""
    with transaction(engine()) as connection:
        current, newest = revisions(connection)
    click.echo(f"database {current or 'base'}, newest {newest}")
    if current != newest:
        raise SystemExit(1)


@migrate.command()
def check() -> None:
    """Compare the schema with what this version needs.

    Exit code 1 when something is missing or has another shape.
    """
    with transaction(engine()) as connection:
        found = schema.unlike(connection)
        for line in found:
            click.echo(line)
        current = schema.check(connection)
    click.echo(f"schema is at {current}, and is what this version needs")


@migrate.command(hidden=True)
def describe() -> None:
    """Print the schema as services/platform/schema/expected.json.

    For the author of a new revision.
    """
    with transaction(engine()) as connection:
        click.echo(as_file(catalog.read(connection)), nl=False)


@migrate.command()
def history() -> None:
    """List the revisions, newest first."""
    for script in ScriptDirectory.from_config(alembic()).walk_revisions():
        click.echo(f"{script.revision}  {(script.doc or '').splitlines()[0]}")
