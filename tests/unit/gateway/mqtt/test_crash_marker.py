"""What a lane was decoding, found by the process after it, however the first one ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from gateway.mqtt.crash_marker import SIZE, CrashMarker
from ops.environment import PROJECT

TOPIC, PAYLOAD = "alert/panic/g", b'{"message":"help"}'
DIES = """
import os, signal, sys
from pathlib import Path
from gateway.mqtt.crash_marker import CrashMarker
marker = CrashMarker(Path(sys.argv[1]))
for topic in sys.argv[2].split(","):
    marker.take(topic, b'{"message":"help"}')
if sys.argv[3] == "decoded":
    marker.release()
os.kill(os.getpid(), signal.SIGKILL)
"""


def end(file: Path, topics: str = TOPIC, when: str = "decoding") -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(file), topics, when],
        check=False,
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr


def test_a_kill_while_a_message_is_decoded_is_a_strike_of_that_message_alone(tmp_path: Path) -> None:
    file = tmp_path / "lanes" / "alert.decoding"
    end(file, f"alert/sos/before,{TOPIC}")
    marker = CrashMarker(file)
    assert marker.take("alert/sos/before", PAYLOAD) == 0
    assert marker.take(TOPIC, PAYLOAD) == 1


def test_two_kills_are_two_strikes_and_they_stay(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    end(file)
    end(file)
    for _ in range(2):
        marker = CrashMarker(file)
        assert marker.take(TOPIC, PAYLOAD) == 2
        marker.release()
        marker.close()


def test_a_kill_between_two_batches_is_nobody_s_strike(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    end(file, when="decoded")
    assert CrashMarker(file).take(TOPIC, PAYLOAD) == 0


def test_a_message_that_was_decoded_after_all_loses_its_strike(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    end(file)
    marker = CrashMarker(file)
    assert marker.take(TOPIC, PAYLOAD) == 1
    marker.release()
    assert marker.take(TOPIC, PAYLOAD) == 0
    marker.release()
    marker.close()
    end(file)
    assert CrashMarker(file).take(TOPIC, PAYLOAD) == 1


def test_the_time_of_the_last_sign_of_the_link_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    marker = CrashMarker(file)
    assert marker.heard_at is None
    marker.heard(1_800_000_000.25)
    marker.close()
    assert CrashMarker(file).heard_at == 1_800_000_000.25


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * SIZE, b"\xff" * 3 * SIZE])
def test_a_file_of_something_else_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "alert.decoding"
    file.write_bytes(content)
    marker = CrashMarker(file)
    assert (marker.heard_at, marker.take(TOPIC, PAYLOAD)) == (None, 0)


@pytest.mark.parametrize("path", [None, Path("/proc/none/alert.decoding")])
def test_without_a_file_a_lane_works_and_says_so_once(path: Path | None) -> None:
    with structlog.testing.capture_logs() as logs:
        marker = CrashMarker(path)
    assert marker.take(TOPIC, PAYLOAD) == 0
    marker.release()
    assert [line["event"] for line in logs] == (["crash_marker_unusable"] if path else [])


def test_a_note_costs_a_few_microseconds() -> None:
    marker = CrashMarker(None)
    payload = b"x" * 300

    def notes() -> float:
        started_s = time.process_time()
        for _ in range(10_000):
            marker.take("guard/guard-4711/gps", payload)
        return (time.process_time() - started_s) / 10_000

    assert min(notes() for _ in range(5)) < 5e-6
