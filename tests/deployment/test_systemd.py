"""Tests of the units by systemd's own tools."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.install.secret_files import ServerAddresses, files_of, write
from ops.local.supervisor import INSIST_S, STALL_SIGNAL, START_TIMEOUT_S
from ops.processes import GROUPS, PROCESSES
from ops.run import SECRETS_DIRECTORY, STOP_TIMEOUT_S
from services.platform import config
from tests.deployment.units import Unit

UNITS = PROJECT / "ops" / "install" / "systemd"
FILES = sorted(path for path in UNITS.iterdir() if path.is_file())
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
EXPOSURE = {
    "vigil@.service": 1.5,
    "vigil-migrate.service": 1.5,
    "vigil-broker.service": 1.5,
    "vigil-edge.service": 1.7,
    "vigil-backup.service": 2.5,
}
"""Upper limit of each unit's exposure, of 10 (systemd-analyze security)."""
OWNERS = {"vigil_owner_database_url", "mqtt_admin_password", "vigil_superuser_database_url"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of the units with programs that exist, as after an installation."""
    directory = tmp_path_factory.mktemp("units")
    for path in FILES:
        text = re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", path.read_text(), flags=re.MULTILINE)
        (directory / path.name).write_text(text)
    return directory


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_systemd_understands_every_line(placed: Path, name: str) -> None:
    done = run("systemd-analyze", "verify", "--man=no", str(placed / name))
    assert done.returncode == 0, done.stderr
    assert name.partition(".")[0].rstrip("@") not in done.stderr


def test_a_wrong_line_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.service").write_text("[Service]\nExecStart=/bin/true\nProtectSistem=strict\n")
    assert (
        "ProtectSistem"
        in run("systemd-analyze", "verify", "--man=no", str(tmp_path / "wrong.service")).stderr
    )


@pytest.mark.parametrize("name", SERVICES)
def test_little_is_exposed(name: str) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name))
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(level) <= EXPOSURE[name], done.stdout


def test_the_target_wants_every_process() -> None:
    wanted = set(" ".join(Unit(UNITS / "vigil.target").all("Wants")).split())
    processes = {f"vigil@{name}.service" for name in (*PROCESSES, "watchdog")}
    assert wanted == {
        "vigil-broker.service",
        "vigil-edge.service",
        "vigil-migrate.service",
        *processes,
    }
    script = (PROJECT / "ops" / "install" / "install.sh").read_text()
    [listed] = re.findall(r'"vigil@"\{([^}]*)\}', script)
    assert set(listed.split(",")) == {*PROCESSES, "watchdog"}


def test_processes_are_watched_and_come_back() -> None:
    unit = Unit(UNITS / "vigil@.service")
    assert unit.one("Type") == "notify"
    assert unit.one("Restart") == "always"
    assert unit.one("NotifyAccess") == "main"
    # The supervisor of `vigil up` has the same rule.
    assert float(unit.one("WatchdogSec")) == config.load(environ={}).supervision.stall_timeout_s
    assert signal.Signals[unit.one("WatchdogSignal")] == STALL_SIGNAL
    assert float(unit.one("TimeoutAbortSec")) == INSIST_S
    assert float(unit.one("TimeoutStartSec")) == START_TIMEOUT_S
    assert float(unit.one("TimeoutStopSec")) > STOP_TIMEOUT_S
    assert unit.one("StartLimitIntervalSec") == "0"
    assert unit.one("ExecStart").endswith("-m ops.run %i")


def test_the_edge_runs_the_shipped_file_may_bind_low_ports_and_has_no_secret() -> None:
    unit = Unit(UNITS / "vigil-edge.service")
    assert unit.one("ExecStart").split() == [
        "/usr/sbin/haproxy",
        "-Ws",
        "-f",
        "/opt/vigil/ops/servers/edge/haproxy.cfg",
    ]
    assert (PROJECT / "ops/servers/edge/haproxy.cfg").exists()
    check, reload = unit.all("ExecReload")
    assert check.split()[-2:] == ["-c", "-q"]  # a wrong file does not replace one that runs
    assert reload == "/bin/kill -USR2 $MAINPID"
    assert unit.one("User") == "haproxy"
    assert unit.one("CapabilityBoundingSet") == unit.one("AmbientCapabilities") == "CAP_NET_BIND_SERVICE"
    assert unit.one("Conflicts") == "haproxy.service"
    assert unit.all("LoadCredential") == []
    assert unit.one("StartLimitIntervalSec") == "0"


def given(unit: Unit) -> dict[str, str]:
    """Return the secret file of each variable."""
    loaded = dict(line.split(":", 1) for line in unit.all("LoadCredential"))
    named = dict(line.split("=", 1) for line in unit.all("Environment") if "=%d/" in line)
    assert set(named.values()) == {f"%d/{key}" for key in loaded}
    return {variable.removesuffix("_FILE"): loaded[path[3:]] for variable, path in named.items()}


def test_secrets_of_operators_are_files_that_the_installation_makes(tmp_path: Path) -> None:
    made = write(tmp_path, ServerAddresses("a:1", "b:2", "c:3"), settings=config.load(environ={}))
    files = given(Unit(UNITS / "vigil-migrate.service"))
    assert set(files.values()) <= {f"/etc/vigil/secrets/{name}" for name in made}
    assert {Path(file).name for file in files.values()} >= {"vigil_owner_database_url", "mqtt_admin_password"}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_given_the_secrets_that_it_needs_and_no_other(process: str, tmp_path: Path) -> None:
    made = write(tmp_path, ServerAddresses("a:1", "b:2", "c:3"), settings=config.load(environ={}))
    files = given(Unit(UNITS / "vigil@.service").of_instance(process))
    assert files == {v: f"/etc/vigil/secrets/{name}" for v, name in files_of(process).items()}
    assert {Path(file).name for file in files.values()} <= set(made) - OWNERS
    assert given(Unit(UNITS / "vigil@.service")) == {}
    done = run("systemd-analyze", "verify", "--man=no", str(UNITS / "vigil@.service"))
    assert "secrets.conf" not in done.stderr


@pytest.mark.parametrize("group", GROUPS)
def test_a_process_of_several_parts_is_given_the_secrets_of_each_and_where_they_are(group: str) -> None:
    unit = Unit(UNITS / "vigil@.service").of_instance(group)
    loaded = dict(line.split(":", 1) for line in unit.all("LoadCredential"))
    wanted = {name for part in GROUPS[group] for name in files_of(part).values()}
    assert loaded == {name: f"/etc/vigil/secrets/{name}" for name in wanted}
    assert f"{SECRETS_DIRECTORY}=%d" in unit.all("Environment")


def test_the_timer_starts_what_there_is() -> None:
    timer = UNITS / "vigil-backup.timer"
    assert (UNITS / f"{timer.stem}.service").exists()
    done = run("systemd-analyze", "calendar", Unit(timer).one("OnCalendar"))
    assert done.returncode == 0
    assert json.dumps("02:30:00")[1:-1] in done.stdout
