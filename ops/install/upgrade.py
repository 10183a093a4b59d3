"""Steps of an upgrade to this version, tried in a scratch copy before they are done."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL

from ops.data.backup import checking, postgres
from ops.data.backup.manifest import DUMP
from ops.data.backup.postgres import Say
from ops.data.backup.store import BackupStore
from ops.data.schema import revisions
from ops.data.schema.rollback import catalog, keep_rows
from ops.data.schema.rollback.restore_rows import RestoredTable
from ops.servers.queues import definitions
from ops.servers.queues.definitions import QueueDefinition
from services.contracts.errors import Refused, VigilError
from services.platform.database import transaction

FRESH = timedelta(hours=1)
PARTITION_WEEKS = 4
OF_ALEMBIC = ("alembic_version", "pg_catalog")
# Readers and writers of such a table wait until the migration is committed.
LOCKS = text(
    """
    SELECT c.relname, max(l.mode) AS mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relname = ANY(:tables)
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    GROUP BY c.relname ORDER BY c.relname
    """
)
MAKE_PARTITIONS = text("SELECT vigil_make_partitions(:weeks)")
FORGET_ROWS = """
INSERT INTO registry_version (version) SELECT 1 WHERE NOT EXISTS (SELECT FROM registry_version);
INSERT INTO alembic_version (version_num) VALUES ('{revision}');
"""


class MigrationStep(msgspec.Struct, frozen=True, kw_only=True):
    """One migration: its description, its time in the scratch copy, its SQL, and its locks."""

    revision: str
    description: str
    seconds: float
    locks: dict[str, str]
    sql: list[str]


class UpgradePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Plan of an upgrade.

    `kept` lists the data that a rollback put aside, which `vigil migrate up` puts back.
    """

    current: str
    newest: str
    steps: list[MigrationStep]
    tried_with_data: bool
    kept: list[str]
    queues: list[QueueDefinition]
    queues_problem: str
    partitions: int
    backup: str


class UpgradeResult(msgspec.Struct, frozen=True, kw_only=True):
    revision: str
    returned: list[RestoredTable]
    partitions: int
    queues: str


def plan(url: URL, store: BackupStore, *, with_data: bool, say: Say) -> UpgradePlan:
    """Return everything that an upgrade would do, without touching the installation."""
    with transaction(_engine(url)) as connection:
        postgres.check_owner(connection)
        current, newest = revisions.revisions(connection)
        records = keep_rows.waiting(connection)

    say("queues")
    found, problem = _look_at_queues()
    steps, partitions = _try(url, str(current), with_data=with_data, say=say)

    return UpgradePlan(
        current=str(current),
        newest=str(newest),
        steps=steps,
        tried_with_data=with_data,
        kept=[
            f"{r.rows[loss.table]} rows: {loss}" for r in records for loss in r.losses if r.rows[loss.table]
        ],
        queues=[queue for queue in found if queue.state != "there"],
        queues_problem=problem,
        partitions=partitions,
        backup=backup_age(store, now=datetime.now(UTC)),
    )


def carry_out(url: URL, store: BackupStore, *, without_backup: bool, say: Say) -> UpgradeResult:
    """Do the upgrade.

    Raises:
        Refused: there is no fresh verified backup.
    """
    owner = _engine(url)
    with transaction(owner) as connection:
        postgres.check_owner(connection)
        current, newest = revisions.revisions(connection)

    if current != newest and not without_backup:
        _check_backup(store, now=datetime.now(UTC))

    say(f"migrations, from {current} to {newest}")
    returned = revisions.up(owner)

    with transaction(owner) as connection:
        revisions.check(connection)

    say("queues")
    declared = definitions.declare()

    with transaction(owner) as connection:
        made = connection.execute(MAKE_PARTITIONS, {"weeks": PARTITION_WEEKS}).scalar_one()

    return UpgradeResult(revision=str(newest), returned=returned, partitions=int(made), queues=declared)


def services_run(url: URL) -> bool:
    """Return whether services are connected to this database.

    If they are, messages must arrive at them after an upgrade.
    """
    with transaction(_engine(url)) as connection:
        return bool(revisions.running_services(connection))


def backup_age(store: BackupStore, *, now: datetime) -> str:
    last = store.last_success()
    if last is None:
        return f"no verified backup in {store.directory}"
    return f"the last verified backup is of {last.isoformat()}" + ("" if now - last <= FRESH else ", too old")


def _check_backup(store: BackupStore, *, now: datetime) -> None:
    last = store.last_success()
    if last is None or now - last > FRESH:
        raise Refused(
            f"{backup_age(store, now=now)}; an upgrade wants one not older than an hour: run `vigil backup` first, "
            "or use --without-backup"
        )


def _look_at_queues() -> tuple[list[QueueDefinition], str]:
    """Return the queues, or the reason why they are not known.

    The rest of the plan is made anyway.
    """
    try:
        return definitions.states_of(), ""
    except VigilError as error:
        return [], str(error)


def _try(url: URL, current: str, *, with_data: bool, say: Say) -> tuple[list[MigrationStep], int]:
    """Try the migrations on a scratch copy.

    Return them with the number of partitions made after them.
    """
    with _scratch_copy(url, current, with_data=with_data, say=say) as copy:
        owner = _engine(copy)
        steps = []
        for revision, description in revisions.pending(current):
            say(f"trying {revision}")
            steps.append(_tried(owner, revision, description))
        with transaction(owner) as connection:
            made = connection.execute(MAKE_PARTITIONS, {"weeks": PARTITION_WEEKS}).scalar_one()
    return steps, int(made)


@contextmanager
def _scratch_copy(url: URL, current: str, *, with_data: bool, say: Say) -> Iterator[URL]:
    with (
        tempfile.TemporaryDirectory(prefix="vigil-upgrade-") as directory,
        postgres.scratch_database(url) as copy,
    ):
        dump = Path(directory) / DUMP
        options = [] if with_data else ["--schema-only"]

        with transaction(_engine(url)) as connection:
            within = str(connection.exec_driver_sql("SELECT current_schema()").scalar_one())

        postgres.dump(
            checking.program_for(url, "pg_dump"), url, dump, within=within, options=options, say=say
        )
        restorer = checking.program_for(url, "pg_restore")
        postgres.restore(restorer, dump, copy, options=[f"--jobs={checking.JOBS}"], say=say)

        if not with_data:
            with transaction(_engine(copy)) as connection:
                connection.exec_driver_sql(FORGET_ROWS.format(revision=current))

        yield copy


def _tried(owner: Engine, revision: str, description: str) -> MigrationStep:
    with revisions.alone(owner) as connection:
        tables = sorted(catalog.read(connection))
        started_s = time.monotonic()

        with _statements(owner) as said:
            revisions.upgrade_within(connection, revision)

        return MigrationStep(
            revision=revision,
            description=description,
            seconds=round(time.monotonic() - started_s, 3),
            locks=_locks(connection, tables),
            sql=[statement for statement in said if not any(word in statement for word in OF_ALEMBIC)],
        )


def _locks(connection: Connection, tables: list[str]) -> dict[str, str]:
    return {row.relname: row.mode for row in connection.execute(LOCKS, {"tables": tables})}


@contextmanager
def _statements(owner: Engine) -> Iterator[list[str]]:
    """Yield the list of SQL statements that are sent to the server during the block.

    Offline generation cannot know all of this SQL.
    """
    said: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_further: Any) -> None:
        said.append(statement.strip())

    event.listen(owner, "before_cursor_execute", remember)
    try:
        yield said
    finally:
        event.remove(owner, "before_cursor_execute", remember)


def _engine(url: URL) -> Engine:
    return revisions.engine(url.render_as_string(hide_password=False))
