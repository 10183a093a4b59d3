"""Differences of a database's schema from the one that the code needs, in sentences. Pure.

An object that the database has and the code does not know is no difference. A newer version may
have made it, or an operator may have added an index.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Catalog = Mapping[str, str]
"""Shape of each object (`bytea, not null`) by kind and name (`column guard_state.belief`)."""
REMEDY = "run `vigil migrate up`; `vigil migrate check` lists all of it"
SHOWN = 3


class SchemaDifference(msgspec.Struct, frozen=True):
    """One object that is missing (`found` is None) or of another shape."""

    what: str
    wanted: str
    found: str | None

    @property
    def table(self) -> str:
        """Return the table that the object belongs to; empty for a function and an index."""
        kind, _, name = self.what.partition(" ")
        return "" if kind in ("function", "index") else name.partition(".")[0]

    def __str__(self) -> str:
        kind, _, name = self.what.partition(" ")
        if kind in ("table", "function", "index"):
            subject = f"{kind} {name}"
        else:
            table, _, part = name.partition(".")
            subject = f"table {table}: {kind} {part}"
        if self.found is None:
            return f"{subject} is missing"
        return f"{subject} is `{self.found}`, not `{self.wanted}`"


def differences(wanted: Catalog, found: Catalog) -> list[SchemaDifference]:
    """Return the differences, tables and columns first.

    Of a missing table only the table itself is returned.
    """
    order = ("table", "column", "function", "trigger", "policy", "constraint", "index")
    lacking = [
        SchemaDifference(what, shape, found.get(what))
        for what, shape in wanted.items()
        if found.get(what) != shape
    ]

    missing = {one.table for one in lacking if one.what.startswith("table ") and one.found is None}
    told = [
        one
        for one in lacking
        if one.what.startswith("table ") or (one.table not in missing and not _is_of(one, missing))
    ]

    return sorted(told, key=lambda one: (order.index(one.what.partition(" ")[0]), one.what))


def _is_of(one: SchemaDifference, tables: set[str]) -> bool:
    """Return whether an object is an index of one of these tables, as its shape says."""
    return one.what.startswith("index ") and one.wanted.split(" ")[1] in tables


def of_tables(found: list[SchemaDifference], tables: frozenset[str]) -> list[SchemaDifference]:
    """Return the differences of some tables.

    Functions and indexes have no table here, and are left out.
    """
    return [one for one in found if one.table in tables]


def in_words(found: list[SchemaDifference]) -> str:
    """Return the fault and the remedy, in one line."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"the schema is not what this version needs: {'; '.join(map(str, found[:SHOWN]))}{more}; {REMEDY}"
