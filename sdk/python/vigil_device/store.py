"""The outbox on disk: one SQLite database, one process.

A message is committed with `synchronous=FULL` before `put` returns: a later power cut loses
nothing. The journal is a write-ahead log, which costs one write and one `fsync` for each message. A
rollback journal costs three, and a file that is made and deleted. A completed message is deleted
with the next message or at `flush`. A lost deletion costs one send.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from vigil_device.messages import Kind, Message, SetAside, State

log = logging.getLogger(__name__)

MEMORY = ":memory:"
VERSION = 1
MAX_SET_ASIDE = 1_000
"""Most messages that are kept after they were given up or refused. The oldest are deleted first."""
CHECKPOINT_PAGES = 200
SCHEMA = """
CREATE TABLE installation (
    id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, starts INTEGER NOT NULL, ran_s REAL NOT NULL
);
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, msg_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL, silent INTEGER NOT NULL, born_s REAL NOT NULL
);
CREATE TABLE set_aside (
    number INTEGER PRIMARY KEY, msg_id TEXT NOT NULL, kind TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    silent INTEGER NOT NULL, born_s REAL NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL
);
"""
COLUMNS = "number, msg_id, kind, topic, payload, silent, born_s"


class OutboxInUse(Exception):  # noqa: N818 - named by what it says to the user
    """Another process has this outbox open."""


class StoreFailed(Exception):  # noqa: N818
    """The disk does not take the message, or the database is damaged."""


class Store:
    """Database of the outbox. Only one thread at a time may use it.

    `path` may be `:memory:`. `installation` names this database, and `starts` counts its openings.
    `ran_s` is the time that the outbox ran before this start. `damaged` is the copy of an
    unreadable database that was replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.damaged: Path | None = None
        self._gone: list[int] = []
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise OutboxInUse(f"{self.path} is open in another process") from error
            if isinstance(error, sqlite3.OperationalError) or self.path == MEMORY:
                raise StoreFailed(f"{self.path}: {error}") from error
            log.exception("the outbox %s is damaged and is replaced", self.path)
            self._set_database_aside()
            self._connection = self._open()

    def close(self) -> None:
        """Write what is left and close."""
        with contextlib.suppress(StoreFailed):  # a lost deletion costs one more send
            self.flush()
        self._connection.close()

    @property
    def has_deletions(self) -> bool:
        """Return True when completed messages are not yet deleted."""
        return bool(self._gone)

    def put(
        self, *, msg_id: str, kind: Kind, topic: str, payload: bytes, silent: bool = False, born_s: float
    ) -> Message:
        """Commit a message. Raises `StoreFailed`."""
        with self._transaction():
            self._delete_gone()
            cursor = self._connection.execute(
                "INSERT INTO message (msg_id, kind, topic, payload, silent, born_s) VALUES (?, ?, ?, ?, ?, ?)",
                (msg_id, kind.value, topic, payload, int(silent), born_s),
            )
        self._gone.clear()
        return Message(int(cursor.lastrowid or 0), msg_id, kind, topic, payload, silent, born_s)

    def remove(self, number: int) -> None:
        """Delete a message with the next commit."""
        self._gone.append(number)

    def set_aside(self, message: Message, state: State, reason: str) -> None:
        """Keep a message that is no longer sent. Raises `StoreFailed`."""
        with self._transaction():
            self._connection.execute(
                f"INSERT OR REPLACE INTO set_aside ({COLUMNS}, state, reason)"  # noqa: S608 - a constant
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*_row(message), state.value, reason),
            )
            self._connection.execute("DELETE FROM message WHERE number = ?", (message.number,))
            self._connection.execute(
                "DELETE FROM set_aside WHERE number NOT IN"
                " (SELECT number FROM set_aside ORDER BY number DESC LIMIT ?)",
                (MAX_SET_ASIDE,),
            )

    def waiting(self) -> list[Message]:
        """Return the messages that are not done, oldest first."""
        rows = self._connection.execute(f"SELECT {COLUMNS} FROM message ORDER BY number")  # noqa: S608
        gone = set(self._gone)
        return [_message(row) for row in rows if row[0] not in gone]

    def all_set_aside(self) -> list[SetAside]:
        """Return the messages that are no longer sent, oldest first."""
        rows = self._connection.execute(
            f"SELECT {COLUMNS}, state, reason FROM set_aside ORDER BY number"  # noqa: S608
        )
        return [SetAside(_message(row), State(row[7]), row[8]) for row in rows]

    def clear_set_aside(self) -> None:
        """Delete the messages that are no longer sent. Raises `StoreFailed`."""
        with self._transaction():
            self._connection.execute("DELETE FROM set_aside")

    def flush(self, *, ran_s: float | None = None) -> None:
        """Write deletions, and the time that the outbox has run. Raises `StoreFailed`."""
        if not self._gone and ran_s is None:
            return
        with self._transaction():
            self._delete_gone()
            if ran_s is not None:
                self._connection.execute("UPDATE installation SET ran_s = ?", (ran_s,))
        self._gone.clear()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            # Exclusive: a second process on the same outbox would send every message twice.
            for setting in (
                "locking_mode = EXCLUSIVE",
                "journal_mode = WAL",
                "synchronous = FULL",
                f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            ):
                connection.execute(f"PRAGMA {setting}").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            self._make_schema(connection)
            connection.execute("UPDATE installation SET starts = starts + 1")
            [(self.installation, self.starts, self.ran_s)] = connection.execute(
                "SELECT name, starts, ran_s FROM installation"
            ).fetchall()
            # A damaged page of rows is found now, while the file can be replaced.
            connection.execute("SELECT count(length(payload)) FROM message").fetchall()
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_schema(self, connection: sqlite3.Connection) -> None:
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
        if version == VERSION:
            return
        if version:
            raise StoreFailed(f"{self.path} was written by another version of vigil-device ({version})")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO installation VALUES (1, ?, 0, 0)", (secrets.token_hex(8),))
        connection.execute(f"PRAGMA user_version = {VERSION}")

    def _set_database_aside(self) -> None:
        path = Path(self.path)
        self.damaged = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
        os.replace(path, self.damaged)  # noqa: PTH105 - the same, and says that it replaces
        for suffix in ("-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}{suffix}", f"{self.damaged}{suffix}")  # noqa: PTH105

    def _delete_gone(self) -> None:
        self._connection.executemany("DELETE FROM message WHERE number = ?", [(n,) for n in self._gone])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # some errors have already rolled it back
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreFailed(f"{self.path}: {error}") from error


def _row(message: Message) -> Sequence[int | str | bytes | float]:
    kind, silent = message.kind.value, int(message.silent)
    return (
        message.number,
        message.msg_id,
        kind,
        message.topic,
        message.payload,
        silent,
        message.born_s,
    )


def _message(row: Sequence[object]) -> Message:
    number, msg_id, kind, topic, payload, silent, born_s = row[:7]
    assert isinstance(number, int)
    assert isinstance(payload, bytes)
    assert isinstance(born_s, float)
    return Message(number, str(msg_id), Kind(kind), str(topic), payload, bool(silent), born_s)
