"""Tests of the erasure of a person on request.

Afterwards nothing names the person, everybody else is unchanged, and the record still holds.
"""

import json
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from services.feed.stream import FeedWriter
from services.platform import redis_client
from services.platform.config import Config
from tests.support.commands import run_vigil
from tests.support.tenant_rows import fill, fingerprint, tenant_tables, word_of

OURS, THEIRS = 11, 22
TEXTS = text(
    "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN pg_class p ON p.relname = c.table_name"
    " WHERE c.table_schema = current_schema() AND p.relnamespace = current_schema()::regnamespace"
    " AND p.relkind IN ('r', 'p') AND NOT p.relispartition"
    " AND c.udt_name IN ('text', '_text', 'json', 'jsonb', 'bytea')"
)


def found_in(engine: Engine, word: str) -> set[str]:
    """Return every column of the database that contains the word, in any table."""
    found = set()
    with engine.connect() as connection:
        for table, column in connection.execute(TEXTS).all():
            query = text(
                f"SELECT count(*) FROM {table} WHERE CAST({column} AS text) ILIKE :like"
                f" OR CAST({column} AS text) LIKE :hex"
            )
            values = {"like": f"%{word}%", "hex": f"%{word.encode().hex()}%"}
            if connection.execute(query, values).scalar_one():
                found.add(f"{table}.{column}")
    return found


@pytest.fixture
def tenants(engine: Engine) -> None:
    with engine.begin() as connection:
        for tenant in (OURS, THEIRS):
            fill(connection, tenant)
        connection.execute(text("DELETE FROM timeline_erased"))
        connection.execute(text("DELETE FROM owed_event"))
        connection.execute(text("UPDATE notification SET state = 'delivered'"))


def alert(
    connection: Connection, source: str, *, status: str = "RESOLVED", by: str = "Bob", note: str = ""
) -> str:
    values = {"id": str(uuid4()), "t": OURS, "source": source, "status": status, "by": by, "note": note}
    connection.execute(
        text(
            "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id, dedup_key,"
            " message, recorded_at, received_at, last_seen_at, acknowledged_by, closed_at) VALUES (CAST(:id AS uuid),"
            " :t, 'PANIC', 'CRITICAL', :status, :source, 'PANIC:' || :source, :source || ' asks for help', now(),"
            " now(), now(), :by, now())"
        ),
        values,
    )
    connection.execute(
        text(
            "INSERT INTO alert_occurrence (message_key, alert_id, tenant_id, topic, recorded_at, received_at, raw_data)"
            " VALUES (gen_random_uuid(), CAST(:id AS uuid), :t, 'alert/panic/' || :source, now(), now(),"
            " jsonb_build_object('guard', CAST(:source AS text)))"
        ),
        values,
    )
    for line_by, line_note in ((source, ""), (by, note)):
        connection.execute(
            text(
                "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, note, announced_at)"
                " VALUES (CAST(:id AS uuid), :t, now(), 'raised', :status, :by, :note, now())"
            ),
            {**values, "by": line_by, "note": line_note},
        )
    return values["id"]


def others(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return fingerprint(connection, THEIRS)


@pytest.mark.usefixtures("tenants")
def test_a_guard_is_erased_everywhere_and_the_chain_still_holds(
    environment: dict[str, str], engine: Engine, config: Config
) -> None:
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-77', 11, 'Zubaida Q. O''Neil'),"
            " ('guard-777', 11, 'Someone Else')",
            "INSERT INTO device_carrier (tenant_id, device_id, guard_id, since, until)"
            " SELECT 11, device_id, 'guard-77', now(), now() FROM device WHERE tenant_id = 11",
            "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
            " VALUES (11, 'guard-77', now(), now() + interval '1 hour')",
            "INSERT INTO guard_group_member (tenant_id, group_id, guard_id)"
            " SELECT 11, group_id, 'guard-77' FROM guard_group WHERE tenant_id = 11",
            "INSERT INTO mqtt_guard_location SELECT (jsonb_populate_record(l, jsonb_build_object('guard_id',"
            " 'guard-77', 'message_key', gen_random_uuid()))).* FROM mqtt_guard_location l WHERE tenant_id = 11",
            'INSERT INTO guard_state SELECT (jsonb_populate_record(g, \'{"guard_id": "guard-77"}\')).*'
            " FROM guard_state g WHERE tenant_id = 11",
            "INSERT INTO zone (tenant_id, name, area, radius_m, guard_id, changed_by)"
            " VALUES (11, 'beat', 'POINT(77 12)', 50, 'guard-77', 'zubaida q. o''neil')",
            "UPDATE zone SET radius_m = 60 WHERE name = 'beat'",
            "INSERT INTO zone_transition SELECT (jsonb_populate_record(t, jsonb_build_object('guard_id', 'guard-77',"
            " 'transition_id', gen_random_uuid()))).* FROM zone_transition t WHERE tenant_id = 11",
            'INSERT INTO track_checkpoint SELECT (jsonb_populate_record(c, \'{"guard_id": "guard-77"}\')).*'
            " FROM track_checkpoint c WHERE tenant_id = 11",
            "INSERT INTO implausible_fix SELECT (jsonb_populate_record(i, jsonb_build_object('guard_id', 'guard-77',"
            " 'message_key', gen_random_uuid()))).* FROM implausible_fix i WHERE tenant_id = 11",
            'INSERT INTO guard_silence SELECT (jsonb_populate_record(s, \'{"guard_id": "guard-77"}\')).*'
            " FROM guard_silence s WHERE tenant_id = 11",
            "INSERT INTO condition_clear (tenant_id, dedup_key, cleared_at, note)"
            " VALUES (11, 'GEOFENCE_VIOLATION:guard-77', now(), '')",
            "INSERT INTO rejected_message (message_key, topic, payload, reason, received_at, tenant_id) VALUES"
            " (gen_random_uuid(), 'guard/guard-77/gps', 'x', 'r', now(), NULL),"
            " (gen_random_uuid(), 'guard/guard-777/gps', 'x', 'r', now(), 11),"
            " (gen_random_uuid(), 'device/d/telemetry', convert_to('of guard-77', 'UTF8'), 'r', now(), 11)",
            "UPDATE device SET name = 'phone of zubaida q. o''neil' WHERE tenant_id = 11",
            "UPDATE contact SET note = 'ask guard-77, not guard-777' WHERE tenant_id = 11",
            'UPDATE mqtt_device_telemetry SET raw_data = \'{"who": "Zubaida Q. O\'\'Neil", "x": 1}\''
            " WHERE tenant_id = 11",
        ):
            connection.execute(text(statement.replace(":", r"\:")))
        alert(connection, "guard-77")
        kept = alert(connection, "guard-777")
        still_open = alert(connection, "guard-77", status="NEW")
    redis_client.make_redis(config).hset(
        f"{config.redis.key_prefix}:hot:{OURS}:positions", "guard-77", "sealed"
    )
    before = others(engine)

    erase = ("erase", "guard", "guard-77", "--tenant", str(OURS))
    assert "1 open life-safety alerts" in run_vigil(environment, *erase, "--force", check=False)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE mqtt_device_alert SET alert_type = 'INTRUSION' WHERE alert_id = CAST(:id AS uuid)"),
            {"id": still_open},
        )
    assert "1 open alerts" in run_vigil(environment, *erase, check=False)
    dry = json.loads(
        run_vigil(environment, "erase", "guard", "guard-77", "--tenant", str(OURS), "--dry-run", "--force")
    )
    assert "guard.name" in found_in(engine, "O'Neil")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE mqtt_device_alert SET status = 'RESOLVED' WHERE alert_id = CAST(:id AS uuid)"),
            {"id": still_open},
        )
    assert "guard-77 is on shift" in run_vigil(
        environment, "erase", "guard", "guard-77", "--tenant", str(OURS), check=False
    )
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE guard_shift SET starts_at = now() - interval '2 hours', ends_at = now() - interval '1 hour'"
                " WHERE guard_id = 'guard-77'"
            )
        )
    told = json.loads(run_vigil(environment, "erase", "guard", "Zubaida Q. O'Neil", "--tenant", str(OURS)))
    assert told == dry
    assert {"table": "mqtt_device_alert", "what": "deleted", "rows": 2} in told
    assert {"table": "rejected_message", "what": "deleted", "rows": 2} in told
    for table in ("zone_transition", "track_checkpoint", "implausible_fix", "guard_silence"):
        assert {"table": table, "what": "deleted", "rows": 1} in told
    assert found_in(engine, "O'Neil") == set()
    with engine.connect() as connection:
        # The zone now applies to nobody, not to everybody. Its change is not one that makes
        # a version.
        now, *before_now = connection.execute(
            text(
                "SELECT version, guard_id, changed_by FROM zone_version WHERE name = 'beat' ORDER BY version DESC"
            )
        ).all()
        assert [row.version for row in (now, *before_now)] == [2, 1]
        assert {row.guard_id for row in (now, *before_now)} == {now.guard_id}
        assert now.guard_id.startswith("erased-")
        assert now.changed_by == now.guard_id
        assert (
            connection.execute(text("SELECT version, guard_id FROM zone WHERE name = 'beat'")).one()
            == now[:2]
        )
        connection.rollback()
        connection.execute(text("UPDATE zone SET radius_m = 70 WHERE name = 'beat'"))
        assert connection.execute(text("SELECT version FROM zone WHERE name = 'beat'")).scalar_one() == 3
        connection.rollback()
        assert list(connection.execute(text("SELECT note FROM contact WHERE tenant_id = 11")).scalars())[
            0
        ].endswith("not guard-777")
        raw = connection.execute(text("SELECT raw_data FROM mqtt_device_telemetry WHERE tenant_id = 11"))
        assert raw.scalar_one()["x"] == 1
        assert connection.execute(
            text("SELECT count(*) FROM mqtt_device_alert WHERE alert_id = CAST(:id AS uuid)"), {"id": kept}
        ).scalar_one()
        connection.rollback()
        connection.execute(text("DELETE FROM mqtt_device_alert WHERE source_id = 'guard-777'"))
        connection.execute(text("DELETE FROM guard WHERE guard_id = 'guard-777'"))
        connection.execute(text("DELETE FROM rejected_message WHERE topic LIKE '%guard-777%'"))
        connection.execute(text("UPDATE contact SET note = replace(note, 'guard-777', '')"))
        connection.commit()
    # Without the namesake, no part of the id is left in any column of any table.
    assert found_in(engine, "guard-77") == set()
    assert others(engine) == before
    run_vigil(environment, "alert", "verify", "--tenant", str(OURS))
    assert FeedWriter.from_config(config).remove_former_positions(OURS) is False
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT kind, counts FROM erasure WHERE tenant_id = 11 AND kind = 'guard'")
        )
        assert any(counts for _, counts in rows)
    assert "no guard" in run_vigil(
        environment, "erase", "guard", "guard-77", "--tenant", str(OURS), check=False
    )


@pytest.mark.usefixtures("tenants")
def test_a_contact_is_erased_with_what_was_sent_to_them(environment: dict[str, str], engine: Engine) -> None:
    email, phone, name = "farida.k+nights@example.org", "+919812345678", "Farida Khan"
    with engine.begin() as connection:
        values = {"name": name, "email": email, "phone": phone}
        connection.execute(
            text("INSERT INTO contact (tenant_id, name, email, phone) VALUES (11, :name, :email, :phone)"),
            values,
        )
        first = alert(connection, "cam-9", note=f"step 1: sms to {name}")
        for channel, recipient in (("email", email), ("sms", phone)):
            connection.execute(
                text(
                    "INSERT INTO notification (tenant_id, alert_id, channel, recipient, name, state, body, html, words,"
                    " failover, created_at) VALUES (11, CAST(:id AS uuid), :channel, :recipient, :name, 'delivered',"
                    " 'Dear ' || :name, :name, jsonb_build_object('n', CAST(:name AS text)),"
                    " jsonb_build_array(CAST(:phone AS text)), now())"
                ),
                {**values, "id": first, "channel": channel, "recipient": recipient},
            )
        connection.execute(
            text(
                "UPDATE notification_attempt SET error = 'rejected: ' || CAST(:email AS text) WHERE tenant_id = 11"
            ),
            values,
        )
        connection.execute(
            text(
                "INSERT INTO rota (tenant_id, name, rota) VALUES (11, 'night', jsonb_build_object('members',"
                " jsonb_build_array(CAST(:name AS text), 'Bob')))"
            ),
            values,
        )
    before = others(engine)
    told = json.loads(run_vigil(environment, "erase", "contact", name, "--tenant", str(OURS)))
    assert {"table": "notification", "what": "blanked", "rows": 2} in told
    assert {"table": "alert_timeline", "what": "kept", "rows": 1} in told
    assert found_in(engine, email) == found_in(engine, phone) == set()
    # Sealed rows are not edited. They go with their alert, when retention or the operator
    # deletes it.
    assert found_in(engine, name) == {"alert_timeline.note"}
    assert others(engine) == before
    run_vigil(environment, "alert", "verify", "--tenant", str(OURS))


@pytest.mark.usefixtures("tenants")
def test_a_user_is_erased_from_the_sealed_record_too_when_that_is_asked_for(
    environment: dict[str, str], engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO app_user (tenant_id, login, name, role, password_hash)"
                " VALUES (11, 'gwen.s', 'Gwen Stone', 'operator', 'x')"
            )
        )
        connection.execute(text("INSERT INTO operator_presence VALUES (11, now(), 'Gwen Stone')"))
        alert(connection, "cam-1", by="Gwen Stone")
        alert(connection, "cam-2", by="Bob", status="NEW")
    before = others(engine)
    told = json.loads(
        run_vigil(environment, "erase", "user", "gwen.s", "--tenant", str(OURS), "--with-alerts")
    )
    assert {"table": "mqtt_device_alert", "what": "deleted", "rows": 1} in told
    assert {"table": "app_user", "what": "replaced", "rows": 1} in told
    assert found_in(engine, "Gwen Stone") == found_in(engine, "gwen.s") == set()
    assert others(engine) == before
    run_vigil(environment, "alert", "verify", "--tenant", str(OURS))
    with engine.connect() as connection:
        assert len(tenant_tables(connection)) > 20
        assert connection.execute(
            text("SELECT NOT enabled AND password_hash = '' FROM app_user WHERE login LIKE 'erased-%'")
        ).scalar_one()


@pytest.mark.usefixtures("tenants")
def test_a_person_of_another_tenant_is_not_found(environment: dict[str, str], engine: Engine) -> None:
    before = others(engine)
    said = run_vigil(
        environment, "erase", "guard", f"guard-{word_of(THEIRS)}", "--tenant", str(OURS), check=False
    )
    assert "no guard" in said
    assert others(engine) == before
