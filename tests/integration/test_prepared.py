"""Tests of statements that are planned once per connection.

They cover rollbacks, lost connections and changes of the schema.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError

from services.contracts.errors import Unavailable
from services.platform import config
from services.platform.database import make_engine, transaction
from services.platform.prepared_statements import PreparedStatement

ADD = PreparedStatement(
    "SELECT CAST(:left AS int) + CAST(:right AS int) AS sum, '100 %'::text AS share, :left::text AS again"
)
PLANS = text("SELECT name, generic_plans + custom_plans AS runs FROM pg_prepared_statements")


@pytest.fixture
def one(environment: dict[str, str], engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Yield an engine with a single connection and no particular role."""
    del engine
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = make_engine(config.load(), name="test", pool_size=1, as_owner=True)
    yield made
    made.dispose()


def added(connection: Connection) -> tuple[int, str, str]:
    row = ADD.run(connection, {"left": 2, "right": 3}).one()
    return row.sum, row.share, row.again


def test_a_statement_is_planned_once_and_run_in_many_transactions(one: Engine) -> None:
    for _ in range(3):
        with transaction(one) as connection:
            assert added(connection) == (5, "100 %", "2")

    with transaction(one) as connection:
        [(name, runs)] = connection.execute(PLANS).all()
    assert (name, runs) == (ADD.name, 3)


def test_it_outlives_a_rollback_and_an_error_of_its_own(one: Engine) -> None:
    # Given a transaction that prepared it and was rolled back
    with pytest.raises(DataError), transaction(one) as connection:
        assert added(connection)[0] == 5
        ADD.run(connection, {"left": "no number", "right": 3})

    # Then the next one runs it on the same connection
    with transaction(one) as connection:
        assert added(connection)[0] == 5
        assert connection.execute(PLANS).one().runs == 2


def test_a_new_connection_prepares_it_again(one: Engine) -> None:
    # Given a connection with a prepared statement that is lost
    with transaction(one) as connection:
        added(connection)
    with pytest.raises(Unavailable), transaction(one) as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    # Then the next transaction has a plan of its own
    with transaction(one) as connection:
        assert added(connection)[0] == 5
        assert connection.execute(PLANS).one().runs == 1


def test_a_plan_of_a_former_schema_costs_one_transaction(one: Engine) -> None:
    # Given a statement whose table changes the type of a column while it is prepared
    read = PreparedStatement("SELECT kept FROM changed WHERE id = CAST(:id AS int)")
    with transaction(one) as connection:
        connection.execute(text("CREATE TABLE changed (id int, kept int)"))
        connection.execute(text("INSERT INTO changed VALUES (1, 7)"))
        assert read.run(connection, {"id": 1}).scalar_one() == 7
    with transaction(one) as connection:
        connection.execute(text("ALTER TABLE changed ALTER COLUMN kept TYPE text"))

    # When it runs again, then that transaction has to be repeated
    with pytest.raises(Unavailable), transaction(one) as connection:
        read.run(connection, {"id": 1})

    # Then it knows the new type
    with transaction(one) as connection:
        assert read.run(connection, {"id": 1}).scalar_one() == "7"
        connection.execute(text("DROP TABLE changed"))


def test_values_go_by_their_names_in_any_order_and_none_may_be_missing(one: Engine) -> None:
    subtract = PreparedStatement("SELECT CAST(:b AS int) - CAST(:a AS int) - CAST(:b AS int)")
    assert subtract.names == ("b", "a")
    with transaction(one) as connection:
        assert subtract.run(connection, {"a": 1, "b": 5}).scalar_one() == -1
        with pytest.raises(KeyError):
            subtract.run(connection, {"a": 1})
