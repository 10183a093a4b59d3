"""Tests of tenants' templates by the real command and database.

They are checked, kept, in force and withdrawn, and apply to no other tenant.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime, time
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from ops.environment import PROJECT
from services.contracts.errors import NotFound, Refused, VigilError
from services.contracts.events import Alert, AlertStatus, AlertType, NotificationRequest, Severity, Target
from services.notifications.rendering import NotificationWriter
from services.notifications.texts.template_store import TemplateStore
from services.notifications.texts.templates import Templates
from services.platform.database import Database
from tests.support.commands import run_vigil

NOW = datetime.now(UTC)
OWN = "ACME {{ w.severity }} {{ source }} {{ place }} {{ time }} {{ message }}\n"
PANIC = Alert(
    id=str(uuid4()),
    tenant_id=1,
    alert_type=AlertType.PANIC,
    severity=Severity.CRITICAL,
    status=AlertStatus.NEW,
    source_id="guard-1",
    dedup_key="k",
    message="help",
    occurrences=1,
    recorded_at=NOW,
    received_at=NOW,
    last_seen_at=NOW,
)


@pytest.fixture
def store(database: Database) -> TemplateStore:
    return TemplateStore(database)


def piped(environment: dict[str, str], octets: bytes, *arguments: str) -> tuple[int, str]:
    """Run a `vigil template` command with this standard input. Return (exit code, output)."""
    command = [sys.executable, "-m", "ops.cli", "template", *arguments]
    done = subprocess.run(
        command, check=False, input=octets, capture_output=True, env=environment, cwd=PROJECT, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def sms_of(store: TemplateStore) -> str:
    """Return the text that the service writes with the templates in the database."""
    writer = NotificationWriter(
        lambda tenant_id: Templates(store.of_tenant(tenant_id)),
        None,
        public_url="",
        link_lifetime_s=60,
        digest_at=time(7),
    )
    target = Target("Asha", {"sms": "+919876543210"})
    [row] = writer.rows(NotificationRequest(PANIC, 1, 0, ["sms"], [target], "Dock"), now=NOW)
    return row.body


def test_a_template_is_set_shown_used_and_taken_back(
    environment: dict[str, str], store: TemplateStore, tmp_path: Path
) -> None:
    file = tmp_path / "sms.txt"
    file.write_text(OWN, encoding="utf-8")
    assert run_vigil(environment, "template", "list") == "nothing yet\n"
    assert run_vigil(environment, "template", "set", "sms", "en", "text", str(file)) == (
        "template sms en text of tenant 1 is set\n"
    )
    assert piped(environment, b"1107160000000012345\n", "set", "sms", "en", "template_id")[0] == 0
    assert sms_of(store).startswith("ACME Critical guard-1 Dock ")
    shown = json.loads(run_vigil(environment, "template", "show", "sms", "en", "--json"))
    assert [row["from"] for row in shown["parts"]] == ["the tenant's, for en"] * 2
    assert shown["parts"][0]["source"] == OWN
    assert shown["sample"]["text"].startswith(
        "Silent: do not call the guard back. ACME Critical guard-123 12.97160,77.59460 31 Jan 18:05 IST Two men"
    )
    assert shown["sample"]["template_id"] == "1107160000000012345"
    assert shown["sms"] == {"length": len(shown["sample"]["text"]), "alphabet": "GSM-7", "segments": 1}
    for_people = run_vigil(environment, "template", "show", "sms", "en")
    assert OWN in for_people
    assert f"{shown['sms']['length']} of 160 characters (GSM-7), 1 segment\n" in for_people
    listed = json.loads(run_vigil(environment, "template", "list", "--json"))
    assert [(row["channel"], row["language"], row["part"], row["fault"]) for row in listed] == [
        ("sms", "en", "template_id", None),
        ("sms", "en", "text", None),
    ]
    for part in ("text", "template_id"):
        assert "is removed" in run_vigil(environment, "template", "remove", "sms", "en", part)
    assert sms_of(store).startswith("Critical: Panic guard-1 at Dock ")
    again = run_vigil(environment, "template", "remove", "sms", "en", "text", check=False)
    assert again == "vigil: tenant 1 has no template sms en text of its own\n"


def test_what_is_built_in_is_shown_too(environment: dict[str, str], store: TemplateStore) -> None:
    assert store.list_templates(tenant_id=1) == []
    shown = run_vigil(environment, "template", "show", "email", "hi")
    assert "# html: built in\n<h1>" in shown
    assert "&lt;north&gt;" in shown
    assert "text: गंभीर: संकट" in shown
    assert "segment" not in shown


@pytest.mark.parametrize(
    ("arguments", "octets", "said"),
    [
        (("push", "en", "text"), b"one\n{{ nothing }}", "template push en text, line 2: there is no 'nothing'"),
        (("push", "en", "text"), b"one\ncaf\xe9", "standard input: line 2: the file is not in UTF-8"),
        (("sms", "en", "subject"), b"x", "template sms: there is no part 'subject'; its parts are text, template_id"),
        (("push", "en", "text", "--tenant", "99"), b"x", "there is no tenant 99"),
        (("push", "en", "text"), b"", "is empty"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_work_is_refused_and_nothing_is_kept(
    environment: dict[str, str], store: TemplateStore, arguments: tuple[str, ...], octets: bytes, said: str
) -> None:
    code, answer = piped(environment, octets, "set", *arguments)
    assert code == 1
    assert answer.startswith("vigil: ")
    assert said in answer
    assert len(answer.splitlines()) == 1
    assert store.list_templates(tenant_id=1) == []


def test_a_template_that_a_newer_version_would_not_take_is_named_and_the_alarm_is_told(
    environment: dict[str, str], store: TemplateStore, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO message_template VALUES (1, 'sms', 'en', 'text', E'x\\n{{ source.upper() }}')")
        )
    [row] = store.list_templates(tenant_id=1)
    assert row["fault"].startswith("template sms en text, line 2: ")
    assert "line 2" in run_vigil(environment, "template", "show", "sms", "en")
    assert sms_of(store).startswith("Critical: Panic guard-1 at Dock ")


def test_a_tenant_sees_and_changes_its_own_only(store: TemplateStore, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'Other')"))
    where = {"channel": "push", "language": "en", "part": "text"}
    store.set_template(tenant_id=2, **where, source="theirs")
    assert store.list_templates(tenant_id=1) == []
    assert store.of_tenant(1) == {}
    with pytest.raises(NotFound):
        store.remove_template(tenant_id=1, **where)
    store.set_template(tenant_id=2, **where, source="theirs again")
    assert store.of_tenant(2) == {("push", "en", "text"): "theirs again"}
    with pytest.raises(Refused):
        store.set_template(tenant_id="1 OR true", **where, source="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("junk", [None, 5, ["sms"], "a\x00", "\ud800", "x" * 10_000])
def test_junk_is_refused_in_our_own_words(store: TemplateStore, junk: object) -> None:
    for field in ("channel", "language", "part", "source"):
        given: dict[str, object] = {
            "channel": "push",
            "language": "en",
            "part": "text",
            "source": "x",
            field: junk,
        }
        with pytest.raises(VigilError):
            store.set_template(tenant_id=1, **given)  # type: ignore[arg-type]
        if field != "source":
            del given["source"]
            with pytest.raises(VigilError):
                store.remove_template(tenant_id=1, **given)  # type: ignore[arg-type]


def test_a_site_needs_a_time_zone_that_there_is(environment: dict[str, str], store: TemplateStore) -> None:
    assert store.of_tenant(1) == {}
    said = run_vigil(environment, "site", "add", "Dock", "--time-zone", "Asia/Kolkatta", check=False)
    assert said == "vigil: --time-zone: there is no 'Asia/Kolkatta'; write it as Asia/Kolkata or UTC\n"
    assert "added" in run_vigil(environment, "site", "add", "Dock", "--time-zone", "Asia/Kolkata")
