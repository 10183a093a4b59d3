"""Tests of ids of sources: the database holds one name space over all kinds and tenants."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from services.contracts.errors import Conflict, Refused
from services.directory.registry.source_ids import NOT_FREE, check_source_id
from services.directory.registry.store import DirectoryStore
from services.ingestion.source_registry import SourceRegistry
from services.platform.config import Config
from services.platform.database import Database, make_engine
from tests.support.commands import run_vigil

OURS, THEIRS = 11, 22


@pytest.fixture
def two(engine: Engine) -> None:
    """Write two tenants.

    Theirs has a guard, a button, a sensor and a device with digits as its name.
    """
    with engine.begin() as connection:
        for tenant in (OURS, THEIRS):
            connection.execute(text("INSERT INTO tenant VALUES (:t, :n)"), {"t": tenant, "n": f"t{tenant}"})
    for what in (
        "guard their-guard",
        "guard guard-7",
        "device their-button",
        "device their-sensor",
        "device 5",
    ):
        insert(engine, what, THEIRS)


def insert(engine: Engine, what: str, tenant_id: int) -> None:
    kind, its_id = what.split()
    family = ", family) VALUES (:id, :t, :id, 'alert')" if kind == "device" else ") VALUES (:id, :t, :id)"
    with engine.begin() as connection:
        statement = f"INSERT INTO {kind} ({kind}_id, tenant_id, name{family}"
        connection.execute(text(statement), {"id": its_id, "t": tenant_id})


def held(engine: Engine) -> dict[str, tuple[int, str | None, str | None]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT source_key, tenant_id, guard_id, device_id FROM source_id"))
        return {row[0]: (row[1], row[2], row[3]) for row in rows}


@pytest.mark.parametrize(
    "entered", ["789", "guard-789", "0", "007", "button-1", "a:b@c", "guard-x", "12a", "٣"]
)
def test_the_database_and_the_register_have_one_canonical_form(engine: Engine, entered: str) -> None:
    with engine.connect() as connection:
        key = connection.execute(text("SELECT vigil_source_key(:id)"), {"id": entered}).scalar_one()
    try:
        assert key == check_source_id(entered, family="guard")
    except Refused:
        assert key == entered, "what no source may be called is left as it is"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("tenant_id", [OURS, THEIRS])
@pytest.mark.parametrize(
    "what",
    [
        "guard their-guard",
        "guard their-button",
        "guard their-sensor",
        "device their-guard",
        "device their-button",
        "device guard-7",
        "device 7",
        "guard guard-5",
        "device guard-5",
    ],
)
def test_an_id_that_is_held_is_refused_in_every_kind_and_in_the_same_words_for_own_and_foreign(
    database: Database, engine: Engine, what: str, tenant_id: int
) -> None:
    before = held(engine)
    kind, its_id = what.split()
    values = {f"{kind}_id": its_id, "tenant_id": tenant_id, "site_id": None, "name": "x"}
    if kind == "device":
        values["family"] = "alert"
    with pytest.raises(Conflict) as refused:
        DirectoryStore(database).add(kind, **values)
    assert str(refused.value) == NOT_FREE
    with pytest.raises(IntegrityError):
        insert(engine, what, tenant_id)
    assert held(engine) == before


@pytest.mark.usefixtures("two")
def test_an_id_follows_its_row_and_is_free_again_when_the_row_is_gone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE device SET device_id = 'renamed' WHERE device_id = 'their-button'"))
        connection.execute(text("UPDATE guard SET tenant_id = :t WHERE guard_id = 'guard-7'"), {"t": OURS})
        connection.execute(text("UPDATE guard SET name = 'other', enabled = false"))
        connection.execute(text("DELETE FROM guard WHERE guard_id = 'their-guard'"))
    assert held(engine) == {
        "renamed": (THEIRS, None, "renamed"),
        "their-sensor": (THEIRS, None, "their-sensor"),
        "guard-5": (THEIRS, None, "5"),
        "guard-7": (OURS, "guard-7", None),
    }
    insert(engine, "device their-guard", OURS)
    insert(engine, "guard their-button", OURS)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE guard SET guard_id = 'renamed' WHERE guard_id = 'guard-7'"))


@pytest.mark.usefixtures("two")
def test_open_registration_takes_nobody_s_id_and_lets_the_rest_of_the_batch_in(
    database: Database, engine: Engine
) -> None:
    registry = SourceRegistry(database, registration="open", default_tenant_id=OURS)
    asked = ["their-button", "their-sensor", "new-1", "5", "789", "guard-789", "new-2"]
    guards = registry.lookup(asked, kind="guard", family="guard")
    assert {its_id: source.tenant_id for its_id, source in guards.items()} == {
        "new-1": OURS,
        "new-2": OURS,
        "789": OURS,
        "guard-789": OURS,
    }
    readings = registry.lookup([*asked, "their-guard", "new-3"], kind="device", family="sensor")
    assert {its_id: (source.tenant_id, source.kind) for its_id, source in readings.items()} == {
        "their-button": (THEIRS, "device"),
        "their-sensor": (THEIRS, "device"),
        "their-guard": (THEIRS, "guard"),
        "5": (THEIRS, "device"),
        "new-1": (OURS, "guard"),
        "new-2": (OURS, "guard"),
        "789": (OURS, "guard"),
        "guard-789": (OURS, "guard"),
        "new-3": (OURS, "device"),
    }
    assert len(held(engine)) == 5 + 4


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("registration", ["open", "closed"])
@pytest.mark.parametrize("its_id", ["their-button", "their-guard", "5", "guard-5", "7", "guard-7"])
def test_an_alert_is_whose_the_id_is_whatever_else_was_tried(
    database: Database, registration: str, its_id: str
) -> None:
    mode = "open" if registration == "open" else "closed"
    registry = SourceRegistry(database, registration=mode, default_tenant_id=OURS)  # type: ignore[arg-type]
    for kind, family in (("guard", "guard"), ("device", "device")):
        registry.lookup([its_id], kind=kind, family=family)  # type: ignore[arg-type]
    found = registry.lookup_any(its_id)
    assert found is not None
    assert (found.tenant_id, found.newcomer) == (THEIRS, False)


@pytest.fixture
def ours(config: Config) -> Iterator[Engine]:
    made = make_engine(config, name="test", pool_size=1, role="vigil_tenant")
    yield made
    made.dispose()


@pytest.mark.usefixtures("two")
def test_a_tenant_reads_its_own_ids_only(ours: Engine) -> None:
    with ours.begin() as connection:
        connection.execute(text("SELECT set_config('vigil.tenant_id', :t, true)"), {"t": str(OURS)})
        assert connection.execute(text("SELECT count(*) FROM source_id")).scalar_one() == 0
        connection.execute(text("INSERT INTO guard (guard_id, tenant_id, name) VALUES ('mine', 11, 'm')"))
        assert connection.execute(text("SELECT source_key FROM source_id")).scalars().all() == ["mine"]


# -- the migration


def collide(environment: dict[str, str], engine: Engine) -> None:
    """Write sources that share ids into the schema before the migration."""
    run_vigil(environment, "migrate", "down", "--to", "0011", "--destroy-data")
    for what, tenant in (
        ("device button-1", THEIRS),
        ("guard button-1", OURS),
        ("device 7", OURS),
        ("guard guard-8", THEIRS),
        ("device guard-8", OURS),
        ("device 8", THEIRS),
        ("device alone", OURS),
    ):
        insert(engine, what, tenant)


@pytest.mark.usefixtures("two")
def test_the_migration_reports_shared_ids_changes_nothing_and_goes_on_when_they_are_parted(
    environment: dict[str, str], engine: Engine
) -> None:
    collide(environment, engine)
    rows = text(
        "SELECT 'g', guard_id, tenant_id FROM guard UNION SELECT 'd', device_id, tenant_id FROM device"
    )
    with engine.connect() as connection:
        before = set(connection.execute(rows).all())
    engine.dispose()
    said = run_vigil(environment, "migrate", "up", check=False)
    assert "3 source ids belong to several sources" in said
    assert f"button-1: device button-1 of tenant {THEIRS}, guard button-1 of tenant {OURS}" in said
    assert f"guard-7: device 7 of tenant {OURS}, guard guard-7 of tenant {THEIRS}" in said
    assert "guard-8: device guard-8 of tenant 11, device 8 of tenant 22, guard guard-8 of tenant 22" in said
    assert "vigil device rename ID NEW-ID --tenant N" in said
    assert "Traceback" not in said
    assert "database 0011" in run_vigil(environment, "migrate", "status", check=False)
    with engine.connect() as connection:
        assert set(connection.execute(rows).all()) == before
    engine.dispose()

    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO device_carrier (tenant_id, device_id, guard_id, since) VALUES (22, '8', 'guard-8', now())"
            )
        )
        connection.execute(
            text(
                "INSERT INTO source_state (source_id, tenant_id, family, recorded_at, received_at, reading)"
                " VALUES ('8', 22, 'device', now(), now(), '{}'), ('7', 11, 'device', now(), now(), '{}')"
            )
        )
    engine.dispose()
    for command in (
        ("guard", "rename", "button-1", "guard-button-1", "--tenant", str(OURS)),
        ("device", "rename", "7", "seven", "--tenant", str(OURS)),
        ("device", "rename", "guard-8", "eight", "--tenant", str(OURS)),
        ("device", "rename", "8", "button-8", "--tenant", str(THEIRS)),
    ):
        assert "rotate" in run_vigil(environment, *command)
    assert NOT_FREE in run_vigil(
        environment, "device", "rename", "alone", "8", "--tenant", str(OURS), check=False
    )
    assert "no device 'nothing'" in run_vigil(
        environment, "device", "rename", "nothing", "x", "--tenant", str(OURS), check=False
    )
    run_vigil(environment, "migrate", "up")
    assert held(engine)["button-1"] == (THEIRS, None, "button-1")
    with engine.connect() as connection:
        carried = connection.execute(text("SELECT device_id, guard_id FROM device_carrier")).one()
        states = connection.execute(text("SELECT source_id, tenant_id FROM source_state ORDER BY 1")).all()
    assert carried == ("button-8", "guard-8")
    assert states == [("button-8", THEIRS), ("seven", OURS)]
    engine.dispose()
    run_vigil(environment, "device", "rename", "alone", "not-alone", "--tenant", str(OURS))
    assert held(engine)["not-alone"] == (OURS, None, "not-alone")


# -- commands


@pytest.mark.usefixtures("two")
def test_an_import_refuses_the_rows_whose_ids_are_held_and_takes_the_rest(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    file, refused = tmp_path / "guards.csv", tmp_path / "refused.csv"
    ids = ["fresh", "their-guard", "their-button", "7", "5", "8"]
    file.write_text("id,name\n" + "".join(f"{its_id},x\n" for its_id in ids))
    options = ("--tenant", str(OURS), "--refused", str(refused))
    said = run_vigil(environment, "guard", "import", str(file), *options, check=False)
    assert "2 added" in said
    assert "4 refused" in said
    lines = refused.read_text().splitlines()
    assert len([line for line in lines if NOT_FREE in line]) == 4
    assert {key for key, (tenant, *_) in held(engine).items() if tenant == OURS} == {"fresh", "guard-8"}
    listed = json.loads(run_vigil(environment, "guard", "list", "--tenant", str(OURS), "--json"))
    assert {row["guard_id"] for row in listed} == {"fresh", "guard-8"}


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("tenant_id", [OURS, THEIRS])
@pytest.mark.parametrize("what", ["guard their-button", "device their-guard", "device 7", "guard 5"])
def test_a_command_says_the_same_of_a_foreign_id_as_of_an_own_one_of_another_kind(
    environment: dict[str, str], what: str, tenant_id: int
) -> None:
    kind, its_id = what.split()
    said = run_vigil(
        environment, kind, "add", its_id, "--tenant", str(tenant_id), "--no-credential", check=False
    )
    assert said.strip().endswith(NOT_FREE)
