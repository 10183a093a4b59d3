"""Tests of a trial of edited zones on last week's track, on a real PostGIS.

The database stays as it is.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.contracts.errors import NotFound, Refused
from services.directory.zones.import_preview import check_edits
from services.directory.zones.rpc import ZoneRpc
from services.directory.zones.store import ZoneStore
from services.location.what_if import WhatIfTrials
from services.platform.config import Config
from services.platform.database import Database
from tests.support.commands import run_vigil

NOW = datetime.now(UTC)
BEGAN = NOW - timedelta(days=2)
LAT, LON = 12.9716, 77.5946
METRE = 1 / 111_195
ROUND = [*[0] * 12, *range(0, 325, 25), *[300] * 20, *range(300, -25, -25), *[0] * 12]
"""Metres north of the middle, a fix each ten seconds."""


def feature(name: str, radius_m: float = 200, **properties: Any) -> dict[str, Any]:
    properties |= {"name": name, "radius_m": radius_m}
    point = {"type": "Point", "coordinates": [LON, LAT]}
    return {"type": "Feature", "properties": properties, "geometry": point}


def document(*features: dict[str, Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.fixture
def placed(engine: Engine) -> Engine:
    """Write two guards of tenant 1 who went 300 m out of their yard two days ago.

    One of them did so again today.
    """
    with engine.begin() as connection:
        run = connection.exec_driver_sql
        run("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')")
        run("INSERT INTO site (tenant_id, name, time_zone) VALUES (1, 'Dock', 'Asia/Kolkata')")
        run("INSERT INTO guard_group (tenant_id, name) VALUES (1, 'Night')")
        for guard in ("guard-1", "guard-2"):
            run("INSERT INTO guard (guard_id, tenant_id, name) VALUES (%s, 1, 'G')", (guard,))
        run(
            "INSERT INTO zone (tenant_id, name, site_id, area, radius_m)"
            f" SELECT 1, 'Yard', site_id, 'POINT({LON} {LAT})', 200 FROM site"
        )
        for guard, began in (
            ("guard-1", BEGAN),
            ("guard-2", BEGAN),
            ("guard-1", NOW - timedelta(hours=1)),
        ):
            connection.execute(
                text(
                    """
                    INSERT INTO mqtt_guard_location (tenant_id, guard_id, message_key, recorded_at, received_at,
                        clock_suspect, quality, lat, lon, accuracy, mock, in_geofence, geofence_violation,
                        raw_data)
                    SELECT 1, :guard, gen_random_uuid(), at, at, false, '{}', lat, :lon, 8, false, false, false, '{}'
                    FROM (SELECT :lat + north * :metre AS lat, :began + (nth - 1) * interval '10 seconds' AS at
                          FROM unnest(CAST(:track AS int[])) WITH ORDINALITY AS t (north, nth)) AS track
                    """
                ),
                {"guard": guard, "began": began, "track": ROUND, "lat": LAT, "lon": LON, "metre": METRE},
            )
    return engine


@pytest.fixture
def tried(database: Database, config: Config, placed: Engine) -> Callable[..., Any]:  # noqa: ARG001
    def run(*features: dict[str, Any], **asked: Any) -> Any:
        calls = ZoneRpc(ZoneStore(database))
        edits = calls.list_zone_edits(tenant_id=1, document=document(*features))
        asked = {"tenant_id": 1, "since": NOW - timedelta(days=7), "until": NOW, **asked}
        return WhatIfTrials(database, config.location).try_zones(edits, **asked)

    return run


def everything(engine: Engine) -> list[Any]:
    """Return everything that a trial could have changed."""
    tables = ("zone", "zone_version", "zone_transition", "guard_state", "mqtt_device_alert", "owed_event")
    with engine.connect() as connection:
        return [
            connection.exec_driver_sql(f"SELECT t::text FROM {table} t ORDER BY 1").all()
            for table in (*tables, "registry_version")
        ]


def test_a_larger_yard_takes_all_violations_away_and_changes_nothing(
    tried: Callable[..., Any], placed: Engine
) -> None:
    before = everything(placed)
    said: list[tuple[int, int]] = []
    found = tried(feature("Yard", 400), say=lambda *numbers: said.append(numbers))
    assert [(zone.name, zone.outcome) for zone in found.zones] == [("Yard", "changed")]
    assert (found.fixes, found.guards_judged) == (3 * len(ROUND), 2)
    assert [
        (item.guard_id, item.violations_today.count, item.violations_edited.count) for item in found.guards
    ] == [
        ("guard-1", 2, 0),
        ("guard-2", 1, 0),
    ]
    first = next(moment for moment in found.guards[0].lost if moment.kind == "exited")
    assert BEGAN < first.at < BEGAN + timedelta(minutes=10)
    assert "guard-1 left Yard (version 1)" in first.why
    assert "IST" in first.why
    assert said[-1] == (found.fixes, found.fixes)
    assert everything(placed) == before


def test_a_new_zone_of_one_guard_in_a_period_is_judged_for_that_guard_and_period_alone(
    tried: Callable[..., Any],
) -> None:
    gate = feature("Gate", 100, kind="forbidden", guard="guard-2")
    found = tried(gate)
    assert [(zone.name, zone.outcome, zone.zone_id) for zone in found.zones] == [("Gate", "new", None)]
    assert [item.guard_id for item in found.guards] == ["guard-2"]
    assert {moment.zone for moment in found.guards[0].gained} >= {"Gate"}
    assert tried(gate, guard_id="guard-1").guards == []
    assert tried(gate, since=NOW - timedelta(hours=2)).guards_judged == 1


def test_what_cannot_be_tried_is_refused_with_the_reason(
    tried: Callable[..., Any],
) -> None:
    for wrong, said in (
        (feature("Yard", -1), "feature 1 \\(Yard\\): radius_m"),
        (feature("Gate", guard="guard-9"), "not a guard of this tenant"),
        (feature("Gate", site="Nowhere"), "Nowhere"),
        (feature("Gate", group="Day"), "vigil group add"),
    ):
        with pytest.raises(Refused, match=said):
            tried(wrong)
    with pytest.raises(Refused, match="at the most are judged while you wait"):
        tried(feature("Yard"), max_fixes=10)
    with pytest.raises(Refused, match="more than 31 days"):
        tried(feature("Yard"), since=NOW - timedelta(days=60))
    with pytest.raises(NotFound, match="no guard guard-9"):
        tried(feature("Yard"), guard_id="guard-9")
    with pytest.raises(Refused, match="no features"):
        check_edits([])


def test_the_command_says_it_in_words_and_in_json(
    placed: Engine, environment: dict[str, str], tmp_path: Path
) -> None:
    before = everything(placed)
    file = tmp_path / "edit.geojson"
    file.write_text(document(feature("Yard", 400), feature("Gate", 5, enabled=False)))
    said = run_vigil(environment, "zone", "try", str(file), "--tenant", "1")
    assert "Yard (changed), Gate (new): tried on 210 fixes of 2 guards" in said
    assert re.search(r"guard-2: violations 1 \([34] min \d+ s\) -> none", said)
    assert "no longer: guard-2 left Yard (version 1)" in said
    found = json.loads(run_vigil(environment, "zone", "try", str(file), "--tenant", "1", "--json"))
    assert [guard["lost_count"] for guard in found["guards"]] == [8, 4]
    file.write_text(document(feature("Yard", 200)))
    assert "No guard would have been judged otherwise." in run_vigil(
        environment, "zone", "try", str(file), "--tenant", "1"
    )
    file.write_text(document(feature("Yard", 10**9)))
    assert "feature 1 (Yard): radius_m" in run_vigil(
        environment, "zone", "try", str(file), "--tenant", "1", check=False
    )
    assert everything(placed) == before
