"""Comparison of the database with the schema that the code needs.

It is done now and then only: a look takes some 20 ms of PostgreSQL.
"""

from __future__ import annotations

import time

from services.platform.database import Database
from services.platform.schema import catalog
from services.platform.schema.differences import differences, in_words
from services.platform.schema.expected import expected

GOOD_FOR_S, BAD_FOR_S = 10.0, 2.0
"""Seconds for which an answer is kept.

When an object is missing, an operator is at work and wants to know soon.
"""


class SchemaCheck:
    """The comparison for one process, for many callers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._words, self._until_s = "", 0.0

    def words(self) -> str:
        """Return the fault and the remedy; empty when the schema is right. Raises `Unavailable`."""
        if time.monotonic() >= self._until_s:
            with self._database.across() as connection:
                found = differences(expected(), catalog.read(connection))
            self._words = in_words(found) if found else ""
            self._until_s = time.monotonic() + (BAD_FOR_S if found else GOOD_FOR_S)
        return self._words
