"""Positions during shifts only, for tenants that ask for it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.config import Config
from services.directory.store import DirectoryStore
from services.errors import Conflict, NotFound, Refused
from services.location.intake import Intake
from services.providers import Database
from services.registry import Registry
from tests.commands import run_vigil
from tests.integration.test_intake import LAT, NOW, fix, location_intake


@pytest.fixture
def registry(database: Database) -> Registry:
    """Looks at the version each time: these tests do not wait for a second."""
    seconds = iter(range(0, 10_000, 2))
    return Registry(database, registration="open", default_tenant_id=1, clock=lambda: float(next(seconds)))


@pytest.fixture
def intake(engine: Engine, database: Database, registry: Registry, config: Config) -> Intake:
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO tenant (tenant_id, name) VALUES (2, 'Two')",
            "INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-1', 1, 'one'), ('guard-2', 2, 'two')",
            f"INSERT INTO zone (tenant_id, name, area, radius_m, in_force_from)"
            f" VALUES (1, 'z', 'POINT(77.5946 {LAT})', 500, '-infinity')",
        ):
            connection.execute(text(statement))
    return location_intake(database, registry, config)


def ask_for_it(environment: dict[str, str]) -> None:
    run_vigil(environment, "tenant", "set", "1", "positions_only_on_shift", "on")


def add(environment: dict[str, str], guard: str, start: timedelta, end: timedelta) -> None:
    run_vigil(environment, "shift", "add", guard, (NOW + start).isoformat(), (NOW + end).isoformat())


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_fix_off_shift_leaves_nothing_and_its_receipt_says_so(
    environment: dict[str, str], engine: Engine, intake: Intake
) -> None:
    ask_for_it(environment)
    add(environment, "1", timedelta(hours=-2), timedelta(hours=-1))
    outside = fix(lat=13.5, msg_id="off")
    outcome = intake.store(
        [
            outside,
            fix(lat=13.5, seconds=-90 * 60, msg_id="on"),
            fix(lat=13.5, seconds=-56 * 60, msg_id="tolerated"),
            fix("guard-2", lat=13.5, msg_id="other tenant"),
        ],
        now=NOW,
    )
    assert outcome.off_shift == 1
    assert {r.msg_id: r.status for r in outcome.receipts} == {
        "off": "off_shift",
        "on": "stored",
        "tolerated": "stored",
        "other tenant": "stored",
    }
    began = rows(engine, "SELECT confirmed_at FROM zone_transition WHERE kind = 'violation_began'")
    assert began == [(NOW - timedelta(minutes=56),)], "what was judged is what may be kept"
    assert rows(engine, "SELECT guard_id, count(*) FROM mqtt_guard_location GROUP BY 1 ORDER BY 1") == [
        ("guard-1", 2),
        ("guard-2", 1),
    ]
    assert rows(engine, "SELECT recorded_at FROM guard_state WHERE guard_id = 'guard-1'") == [
        (NOW - timedelta(minutes=56),)
    ]
    assert rows(engine, "SELECT count(*) FROM rejected_message") == [(0,)]
    # Nor does its identity: when the shift is entered late, the phone may send it again.
    add(environment, "1", timedelta(minutes=-30), timedelta(minutes=30))
    again = intake.store([outside], now=NOW)
    assert (again.off_shift, again.stored) == (0, 1)


def test_without_the_wish_every_position_is_stored(engine: Engine, intake: Intake) -> None:
    outcome = intake.store([fix(msg_id="m")], now=NOW)
    assert (outcome.off_shift, outcome.stored) == (0, 1)
    assert rows(engine, "SELECT count(*) FROM guard_state") == [(1,)]


def test_the_wish_and_shifts_are_known_within_two_seconds_and_taken_back(
    environment: dict[str, str], intake: Intake
) -> None:
    assert intake.store([fix()], now=NOW).stored == 1
    ask_for_it(environment)
    assert intake.store([fix(seconds=1)], now=NOW).off_shift == 1
    run_vigil(environment, "tenant", "set", "1", "positions_only_on_shift", "off")
    assert intake.store([fix(seconds=2)], now=NOW).stored == 1


def test_shifts_do_not_overlap_and_are_listed_imported_and_removed(
    environment: dict[str, str], database: Database, intake: Intake, tmp_path: Path
) -> None:
    assert intake
    directory = DirectoryStore(database)

    def put(guard: str, start: timedelta, end: timedelta) -> None:
        values = {"guard_id": guard, "starts_at": NOW + start, "ends_at": NOW + end}
        directory.add("shift", tenant_id=1, **values)

    put("guard-1", timedelta(hours=1), timedelta(hours=9))
    with pytest.raises(Conflict, match="overlaps"):
        put("guard-1", timedelta(hours=8), timedelta(hours=10))
    put("guard-1", timedelta(hours=9), timedelta(hours=10))
    with pytest.raises(NotFound):
        put("guard-2", timedelta(hours=1), timedelta(hours=2))
    with pytest.raises(Refused, match="48 hours"):
        put("guard-1", timedelta(days=5), timedelta(days=8))
    file = tmp_path / "shifts.csv"
    file.write_text(
        "guard,starts_at,ends_at\n1,2026-03-01T22:00+05:30,2026-03-02T06:00+05:30\n1,tomorrow,never\n"
        "77,2026-03-01T22:00Z,2026-03-02T06:00Z\n"
    )
    said = run_vigil(environment, "shift", "import", str(file), check=False)
    assert "1 shifts added, 2 refused" in said
    assert "line 3" in said
    assert "line 4" in said
    listed = json.loads(run_vigil(environment, "shift", "list", "--json"))
    assert len(listed) == 3
    oldest = listed[-1]
    assert datetime.fromisoformat(oldest["starts_at"]) == datetime(2026, 3, 1, 16, 30, tzinfo=UTC)
    run_vigil(environment, "shift", "remove", str(oldest["shift_id"]))
    assert len(directory.list_rows("shift", tenant_id=1, limit=10)) == 2
    with pytest.raises(NotFound, match="no shift"):
        directory.remove_shift(oldest["shift_id"], tenant_id=1)
