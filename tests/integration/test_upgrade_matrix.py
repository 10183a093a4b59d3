"""Whatever version a database was made by, an upgrade makes of it what a new installation has, and keeps every row."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from ops import schema
from ops.stack import Stack
from services.schema import catalog
from tests.conftest import admin_cursor, databases
from tests.filling import rows_of
from tests.upgrades import STATES, State, script

NAME = "upgraded"


@pytest.fixture
def empty(servers: Stack) -> Iterator[str]:
    """The owner's URL of an empty database."""
    with admin_cursor(servers) as cursor:
        cursor.execute(f"CREATE DATABASE {NAME} OWNER vigil")
    yield databases(servers, NAME)["VIGIL_OWNER_DATABASE_URL"]
    with admin_cursor(servers) as cursor:
        cursor.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture(scope="module")
def fresh(servers: Stack, migrated: str) -> dict[str, str]:
    """The schema of a new installation."""
    owner = schema.engine(databases(servers, migrated)["VIGIL_OWNER_DATABASE_URL"])
    with owner.connect() as connection:
        return dict(catalog.read_exactly(connection))


def load(url: str, state: State) -> None:
    address = make_url(url).set(drivername="postgresql")
    connection = psycopg2.connect(address.render_as_string(hide_password=False))
    with connection, connection.cursor() as cursor:
        cursor.execute(script(state))
    connection.close()


def rows(owner: Engine) -> dict[str, list[dict[str, object]]]:
    with owner.connect() as connection:
        return {name: [json.loads(row) for row in found] for name, found in rows_of(connection).items()}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_an_older_database_becomes_as_a_new_one_and_keeps_its_rows(
    state: State, empty: str, fresh: dict[str, str]
) -> None:
    load(empty, state)
    owner = schema.engine(empty)
    before = rows(owner)
    schema.up(owner)
    with owner.connect() as connection:
        found = dict(catalog.read_exactly(connection))
    assert {what: (shape, fresh.get(what)) for what, shape in found.items() if shape != fresh.get(what)} == {}
    assert fresh.keys() - found.keys() == set()
    assert before
    after = rows(owner)
    for table, were in before.items():
        assert len(after[table]) == len(were), table
