"""Tests of a process whose loop stands still: a signal ends it.

A process that only got no processor time goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.environment import PROJECT
from ops.local.supervisor import STALL_SIGNAL

LIMIT_S = 1.0
PROGRAM = """
import eventlet
eventlet.monkey_patch()
import os, re, sys, threading
from pathlib import Path
from eventlet import patcher
from ops.hosting.stall_watch import StallWatch

watch = StallWatch(float(sys.argv[2]), Path(sys.argv[3]))
print("before:", watch.last_report(), flush=True)
watch.start()
eventlet.sleep(0.1)
print("watching", flush=True)

def native_compute():
    re.match(rb"(a+)+$", b"a" * 60 + b"b")

def compute():
    while True:
        pass

def wait():
    patcher.original("time").sleep(600)

def read():
    os.open(sys.argv[3] + ".fifo", os.O_RDONLY)

def work_in_turns():
    deadline = patcher.original("time").monotonic() + 3
    while patcher.original("time").monotonic() < deadline:
        sum(range(10_000))
        eventlet.sleep(0)

def idle():
    eventlet.sleep(3)

{"native": native_compute, "computing": compute, "waiting": wait, "reading": read,
 "working": work_in_turns, "idle": idle}[sys.argv[1]]()
watch.stop()
print("well", flush=True)
"""


def start(kind: str, report: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, kind, str(LIMIT_S), str(report)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def until_watching(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "watching\n":
        assert line, "it ended before it was watched"


@pytest.mark.parametrize(
    ("kind", "where"),
    [("native", "native_compute"), ("computing", "compute"), ("waiting", "wait"), ("reading", "read")],
)
def test_a_loop_that_stands_ends_the_process_and_leaves_the_place(
    tmp_path: Path, kind: str, where: str
) -> None:
    report = tmp_path / "p.stall"
    os.mkfifo(f"{report}.fifo")
    process = start(kind, report)
    assert process.wait(timeout=60) == -STALL_SIGNAL
    assert f"in {where}\n" in report.read_text()


@pytest.mark.parametrize("kind", ["working", "idle"])
def test_a_loop_that_turns_is_left_alone_and_finds_the_last_report_once(tmp_path: Path, kind: str) -> None:
    report = tmp_path / "p.stall"
    report.write_text("where the last run stood")
    process = start(kind, report)
    assert process.stdout is not None
    assert "before: where the last run stood\n" in process.stdout.read()
    assert process.wait(timeout=60) == 0
    assert report.read_text() == ""


def test_a_process_that_is_held_for_longer_is_left_alone(tmp_path: Path) -> None:
    process = start("idle", tmp_path / "p.stall")
    until_watching(process)
    process.send_signal(signal.SIGSTOP)
    held_until_s = time.monotonic() + 3 * LIMIT_S
    while time.monotonic() < held_until_s:
        assert process.poll() is None
        time.sleep(0.05)  # at most as long as the watch would allow
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=60) == 0


def test_a_process_that_others_keep_from_running_is_left_alone(tmp_path: Path) -> None:
    # Given a process that works, and then gets the lowest priority beside others that compute
    process = start("working", tmp_path / "p.stall")
    until_watching(process)
    os.setpriority(os.PRIO_PROCESS, process.pid, 19)
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        # Then it finishes, later
        assert process.wait(timeout=120) == 0
    finally:
        for other in others:
            other.kill()
            other.wait()
