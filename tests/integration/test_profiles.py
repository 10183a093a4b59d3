"""Tests of profiles on a real PostgreSQL: changes, snapshots of alerts, erasure, and the commands."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from services.alerts.evidence import store as evidence_store
from services.alerts.lifecycle import AlertAction
from services.alerts.occurrences import Occurrence
from services.alerts.store import PersonAction
from services.contracts.errors import Conflict, NotFound, Refused
from services.contracts.events import AlertType, Severity
from services.contracts.people import GuardProfile, SiteProfile
from services.directory.people.pictures import prepared
from services.directory.people.store import ProfileStore
from services.platform.database import Database
from tests.support.alerts_domain import AlertsDomain
from tests.support.commands import run_vigil

NOW = datetime.now(UTC)
FIRST, SECOND, EMERGENCY, KEYHOLDER = (f"+91987654321{n}" for n in range(4))


@pytest.fixture
def profiles(database: Database, engine: Engine) -> ProfileStore:
    """Return the profiles of a tenant with a guard, a site and a device; tenant 2 has a guard."""
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')",
            "INSERT INTO site (tenant_id, name, time_zone) VALUES (1, 'Mill', 'Asia/Kolkata')",
            "INSERT INTO guard (guard_id, tenant_id, name, site_id) SELECT 'guard-1', 1, 'Asha', site_id FROM site"
            " WHERE name = 'Mill'",
            "INSERT INTO guard (guard_id, tenant_id, name) VALUES ('guard-2', 2, 'Theirs')",
            "INSERT INTO device (device_id, tenant_id, name, family) VALUES ('cam-1', 1, 'Gate camera', 'device')",
        ):
            connection.execute(text(statement))
    return ProfileStore(database)


def site_of(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT site_id FROM site WHERE name = 'Mill'")).scalar_one())


def set_guard(profiles: ProfileStore, **changes: Any) -> GuardProfile:
    stored = profiles.change("guard", "guard-1", changes, tenant_id=1, by="Ann")
    assert isinstance(stored.profile, GuardProfile)
    return stored.profile


def raise_alert(desk: AlertsDomain, source: str = "guard-1") -> str:
    occurrence = Occurrence(
        key=uuid4().bytes,
        tenant_id=1,
        site_id=None,
        alert_type=AlertType.PANIC,
        severity=Severity.CRITICAL,
        source_id=source,
        dedup_key=f"PANIC:{source}",
        message="help",
        recorded_at=NOW,
        received_at=NOW,
        by=source,
        topic=f"alert/panic/{source}",
    )
    [change] = desk.store.record([occurrence], now=NOW)
    assert change is not None
    return change.alert.id


def test_a_profile_is_empty_until_somebody_writes_it(profiles: ProfileStore) -> None:
    stored = profiles.get("guard", "guard-1", tenant_id=1)
    assert (stored.profile, stored.version, stored.changed_by) == (GuardProfile(), 0, None)


def test_each_change_makes_a_version_and_is_on_record(profiles: ProfileStore) -> None:
    set_guard(profiles, call_sign="Kilo 1", telephones=[{"number": FIRST}])
    set_guard(profiles, telephones=[{"number": SECOND}, {"number": FIRST}])
    set_guard(profiles, call_sign="Kilo 1")
    stored = profiles.get("guard", "guard-1", tenant_id=1)
    assert (stored.version, stored.changed_by) == (2, "Ann")

    [newest, oldest] = profiles.changes("guard", "guard-1", tenant_id=1, limit=10, after=None)
    assert set(oldest["after"]) == {"call_sign", "telephones"}
    assert [entry["number"] for entry in newest["before"]["telephones"]] == [FIRST]
    assert [entry["number"] for entry in newest["after"]["telephones"]] == [SECOND, FIRST]


def test_a_change_of_an_older_version_is_refused(profiles: ProfileStore) -> None:
    profiles.change("guard", "guard-1", {"post": "Gate"}, tenant_id=1, by="Ann", version=0)
    with pytest.raises(Conflict, match="version 1, changed by Ann"):
        profiles.change("guard", "guard-1", {"post": "Dock"}, tenant_id=1, by="Bob", version=0)


@pytest.mark.parametrize("tenant_id", [1, 2])
def test_a_guard_of_another_tenant_is_not_there(profiles: ProfileStore, tenant_id: int) -> None:
    theirs = "guard-2" if tenant_id == 1 else "guard-1"
    with pytest.raises(NotFound):
        profiles.get("guard", theirs, tenant_id=tenant_id)
    with pytest.raises(NotFound):
        profiles.change("guard", theirs, {"post": "x"}, tenant_id=tenant_id, by="Eve")
    with pytest.raises(NotFound):
        profiles.picture("guard", theirs, tenant_id=tenant_id)


def test_a_refused_change_leaves_everything_as_it_was(profiles: ProfileStore) -> None:
    with pytest.raises(Refused):
        set_guard(profiles, call_sign="Kilo 1", telephones=[{"number": "12"}])
    assert profiles.get("guard", "guard-1", tenant_id=1).version == 0
    assert profiles.changes("guard", "guard-1", tenant_id=1, limit=10, after=None) == []


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (50, 50), colour).save(out, "JPEG")
    return out.getvalue()


def test_a_picture_is_kept_replaced_and_removed_on_record(profiles: ProfileStore) -> None:
    for colour in ("red", "blue"):
        made = prepared(picture(colour))
        profiles.set_picture("device", "cam-1", made, tenant_id=1, by="Ann")
        assert profiles.picture("device", "cam-1", tenant_id=1) == made
    profiles.set_picture("device", "cam-1", None, tenant_id=1, by="Bob")
    with pytest.raises(NotFound, match="no picture"):
        profiles.picture("device", "cam-1", tenant_id=1)
    changes = profiles.changes("device", "cam-1", tenant_id=1, limit=10, after=None)
    assert [row["by"] for row in changes] == ["Bob", "Ann", "Ann"]
    assert changes[0]["after"] == {"picture_sha256": None}


def test_an_alert_keeps_what_was_on_record_when_it_was_raised(
    profiles: ProfileStore, desk: AlertsDomain, engine: Engine
) -> None:
    # Given a guard and a site with profiles, and a shift
    set_guard(profiles, telephones=[{"number": FIRST}])
    listed = [{"name": "Zoe", "number": KEYHOLDER, "holds_key": True}]
    profiles.change("site", site_of(engine), {"call_list": listed}, tenant_id=1, by="Ann")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
                " VALUES (1, 'guard-1', now() - interval '1 hour', now() + interval '1 hour')"
            )
        )
    # When an alert is raised, and the profile changes afterwards, and the guard presses again
    alert_id = raise_alert(desk)
    set_guard(profiles, telephones=[{"number": SECOND}])
    assert raise_alert(desk) == alert_id
    # Then the alert has both
    people = desk.store.get_people(tenant_id=1, alert_id=alert_id, role="operator", today=NOW.date())
    assert people.at_raise is not None
    assert people.at_raise.guard is not None
    assert people.now.guard is not None
    assert [entry.number for entry in people.at_raise.guard.profile.telephones] == [FIRST]
    assert [entry.number for entry in people.now.guard.profile.telephones] == [SECOND]
    assert people.at_raise.guard.shift is not None
    assert people.at_raise.site is not None
    assert people.at_raise.site.name == "Mill"
    assert isinstance(people.at_raise.site.profile, SiteProfile)
    assert people.at_raise.site.profile.call_list[0].number == KEYHOLDER
    assert people.hidden == []
    assert people.overdue == ["guard.telephones.0", "site.call_list.0"]
    assert people.missing == ["site.address", "site.post_orders"]

    viewer = desk.store.get_people(tenant_id=1, alert_id=alert_id, role="viewer", today=NOW.date())
    assert viewer.hidden == ["site.call_list.number"]
    assert KEYHOLDER not in repr(viewer)


def test_an_alert_of_an_unknown_source_and_a_device_say_so(
    profiles: ProfileStore, desk: AlertsDomain
) -> None:
    profiles.change("device", "cam-1", {"mounted_at": "Gate, pole 3"}, tenant_id=1, by="Ann")
    unknown, device = (
        desk.store.get_people(
            tenant_id=1, alert_id=raise_alert(desk, source), role="operator", today=NOW.date()
        )
        for source in ("nobody", "cam-1")
    )
    assert unknown.missing == ["source", "site"]
    assert device.now.device is not None
    assert device.now.device.profile.mounted_at == "Gate, pole 3"
    assert device.now.guard is None


def test_the_evidence_has_the_snapshot_under_its_hash(
    profiles: ProfileStore, desk: AlertsDomain, database: Database
) -> None:
    set_guard(profiles, telephones=[{"number": FIRST}], call_sign="Kilo 1")
    alert_id = raise_alert(desk)
    set_guard(profiles, telephones=[{"number": SECOND}], call_sign="Kilo 9")
    desk.store.act(
        PersonAction(AlertAction.CALL, "Olga", "Asha: no answer"), tenant_id=1, alert_id=alert_id, now=NOW
    )
    with database.of(1, snapshot=True) as connection:
        gathered = evidence_store.gather(
            connection, tenant_id=1, alert_id=alert_id, now=NOW, say=lambda _: None
        )
    pack = evidence_store.pack.build(gathered, made_by="Olga", now=NOW)
    snapshot = pack["place"]["people_at_raise"]["content"]["guard"]
    assert snapshot["profile"]["telephones"][0]["number"] == FIRST
    assert snapshot["profile"]["call_sign"] == "Kilo 1"
    assert pack["sections"]["place"] == evidence_store.pack.digest_of(pack["place"])
    assert [line["action"] for line in pack["timeline"]][-1] == "called"


def test_a_guard_s_profile_is_erased_with_the_guard(
    profiles: ProfileStore, desk: AlertsDomain, engine: Engine, environment: dict[str, str]
) -> None:
    # Given a guard with numbers and a photo, an alert, and a note of another that names the number
    contact = {"name": "Ravi Erased", "number": EMERGENCY}
    set_guard(profiles, telephones=[{"number": FIRST}], emergency_contact=contact)
    profiles.set_picture("guard", "guard-1", prepared(picture("red")), tenant_id=1, by="Ann")
    alert_id = raise_alert(desk)
    desk.store.act(PersonAction(AlertAction.RESOLVE, "Olga", ""), tenant_id=1, alert_id=alert_id, now=NOW)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE device SET name = 'phone ' || :number WHERE tenant_id = 1"), {"number": FIRST}
        )
    # When the guard is erased
    run_vigil(environment, "erase", "guard", "guard-1", "--tenant", "1", "--force")
    # Then no table has the numbers, the emergency contact or the photo
    with engine.connect() as connection:
        for table in ("guard_profile", "profile_change", "alert_people", "device", "mqtt_device_alert"):
            shown = str(connection.execute(text(f"SELECT r::text FROM {table} r")).all())
            for word in (FIRST, EMERGENCY, "Ravi Erased", "guard-1"):
                assert word not in shown, (table, word)
        assert connection.execute(text("SELECT count(*) FROM guard_profile")).scalar_one() == 0


def test_a_renamed_guard_keeps_the_profile(profiles: ProfileStore, environment: dict[str, str]) -> None:
    set_guard(profiles, call_sign="Kilo 1")
    run_vigil(environment, "guard", "rename", "guard-1", "guard-9")
    stored = profiles.get("guard", "guard-9", tenant_id=1).profile
    assert isinstance(stored, GuardProfile)
    assert stored.call_sign == "Kilo 1"


def test_profiles_are_imported_with_a_dry_run_first(
    profiles: ProfileStore, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "guards.csv"
    file.write_text(
        f"id,call_sign,telephone_1,languages\nguard-1,Kilo 1,{FIRST},en;hi\nguard-1,Kilo 1,12345,\nnobody,K,,\n"
    )
    tried = run_vigil(environment, "guard", "profile", "import", str(file), "--dry-run", check=False)
    assert "1 changed, 0 unchanged, 2 refused; nothing was written" in tried
    assert "line 3: telephones.0.number" in tried
    assert "line 4: no guard 'nobody'" in tried
    assert profiles.get("guard", "guard-1", tenant_id=1).version == 0

    run_vigil(environment, "guard", "profile", "import", str(file), check=False)
    again = run_vigil(environment, "guard", "profile", "import", str(file), check=False)
    assert "0 changed, 1 unchanged, 2 refused" in again
    shown = run_vigil(environment, "guard", "profile", "show", "guard-1", "--json")
    assert json.loads(shown)["profile"]["languages"] == ["en", "hi"]


def test_a_site_s_profile_is_set_from_a_file_and_shown_in_words(
    profiles: ProfileStore, environment: dict[str, str], tmp_path: Path
) -> None:
    assert profiles.site_keys(tenant_id=1)["Mill"]
    file = tmp_path / "mill.json"
    file.write_text(json.dumps({"address": "12 Mill Road", "police": {"number": "112"}}))
    assert "version 1" in run_vigil(environment, "site", "profile", "set", "Mill", str(file))
    shown = run_vigil(environment, "site", "profile", "show", "Mill")
    assert "12 Mill Road" in shown
    assert "not on record" in shown
    assert "Verify: police" in shown
    assert "address" in run_vigil(environment, "site", "profile", "changes", "Mill", "--json")


def test_a_photo_is_set_by_a_command(
    profiles: ProfileStore, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "asha.jpg"
    file.write_bytes(picture("green"))
    run_vigil(environment, "guard", "profile", "photo", "guard-1", str(file))
    assert profiles.picture("guard", "guard-1", tenant_id=1).media_type == "image/jpeg"
    run_vigil(environment, "guard", "profile", "photo", "guard-1", "--remove")
    with pytest.raises(NotFound):
        profiles.picture("guard", "guard-1", tenant_id=1)


def test_an_alert_from_before_snapshots_says_that_there_is_none(
    profiles: ProfileStore, desk: AlertsDomain, engine: Engine
) -> None:
    assert profiles
    alert_id = raise_alert(desk)
    with engine.begin() as connection:
        connection.execute(
            text("DELETE FROM alert_people WHERE alert_id = :alert_id"), {"alert_id": UUID(alert_id)}
        )
    people = desk.store.get_people(tenant_id=1, alert_id=alert_id, role="operator", today=NOW.date())
    assert (people.taken_at, people.at_raise) == (None, None)
    assert people.now.guard is not None
