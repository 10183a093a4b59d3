"""Tests that `VIGIL_ENV=production` starts only with everything that production needs.

All missing settings are reported at once.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.local.stack import Stack
from ops.processes import PROCESSES
from ops.servers.privileges import OWN_URLS, PRIVILEGES
from tests.support.commands import run_vigil

WEAK = {
    "VIGIL_ENV": "production",
    "VIGIL_REGISTRATION": "open",
    "CHANNELS_ENCRYPTION_KEY": "",
    "CHANNELS_ENCRYPTION_KEY_FILE": "",
    "NOC_FEED_ENCRYPTION": "off",
    "JWT_SECRET": "changeme",
    "MQTT_BROKER_ADDRESS": "192.0.2.1",
    "MQTT_CA_FILE": "",
    "AMQP_URI": "amqp://guest:guest@127.0.0.1:1//",
}
METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Only a running stack has that directory."""
NAMED = {
    "VIGIL_REGISTRATION": "AMQP_URI",
    "CHANNELS_ENCRYPTION_KEY": "CHANNELS_ENCRYPTION_KEY",
    "NOC_FEED_ENCRYPTION": "CHANNELS_ENCRYPTION_KEY",
    "JWT_SECRET": "JWT_SECRET",
    "MQTT_CA_FILE": "MQTT_BROKER_PASSWORD",
    "AMQP_URI": "AMQP_URI",
}
"""The variable of each problem, and the secret that a process must have for the problem to apply."""


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_starts_and_each_problem_is_said(environment: dict[str, str], process: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.run", process],
        env={name: value for name, value in {**environment, **WEAK}.items() if name != METRICS},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    for name, secret in NAMED.items():
        assert sum(name in line for line in lines) == (secret in PRIVILEGES[process].secrets), done.stderr


def test_the_check_says_the_same_without_starting_anything(environment: dict[str, str]) -> None:
    found = json.loads(
        run_vigil({**environment, **WEAK}, "check", "--deploy", "--json", check=False).splitlines()[0]
    )
    assert all(any(name in problem for problem in found) for name in NAMED)
    sound = {
        **environment,
        "VIGIL_ENV": "production",
        "VIGIL_REGISTRATION": "closed",
        "VIGIL_PUBLIC_URL": "https://noc.example.com",
        "VIGIL_WEBHOOK_PRIVATE": "false",
        "VIGIL_BACKUP_DIR": "/var/backups/vigil",
        "VIGIL_EDGE_PROXIES": "192.0.2.7",
        "FCM_CREDENTIALS_FILE": "",  # the tests' own file, which everybody may read
    }
    # An operator's environment has one login at each server.
    found = json.loads(run_vigil(sound, "check", "--deploy", "--json", check=False).splitlines()[0])
    assert [problem.split(" is the same for all")[0] for problem in found] == list(OWN_URLS)


def test_a_production_stack_lets_nobody_in_without_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, line in (("development", "allow_anonymous true"), ("production", "allow_anonymous false")):
        monkeypatch.setenv("VIGIL_ENV", kind)
        stack = Stack(tmp_path / kind, say=print, prefer_usual_ports=False)
        stack.prepare()
        assert line in stack.mosquitto_configuration().read_text()
        assert ("topic readwrite #" in (tmp_path / kind / "mosquitto" / "acl").read_text()) == (
            kind == "development"
        )
        assert stack.settings().get("VIGIL_REGISTRATION", "closed") == (
            "open" if kind == "development" else "closed"
        )
