"""The supervisor with real processes: ready when they say so, back when they die, gone when told to."""

import json
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.supervisor import STALL_SIGNAL, Process, Supervisor, end_in_words, restarts_in_words, started_at

READY = (
    "import os, socket; a = os.environ['NOTIFY_SOCKET']; "
    "socket.socket(1, 2).sendto(b'READY=1', chr(0) + a[1:])"
)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "state.json")
    yield made
    made.stop()


def process(tmp_path: Path, code: str, **options: object) -> Process:
    return Process(
        "p",
        [sys.executable, "-c", textwrap.dedent(code)],
        log=tmp_path / "p.log",
        environment=dict(os.environ),
        **options,  # type: ignore[arg-type]
    )


def test_it_is_ready_when_it_says_so_and_back_after_a_kill(supervisor: Supervisor, tmp_path: Path) -> None:
    child = process(tmp_path, f"{READY}\nimport time\nprint('hello', flush=True)\ntime.sleep(600)")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    first = child.pid
    child.kill()
    while child.state != "backoff":
        supervisor.poll()
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    assert child.pid != first
    assert child.restarts == 1
    assert "hello" in child.last_lines()


def test_what_never_gets_ready_is_named_with_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    child = process(tmp_path, "raise SystemExit('no such database')")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=1.5) == [child]
    assert child.restarts >= 1
    assert "no such database" in child.last_lines()


def test_one_signal_is_sent_and_a_deaf_process_is_killed_after_its_grace(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = f"""
    import signal, time
    signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))
    {READY}
    while True: time.sleep(600)
    """
    child = process(tmp_path, code, grace_s=0.5)
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    pid = child.pid
    supervisor.stop()
    assert child.state == "stopped"
    assert child.last_lines().count("asked") == 1
    assert pid is not None
    assert started_at(pid) is None


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = f"""
    import sys, time
    from pathlib import Path
    from ops.supervisor import Process, Supervisor
    s = Supervisor(Path({str(tmp_path)!r}) / "state.json")
    p = Process("p", [sys.executable, "-c", "import time; time.sleep(600)"], log=Path({str(tmp_path)!r}) / "c.log",
                environment={{}}, probe=lambda: True)
    s.add(p)
    print(p.pid, flush=True)
    while True: s.poll()
    """
    import subprocess

    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        start = started_at(child)
        assert start is not None
        parent.send_signal(signal.SIGKILL)
    from ops.commands.stack import gone

    assert gone(child, start, timeout_s=10)


def test_what_was_stopped_stays_down_until_it_is_started(supervisor: Supervisor, tmp_path: Path) -> None:
    child = process(tmp_path, f"{READY}\nimport time\ntime.sleep(600)")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    supervisor.stop(only=["p"])
    assert supervisor.wait_ready(["p"], timeout_s=0.5) == [child]
    assert child.restarts == 0
    supervisor.start(only=["p"])
    assert supervisor.wait_ready(["p"], timeout_s=10) == []


@pytest.mark.parametrize(
    ("process", "code", "words"),
    [
        ("mqtt_gateway-alert", -STALL_SIGNAL, "its loop stood still for 5 s"),
        ("mqtt_gateway-bulk@2", -STALL_SIGNAL, "its loop stood still for 5 s"),
        ("alerts", -STALL_SIGNAL, "its loop stood still for 30 s"),
        ("alerts", -9, "it was ended by SIGKILL"),
        ("alerts", -40, "it was ended by signal 40"),
        ("alerts", 1, "it ended with exit code 1"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(process: str, code: int, words: str) -> None:
    assert end_in_words(process, code) == words


def test_restarts_are_told_with_the_last_cause(supervisor: Supervisor, tmp_path: Path) -> None:
    child = process(tmp_path, "raise SystemExit(3)")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=20, give_up=lambda: child.restarts == 1) == [child]
    [state] = json.loads((tmp_path / "state.json").read_text())["processes"]
    assert restarts_in_words(state) == "1 restart, last because it ended with exit code 3"
    assert restarts_in_words({"restarts": 0}) == "0 restarts"
    # Of a file that an older version wrote.
    assert restarts_in_words({"restarts": 2}) == "2 restarts"
