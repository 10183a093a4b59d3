"""Tests of a container's health check: it runs beside the process, and reads its files alone."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.hosting import liveness
from ops.watchdog.probe import ROADS

LIVING = """
import os, sys, time
from pathlib import Path
from ops.hosting import liveness
liveness.write_sign("alerts", 1.0)
print("said", flush=True)
while True:
    time.sleep(0.1)
    if sys.argv[3] == "well":
        liveness.write_sign("alerts", 1.0)
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(liveness.DIRECTORY, str(tmp_path))
    monkeypatch.setattr(liveness, "LOOK_AGAIN_S", 0.3)
    return tmp_path


@pytest.fixture(params=["well", "silent"])
def process(request: pytest.FixtureRequest, directory: Path) -> Iterator[subprocess.Popen[str]]:  # noqa: ARG001
    """Yield a process with the name of one of Vigil's.

    It reports again and again that it is well, or reports it once.
    """
    command = [sys.executable, "-c", LIVING, "ops.run", "alerts", request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as made:
        assert made.stdout is not None
        made.stdout.readline()
        made.args = request.param
        yield made
        made.kill()


def test_a_process_that_falls_silent_is_ended_and_one_that_is_well_is_not(
    process: subprocess.Popen[str], directory: Path
) -> None:
    sign = liveness.last_sign("alerts", str(directory))
    assert sign is not None
    deadline_s = sign.at_s + 1.2
    while time.monotonic() < deadline_s:
        assert process.poll() is None
    found = liveness.finding("alerts", str(directory), None)
    if process.args == "well":
        assert found == ""
        assert process.poll() is None
    else:
        assert re.match(r"alerts has not reported for \d+ s; it is ended and restarted$", found)
        assert process.wait(timeout=10) == -liveness.END_SIGNAL


def test_the_watchdog_is_well_when_messages_of_every_lane_arrive(directory: Path) -> None:
    # Given a watchdog that runs
    liveness.write_sign("watchdog", 10.0)
    # Then it is not well before the first message of each lane has come
    assert "no test message of the alert lane" in liveness.finding("watchdog", str(directory), None)
    liveness.note_arrival("alert", good_for_s=150)
    assert "no test message of the bulk lane" in liveness.finding("watchdog", str(directory), None)
    liveness.note_arrival("bulk", good_for_s=150)
    assert liveness.finding("watchdog", str(directory), None) == ""
    # And it is not well when the last message is too old
    liveness.note_arrival("alert", good_for_s=-1)
    assert "of the alert lane no longer arrive" in liveness.finding("watchdog", str(directory), None)


def test_the_lanes_are_those_of_the_watchdog() -> None:
    assert set(liveness.LANES) == set(ROADS)


def test_a_process_that_is_held_is_ended(directory: Path) -> None:
    command = [sys.executable, "-c", LIVING, "ops.run", "alerts", "well"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        held.stdout.readline()
        held.send_signal(signal.SIGSTOP)
        while not liveness.finding("alerts", str(directory), None):
            assert held.poll() is None
        assert held.wait(timeout=10) == -liveness.END_SIGNAL


def test_a_pid_that_another_program_has_by_now_is_left_alone(directory: Path) -> None:
    (directory / "alerts.alive").write_text(f"{time.monotonic() - 60} {os.getpid()} 10.0\n")
    assert liveness.finding("alerts", str(directory), None).startswith("alerts has not reported for 60 s")


def test_a_file_that_is_not_there_or_not_whole_is_a_process_that_is_not_ready(directory: Path) -> None:
    assert liveness.finding("alerts", str(directory), None).startswith("alerts is not ready yet")
    for text in ("", "12", "a b c", "1 2 3 4"):
        (directory / "alerts.alive").write_text(text)
        assert liveness.finding("alerts", str(directory), None).startswith("alerts is not ready yet")
    assert liveness.finding("alerts", None, None).startswith("VIGIL_RUNTIME_DIR is not set")


def test_a_sign_that_cannot_be_written_is_no_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert liveness.write_sign("alerts", 10.0)
    monkeypatch.setenv(liveness.DIRECTORY, str(directory / "gone"))
    assert not liveness.write_sign("alerts", 10.0)
    monkeypatch.delenv(liveness.DIRECTORY)
    assert liveness.write_sign("alerts", 10.0)
