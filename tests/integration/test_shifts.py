"""Tests of positions during shifts only, for tenants that ask for it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from services.contracts.errors import Conflict, NotFound, Refused
from services.directory.registry.store import DirectoryStore
from services.ingestion.source_registry import SourceRegistry
from services.location.intake import FixIntake
from services.platform.config import Config
from services.platform.database import Database
from tests.integration.test_intake import LAT, NOW, fix, location_intake
from tests.support.commands import run_vigil


@pytest.fixture
def registry(database: Database) -> SourceRegistry:
    """Return a registry that looks at the version each time.

    These tests do not wait for a second.
    """
    seconds = iter(range(0, 10_000, 2))
    return SourceRegistry(
        database, registration="open", default_tenant_id=1, clock=lambda: float(next(seconds))
    )


@pytest.fixture
def intake(engine: Engine, database: Database, registry: SourceRegistry, config: Config) -> FixIntake:
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
    environment: dict[str, str], engine: Engine, intake: FixIntake
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
    # Nor is its identity stored: when the shift is entered late, the phone may send it again.
    add(environment, "1", timedelta(minutes=-30), timedelta(minutes=30))
    again = intake.store([outside], now=NOW)
    assert (again.off_shift, again.stored) == (0, 1)


def test_without_the_wish_every_position_is_stored(engine: Engine, intake: FixIntake) -> None:
    outcome = intake.store([fix(msg_id="m")], now=NOW)
    assert (outcome.off_shift, outcome.stored) == (0, 1)
    assert rows(engine, "SELECT count(*) FROM guard_state") == [(1,)]


def test_the_wish_and_shifts_are_known_within_two_seconds_and_taken_back(
    environment: dict[str, str], intake: FixIntake
) -> None:
    assert intake.store([fix()], now=NOW).stored == 1
    ask_for_it(environment)
    assert intake.store([fix(seconds=1)], now=NOW).off_shift == 1
    run_vigil(environment, "tenant", "set", "1", "positions_only_on_shift", "off")
    assert intake.store([fix(seconds=2)], now=NOW).stored == 1


def test_shifts_do_not_overlap_and_are_listed_imported_and_removed(
    environment: dict[str, str], database: Database, intake: FixIntake, tmp_path: Path
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


@pytest.mark.parametrize(
    ("ahead_s", "shift_s", "statuses"),
    [
        # The shift began eight minutes ago, and the clock is twenty minutes slow. The clock's
        # offset is known by the third fix.
        (-1200, (-480, 3600), ["off_shift", "off_shift", "stored", "stored", "stored"]),
        (-5400, (-480, 3600), ["off_shift", "off_shift", "stored", "stored", "stored"]),
        # The shift ended eight minutes ago. Fixes that seem to be from before its end are not.
        (-1200, (-7200, -480), ["stored", "stored", "off_shift", "off_shift", "off_shift"]),
        (240, (-7200, 3600), ["stored"] * 5),
        (240, (-7200, -480), ["off_shift"] * 5),
        (-10, (-7200, -480), ["off_shift"] * 5),
        (0, (-480, 3600), ["stored"] * 5),
    ],
)
def test_a_shift_is_held_against_the_corrected_time(
    environment: dict[str, str],
    engine: Engine,
    intake: FixIntake,
    ahead_s: float,
    shift_s: tuple[float, float],
    statuses: list[str],
) -> None:
    # Given a guard who was seen an hour ago, and whose tenant wants positions on shift only,
    intake.store([fix(seconds=-3600, received_at=NOW - timedelta(hours=1))], now=NOW)
    ask_for_it(environment)
    add(environment, "1", *(timedelta(seconds=seconds) for seconds in shift_s))
    # when the phone's clock is wrong,
    said = []
    for second in range(5):
        received_at = NOW + timedelta(seconds=second)
        late = fix(seconds=ahead_s + second, received_at=received_at, msg_id=f"m{second}")
        outcome = intake.store([late], now=received_at)
        said += [receipt.status for receipt in outcome.receipts]
    # then the shift of the corrected time counts.
    assert said == statuses
    assert rows(engine, "SELECT count(*) - 1 FROM mqtt_guard_location") == [(statuses.count("stored"),)]


def test_what_is_late_and_was_made_off_shift_leaves_no_identity(
    environment: dict[str, str], engine: Engine, intake: FixIntake
) -> None:
    ask_for_it(environment)
    add(environment, "1", timedelta(hours=-1), timedelta(hours=1))
    # Given fixes that come hours late, one from before the shift and one from within it,
    batch = [fix(seconds=-7200, msg_id="before"), fix(seconds=-1800, msg_id="within")]
    outcome = intake.store(batch, now=NOW)
    # then one is stored, the other leaves no trace, and both may come again.
    assert {r.msg_id: r.status for r in outcome.receipts} == {"before": "off_shift", "within": "stored"}
    assert rows(engine, "SELECT message_key::text FROM message_seen") == [
        (str(UUID(bytes=batch[1].origin.key)),)
    ]
    again = intake.store(batch, now=NOW)
    assert {r.msg_id: r.status for r in again.receipts} == {"before": "off_shift", "within": "stored"}
    assert (again.off_shift, again.stored, again.admitted) == (1, 0, 1)
