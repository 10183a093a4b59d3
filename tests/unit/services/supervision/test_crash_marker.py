"""Tests that the next process finds the message that a lane was decoding, after any kind of end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from ops.environment import PROJECT
from services.supervision import crash_marker, poison
from services.supervision.crash_marker import MOST_HANDS, SIZE, CrashMarker

PANIC, SOS = poison.digest("alert/panic/g", b"{}"), poison.digest("alert/sos/g", b"{}")
DIES = """
import os, signal, sys
from pathlib import Path
from services.supervision.crash_marker import CrashMarker
marker = CrashMarker(Path(sys.argv[1]))
for hand, word in enumerate(sys.argv[2:]):
    if word == "-":
        marker.release(hand - 1)
    else:
        marker.take(bytes.fromhex(word), hand)
os.kill(os.getpid(), signal.SIGKILL)
"""


def end(file: Path, *words: bytes | str) -> None:
    """Run a process that takes these words in hand, one after the other, and is then killed.

    "-" empties the hand before it.
    """
    arguments = [word if isinstance(word, str) else word.hex() for word in words]
    command = [sys.executable, "-c", DIES, str(file), *arguments]
    done = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr


def test_a_kill_is_a_strike_of_what_was_in_hand(tmp_path: Path) -> None:
    file = tmp_path / "lanes" / "alert.decoding"
    end(file, SOS, "-", PANIC)
    marker = CrashMarker(file)
    assert (marker.strikes_of(SOS), marker.strikes_of(PANIC)) == (0, 1)


def test_a_kill_is_a_strike_of_each_when_several_were_in_hand(tmp_path: Path) -> None:
    file = tmp_path / "alerts.handling"
    end(file, SOS, PANIC)
    marker = CrashMarker(file)
    assert (marker.strikes_of(SOS), marker.strikes_of(PANIC)) == (1, 1)


def test_two_kills_are_two_strikes_and_they_stay(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    end(file, PANIC)
    end(file, PANIC)
    for _ in range(2):
        marker = CrashMarker(file)
        assert marker.strikes_of(PANIC) == 2
        marker.close()


def test_a_kill_between_two_messages_is_nobody_s_strike(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    end(file, PANIC, "-")
    assert CrashMarker(file).strikes_of(PANIC) == 0


def test_a_message_that_was_survived_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "alert.decoding"
    end(file, PANIC)
    marker = CrashMarker(file)
    marker.take(PANIC)
    marker.release()
    marker.forget(PANIC)
    marker.close()
    end(file, PANIC)
    assert CrashMarker(file).strikes_of(PANIC) == 1


def test_more_than_there_is_room_for_may_be_in_hand() -> None:
    marker = CrashMarker(None)
    marker.take(PANIC, MOST_HANDS)
    marker.take(PANIC, MOST_HANDS - 1)
    marker.release(MOST_HANDS)


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
    assert (marker.heard_at, marker.strikes_of(PANIC)) == (None, 0)


@pytest.mark.parametrize("path", [None, Path("/proc/none/alert.decoding")])
def test_without_a_file_a_lane_works_and_says_so_once(path: Path | None) -> None:
    with structlog.testing.capture_logs() as logs:
        marker = CrashMarker(path)
    marker.take(PANIC)
    marker.release()
    assert marker.strikes_of(PANIC) == 0
    assert [line["event"] for line in logs] == (["crash_marker_failed"] if path else [])


def test_a_note_costs_a_few_microseconds() -> None:
    marker = CrashMarker(None)
    payload = b"x" * 300

    def notes() -> float:
        started_s = time.process_time()
        for _ in range(10_000):
            found = poison.digest("guard/guard-4711/gps", payload)
            marker.strikes_of(found)
            marker.take(found)
            marker.release()
        return (time.process_time() - started_s) / 10_000

    assert min(notes() for _ in range(5)) < 6e-6


@pytest.mark.parametrize("size", [0, 1, 300, crash_marker.LONGEST_COPY, 70_000])
def test_a_message_that_was_read_when_the_process_ended_has_a_strike(tmp_path: Path, size: int) -> None:
    content, name = b"\xff" * size, "alert/panic/\u0915-\udcff"
    first = CrashMarker(tmp_path / "marker")
    first.begin_reading("guard/1/gps", b"one that was survived")
    first.end_reading()
    first.begin_reading(name, content)

    second = CrashMarker(tmp_path / "marker")

    assert second.has_strikes
    assert second.strikes_of(poison.digest(name, content)) == 1
    assert second.strikes_of(poison.digest("guard/1/gps", b"one that was survived")) == 0
    second.begin_reading(name, content)
    second.end_reading()
    assert CrashMarker(tmp_path / "marker").strikes_of(poison.digest(name, content)) == 1
