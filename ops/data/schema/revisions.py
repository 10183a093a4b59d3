"""The schema's revisions: the present one, and the ways up and down.

Both ways are one transaction when there are data to keep or to put back. PostgreSQL's DDL is
transactional.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from ops.data.schema.rollback import keep_rows, restore_rows
from ops.data.schema.rollback.keep_rows import RollbackRecord
from ops.data.schema.rollback.restore_rows import RestoredTable
from ops.environment import PROJECT
from ops.servers import postgres_grants
from services.contracts.errors import Refused, Unavailable
from services.platform import config
from services.platform.database import make_operator_engine, reason_of, transaction
from services.platform.schema import catalog
from services.platform.schema.differences import differences
from services.platform.schema.expected import expected

SERVICES = ("alerts", "directory", "location", "notifications", "telemetry")
CONNECTED = text(
    "SELECT DISTINCT substr(application_name, 7) AS name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = ANY(:services) ORDER BY name"
)
LOCK = text("SELECT pg_advisory_xact_lock(:key)")
ADVISORY_LOCK = 0x5649_4749
"""Key of the lock, the same as in migrations/env.py: only one change of the schema at a time."""
LOCK_TIMEOUT_S = 30
LOCK_NOT_AVAILABLE = "55P03"
SHOWN = 3
REPAIR = (
    "`vigil migrate check` lists all of it. Run `vigil migrate up`, which also brings rights back; what it does not"
    " repair was removed by hand: restore a backup (`vigil restore`), or bring it back as migrations/versions has it"
)


def alembic(connection: Connection | None = None) -> AlembicConfig:
    """Return Alembic's configuration, which works from any directory.

    Alembic works within the connection's transaction.
    """
    found = AlembicConfig(str(PROJECT / "setup.cfg"))
    found.set_main_option("script_location", str(PROJECT / "migrations"))
    found.attributes["connection"] = connection
    return found


@cache
def scripts() -> ScriptDirectory:
    """Return the revisions; they are read once."""
    return ScriptDirectory.from_config(alembic())


def engine(url: str | None = None) -> Engine:
    """Return an engine with the owner's login, by default of the configured database."""
    database = config.load().database
    return make_operator_engine(url or database.owner_url or database.url, name="migrate")


def revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str:
    return str(scripts().get_current_head())


def revisions(connection: Connection) -> tuple[str | None, str | None]:
    """Return (revision of the database, newest revision)."""
    return revision_of(connection), newest()


def pending(current: str | None, *, to: str = "head") -> list[tuple[str, str]]:
    """Return (revision, description) of the revisions to come, the next one first.

    Raises:
        Refused: the present revision is unknown.
    """
    _check_known(current)
    found = scripts().iterate_revisions(to, current or "base")
    return [(s.revision, (s.doc or "").splitlines()[0]) for s in found if s.revision != current][::-1]


def unlike(connection: Connection) -> list[str]:
    """Return sentences on where the database is not as this version needs it; empty when it is."""
    found = differences(expected(), catalog.read(connection))
    rights = postgres_grants.differences(connection)
    return [*map(str, found), *(f"rights: not yet done: {statement}" for statement in rights)]


def check(connection: Connection) -> str:
    """Return the revision.

    Raises:
        Refused: the schema is not as this version needs it; the message says what it lacks and the
            remedy.
    """
    current, wanted = revisions(connection)
    if current != wanted:
        raise Refused(
            f"the schema is at {current or 'base'}, the code wants {wanted}; run `vigil migrate up`"
        )

    found = unlike(connection)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise Refused(
            f"the schema says {current} and is not what this version needs: {'; '.join(found[:SHOWN])}{more};"
            f" {REPAIR}"
        )

    return str(current)


def upgrade_within(connection: Connection, to: str) -> None:
    command.upgrade(alembic(connection), to)


def up(engine: Engine) -> list[RestoredTable]:
    """Go up to the newest revision, and put back the data that rollbacks kept.

    Raises:
        Unavailable: tables are in use.
    """
    with transaction(engine) as connection:
        records = keep_rows.waiting(connection)

    if not records:
        _up_step_by_step(engine)
        return []

    with alone(engine) as connection:
        outcomes = [outcome for record in records for outcome in _up_past(connection, record)]
        upgrade_within(connection, "head")
        postgres_grants.apply(connection)
        return outcomes


def running_services(connection: Connection) -> list[str]:
    """Return the services that are connected to this database."""
    return list(connection.execute(CONNECTED, {"services": [f"vigil-{name}" for name in SERVICES]}).scalars())


def down(engine: Engine, to: str, *, destroy_data: bool = False) -> RollbackRecord | None:
    """Take the schema to an older revision; return the record of the kept data.

    Raises:
        Refused: there is no such revision, or services run, which would store nothing on the older
            schema.
        Unavailable: tables are in use.
    """
    with transaction(engine) as connection:
        running = running_services(connection)

    if running:
        raise Refused(
            f"{', '.join(running)} use this database, and would store no message on an older schema. Stop Vigil's"
            " processes first, not the servers (docs/runbook.md#rollback); on a local stack `vigil down`, then"
            " `vigil up --only-servers`"
        )

    with alone(engine) as connection:
        if not destroy_data:
            return keep_rows.go_down(
                connection, lambda within: command.downgrade(alembic(within), to), revision=revision_of
            )
        command.downgrade(alembic(connection), to)
        if revision_of(connection) is None:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {keep_rows.KEPT} CASCADE")

    return None


def _up_step_by_step(engine: Engine) -> None:
    """Run each migration in its own transaction, so that nobody waits for all of them."""
    while True:
        with alone(engine) as connection:
            to_come = pending(revision_of(connection))
            if not to_come:
                postgres_grants.apply(connection)
                return
            upgrade_within(connection, to_come[0][0])


def _up_past(connection: Connection, record: RollbackRecord) -> list[RestoredTable]:
    """Go up to the revision that a rollback started from, and put back the data that it kept."""
    older = {revision for revision, _ in pending(None, to=record.from_revision)}
    current = revision_of(connection)
    if current is not None and current not in older:
        raise Refused(
            f"what the rollback from {record.from_revision} kept belongs before {current}, where the schema is "
            f"already: it was not brought up by `vigil migrate up`. Go down to {record.from_revision} and up again, "
            "or drop the schema vigil_kept"
        )

    restore_rows.remember(connection, record)
    upgrade_within(connection, record.from_revision)
    return restore_rows.put_back(connection, record)


def _check_known(current: str | None) -> None:
    try:
        scripts().get_revision(current or "base")
    except CommandError as error:
        raise Refused(
            f"the database is at revision {current}, which this version does not have (it has {newest()}): a newer"
            " version, or one that was never released, made it. Start that version again, or take the database back"
            f" with its code: `vigil migrate down --to` a revision that `vigil migrate history` lists here"
        ) from error


@contextmanager
def alone(engine: Engine) -> Iterator[Connection]:
    """Yield the only transaction that changes the schema.

    It waits at most `LOCK_TIMEOUT_S` for tables that others use.
    """
    try:
        with engine.begin() as connection:
            connection.execute(LOCK, {"key": ADVISORY_LOCK})
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
            yield connection
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", "") == LOCK_NOT_AVAILABLE:
            raise Unavailable(
                f"a table was in use for {LOCK_TIMEOUT_S} s and nothing was changed; stop Vigil's services, or find "
                "who holds it: SELECT pid, application_name FROM pg_stat_activity"
            ) from error
        if isinstance(error, OperationalError):
            raise Unavailable(f"PostgreSQL: {reason_of(error)}") from error
        raise
