"""Tests of the fixes of a guard whose track takes long to repair.

They wait together. Those of other guards are stored meanwhile.
"""

import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from services.contracts.families import Fix, FixBatch, Origin
from services.location.service import LocationParts
from services.platform.config import Config

NOW = datetime.now(UTC)
COUNT = text("SELECT count(*) FROM mqtt_guard_location WHERE guard_id = :guard")


def fix(guard: str, age_s: float) -> Fix:
    at = NOW - timedelta(seconds=age_s)
    origin = Origin(guard, os.urandom(16), None, f"guard/{guard}/gps", at, NOW, False, (), None, "{}")
    return Fix(origin, 12.9, 77.6, 5.0, None, None, "gps", False)


@pytest.fixture
def parts(config: Config, engine: Engine) -> LocationParts:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-1', 1, 'A'), ('guard-2', 1, 'B')"
        )
    return LocationParts(config)


def stored(engine: Engine, guard: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(COUNT, {"guard": guard}).scalar_one())


def test_a_guard_that_is_held_keeps_no_other_waiting_and_loses_nothing(
    parts: LocationParts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a guard whose track was just repaired, which took more than its budget
    share = parts.intake._judging.share
    parts.intake.store([fix("guard-1", 0)], now=NOW, hold=True)
    monkeypatch.setattr("services.geofencing.rule.repair_budget.BUDGET_S", 0.0)
    parts.intake.store([fix("guard-1", 50)], now=NOW, hold=True)
    assert share

    # When fixes of that guard and of another come
    outcome = parts.intake.store(
        [fix("guard-1", 40), fix("guard-2", 1), fix("guard-1", 30)], now=NOW, hold=True
    )

    # Then the other guard's fixes are stored, and its own are handed back in their order
    assert stored(engine, "guard-2") == 1
    assert stored(engine, "guard-1") == 2
    [(event, body)] = outcome.deferred
    assert event == "guard_fixes_held" and isinstance(body, FixBatch)
    assert {item.origin.source_id for item in body.fixes} == {"guard-1"}
    assert [item.origin.recorded_at for item in body.fixes] == [
        NOW - timedelta(seconds=age_s) for age_s in (40, 30)
    ]

    # And they are stored together later, whether the guard is held or not
    again = parts.intake.store(body.fixes, now=NOW)
    assert again.deferred == []
    assert stored(engine, "guard-1") == 4


def test_a_dense_track_has_checkpoints_by_its_number_of_fixes(parts: LocationParts, engine: Engine) -> None:
    # Given a guard with six hundred fixes within some seconds, in batches of a hundred
    fixes = [fix("guard-2", 10 - number / 100) for number in range(700)]
    for start in range(0, len(fixes), 100):
        parts.intake.store(fixes[start : start + 100], now=NOW, hold=True)

    # Then there is a checkpoint at least every 250 of them
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM track_checkpoint")).scalar_one()
    assert count >= 3
