"""Tests that evidence outlives the retention of its parts.

They cover an alert on hold, and the track around any alert.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from services.alerts.evidence import store
from services.alerts.lifecycle import AlertAction
from services.contracts.errors import NotFound, Refused
from services.platform.config import Config
from services.platform.database import Database
from services.retention.keeper import RetentionKeeper
from tests.support.alerts_domain import AlertsDomain
from tests.support.commands import run_vigil

LONG_AGO = datetime.now(UTC) - timedelta(days=400)


@pytest.fixture
def keeper(config: Config) -> Iterator[RetentionKeeper]:
    made = Database(config, name="retention", pool_size=2)
    yield RetentionKeeper(made, config)
    made.close()


@pytest.fixture
def alert_id(desk: AlertsDomain, engine: Engine, keeper: RetentionKeeper) -> str:
    """Return the id of a panic of 400 days ago that was closed an hour later.

    There is a fix a minute around it, and also long after.
    """
    alert = desk.raise_alert().alert
    desk.act(alert.id, AlertAction.RESOLVE, at=1)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE mqtt_device_alert SET recorded_at = :at, received_at = :at,"
                " closed_at = CAST(:at AS timestamptz) + interval '1 hour'"
            ),
            {"at": LONG_AGO},
        )
        connection.execute(
            text("INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-1', 1, 'Asha')"),
        )
        for minute in range(-60, 180):
            connection.execute(
                text(
                    "INSERT INTO mqtt_guard_location (tenant_id, guard_id, message_key, recorded_at, received_at,"
                    " clock_suspect, quality, raw_data, lat, lon, mock, in_geofence, geofence_violation)"
                    " VALUES (1, 'guard-1', :key, :at, :at, false, '{}', '{}', 12, 77, false, true,"
                    " false)"
                ),
                {"key": uuid4(), "at": LONG_AGO + timedelta(minutes=minute)},
            )
    keeper.make_partitions()
    return alert.id


def track(database: Database, alert_id: str) -> list[Any]:
    pack = store.export(
        database,
        tenant_id=1,
        alert_id=alert_id,
        made_by="test",
        now=datetime.now(UTC),
        key=Ed25519PrivateKey.generate(),
    )
    return list(pack["track"]["fixes"])


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def set_policy(engine: Engine, of_class: str, days: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO retention_policy (tenant_id, class, days) VALUES (1, :c, :d)"),
            {"c": of_class, "d": days},
        )


@pytest.mark.parametrize("by_rows", [True, False])
def test_the_track_around_an_alert_is_in_its_evidence_after_the_positions_are_gone(
    alert_id: str, engine: Engine, database: Database, keeper: RetentionKeeper, by_rows: bool
) -> None:
    before = track(database, alert_id)
    assert len(before) == 15 + 60 + 15 + 1
    # a longer policy of another tenant keeps the partition, so that our rows are deleted one by one
    if by_rows:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Long')"))
            connection.execute(
                text("INSERT INTO retention_policy (tenant_id, class, days) VALUES (2, 'positions', 900)")
            )
    steps = [step for step in keeper.steps() if step.rows or step.partitions]
    assert any(step.rows == 240 for step in steps) == by_rows
    assert any(step.partitions for step in steps if step.kind == "positions") != by_rows
    assert count(engine, "mqtt_guard_location") == 0
    assert count(engine, "alert_track") == len(before)
    assert track(database, alert_id) == before
    assert list(keeper.steps()) is not None
    assert track(database, alert_id) == before


def test_an_alert_on_hold_stays_until_it_is_let_go_and_then_goes_with_its_track(
    alert_id: str,
    engine: Engine,
    database: Database,
    keeper: RetentionKeeper,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    run_vigil(environment, "alert", "export", alert_id, "--out", str(tmp_path))
    set_policy(engine, "alerts", 30)
    assert not [step for step in keeper.steps() if step.kind == "alerts" and step.rows]
    assert track(database, alert_id)
    with pytest.raises(IntegrityError, match="alert_hold"), engine.begin() as connection:
        connection.execute(text("DELETE FROM mqtt_device_alert"))
    said = run_vigil(environment, "erase", "guard", "guard-1", check=False)
    assert "on hold as evidence" in said
    run_vigil(environment, "alert", "release", alert_id)
    assert [step.rows for step in keeper.steps() if step.kind == "alerts"] == [1]
    assert (count(engine, "alert_track"), count(engine, "timeline_erased")) == (0, 2)
    assert "hold" in run_vigil(environment, "alert", "verify", "--tenant", "1")


def test_an_open_alert_and_its_track_stay_whatever_their_age(
    alert_id: str, engine: Engine, keeper: RetentionKeeper
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE mqtt_device_alert SET status = 'NEW', closed_at = NULL"))
    set_policy(engine, "alerts", 1)
    assert list(keeper.steps())
    assert count(engine, "mqtt_device_alert") == 1
    # The alert's window is still open: it ends 24 hours after its beginning.
    assert count(engine, "alert_track") == 15 + 180
    assert alert_id


def test_what_is_not_there_cannot_be_held_or_let_go(database: Database, config: Config) -> None:
    owner = Database(config, name="test", pool_size=1, as_owner=True)
    with pytest.raises(NotFound):
        store.hold(owner, tenant_id=1, alert_id=str(UUID(int=1)), reason="case", by="me")
    with pytest.raises(Refused):
        store.release(owner, tenant_id=1, alert_id=str(UUID(int=1)))
    owner.close()
    assert database
