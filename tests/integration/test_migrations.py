"""The schema goes up and down, and never takes evidence with it unasked."""

from sqlalchemy import Engine, text

from tests.commands import run_vigil


def test_status_and_history_tell_where_the_schema_is(environment: dict[str, str]) -> None:
    assert "database 0016, newest 0016" in run_vigil(environment, "migrate", "status")
    assert "0001" in run_vigil(environment, "migrate", "history")
    assert "0003" in run_vigil(environment, "migrate", "history")


def test_going_down_to_nothing_refuses_while_rows_are_there_and_says_to_back_up(
    environment: dict[str, str], engine: Engine
) -> None:
    said = run_vigil(environment, "migrate", "down", "--to", "base", check=False)
    assert "tenant" in said
    assert "Back them up first" in said
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tenant")).scalar_one() == 1
    engine.dispose()
    run_vigil(environment, "migrate", "down", "--to", "base", "--destroy-data")
    assert "database base" in run_vigil(environment, "migrate", "status", check=False)
    run_vigil(environment, "migrate", "up")
    assert "database 0016" in run_vigil(environment, "migrate", "status")


def test_an_empty_schema_goes_down_without_asking(environment: dict[str, str]) -> None:
    assert "0001" in run_vigil(environment, "migrate", "down", "--to", "0001")
    assert "base" in run_vigil(environment, "migrate", "down")
    run_vigil(environment, "migrate", "up")


def test_the_registry_is_kept_by_commands(environment: dict[str, str]) -> None:
    run_vigil(environment, "tenant", "add", "7", "Seven Seas")
    run_vigil(environment, "guard", "add", "guard-9", "--tenant", "7", "--no-credential")
    run_vigil(environment, "zone", "add", "dock", "--circle", "12.9", "77.5", "100", "--tenant", "7")
    run_vigil(environment, "guard", "disable", "guard-9", "--tenant", "7")
    assert '"enabled":false' in run_vigil(environment, "guard", "list", "--tenant", "7", "--json")
    assert "no guard" in run_vigil(environment, "guard", "disable", "guard-9", "--tenant", "8", check=False)
    assert "radius_m" in run_vigil(
        environment, "zone", "add", "bad", "--circle", "12.9", "77.5", "0", "--tenant", "7", check=False
    )
