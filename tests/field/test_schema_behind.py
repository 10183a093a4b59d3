"""Tests of a database that lacks something that the code needs.

Every status names it, and no message is lost by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from ops.local import stack as stack_module
from ops.local.stack import Stack
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients

RENAME = "ALTER TABLE guard_state RENAME COLUMN {} TO {}"


@contextmanager
def lacking_a_column(outside: OutsideClients) -> Iterator[None]:
    """Rename a column for the length of the block.

    The database is then as after an upgrade from a version whose migration lacked the column. The
    number of the revision is right.
    """
    outside.execute(RENAME.format("speeding_told", "somewhere_else"))
    try:
        yield
    finally:
        outside.execute(RENAME.format("somewhere_else", "speeding_told"))


def schema_of(outside: OutsideClients) -> str:
    """Return the state of the schema that /readyz reports."""
    state: str = outside.request("GET", "/readyz", token=outside.token())[1]["checks"]["schema"]
    return state


def test_a_missing_column_is_named_and_messages_wait_for_it(
    outside: OutsideClients, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stack whose messages arrive
    assert stack.lost_messages() == ""
    assert schema_of(outside) == "ok"
    guard = f"guard-{outside.run}"
    fix = {"lat": 43.0, "lon": 17.0, "timestamp": datetime.now(UTC).isoformat(), "msg_id": outside.run}
    failures = (stack.home / "log" / "location.log").read_text().count("SchemaBehind")

    with lacking_a_column(outside):
        # When a column is missing, then readiness and the operator's command name table, column
        # and remedy
        outside.until(lambda: schema_of(outside) != "ok", timeout_s=20)
        for said in (schema_of(outside), run_vigil(outside.env, "migrate", "check", check=False)):
            assert "table guard_state: column speeding_told is missing" in said
            assert "vigil migrate up" in said
        assert outside.request("GET", "/readyz")[0] == 503
        # And the check at the start says that Vigil is not up, and names the lane. Alarms
        # still arrive
        monkeypatch.setattr(stack_module, "TEST_MESSAGES_S", 0.0)
        problem = stack.lost_messages()
        assert "alert  ok" in problem
        assert "bulk   FAIL" in problem
        assert "column speeding_told is missing" in problem
        assert "Vigil is not up" in problem
        # And a fix is tried
        outside.publish(f"guard/{guard}/gps", fix)
        outside.until(
            lambda: (stack.home / "log" / "location.log").read_text().count("SchemaBehind") > failures
        )

    # Then it is stored when the column is there, and nothing became a dead letter
    stored = "SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s"
    outside.until(lambda: outside.rows(stored, guard) == [(1,)], timeout_s=40)
    outside.until(lambda: schema_of(outside) == "ok", timeout_s=20)
    letters = json.loads(run_vigil(outside.env, "dlq", "list", "--json"))
    assert [letter for letter in letters if "speeding_told" in json.dumps(letter)] == []
