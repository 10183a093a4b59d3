"""The health check of a container: from beside the process, by its files alone."""

import os
import time
from pathlib import Path

import pytest

from ops import alive
from ops.watchdog.probe import ROADS


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(alive.DIRECTORY, str(tmp_path))
    return str(tmp_path)


def test_a_process_is_well_while_it_says_so(directory: str) -> None:
    assert "not ready yet" in alive.finding("alerts", directory, None)
    alive.tell("alerts")
    assert alive.finding("alerts", directory, None) == ""
    old = time.time() - alive.OLD_AFTER_S - 1
    os.utime(Path(directory, "alerts.alive"), (old, old))
    assert "start it again" in alive.finding("alerts", directory, None)


def test_the_watchdog_is_well_when_messages_of_every_lane_arrive(directory: str) -> None:
    # Given a watchdog that runs
    alive.tell("watchdog")
    # Then it is not well before each lane's first message has come
    assert "no test message of the alert lane" in alive.finding("watchdog", directory, None)
    alive.tell_arrived("alert", good_for_s=150)
    assert "no test message of the bulk lane" in alive.finding("watchdog", directory, None)
    alive.tell_arrived("bulk", good_for_s=150)
    assert alive.finding("watchdog", directory, None) == ""
    # And not when the last one is too old
    alive.tell_arrived("alert", good_for_s=-1)
    assert "of the alert lane no longer arrive" in alive.finding("watchdog", directory, None)


def test_the_lanes_are_those_of_the_watchdog() -> None:
    assert set(alive.LANES) == set(ROADS)


def test_without_a_directory_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(alive.DIRECTORY, raising=False)
    alive.tell("alerts")
    alive.tell_arrived("alert", good_for_s=1)
    assert "is not set" in alive.finding("alerts", None, None)
