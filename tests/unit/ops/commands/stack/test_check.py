"""Tests of `vigil check`.

Its exit code is 0 only when nothing is wrong. Each problem is one line with its remedy.
"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.commands.stack.check import check
from ops.environment import PROJECT
from ops.servers.edge import certificate
from services.platform.config import VARIABLE

WRONG = {
    "FCM_SERVER_KEY": "AAAA-a-legacy-key",
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_PHONE_NUMBER": "5017122661",
    "ALERT_SMS_RECIPIENTS": "98765",
    "VIGIL_PUBLIC_URL": "noc.example.com",
    "SMTP_URL": "mail.example.com",
    "FCM_CREDENTIALS_FILE": "/nowhere/account.json",
    "PROMETHEUS_ALLOWED_IPS": "127.0.0.1/32, monitoring",
    "VIGIL_TRUSTED_PROXIES": "10.0.0.0/64",
}
NAMED = set(WRONG) - {"TWILIO_ACCOUNT_SID"} | {"TWILIO_AUTH_TOKEN"}
"""Each variable is in one problem. One of Twilio's settings is missing."""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prepare an installation without any setting, and without a running stack."""
    for match in VARIABLE.finditer((PROJECT / "config.yaml").read_text()):
        monkeypatch.delenv(match["name"], raising=False)
    monkeypatch.delenv("VIGIL_CONFIG", raising=False)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(check, arguments)
    return done.exit_code, done.stdout


def test_what_is_left_out_is_not_wrong() -> None:
    assert run() == (0, "the configuration is sound\n")
    assert run("--json") == (0, "[]\n")


def test_what_is_set_wrongly_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    code, said = run()
    assert code == 1
    lines = said.splitlines()
    assert len(lines) == len(NAMED)
    for name in NAMED:
        assert sum(line.startswith(name) for line in lines) == 1, name
    assert "AAAA-a-legacy-key" not in said
    code, said = run("--json")
    assert (code, json.loads(said)) == (1, lines)


def test_production_wants_more_and_hears_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_SMS_RECIPIENTS", "98765")
    code, said = run("--deploy", "--json")
    found = json.loads(said)
    assert code == 1
    assert any(problem.startswith("ALERT_SMS_RECIPIENTS") for problem in found)
    assert any(problem.startswith("JWT_SECRET") for problem in found)


def test_the_edges_certificate_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    monkeypatch.setenv("VIGIL_EDGE_CERTIFICATE", str(file))
    monkeypatch.setenv("VIGIL_PUBLIC_URL", "https://noc.example.com")

    def said() -> list[str]:
        return [line for line in json.loads(run("--deploy", "--json")[1]) if "VIGIL_EDGE_CERTIFICATE" in line]

    assert "No such file" in said()[0]
    certificate.keep(file, authority=tmp_path, host="other.example.com")
    assert [("other.example.com" in line, "own authority" in line) for line in said()] == [
        (True, False),
        (False, True),
    ]


def test_a_secret_file_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "jwt_secret"
    file.write_text("x" * 40)
    monkeypatch.setenv("JWT_SECRET_FILE", str(file))
    file.chmod(0o644)
    assert any(problem.startswith(str(file)) for problem in json.loads(run("--deploy", "--json")[1]))
    file.chmod(0o600)
    assert not any(problem.startswith(str(file)) for problem in json.loads(run("--deploy", "--json")[1]))
