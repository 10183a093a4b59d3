"""Tests of a signal that comes while eventlet's hub runs.

It wakes a green thread, and raises nothing in the hub.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from ops.environment import PROJECT

PROGRAM = """
import eventlet
eventlet.monkey_patch()
import os, signal, sys, time
from ops.hosting.stop_signals import StopSignals

signals = StopSignals()
others = []
signal.signal(signal.SIGUSR1, lambda *_: others.append(1))
pid = os.getpid()

def in_the_hub():
    # A timer of the hub: it runs in the main loop, where nothing may block.
    for number in map(int, sys.argv[2:]):
        os.kill(pid, number)

def computing():
    in_the_hub()
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        sum(range(1000))

kind = sys.argv[1]
if kind == "hub":
    eventlet.hubs.get_hub().schedule_call_global(0.05, in_the_hub)
elif kind == "before":
    in_the_hub()
else:
    eventlet.spawn_after(0.05, computing)
started = time.monotonic()
print(signals.wait(), len(others), flush=True)
assert time.monotonic() - started < 5
"""


@pytest.mark.parametrize("kind", ["hub", "before", "computing"])
@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([signal.SIGTERM], signal.SIGTERM),
        ([signal.SIGINT], signal.SIGINT),
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGINT], signal.SIGTERM),
        ([signal.SIGUSR1, signal.SIGTERM], signal.SIGTERM),
    ],
)
def test_the_first_signal_is_found_wherever_it_comes(
    kind: str, numbers: list[signal.Signals], found: signal.Signals
) -> None:
    words = [str(int(number)) for number in numbers]
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, kind, *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # Several signals at once are written in the order of their numbers.
    first = min(number for number in numbers if number != signal.SIGUSR1)
    assert int(done.stdout.split()[0]) in (found, first)


def test_more_signals_than_the_pipe_holds_do_no_harm() -> None:
    code = PROGRAM.replace("map(int, sys.argv[2:])", f"[{int(signal.SIGTERM)}] * 100_000")
    command = [sys.executable, "-W", "ignore", "-c", code, "before"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
