"""Tests of evidence on a real PostgreSQL, by the operators' command.

It is exported, read, checked, and tampered with.
"""

import hashlib
import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, text

from services.alerts.evidence import pack as evidence
from services.alerts.evidence import store as evidence_store
from services.alerts.evidence.pack import CheckState
from services.alerts.evidence.signing_key import signing_key
from services.alerts.lifecycle import AlertAction
from services.alerts.occurrences import Occurrence
from services.alerts.store import AlertStore, PersonAction
from services.contracts.errors import Misconfigured, NotFound
from services.contracts.events import AlertType, Severity
from services.platform.database import Database
from tests.integration.test_timeline_chain import add, new_alert
from tests.support.alerts_domain import AlertsDomain
from tests.support.commands import run_vigil

NOW = datetime.now(UTC)
KEY = Ed25519PrivateKey.generate()
PRINT = evidence.fingerprint(evidence.public_bytes(KEY.public_key()))
FIX = text(
    "INSERT INTO mqtt_guard_location (tenant_id, guard_id, message_key, recorded_at, received_at, clock_suspect,"
    " quality, raw_data, lat, lon, mock, in_geofence, geofence_violation)"
    " SELECT :tenant, :guard, gen_random_uuid(), t, t, false, '{}', '{}',"
    " 12.97 + n * 1e-6, 77.5946, false, true, false FROM generate_series(1, :count) n,"
    " LATERAL (SELECT CAST(:since AS timestamptz) + n * CAST(:step AS interval) AS t) times"
)


REWRITE = """
DO $$
DECLARE line record; prev bytea := (SELECT prev_hash FROM alert_timeline WHERE seq = 6);
BEGIN
    FOR line IN SELECT * FROM alert_timeline WHERE seq >= 6 ORDER BY seq LOOP
        UPDATE alert_timeline SET prev_hash = prev, hash = sha256(prev || sha256(vigil_timeline_canonical(
            line.seq, line.tenant_id, line.alert_id, line.at, line.action, line.status, line."by", line.note)))
        WHERE entry_id = line.entry_id RETURNING hash INTO prev;
    END LOOP;
    UPDATE timeline_head SET hash = prev;
END $$
"""
"""The attack of somebody who has the owner's password, and knows how the chain is made."""


def raise_alert(store: AlertStore, **changes: object) -> str:
    base = {
        "key": uuid4().bytes,
        "tenant_id": 1,
        "site_id": None,
        "alert_type": AlertType.PANIC,
        "severity": Severity.CRITICAL,
        "source_id": "guard-1",
        "dedup_key": "PANIC:guard-1",
        "message": "help <script>alert(1)</script>",
        "recorded_at": NOW,
        "received_at": NOW,
        "by": "guard-1",
        "topic": "alert/panic/guard-1",
        "raw": '{"n": 1.50, "s": "<script>"}',
        "lat": 12.9716,
        "lon": 77.5946,
    }
    [change] = store.record([Occurrence(**{**base, **changes})], now=datetime.now(UTC))  # type: ignore[arg-type]
    assert change is not None
    return change.alert.id


@pytest.fixture
def alert_id(engine: Engine, desk: AlertsDomain) -> str:
    """Return the id of a panic with everything around it, among other alerts and another tenant's."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Others')"))
        connection.execute(text("UPDATE site SET location = 'POINT(77.5946 12.9716)'"))
        connection.execute(
            text(
                "INSERT INTO zone (tenant_id, site_id, name, area, radius_m)"
                " SELECT 1, site_id, 'perimeter', 'POINT(77.5946 12.9716)', 500 FROM site"
            )
        )
        connection.execute(
            text(
                "INSERT INTO guard (guard_id, tenant_id, site_id, name) SELECT 'guard-1', 1, site_id, 'Asha' FROM site"
            )
        )
        track = {"since": NOW - timedelta(minutes=20), "step": "10 seconds", "count": 120}
        connection.execute(FIX, {**track, "tenant": 1, "guard": "guard-1"})
        connection.execute(FIX, {**track, "tenant": 2, "guard": "guard-1"})
    store = desk.store
    raise_alert(store, dedup_key="before")
    alert = raise_alert(store)
    raise_alert(store, raw=None, unreadable=b"\xff<script>", flags=("unreadable",))
    other = raise_alert(store, dedup_key="between", message="of another alert")
    taken = PersonAction(AlertAction.ACKNOWLEDGE, "bob", note="a private note")
    store.act(taken, tenant_id=1, alert_id=other, now=NOW)
    done = PersonAction(AlertAction.RESOLVE, "Ann", note='all "well"\n</td><script>x</script>')
    store.act(done, tenant_id=1, alert_id=alert, now=datetime.now(UTC))
    raise_alert(store, dedup_key="after")
    with engine.begin() as connection:
        connection.execute(
            text("DELETE FROM mqtt_device_alert WHERE alert_id = CAST(:a AS uuid)"), {"a": other}
        )
        connection.execute(
            text(
                "INSERT INTO notification (tenant_id, alert_id, channel, recipient, state, body, created_at)"
                " VALUES (1, CAST(:a AS uuid), 'sms', '+4912345', 'accepted', 'PANIC', now())"
            ),
            {"a": alert},
        )
    return alert


def exported(database: Database, alert_id: str, **changes: Any) -> dict[str, Any]:
    given = {"tenant_id": 1, "alert_id": alert_id, "made_by": "Olga", "now": datetime.now(UTC), "key": KEY}
    return evidence_store.export(database, **{**given, **changes})


def states(pack: dict[str, Any]) -> dict[str, CheckState]:
    return {check.name: check.state for check in evidence.check(pack, expected=PRINT)}


def test_a_pack_holds_what_is_on_record_and_proves_itself(database: Database, alert_id: str) -> None:
    pack = exported(database, alert_id)
    assert set(states(pack).values()) == {CheckState.OK}
    assert [line["action"] for line in pack["timeline"]] == ["raised", "repeated", "resolved"]
    assert [line["seq"] for line in pack["timeline"]] == [2, 3, 6]
    assert [(link["seq"], link["erased"]) for link in pack["chain"]["links"]] == [
        (4, True),
        (5, True),
        (7, False),
    ]
    assert pack["chain"]["head"]["seq"] == 7
    assert {one["unreadable"] for one in pack["occurrences"]} == {None, "/zxzY3JpcHQ+"}
    assert {one["raw_data"] for one in pack["occurrences"]} == {None, '{"n": 1.50, "s": "<script>"}'}
    assert (pack["place"]["site"]["name"], pack["place"]["zones"][0]["name"]) == ("Dock", "perimeter")
    assert pack["notifications"][0]["recipient"] == "+4912345"
    assert pack["track"]["guard"]["name"] == "Asha"
    assert 85 <= len(pack["track"]["fixes"]) == pack["track"]["fixes_in_window"] <= 120
    assert not pack["track"]["thinned"]
    assert "location" not in pack["alert"]
    written = evidence.file_bytes(pack).decode()
    assert "private note" not in written
    assert "of another alert" not in written


def test_another_tenant_s_alert_and_none_are_not_found(database: Database, alert_id: str) -> None:
    with pytest.raises(NotFound):
        exported(database, alert_id, tenant_id=2)
    for wrong in (str(uuid4()), "nonsense"):
        with pytest.raises(NotFound):
            exported(database, wrong)


def test_the_track_is_of_who_carried_the_source_and_thinned_evenly(
    database: Database, engine: Engine, desk: AlertsDomain, alert_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alert_id
    button = raise_alert(desk.store, source_id="button-1", carried_by="guard-1", dedup_key="b", site_id=None)
    monkeypatch.setattr(evidence_store, "MAX_FIXES", 20)
    track = exported(database, button)["track"]
    times = [datetime.fromisoformat(fix["recorded_at"]) for fix in track["fixes"]]
    steps = {(after - before).total_seconds() for before, after in zip(times, times[1:-1], strict=False)}
    assert track["guard"]["guard_id"] == "guard-1"
    assert track["thinned"]
    assert 12 <= len(times) <= 20
    assert len(steps) == 1
    with engine.connect() as connection:
        last = connection.execute(
            text(
                "SELECT max(recorded_at) FROM mqtt_guard_location WHERE recorded_at <= :until AND tenant_id = 1"
            ),
            {"until": datetime.fromisoformat(track["until"])},
        ).scalar_one()
    assert times[-1] == last


def test_a_long_chain_is_cut_past_the_last_row_of_the_alert_and_says_so(
    database: Database, desk: AlertsDomain, alert_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_store, "MAX_LINKS", 1)
    store = desk.store
    for number in range(6):
        raise_alert(store, dedup_key=str(number))
    pack = exported(database, alert_id)
    assert pack["chain"]["cut_short"]
    assert pack["chain"]["last_seq"] > 6
    assert states(pack)["chain"] is CheckState.OK


def test_a_record_that_was_edited_behind_the_triggers_fails_in_the_pack(
    database: Database, engine: Engine, alert_id: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE alert_timeline DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE alert_timeline SET by = 'Bob' WHERE seq = 6"))
        connection.execute(text("ALTER TABLE alert_timeline ENABLE TRIGGER USER"))
    found = {
        name for name, state in states(exported(database, alert_id)).items() if state is CheckState.FAILED
    }
    assert found == {"chain"}


def files(out: Path) -> tuple[Path, Path]:
    [written] = out.glob("*.json")
    return written, written.with_suffix(".html")


def verify(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    said = run_vigil(environment, "alert", "verify", *arguments, "--json", check=False)
    return json.loads(said)


def failed(result: dict[str, Any]) -> set[str]:
    return {check["name"] for check in result["checks"] if check["state"] == "FAILED"}


def test_export_and_verify_by_command(environment: dict[str, str], alert_id: str, tmp_path: Path) -> None:
    said = run_vigil(environment, "alert", "export", alert_id, "--out", str(tmp_path / "out"), "--by", "Olga")
    for words in ("occurrences", "links of other alerts", "positions", "wrote", "sha256"):
        assert words in said
    written, page = files(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {written.name, page.name}
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    key_file = Path(environment["VIGIL_HOME"]) / "evidence-key.pem"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    fingerprint = run_vigil(environment, "alert", "evidence-key").strip()
    assert re.fullmatch("[0-9a-f]{64}", fingerprint)

    html = page.read_text()
    assert hashlib.sha256(written.read_bytes()).hexdigest() in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"""(src|href|url)\s*[=(]\s*['"]?\s*https?:""", html)

    # The check is offline. It has no address of a server, only the file and the fingerprint that
    # the company published.
    offline = {"PATH": environment["PATH"], "VIGIL_HOME": str(tmp_path / "elsewhere")}
    whole = run_vigil(offline, "alert", "verify", str(written), "--key", fingerprint)
    assert "FAILED" not in whole
    assert re.search(r"^ok +chain: seq 2 to 7", whole, re.MULTILINE)
    assert verify(environment, str(written))["ok"]
    unknown = verify(offline, str(written))
    assert (unknown["ok"], failed(unknown)) == (False, set())
    assert failed(verify(offline, str(written), "--key", "0" * 64)) == {"key"}

    page.write_text(html.replace("guard-1", "guard-2"))
    assert failed(verify(environment, str(written))) == {"page"}
    page.unlink()

    pack = json.loads(written.read_text())
    pack["timeline"][1]["by"] = "Bob"
    written.write_text(json.dumps(pack))
    assert failed(verify(environment, str(written))) == {"section timeline", "signature", "chain"}
    written.write_text(written.read_text()[:-9])
    assert failed(verify(environment, str(written))) == {"file"}


def test_the_whole_record_of_a_tenant_is_checked_in_the_database(
    environment: dict[str, str], engine: Engine, alert_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_vigil(environment, "alert", "verify", "--tenant", "1")
    assert "7 links to seq 7 hold, 2 of alerts that were erased" in whole
    assert verify(environment, "--tenant", "2")["ok"]
    monkeypatch.setattr(evidence_store, "BATCH", 2)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE alert_timeline DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE alert_timeline SET note = 'x' WHERE seq = 3"))
        connection.execute(text("DELETE FROM timeline_erased WHERE seq = 5"))
        add(connection, alert_id, note="past the chain")
        connection.execute(text("ALTER TABLE alert_timeline ENABLE TRIGGER USER"))
    said = run_vigil(environment, "alert", "verify", "--tenant", "1", check=False)
    assert "seq 3: altered" in said
    assert "seq 5: missing" in said
    assert "1 rows were written past the chain" in said
    assert "checked to seq 7" in said


def test_a_record_that_was_written_anew_from_end_to_end_fails_against_a_pack_from_before(
    environment: dict[str, str], engine: Engine, alert_id: str, tmp_path: Path
) -> None:
    run_vigil(environment, "alert", "export", alert_id, "--out", str(tmp_path))
    written, _ = files(tmp_path)
    assert verify(environment, "--tenant", "1", "--against", str(written))["ok"]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE alert_timeline DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE alert_timeline SET by = 'Bob' WHERE seq = 6"))
        connection.execute(text(REWRITE))
        connection.execute(text("ALTER TABLE alert_timeline ENABLE TRIGGER USER"))
    assert verify(environment, "--tenant", "1")["ok"]
    result = verify(environment, "--tenant", "1", "--against", str(written))
    assert failed(result) == {"against"}
    assert "seq 6" in result["checks"][-1]["detail"]


def test_a_chain_is_read_in_batches_without_losing_a_link(engine: Engine, database: Database) -> None:
    with engine.begin() as connection:
        alerts = [new_alert(connection) for _ in range(3)]
        for number in range(20):
            add(connection, alerts[number % 3])
    with engine.begin() as connection:
        connection.execute(
            text("DELETE FROM mqtt_device_alert WHERE alert_id = CAST(:a AS uuid)"), {"a": alerts[1]}
        )
    with database.of(1, snapshot=True) as connection:
        for size in (1, 2, 3, 7, 100):
            batches = list(evidence_store.links_of(connection, 1, batch=size))
            assert [link.seq for batch in batches for link in batch] == list(range(1, 21))


def test_alerts_are_listed_and_shown(environment: dict[str, str], alert_id: str) -> None:
    rows = json.loads(run_vigil(environment, "alert", "list", "--status", "RESOLVED", "--json"))
    assert [row["alert_id"] for row in rows] == [alert_id]
    assert len(json.loads(run_vigil(environment, "alert", "list", "--json"))) == 2
    assert json.loads(run_vigil(environment, "alert", "list", "--tenant", "2", "--json")) == []
    shown = json.loads(run_vigil(environment, "alert", "show", alert_id, "--json"))
    assert [line["seq"] for line in shown["timeline"]] == [2, 3, 6]
    assert "Resolved" in run_vigil(environment, "alert", "show", alert_id)
    assert "no alert" in run_vigil(environment, "alert", "show", str(UUID(int=0)), check=False)


def test_the_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "home" / "key.pem"
    first, second = signing_key(path), signing_key(path)
    assert evidence.public_bytes(first.public_key()) == evidence.public_bytes(second.public_key())
    assert [one.name for one in path.parent.iterdir()] == ["key.pem"]
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        signing_key(path)
    path.write_text("nonsense")
    with pytest.raises(Misconfigured, match="cannot be read"):
        signing_key(path)
