"""Tests of the files that processes count in.

They are named by process, continued after a death, and never written by two processes.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.environment import PROJECT
from services.platform import metrics_export

COUNTING = """
import sys
from services.platform import metrics, metrics_export
print(metrics_export.claim("mqtt_gateway-alert"), flush=True)
metrics.mqtt_geofence_violation.inc(int(sys.argv[1]))
metrics.mqtt_connected.labels("alert").set(1)
print("counted", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(directory: Path, count: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a process that has counted to `count`, and yield it with the name that it writes as."""
    command = [sys.executable, "-W", "ignore", "-c", COUNTING, str(count)]
    environment = {**os.environ, metrics_export.VARIABLE: str(directory)}
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, env=environment, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True)
    assert child.stdout is not None
    try:
        name = child.stdout.readline().strip()
        assert child.stdout.readline() == "counted\n"
        yield child, name
    finally:
        child.kill()
        child.communicate()


def shown(directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv(metrics_export.VARIABLE, str(directory))
    lines = metrics_export.exposition().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_a_process_that_comes_back_goes_on_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path, 3) as (child, name):
        assert name == "mqtt-gateway-alert"
        assert shown(tmp_path, monkeypatch)['vigil_mqtt_connected{lane="alert"}'] == "1.0"
        child.send_signal(signal.SIGKILL)
        child.wait()
    files = sorted(path.name for path in tmp_path.iterdir())
    gone = shown(tmp_path, monkeypatch)
    assert gone["vigil_mqtt_geofence_violation_total"] == "3.0"
    assert 'vigil_mqtt_connected{lane="alert"}' not in gone
    with process(tmp_path, 4) as (_, name):
        assert name == "mqtt-gateway-alert"
        assert shown(tmp_path, monkeypatch)["vigil_mqtt_geofence_violation_total"] == "7.0"
        assert sorted(path.name for path in tmp_path.iterdir()) == files
        assert not [name for name in files if "unnamed" in name]


def test_two_of_a_name_write_apart_and_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with process(tmp_path, 3) as (_, first), process(tmp_path, 4) as (_, second):
        assert (first, second) == ("mqtt-gateway-alert", "mqtt-gateway-alert.2")
        assert shown(tmp_path, monkeypatch)["vigil_mqtt_geofence_violation_total"] == "7.0"
        assert list(metrics_export.dead(tmp_path)) == []
