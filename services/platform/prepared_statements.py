"""Statements that PostgreSQL parses and plans once for each connection, for every batch.

For a small batch, planning its statements costs PostgreSQL several times as much as running them.
The driver has no prepared statements; PREPARE and EXECUTE of SQL do this (PostgreSQL's manual,
"PREPARE"). They outlive their transaction, also one that is rolled back, and end with the
connection.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult

_PARAMETER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")
_KNOWN = "vigil_prepared"


class PreparedStatement:
    """A statement with `:name` for each value, as in `sqlalchemy.text`.

    PostgreSQL finds the types of values by their use. Write `CAST(:name AS type)` where the use
    leaves a choice. Values go as text.
    """

    def __init__(self, statement: str) -> None:
        names = dict.fromkeys(_PARAMETER.findall(statement))
        self.names = tuple(names)
        numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
        numbered = _PARAMETER.sub(lambda found: numbers[found[1]], statement)
        self.name = f"vigil_{hashlib.sha256(numbered.encode()).hexdigest()[:16]}"
        doubled = numbered.replace("%", "%%")  # the driver looks for values in every text
        self._prepare = f"PREPARE {self.name} AS {doubled}"
        places = ", ".join(["%s"] * len(names))
        self._execute = f"EXECUTE {self.name}({places})" if names else f"EXECUTE {self.name}"

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[*tuple[Any, ...]]:
        """Run the statement.

        The errors of any other statement are raised too.

        Raises:
            KeyError: A value is not given.
        """
        given = tuple(values[name] for name in self.names)
        known: set[str] = connection.info.setdefault(_KNOWN, set())
        if self.name not in known:
            connection.exec_driver_sql(self._prepare)
            known.add(self.name)
        return connection.exec_driver_sql(self._execute, given)
