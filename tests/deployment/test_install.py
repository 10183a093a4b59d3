"""Tests of a newcomer's installation on a bare Debian, as far as this machine can replay it.

They run the script, the units and the smoke tests.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.local.stack import Stack
from ops.processes import PROCESSES
from tests.deployment.installed import Installation
from tests.support.haproxy import HOST

SCRIPT = PROJECT / "ops" / "install" / "install.sh"
SHARED = ["AMQP_URI", "REDIS_URL"]
NEEDED = ("--mqtt-host", "mqtt.example.com", "--public-url", "https://noc.example.com")


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_dry_run_tells_every_step_and_does_nothing(tmp_path: Path) -> None:
    done = script("--dry-run", "--no-systemd", "--root", str(tmp_path), *NEEDED)
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())
    whole = script("--dry-run", *NEEDED)
    for words in (
        "packages: ",
        "user vigil",
        "PostgreSQL",
        "RabbitMQ",
        "Redis",
        "secrets in",
        "units in",
        "smoke test",
    ):
        assert words in whole.stdout
    assert "packages: " not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--mqtt-host is missing"),
        (NEEDED[:2], "--public-url is missing"),
        ((*NEEDED, "--root", "/tmp/x"), "--root is for --no-systemd"),
        ((*NEEDED, "--wat"), "--wat is not known"),
        ((*NEEDED, "--root"), "--root needs a value"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(arguments: tuple[str, ...], words: str) -> None:
    done = script(*arguments)
    assert done.returncode == 1
    assert words in done.stderr


@pytest.fixture
def installation(servers: Stack) -> Iterator[Installation]:
    """Yield an installation outside pytest's own directory, which is closed to ordinary users."""
    with tempfile.TemporaryDirectory(prefix="vigil-install-") as directory:
        Path(directory).chmod(0o755)
        made = Installation(Path(directory), servers, borrow=True)
        made.prepare()
        try:
            yield made
        finally:
            made.stop()


def test_an_installation_runs_in_production_and_a_panic_reaches_the_control_room(
    installation: Installation,
) -> None:
    installation.install()
    secrets = {file.name: file.read_bytes() for file in (installation.etc / "secrets").iterdir()}
    assert all(file.stat().st_mode & 0o077 == 0 for file in (installation.etc / "secrets").iterdir())
    installation.start()
    installation.admin("tenant", "add", "1", "Guards")
    [alert] = installation.alerts_of(installation.panic(), within_s=20)
    assert alert["alert_type"] == "PANIC"
    installation.back_up()
    assert "FAIL" not in installation.admin("health")
    assert {process.name: process.restarts for process in installation.supervisor.processes} == dict.fromkeys(
        ("vigil-broker", *PROCESSES, "vigil-edge"), 0
    )
    check_the_edge(installation)
    # A second run on the running installation loses nothing.
    assert "all secrets are there" in installation.install()
    assert {file.name: file.read_bytes() for file in (installation.etc / "secrets").iterdir()} == secrets
    assert "FAIL" not in installation.admin("health")
    settings = (installation.etc / "vigil.env").read_text()
    assert settings.count("VIGIL_EDGE_CERTIFICATE") == 1
    assert "VIGIL_EDGE_PROXIES" not in settings


def check_the_edge(installation: Installation) -> None:
    """Check that the script alone has set up the edge."""
    token = installation.admin("token").splitlines()[-1]
    credential = f"Authorization: Bearer {token}"
    assert installation.from_outside("GET", "/readyz")[0] == 200
    for source, claim in (
        ("127.0.0.9", "X-Forwarded-For: 127.0.0.1"),
        ("127.0.0.9", "X-Claim: none"),
        ("127.0.0.1", "X-Forwarded-For: 203.0.113.9"),
    ):
        assert installation.from_outside("GET", "/metrics/export/", claim, source=source)[0] == 403
    for origin, status in ((f"https://{HOST}", 200), ("https://evil.example", 403)):
        found = installation.from_outside("POST", "/api/v1/tickets", credential, f"Origin: {origin}")
        assert found[0] == status, found
    assert (installation.etc / "edge/certificate.pem").stat().st_mode & 0o077 == 0
    certificate, notifications, *shared = sorted(
        installation.lacks(), key=lambda said: said.split()[0] in SHARED
    )
    assert "own authority" in certificate or "own authority" in notifications
    assert "SMTP_URL" in certificate or "SMTP_URL" in notifications
    # The tests' RabbitMQ and Redis have one user for the whole installation.
    assert [said.split()[0] for said in shared] == SHARED


def test_what_the_operator_has_of_certificates_and_proxies_stays(installation: Installation) -> None:
    """This is before the first start, on an installation from before HAProxy.

    Its operator has a proxy with the certificate.
    """
    settings = installation.etc / "vigil.env"
    installation.install()
    kept = [line for line in settings.read_text().splitlines() if "VIGIL_EDGE" not in line]
    settings.write_text("\n".join(kept) + "\n")
    (installation.etc / "edge/certificate.pem").unlink()
    for _ in range(2):
        installation.install()
        assert settings.read_text().count("VIGIL_EDGE_PROXIES=127.0.0.1 ::1") == 1
        assert "VIGIL_EDGE_CERTIFICATE=" not in settings.read_text()
        assert not (installation.etc / "edge/certificate.pem").exists()
    assert not any("VIGIL_EDGE_CERTIFICATE" in line for line in installation.lacks())
