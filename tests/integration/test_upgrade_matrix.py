"""Tests of an upgrade from each version.

The schema becomes that of a new installation, and every row is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from ops.data.backup.postgres import EXTENSIONS
from ops.data.schema import revisions
from ops.local.stack import Stack
from services.platform.schema import catalog
from services.platform.schema.differences import Catalog
from tests.conftest import admin_cursor, databases
from tests.support.table_rows import rows_of
from tests.upgrades import STATES, State, script

NAME = "upgraded"
Rows = dict[str, list[dict[str, str]]]
MOST_ROWS = 100
REWRITTEN = {("notification", "state")}
"""Columns whose values a migration changes on purpose.

0005 withdraws messages that were not sent.
"""


@pytest.fixture
def empty(servers: Stack) -> Iterator[str]:
    """Yield the owner's URL of an empty database."""
    with admin_cursor(servers) as cursor:
        cursor.execute(f"CREATE DATABASE {NAME} OWNER vigil")
    yield databases(servers, NAME)["VIGIL_OWNER_DATABASE_URL"]
    with admin_cursor(servers) as cursor:
        cursor.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture(scope="module")
def fresh(servers: Stack, migrated: str) -> dict[str, str]:
    """Return the schema of a new installation."""
    owner = revisions.engine(databases(servers, migrated)["VIGIL_OWNER_DATABASE_URL"])
    with owner.connect() as connection:
        return dict(catalog.read_exactly(connection))


def load(url: str, state: State) -> None:
    address = make_url(url).set(drivername="postgresql")
    connection = psycopg2.connect(address.render_as_string(hide_password=False))
    with connection, connection.cursor() as cursor:
        for extension in EXTENSIONS:
            cursor.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        cursor.execute(script(state))
    connection.close()


def rows(owner: Engine) -> Rows:
    """Return every row of every table. A value within a row is text, which can be compared."""
    with owner.connect() as connection:
        return {
            table: [{name: json.dumps(value) for name, value in json.loads(row).items()} for row in found]
            for table, found in rows_of(connection).items()
        }


def unlike(found: Catalog, fresh: Catalog) -> list[str]:
    """Return the differences between two schemas, in both directions."""
    return [
        f"{what}: {found.get(what)} in place of {fresh.get(what)}"
        for what in sorted(fresh.keys() | found.keys())
        if found.get(what) != fresh.get(what)
    ]


def lost(before: Rows, after: Rows) -> list[str]:
    """Return rows that are gone, or that have another value in a column that still exists."""
    assert sum(map(len, before.values())) > MOST_ROWS / 3
    left = {name: [dict(row) for row in found] for name, found in after.items()}
    found = []
    for table, were in before.items():
        for row in were:
            known = row.keys() & left[table][0].keys() if left[table] else set()
            kept = {name: row[name] for name in known if (table, name) not in REWRITTEN}
            same = next((one for one in left[table] if kept.items() <= one.items()), None)
            if same is None:
                found.append(f"{table}: {kept}")
            else:
                left[table].remove(same)
    return found


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_an_older_database_becomes_as_a_new_one_and_keeps_its_rows(
    state: State, empty: str, fresh: dict[str, str]
) -> None:
    load(empty, state)
    owner = revisions.engine(empty)
    before = rows(owner)
    revisions.up(owner)
    with owner.connect() as connection:
        found = dict(catalog.read_exactly(connection))
    assert unlike(found, fresh) == []
    assert lost(before, rows(owner)) == []


@pytest.mark.parametrize("name", ["0005-first", "0008-zones"])
def test_a_database_that_was_completed_goes_down_and_up_again(
    name: str, empty: str, fresh: dict[str, str]
) -> None:
    [state] = [one for one in STATES if one.name == name]
    load(empty, state)
    owner = revisions.engine(empty)
    revisions.up(owner)
    before = rows(owner)
    revisions.down(owner, "0001")
    revisions.up(owner)
    with owner.connect() as connection:
        assert unlike(catalog.read_exactly(connection), fresh) == []
    assert lost(before, rows(owner)) == []
