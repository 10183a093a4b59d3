"""Tests of zones in the database.

Every change is a version, whichever tool makes it. An export gives back what was imported.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from ops.data.schema import revisions
from services.contracts.errors import Conflict, NotFound, Refused
from services.directory.service import DirectoryService
from services.directory.zones import import_export
from services.directory.zones.import_export import ZoneImport
from services.directory.zones.rpc import ZoneRpc
from services.directory.zones.store import ZoneStore
from services.platform.database import Database
from tests.support.commands import run_vigil

CIRCLE = {"type": "Point", "coordinates": [77.0, 12.0]}
SQUARE = {"type": "Polygon", "coordinates": [[[77, 12], [77.01, 12], [77.01, 12.01], [77, 12.01], [77, 12]]]}
OVER_180 = {
    "type": "Polygon",
    "coordinates": [
        [[179, -1], [-179, -1.123456789], [-179, 1], [179, 1], [179, -1]],
        [[179.5, -0.5], [180, 0.5], [-179.5, -0.5], [179.5, -0.5]],
    ],
}
TWO_PARTS = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[77, 12], [77.01, 12], [77, 12.01], [77, 12]]],
        [[[78, 12], [78.01, 12], [78, 12.01], [78, 12]]],
    ],
}
NIGHT = {"weekly": [{"days": ["mon", "tue"], "from": "22:00", "to": "06:00"}]}
CONFIRMATION = {"enter": {"fixes": 3}, "exit": {"seconds": 90.5, "grace_s": 30}}


@pytest.fixture
def store(database: Database, engine: Engine) -> ZoneStore:
    """Return the store, with tenants 1 and 2.

    Each has a site, a group and a guard. The names are the same, apart from the guard's.
    """
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')"))
        for tenant in (1, 2):
            values = {"t": tenant, "guard": f"guard-{tenant}"}
            for statement in (
                "INSERT INTO site (tenant_id, name, time_zone) VALUES (:t, 'HQ', 'Asia/Kolkata')",
                "INSERT INTO guard_group (tenant_id, name) VALUES (:t, 'Night')",
                "INSERT INTO guard (guard_id, tenant_id, name) VALUES (:guard, :t, 'G')",
            ):
                connection.execute(text(statement), values)
    return ZoneStore(database)


@pytest.fixture
def calls(store: ZoneStore) -> Any:
    service: Any = DirectoryService()
    service.parts = SimpleNamespace(zones=store, zone_calls=ZoneRpc(store))
    return service


def add(store: ZoneStore, name: str = "Dock", *, tenant_id: int = 1, **fields: Any) -> dict[str, Any]:
    shape = {"area": CIRCLE, "radius_m": 50} if "area" not in fields else {}
    return store.add({"name": name, **shape, **fields}, tenant_id=tenant_id, by="asha")


def ids(store: ZoneStore, tenant_id: int) -> dict[str, int]:
    names = store.names(tenant_id=tenant_id)
    return {"site_id": names["site"]["HQ"], "group_id": names["group"]["Night"]}


def test_a_zone_and_each_change_of_it_is_a_version_from_two_seconds_on(store: ZoneStore) -> None:
    before = datetime.now(UTC)
    added = add(store, **ids(store, 1), schedule=NIGHT, confirmation=CONFIRMATION)
    assert added["version"] == 1
    assert timedelta(seconds=1.9) < added["in_force_from"] - before < timedelta(seconds=10)
    changed = store.change("Dock", {"radius_m": 80, "kind": "forbidden"}, tenant_id=1, by="ravi", version=1)
    assert (changed["version"], changed["changed"]) == (2, True)
    newest, oldest = store.versions(added["zone_id"], tenant_id=1, limit=10)
    assert (oldest["radius_m"], oldest["kind"], oldest["changed_by"]) == (50, "required", "asha")
    assert (newest["radius_m"], newest["kind"], newest["changed_by"]) == (80, "forbidden", "ravi")
    assert oldest["in_force_to"] == newest["in_force_from"] == changed["in_force_from"]
    assert newest["in_force_to"] is None
    assert (newest["schedule"], newest["confirmation"]) == (NIGHT, CONFIRMATION)
    assert newest["time_zone"] == "Asia/Kolkata"
    assert newest["area"] == CIRCLE | {"coordinates": (77.0, 12.0)}


def test_a_change_that_changes_nothing_makes_no_version(store: ZoneStore) -> None:
    zone_id = add(store, area=SQUARE)["zone_id"]
    same = {"area": SQUARE, "kind": "required", "name": "Dock", "enabled": True}
    assert store.change("Dock", same, tenant_id=1, by="ravi")["changed"] is False
    turned = {
        "type": "Polygon",
        "coordinates": [SQUARE["coordinates"][0][2:] + SQUARE["coordinates"][0][1:3]],
    }
    assert store.change("Dock", {"area": turned}, tenant_id=1, by="ravi")["changed"] is False
    assert len(store.versions(zone_id, tenant_id=1, limit=10)) == 1


def test_sql_that_says_the_same_makes_no_version_and_other_sql_does(store: ZoneStore, engine: Engine) -> None:
    zone_id = add(store)["zone_id"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE zone SET radius_m = radius_m, version = 99, in_force_from = now()"))
    assert [row["version"] for row in store.versions(zone_id, tenant_id=1, limit=10)] == [1]
    with engine.begin() as connection:
        connection.execute(text("UPDATE zone SET radius_m = 60"))
    assert [row["version"] for row in store.versions(zone_id, tenant_id=1, limit=10)] == [2, 1]


def test_another_time_zone_of_the_site_is_another_version_of_its_zones_alone(
    store: ZoneStore, engine: Engine
) -> None:
    of_site = add(store, **ids(store, 1), schedule=NIGHT)["zone_id"]
    other = add(store, "Gate")["zone_id"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE site SET name = 'HQ' WHERE tenant_id = 1"))
        connection.execute(text("UPDATE site SET time_zone = 'Europe/Berlin' WHERE tenant_id = 1"))
    newest, oldest = store.versions(of_site, tenant_id=1, limit=10)
    assert (oldest["time_zone"], newest["time_zone"]) == ("Asia/Kolkata", "Europe/Berlin")
    assert newest["changed_by"] == "site HQ: Europe/Berlin"
    assert len(store.versions(other, tenant_id=1, limit=10)) == 1


def test_who_looked_at_an_older_version_does_not_overwrite_a_newer_one(store: ZoneStore) -> None:
    add(store)
    store.change("Dock", {"radius_m": 80}, tenant_id=1, by="asha", version=1)
    with pytest.raises(Conflict, match="at version 2, not 1: another person changed it"):
        store.change("Dock", {"radius_m": 90}, tenant_id=1, by="ravi", version=1)
    assert store.get(tenant_id=1, name="Dock")["radius_m"] == 80


def test_what_belongs_to_another_tenant_is_refused_by_field(store: ZoneStore) -> None:
    theirs = ids(store, 2) | {"guard_id": "guard-2"}
    for field, value in theirs.items():
        with pytest.raises(NotFound, match=f"{field} is not a .* of this tenant"):
            add(store, **{field: value})
    add(store, "Theirs", tenant_id=2)
    for attempt in (
        lambda: store.change("Theirs", {"radius_m": 5}, tenant_id=1, by="x"),
        lambda: store.get(tenant_id=1, name="Theirs"),
    ):
        with pytest.raises(NotFound, match="no zone 'Theirs' in tenant 1"):
            attempt()
    zone_id = store.get(tenant_id=2, name="Theirs")["zone_id"]
    assert store.versions(zone_id, tenant_id=1, limit=10) == []
    with pytest.raises(Conflict, match="exists already"):
        add(store, "Theirs", tenant_id=2)


def test_what_is_stored_keeps_between_minus_180_and_180_and_is_drawn_in_halves(
    store: ZoneStore, engine: Engine
) -> None:
    add(store, area=OVER_180)
    query = text(
        "SELECT ST_XMin(a), ST_XMax(a), ST_NRings(a), ST_Covers(g, ST_MakePoint(179.2, 0)::geography),"
        " ST_Covers(g, ST_MakePoint(0, 0)::geography), ST_Area(g)"
        " FROM (SELECT area::geometry AS a, area AS g FROM zone) z"
    )
    with engine.connect() as connection:
        west, east, rings, inside, far, area_m2 = connection.execute(query).one()
    assert (west, east, rings) == (-179, 179, 2)
    assert inside
    assert not far
    assert area_m2 == pytest.approx((4.123 - 0.5) * 111.2e3**2, rel=0.01)
    drawn = store.get(tenant_id=1, name="Dock")["area"]
    assert drawn["type"] == "MultiPolygon"
    assert store.change("Dock", {"area": drawn}, tenant_id=1, by="x")["changed"] is False


def fill(store: ZoneStore) -> None:
    mine = ids(store, 1)
    add(store, "Circle", **mine, schedule=NIGHT, confirmation=CONFIRMATION)
    add(store, "Over 180", area=OVER_180, kind="forbidden", enabled=False)
    add(store, 'Parts <&> "ü"', area=TWO_PARTS, kind="speed", speed_limit_mps=8.5, **mine)


@pytest.mark.parametrize("format_name", ["geojson", "kml"])
def test_what_is_exported_and_imported_elsewhere_is_the_same(store: ZoneStore, format_name: str) -> None:
    fill(store)
    written = import_export.write(store.export(tenant_id=1), format=format_name)
    taken = ZoneImport(store, tenant_id=2, by="import").run(import_export.read(written))
    assert [(outcome.outcome, outcome.reason) for outcome in taken] == [("added", "")] * 3
    mine, theirs = (
        [{k: v for k, v in row.items() if k != "zone_id"} for row in store.export(tenant_id=tenant)]
        for tenant in (1, 2)
    )
    assert mine == theirs
    assert import_export.write(store.export(tenant_id=2), format=format_name) == written
    # A second import changes nothing, with or without --update, and the other format gives the
    # same result.
    other = import_export.write(
        store.export(tenant_id=1), format={"kml": "geojson", "geojson": "kml"}[format_name]
    )
    for document in (written, other):
        for update in (False, True):
            again = ZoneImport(store, tenant_id=2, by="import", update=update).run(
                import_export.read(document)
            )
            assert {outcome.outcome for outcome in again} == {"unchanged"}
    assert {row["version"] for row in store.list_zones(tenant_id=2, limit=10)} == {1}


def collection(*features: tuple[dict[str, Any], Any]) -> str:
    nodes = [{"type": "Feature", "properties": p, "geometry": g} for p, g in features]
    return json.dumps({"type": "FeatureCollection", "features": nodes})


BOWTIE = {"type": "Polygon", "coordinates": [[[0, 0], [0.1, 0.1], [0, 0.1], [0.1, 0]]]}
MIXED = collection(
    ({"name": "Good"}, SQUARE),
    ({"name": "Crossed"}, BOWTIE),
    ({"name": "Lost", "site": "Nowhere"}, SQUARE),
    ({"name": "Stranger", "guard": "guard-2"}, SQUARE),
    ({"name": "Dock", "kind": "forbidden"}, SQUARE),
    ({"name": "Good"}, SQUARE),
    ({}, SQUARE),
    ({"name": "Last", "fill": "red"}, CIRCLE),
)


def test_bad_features_are_named_and_the_good_ones_are_imported(store: ZoneStore) -> None:
    add(store)
    heard: list[int] = []
    taken = ZoneImport(store, tenant_id=1, by="x").run(import_export.read(MIXED), say=heard.append)
    assert [outcome.outcome for outcome in taken] == ["added"] + ["refused"] * 7
    for outcome, said in zip(
        taken[1:],
        (
            "crosses itself near lat 0.05",
            "site is 'Nowhere', which this tenant does not have",
            "guard_id is not a guard of this tenant",
            "use --update",
            "feature 1 bears that name too",
            "name is None",
            "radius_m is missing",
        ),
        strict=True,
    ):
        assert said in outcome.reason
    assert heard == list(range(1, 9))
    assert taken[-1].ignored == ("fill",)
    assert [row["name"] for row in store.list_zones(tenant_id=1, limit=10)] == ["Dock", "Good"]


def test_all_or_nothing_and_a_rehearsal_leave_nothing(store: ZoneStore) -> None:
    features = import_export.read(MIXED)
    taken = ZoneImport(store, tenant_id=1, by="x", whole=True).run(features)
    assert taken[0].outcome == "left"
    assert taken[0].zone_id is None
    assert taken[1].outcome == "refused"
    tried = ZoneImport(store, tenant_id=1, by="x", dry=True).run(features)
    assert tried[0].outcome == "added"
    assert store.list_zones(tenant_id=1, limit=10) == []


def test_an_update_changes_what_the_file_says_and_leaves_the_rest(store: ZoneStore) -> None:
    add(store, kind="forbidden", confirmation=CONFIRMATION, **ids(store, 1))
    document = collection(({"name": "Dock", "radius_m": 75, "site": None}, CIRCLE))
    [outcome] = ZoneImport(store, tenant_id=1, by="x", update=True).run(import_export.read(document))
    assert (outcome.outcome, outcome.version) == ("changed", 2)
    found = store.get(tenant_id=1, name="Dock")
    assert (found["radius_m"], found["kind"], found["site_id"]) == (75, "forbidden", None)
    assert found["confirmation"] == CONFIRMATION


def test_the_calls_of_other_services(calls: Any) -> None:
    added = calls.add_zone(tenant_id=1, name="A", area=SQUARE, by="asha")
    assert calls.add_circle_zone(tenant_id=1, name="B", lat=12, lon=77, radius_m=5) != added["zone_id"]
    assert calls.add_polygon_zone(tenant_id=1, name="C", vertices=SQUARE["coordinates"][0], kind="forbidden")
    assert calls.disable_zone(tenant_id=1, name="A", by="ravi")["version"] == 2
    assert calls.change_zone(tenant_id=1, name="A", changes={"enabled": False}, version=2)["changed"] is False
    assert calls.enable_zone(tenant_id=1, name="A")["version"] == 3
    found = calls.get_zone(tenant_id=1, zone_id=added["zone_id"])
    assert [row["version"] for row in found["versions"]] == [3, 2, 1]
    assert calls.list_zone_versions(tenant_id=1, zone_id=added["zone_id"])[1]["changed_by"] == "ravi"
    assert [row["name"] for row in calls.list_zones(tenant_id=1)] == ["A", "B", "C"]
    assert calls.check_zone(tenant_id=1, name="D", area=SQUARE)["vertices"] == 4
    with pytest.raises(Refused, match="crosses itself"):
        calls.check_zone(tenant_id=1, name="D", area=BOWTIE)
    document = calls.export_zones(tenant_id=1, format="kml")
    assert {row["outcome"] for row in calls.import_zones(tenant_id=2, document=document)} == {"added"}
    with pytest.raises(Refused, match="format is 'shp'"):
        calls.export_zones(tenant_id=1, format="shp")


@pytest.mark.parametrize(
    "call",
    [
        lambda calls: calls.add_zone(tenant_id=1, name="a\x00", area=SQUARE),
        lambda calls: calls.add_zone(tenant_id=1, name="a", area=SQUARE, by="\x00"),
        lambda calls: calls.add_zone(tenant_id=None, name="a", area=SQUARE),
        lambda calls: calls.get_zone(tenant_id=1),
        lambda calls: calls.get_zone(tenant_id=1, zone_id=2**40),
        lambda calls: calls.change_zone(tenant_id=1, name="\x00", changes={}),
        lambda calls: calls.change_zone(tenant_id=1, name="Dock", changes=[]),
        lambda calls: calls.check_zone(tenant_id="1", name="a", area=SQUARE),
        lambda calls: calls.import_zones(tenant_id=1, document=None),
        lambda calls: calls.import_zones(tenant_id=1, document=" " * (4 * 1024 * 1024 + 1)),
        lambda calls: calls.list_zone_versions(tenant_id=1, zone_id="1 OR true"),
    ],
)
def test_nonsense_is_refused_and_is_no_error_of_ours(calls: Any, store: ZoneStore, call: Any) -> None:
    add(store)
    with pytest.raises(Refused):
        call(calls)


@pytest.mark.usefixtures("store")
def test_the_commands_add_change_show_and_move_zones(environment: dict[str, str], tmp_path: Path) -> None:
    vigil = ("zone",)
    schedule = tmp_path / "night.json"
    schedule.write_text(json.dumps(NIGHT))
    run_vigil(
        environment,
        *vigil,
        "add",
        "Dock",
        "--polygon",
        "77,12 77.01,12 77.01,12.01 / 77.006,12.002 77.008,12.002 77.008,12.004",
        "--site",
        "HQ",
        "--group",
        "Night",
        "--schedule",
        str(schedule),
        "--enter-fixes",
        "3",
        "--exit-grace",
        "30",
    )
    assert "in force from" in run_vigil(
        environment, *vigil, "change", "Dock", "--exit-fixes", "4", "--kind", "forbidden"
    )
    assert "so already" in run_vigil(environment, *vigil, "change", "Dock", "--kind", "forbidden")
    assert "at version 2, not 1" in run_vigil(
        environment, *vigil, "change", "Dock", "--kind", "required", "--version", "1", check=False
    )
    shown = json.loads(run_vigil(environment, *vigil, "show", "Dock", "--json"))
    assert shown["confirmation"] == {"enter": {"fixes": 3}, "exit": {"grace_s": 30, "fixes": 4}}
    assert (shown["schedule"], shown["kind"], len(shown["area"]["coordinates"])) == (NIGHT, "forbidden", 2)
    assert [row["version"] for row in shown["versions"]] == [2, 1]
    assert "confirmation" in run_vigil(environment, *vigil, "show", "Dock")
    run_vigil(environment, *vigil, "change", "Dock", "--schedule", "-", "--site", "-", "--confirmation", "-")
    run_vigil(environment, *vigil, "disable", "Dock")
    history = json.loads(run_vigil(environment, *vigil, "history", "Dock", "--json"))
    assert [(row["version"], row["enabled"]) for row in history] == [
        (4, False),
        (3, True),
        (2, True),
        (1, True),
    ]
    assert "NotFound" not in run_vigil(environment, *vigil, "show", "Nothing", check=False)

    file = tmp_path / "zones.kml"
    assert "1 zones are in" in run_vigil(environment, *vigil, "export", str(file))
    assert "1 added" in run_vigil(environment, *vigil, "check", str(file), "--tenant", "2")
    assert "1 added" in run_vigil(environment, *vigil, "import", str(file), "--tenant", "2")
    assert json.loads(run_vigil(environment, *vigil, "list", "--json", "--tenant", "2"))[0]["name"] == "Dock"
    mixed = tmp_path / "mixed.geojson"
    mixed.write_text(MIXED)
    said = run_vigil(environment, *vigil, "import", str(mixed), check=False)
    assert "feature 2 (Crossed): area is not a valid polygon" in said
    assert "not of a zone, and left out: fill" in said
    assert "1 added" in said


@pytest.fixture
def older(engine: Engine, environment: dict[str, str]) -> Iterator[Engine]:
    """Yield the engine of the schema before zones had versions, with two zones."""
    owner = revisions.engine(environment["VIGIL_OWNER_DATABASE_URL"])
    revisions.down(owner, "0007")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO site (tenant_id, name, time_zone) VALUES (1, 'HQ', 'Asia/Kolkata')")
        )
        connection.execute(
            text(
                "INSERT INTO zone (tenant_id, site_id, name, area, radius_m, version, created_at, enabled)"
                " SELECT 1, site_id, 'Old', 'POINT(77 12)', 50, 3, '2026-01-01+00', false FROM site"
            )
        )
        connection.execute(
            text(
                "INSERT INTO zone (tenant_id, name, area) VALUES (1, 'Square', 'POLYGON((0 0, 1 0, 1 1, 0 0))')"
            )
        )
    yield owner
    owner.dispose()


def test_zones_that_are_there_before_the_upgrade_have_their_version_after_it(
    older: Engine, engine: Engine, database: Database
) -> None:
    revisions.up(older)
    store = ZoneStore(database)
    old = store.get(tenant_id=1, name="Old")
    [version] = store.versions(old["zone_id"], tenant_id=1, limit=10)
    assert (version["version"], version["time_zone"], version["enabled"]) == (3, "Asia/Kolkata", False)
    assert version["in_force_from"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert version["in_force_to"] is None
    assert store.change("Old", {"enabled": True}, tenant_id=1, by="x")["version"] == 4
    assert store.change("Square", {"kind": "forbidden"}, tenant_id=1, by="x")["version"] == 2
    assert engine is not None


def test_versions_survive_the_way_down_and_back(
    store: ZoneStore, engine: Engine, environment: dict[str, str]
) -> None:
    fill(store)
    store.change("Circle", {"radius_m": 60}, tenant_id=1, by="ravi")
    columns = "zone_id, version, name, kind, radius_m, schedule, confirmation, ST_AsText(area), changed_by"
    query = text(f"SELECT {columns} FROM zone_version ORDER BY zone_id, version")
    with engine.connect() as connection:
        before = connection.execute(query).all()
    owner = revisions.engine(environment["VIGIL_OWNER_DATABASE_URL"])
    revisions.down(owner, "0007")
    with engine.connect() as connection:
        kinds = connection.execute(text("SELECT DISTINCT GeometryType(area::geometry), kind FROM zone")).all()
    assert {shape for shape, _ in kinds} <= {"POINT", "POLYGON"}
    revisions.up(owner)
    owner.dispose()
    with engine.connect() as connection:
        after = connection.execute(query).all()
    assert [row for row in after if row in before] == before
