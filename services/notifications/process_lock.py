"""Holder of attempts: an advisory lock of PostgreSQL that is free as soon as its process is dead.

A row in state `attempting` under a free lock was left by a crash. No lease has to run out first,
because the server sees at once that the connection of a killed process ends.
"""

from __future__ import annotations

import secrets
import threading
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.contracts.errors import Unavailable
from services.platform.database import Database, reason_of

log = structlog.get_logger(__name__)

LOCK_CLASS = 0x7669676C
"""First half of the lock's two numbers: 'vigl'. The second is the holder's number."""
HELD = f"""
    SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = {LOCK_CLASS} AND l.objsubid = 2
    AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.objid::bigint = n.holder
"""
"""SQL: the holder of row `n` lives."""
TAKE = text(f"SELECT pg_try_advisory_lock({LOCK_CLASS}, :holder)")
STILL = text("SELECT 1")


class ProcessLock:
    """Number of this process, for as long as its connection lives.

    A new connection gets another number.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None
        self._number = 0
        self._looking = threading.Lock()  # two green threads must not share a connection

    def number(self) -> int:
        """Return the number under which attempts are held. Raises `Unavailable`."""
        if self._connection is None:
            self.keep()
        return self._number

    def keep(self) -> None:
        """Check that the lock is still held, and take another one when it is not.

        Raises `Unavailable`.
        """
        with self._looking:
            try:
                if self._connection is not None:
                    self._connection.execute(STILL)
                    return
            except DBAPIError as error:
                log.warning("process_lock_lost", holder=self._number, error=reason_of(error))
                self.close()
            self._take()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _take(self) -> None:
        connection = self._database.session()
        try:
            number = secrets.randbelow(2**31 - 1) + 1
            if not connection.execute(TAKE, {"holder": number}).scalar_one():
                raise Unavailable("another process holds this number; the next attempt uses another one")
        except DBAPIError as error:
            raise Unavailable(f"PostgreSQL: {reason_of(error)}") from error
        self._connection, self._number = connection, number
