"""Tests that a rollback takes the schema back and loses nothing.

Afterwards every row of every table is back.
"""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from ops.data.schema import revisions
from ops.data.schema.rollback.keep_rows import KEPT
from services.alerts.evidence.hash_chain import ChainVerifier
from services.alerts.evidence.store import head_of, links_of, unchained
from services.contracts.errors import Refused, Unavailable
from services.platform.database import DATABASE_ROLES
from tests.support.commands import run_vigil
from tests.support.table_rows import fill, rows_of

TENANTS = (1001, 1002)
WITHOUT_ROWS = {"0014", "0016"}
"""Revisions that change roles only, or nothing of a whole database. They have no rows to keep."""
READABLE = text(
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
    " AND NOT c.relispartition AND has_table_privilege(:role, c.oid, 'SELECT') AND c.relname <> 'spatial_ref_sys'"
)
NEW_ALERT = text(
    "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id, dedup_key, message,"
    " recorded_at, received_at, last_seen_at) VALUES (gen_random_uuid(), :tenant, 'PANIC', 'CRITICAL', 'NEW', 'g',"
    " gen_random_uuid()::text, 'm', now(), now(), now()) RETURNING alert_id"
)
NEW_LINE = text(
    "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, note)"
    " VALUES (CAST(:alert AS uuid), :tenant, now(), 'noted', 'NEW', 'ann', :note)"
)
ALERT_OF = text(
    "SELECT alert_id FROM mqtt_device_alert WHERE tenant_id = :tenant ORDER BY received_at LIMIT 1"
)


@pytest.fixture(params=["hard cases", "plain rows"])
def owner_of_either(request: pytest.FixtureRequest, environment: dict[str, str], engine: Engine) -> Engine:
    """Return the owner of a database with hard cases or with plain rows.

    The tables that a downgrade writes to depend on their rows, so both ways are tested.
    """
    fill_all(engine, hard=request.param == "hard cases")
    return revisions.engine(environment["VIGIL_OWNER_DATABASE_URL"])


@pytest.fixture
def owner(environment: dict[str, str], engine: Engine) -> Engine:
    """Return the owner of a database with rows in every table.

    Among them are rows that an older schema has no place for.
    """
    fill_all(engine, hard=True)
    return revisions.engine(environment["VIGIL_OWNER_DATABASE_URL"])


def fill_all(engine: Engine, *, hard: bool) -> None:
    with engine.begin() as connection:
        fill(connection)
    if hard:
        with engine.begin() as connection:
            hard_cases(connection)
    commit_in_another_order(engine)
    erase_an_alert(engine)


def hard_cases(connection: Connection) -> None:
    connection.exec_driver_sql(
        "INSERT INTO contact (tenant_id, name, push_token) VALUES (1001, 'only by push', 'token')"
    )
    connection.exec_driver_sql(
        "INSERT INTO notification (tenant_id, alert_id, channel, recipient, state, body, created_at, round, step)"
        " SELECT tenant_id, alert_id, channel, recipient, state, body, created_at, round + 1, 0 FROM notification"
    )


def commit_in_another_order(engine: Engine) -> None:
    """Commit two rows of the timeline in another order than that of their ids.

    The chain has them in the order of commits.
    """
    with engine.connect() as late, engine.connect() as early:
        alert = late.execute(ALERT_OF, {"tenant": 1001}).scalar_one()
        late.execute(NEW_LINE, {"alert": alert, "tenant": 1001, "note": "lower id, committed later"})
        early.execute(NEW_LINE, {"alert": alert, "tenant": 1001, "note": "higher id, committed first"})
        early.commit()
        late.commit()


def erase_an_alert(engine: Engine) -> None:
    with engine.begin() as connection:
        alert = connection.execute(NEW_ALERT, {"tenant": 1001}).scalar_one()
        connection.execute(NEW_LINE, {"alert": alert, "tenant": 1001, "note": "goes"})
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM mqtt_device_alert WHERE alert_id = :a"), {"a": alert})


def all_rows(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        return rows_of(connection)


def faults(engine: Engine) -> list[str]:
    found: list[str] = []
    with engine.connect() as connection:
        for tenant in TENANTS:
            verifier = ChainVerifier(tenant_id=tenant)
            links = [link for batch in links_of(connection, tenant) for link in batch]
            found += [str(fault) for link in links for fault in verifier.step(link)]
            found += map(str, verifier.end(head_of(connection, tenant)))
            found += ["rows past the chain"] * unchained(connection, tenant)
    return found


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return revisions.revision_of(connection)


def execute(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount > 0, statement


def step_by_step(owner: Engine) -> None:
    while (at := revision(owner)) != "0001":
        assert (revisions.down(owner, "-1") is None) == (at in WITHOUT_ROWS)


def in_one_go(owner: Engine) -> None:
    assert revisions.down(owner, "0001") is not None


@pytest.mark.parametrize("go_down", [step_by_step, in_one_go])
def test_down_to_the_first_schema_and_up_again_every_row_is_what_it_was(
    owner_of_either: Engine, go_down: Callable[[Engine], None]
) -> None:
    owner = owner_of_either
    before = all_rows(owner)
    assert [name for name, rows in before.items() if not rows] == [], "every table has rows in this test"
    assert faults(owner) == []
    go_down(owner)
    assert len(all_rows(owner)) < len(before)
    outcomes = revisions.up(owner)
    after = all_rows(owner)
    assert after.keys() == before.keys()
    for name, rows in before.items():
        assert after[name] == rows, name
    assert faults(owner) == []
    assert [o for o in outcomes if o.orphans or o.in_the_way] == []
    with owner.connect() as connection:
        assert revisions.revision_of(connection) == revisions.newest()
        kept = connection.exec_driver_sql(
            f"SELECT relname FROM pg_class WHERE relnamespace = '{KEPT}'::regnamespace"
        )
        assert {row[0] for row in kept} == {"record", "record_pkey", "record_record_id_seq"}


def test_the_services_go_on_as_before_after_down_and_up(owner: Engine) -> None:
    in_one_go(owner)
    revisions.up(owner)
    for role in DATABASE_ROLES:
        with owner.begin() as connection:
            names = [row[0] for row in connection.execute(READABLE, {"role": role})]
            connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
            connection.exec_driver_sql("SELECT set_config('vigil.tenant_id', '1001', true)")
            for name in names:
                count = connection.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar_one()
                assert count >= 1, f"{role} sees nothing in {name}"
            assert len(names) > (0 if role == "vigil_login" else 10)
    # ids go on from the same number, and the timeline is guarded again
    with owner.begin() as connection:
        alert = connection.execute(ALERT_OF, {"tenant": 1002}).scalar_one()
        connection.execute(NEW_LINE, {"alert": alert, "tenant": 1002, "note": "after"})
        connection.exec_driver_sql("INSERT INTO rota (tenant_id, name, rota) VALUES (1001, 'new', '{}')")
    assert faults(owner) == []
    with pytest.raises(Exception, match="append-only"):
        execute(owner, "UPDATE alert_timeline SET note = 'changed'")


def test_what_the_older_version_wrote_in_between_is_there_too(owner: Engine) -> None:
    in_one_go(owner)
    with owner.begin() as connection:
        fresh = connection.execute(NEW_ALERT, {"tenant": 1002}).scalar_one()
        connection.execute(NEW_LINE, {"alert": fresh, "tenant": 1002, "note": "by the older version"})
        old = connection.execute(ALERT_OF, {"tenant": 1001}).scalar_one()
        connection.execute(NEW_LINE, {"alert": old, "tenant": 1001, "note": "by the older version"})
    execute(owner, "UPDATE mqtt_device_alert SET status = 'RESOLVED' WHERE alert_id = :a", a=old)
    execute(owner, "UPDATE notification SET body = 'changed' WHERE tenant_id = 1001")
    execute(owner, "UPDATE guard SET name = 'Renamed' WHERE tenant_id = 1001")
    revisions.up(owner)
    rows = all_rows(owner)
    lines = [row for row in rows["alert_timeline"] if "by the older version" in row]
    assert len(lines) == 2
    assert faults(owner) == []
    with owner.connect() as connection:
        assert connection.execute(
            text("SELECT status, assigned_to FROM mqtt_device_alert WHERE alert_id = :a"), {"a": old}
        ).one() == ("RESOLVED", "assigned_to 1")
        assert connection.execute(
            text("SELECT kind FROM alert_timer WHERE alert_id = :a"), {"a": fresh}
        ).one() == ("escalate",)
        told = connection.exec_driver_sql(
            "SELECT body, state FROM notification WHERE tenant_id = 1001 ORDER BY round"
        ).all()
        assert told[0][0] == "changed"
        assert len(told) == 2
        assert connection.exec_driver_sql(
            "SELECT name, credential IS NOT NULL FROM guard WHERE tenant_id = 1001"
        ).one() == ("Renamed", True)


def test_what_the_older_version_erased_stays_erased_and_the_chain_accounts_for_it(owner: Engine) -> None:
    in_one_go(owner)
    execute(owner, "DELETE FROM mqtt_device_alert WHERE tenant_id = 1001")
    outcomes = revisions.up(owner)
    rows = all_rows(owner)
    assert not any(
        '"tenant_id":1001' in row
        for name in ("alert_timer", "notification_attempt", "alert_timeline")
        for row in rows[name]
    )
    assert sum(outcome.orphans for outcome in outcomes) > 0
    assert faults(owner) == []


def test_what_has_its_place_taken_is_shown_and_not_lost(owner: Engine) -> None:
    revisions.down(owner, "0004")
    execute(owner, "INSERT INTO contact (tenant_id, name, phone) VALUES (1001, 'only by push', '+911')")
    [contact] = [o for o in revisions.up(owner) if o.table == "contact"]
    assert contact.in_the_way == 1
    with owner.connect() as connection:
        left = connection.exec_driver_sql(f"SELECT push_token FROM {contact.left_in}").all()
    assert left == [("token",)]


def test_a_rollback_that_fails_changes_nothing(owner: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = all_rows(owner)
    monkeypatch.setattr("ops.data.schema.revisions.LOCK_TIMEOUT_S", 1)
    with owner.begin() as other:
        other.exec_driver_sql("LOCK TABLE source_id IN ACCESS SHARE MODE")
        with pytest.raises(Unavailable, match="a table was in use"):
            revisions.down(owner, "0007")
    assert all_rows(owner) == before
    with pytest.raises(Refused, match="Back them up first"):
        revisions.down(owner, "base")
    assert all_rows(owner) == before


def test_the_command_says_what_it_keeps_and_what_it_puts_back(
    owner: Engine, environment: dict[str, str]
) -> None:
    said = run_vigil(environment, "migrate", "down", "--to", "0005")
    assert "kept 2 rows: table owed_event" in said
    assert "schema is at 0005" in said
    assert "put back 2 rows: owed_event" in run_vigil(environment, "migrate", "up")
    run_vigil(environment, "migrate", "down", "--to", "0005", "--destroy-data")
    assert "put back" not in run_vigil(environment, "migrate", "up")
    assert owner
