"""Reports in the log what the tables of a process lack: at its start, and until it is mended.

No process refuses to start. A missing index makes a query slow. A missing column fails only the
statements that name it, and all other messages are still handled. Messages that fail wait on the
delay ladder (`SchemaBehind`).
"""

from __future__ import annotations

import eventlet
import structlog
from sqlalchemy import Engine

from ops.servers.privileges import database_role, of_process
from services.contracts.errors import Unavailable
from services.platform.config import Config
from services.platform.database import make_engine, transaction
from services.platform.schema import catalog
from services.platform.schema.differences import SchemaDifference, differences, of_tables
from services.platform.schema.expected import expected

log = structlog.get_logger(__name__)

AGAIN_AFTER_S = 60.0


def tables_of(process: str) -> frozenset[str]:
    """Return the tables that a process may read or write."""
    return frozenset(table for grants in of_process(process).tables.values() for table in grants)


def report(settings: Config, process: str) -> None:
    """Log every difference, again each minute while there is one, and return when there is none."""
    tables = tables_of(process)
    if not tables:
        return

    access = next(iter(of_process(process).tables))
    engine = make_engine(settings, name="schema", pool_size=1, role=database_role(process, access))

    told = False
    while True:
        try:
            lacking = _look(engine, tables)
        except Unavailable as error:
            log.warning("schema_not_compared", error=str(error))
        else:
            for one in lacking:
                log.error("schema_not_upgraded", difference=str(one), remedy="vigil migrate up")
            if not lacking:
                if told:
                    log.info("schema_checked")
                return
            told = True

        eventlet.sleep(AGAIN_AFTER_S)


def _look(engine: Engine, tables: frozenset[str]) -> list[SchemaDifference]:
    with transaction(engine) as connection:
        found = differences(expected(), catalog.read(connection))
    engine.dispose()
    return of_tables(found, tables)
