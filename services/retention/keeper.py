"""Keeper of the partitions: makes them ahead, and removes data that is too old.

It works in small transactions, and can be stopped at any moment. The functions of migration 0007 do
the work and hold the policies. Nothing here can erase what they forbid.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec
import structlog
from sqlalchemy import Connection, text

from services.contracts.errors import Unavailable
from services.platform.config import Config
from services.platform.database import Database
from services.retention import schedule

log = structlog.get_logger(__name__)

ADVISORY_LOCK = 0x5649_4752
BLOCKS = {"alerts": 16}
"""Blocks of a table in one transaction.

An alert takes hundreds of rows of other tables with it.
"""
USUAL_BLOCKS = 500
LOOK_EVERY_S = 300.0

WANTED = text("SELECT table_name, monday FROM vigil_partitions_wanted(:weeks)")
MAKE = text("SELECT vigil_make_partition(:table, :monday)")
WORK = text("SELECT relation, whole, blocks, bytes FROM vigil_retention_work(:class, :days)")
DROP = text("SELECT vigil_drop_partition(:class, :relation, :days)")
RETIRE = text("SELECT vigil_retire_rows(:class, :relation, :days, :first, :blocks, :dry_run)")
TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")
FINISHED = text("SELECT max(finished_at) FROM retention_run")
NOTE = text(
    "INSERT INTO retention_run (started_at, finished_at, removed)"
    " VALUES (:started_at, clock_timestamp(), CAST(:removed AS jsonb))"
)


class MadePartition(msgspec.Struct, frozen=True):
    """A partition that was made; `moved` rows had waited for it in the default partition."""

    table: str
    monday: str
    moved: int


class RemovalStep(msgspec.Struct, frozen=True):
    """The data that one transaction removed: a whole partition, or rows.

    The rows of a whole partition are not counted. `left`: the blocks still to do.
    """

    kind: str
    relation: str
    rows: int = 0
    partitions: int = 0
    bytes: int = 0
    left: int = 0


class RemovedData(msgspec.Struct):
    """The result of a run for one class."""

    rows: int = 0
    partitions: int = 0
    bytes: int = 0

    def add(self, step: RemovalStep) -> None:
        self.rows += step.rows
        self.partitions += step.partitions
        self.bytes += step.bytes


class RetentionKeeper:
    """The keeper of one installation.

    `database` is the keeper's own. A run keeps a connection for its lock, and closes at its end
    what it opened.
    """

    def __init__(
        self, database: Database, config: Config, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._days = schedule.usual_days(config)
        self._run_hour = config.retention.run_hour
        self._weeks_ahead = config.retention.weeks_ahead
        self._clock = clock
        self._looked_s = float("-inf")
        self._run: Iterator[RemovalStep] | None = None

    def make_partitions(self) -> list[MadePartition]:
        """Make all partitions that are wanted, a transaction each.

        Raises:
            Unavailable: Some could not be made; all were tried.
        """
        with self._database.across() as connection:
            wanted = connection.execute(WANTED, {"weeks": self._weeks_ahead}).all()

        made, failed = [], []
        for table, monday in wanted:
            try:
                with self._database.across() as connection:
                    moved = connection.execute(MAKE, {"table": table, "monday": monday}).scalar_one()
            except Unavailable as error:
                failed.append(f"{table} of {monday}: {error}")
                continue
            if moved is not None:
                made.append(MadePartition(table, str(monday), moved))
                log.info("partition_created", table=table, monday=str(monday), moved=moved)

        if failed:
            raise Unavailable(f"{len(failed)} partitions could not be made; {failed[0]}")

        return made

    def work(self, *, now: datetime, budget_s: float) -> None:
        """Continue the day's run, or begin it when it is due, for about `budget_s` seconds.

        The run is done in portions, because a service does not stop before its timers return.

        Raises:
            Unavailable: The database is away.
        """
        if self._run is None and not self._due(now):
            return

        self._run = self._run or self.steps()
        until_s = self._clock() + budget_s

        try:
            for _ in self._run:
                if self._clock() >= until_s:
                    return
        except BaseException:
            self._run = None
            raise

        self._run = None

    def steps(self, *, dry_run: bool = False) -> Iterator[RemovalStep]:
        """Do one run, a transaction at a time; yield each step.

        The run ends at once when another run is at work.

        Raises:
            Unavailable: The database is away.
        """
        holder = self._database.session()
        try:
            if not holder.execute(TRY_LOCK, {"key": ADVISORY_LOCK}).scalar_one():
                log.info("retention_skipped")
                return

            started_at, removed = datetime.now(UTC), {name: RemovedData() for name in self._days}
            for kind, days in self._days.items():
                for step in self._class(kind, days, dry_run=dry_run):
                    removed[kind].add(step)
                    yield step

            if not dry_run:
                self._note(started_at, removed)
        finally:
            # The connection does not go back to the pool: the lock ends with the connection.
            holder.invalidate()
            holder.close()
            self._database.close()

    def _class(self, kind: str, days: int, *, dry_run: bool) -> Iterator[RemovalStep]:
        values = {"class": kind, "days": days, "dry_run": dry_run}
        with self._database.across() as connection:
            work = connection.execute(WORK, values).all()

        for relation, whole, blocks, size in work:
            if whole:
                if not dry_run:
                    self._drop(values | {"relation": relation})
                yield RemovalStep(kind, relation, partitions=1, bytes=size)
                continue

            portion = BLOCKS.get(kind, USUAL_BLOCKS)
            for first in range(0, blocks, portion):
                with self._database.across() as connection:
                    rows = self._retire(
                        connection, values | {"relation": relation, "first": first, "blocks": portion}
                    )
                yield RemovalStep(kind, relation, rows=rows, left=max(0, blocks - first - portion))

    def _retire(self, connection: Connection, values: dict[str, object]) -> int:
        return int(connection.execute(RETIRE, values).scalar_one())

    def _drop(self, values: dict[str, object]) -> None:
        with self._database.across() as connection:
            connection.execute(DROP, values)

    def _note(self, started_at: datetime, removed: dict[str, RemovedData]) -> None:
        told = {
            name: msgspec.to_builtins(count)
            for name, count in removed.items()
            if count.rows or count.partitions
        }
        with self._database.across() as connection:
            connection.execute(NOTE, {"started_at": started_at, "removed": json.dumps(told)})
        log.info("retention_finished", removed=told)

    def _due(self, now: datetime) -> bool:
        """Return whether a run is due. The database is asked only every `LOOK_EVERY_S` seconds."""
        if self._clock() - self._looked_s < LOOK_EVERY_S:
            return False
        self._looked_s = self._clock()
        with self._database.across() as connection:
            last = connection.execute(FINISHED).scalar_one()
        return schedule.due(now=now, last_finished=last, run_hour=self._run_hour)
