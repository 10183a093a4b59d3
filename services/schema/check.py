"""Compares the database with what the code needs, now and then: a look takes some 20 ms of PostgreSQL."""

from __future__ import annotations

import time

from services.providers import Database
from services.schema import catalog
from services.schema.differences import differences, in_words
from services.schema.expected import expected

GOOD_FOR_S, BAD_FOR_S = 10.0, 2.0
"""How long an answer is kept; when something is missing, an operator is at it and wants to know soon."""


class SchemaCheck:
    """The comparison for one process, which many may ask for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._words, self._until_s = "", 0.0

    def words(self) -> str:
        """Return what is wrong and what to do; empty when the schema is as it should be. Raises `Unavailable`."""
        if time.monotonic() >= self._until_s:
            with self._database.across() as connection:
                found = differences(expected(), catalog.read(connection))
            self._words = in_words(found) if found else ""
            self._until_s = time.monotonic() + (BAD_FOR_S if found else GOOD_FOR_S)
        return self._words
