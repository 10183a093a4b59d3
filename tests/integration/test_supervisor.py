"""Tests of the supervisor with real processes.

They are ready when they report it, come back when they die, and end when they are asked to.
"""

import json
import os
import re
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local.supervisor import (
    Process,
    Supervisor,
    end_in_words,
    restarts_in_words,
    started_at,
    state_in_words,
)
from ops.processes import STALL_SIGNAL

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
    from ops.local.supervisor import Process, Supervisor
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
    from ops.commands.stack.stack import gone

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
        ("alerts", -STALL_SIGNAL, "its loop stood still for 10 s"),
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
    assert re.match(
        r"1 restart, last at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC because it ended with exit code 3$",
        restarts_in_words(state),
    )
    assert restarts_in_words({"restarts": 0}) == "0 restarts"
    # The file of an older version.
    assert restarts_in_words({"restarts": 2}) == "2 restarts"


LIMIT_S = 1.0
LIVING = f"""
{READY}
import os, socket, sys, time
address = chr(0) + os.environ['NOTIFY_SOCKET'][1:]
sock = socket.socket(1, 2)
sock.setblocking(False)
kind = KIND
print('begun', flush=True)
began = time.monotonic()
while True:
    if kind != 'silent' or time.monotonic() < began + 0.3:
        try:
            sock.sendto(b'WATCHDOG=1', address)
        except BlockingIOError:
            pass
    time.sleep(0.05) if kind != 'busy' else sum(range(100_000))
"""


def living(tmp_path: Path, kind: str, **options: object) -> Process:
    return process(tmp_path, LIVING.replace("KIND", repr(kind)), stall_timeout_s=LIMIT_S, **options)


def poll_for(supervisor: Supervisor, seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        supervisor.poll()


def until(supervisor: Supervisor, child: Process, state: str) -> None:
    deadline_s = time.monotonic() + 20
    while child.state != state:
        assert time.monotonic() < deadline_s, f"{child.state}, not {state}"
        supervisor.poll()


def test_a_process_that_gives_no_sign_of_life_is_started_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    child = living(tmp_path, "silent")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    until(supervisor, child, "backoff")
    assert child.last_end == "it has not reported for 1 s"
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    assert child.restarts == 1


@pytest.mark.parametrize("kind", ["well", "busy"])
def test_a_process_that_gives_signs_of_life_is_left_alone(
    supervisor: Supervisor, tmp_path: Path, kind: str
) -> None:
    child = living(tmp_path, kind)
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    poll_for(supervisor, 3 * LIMIT_S)
    assert (child.state, child.restarts) == ("ready", 0)


def test_a_process_that_a_stop_signal_holds_is_named_and_started_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    child = living(tmp_path, "well")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    child.kill(signal.SIGSTOP)
    until(supervisor, child, "stalled")
    [state] = json.loads((tmp_path / "state.json").read_text())["processes"]
    assert re.match(
        r"stalled since [-\d]+ [:\d]+ UTC: it was held by a stop signal, and has not reported for 1 s$",
        state_in_words(state),
    )
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    assert child.restarts == 1
    assert child.last_end == "it was held by a stop signal, and has not reported for 1 s"


def test_a_process_that_is_deaf_to_the_stall_signal_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    deaf = f"import signal; signal.signal({int(STALL_SIGNAL)}, signal.SIG_IGN)\n{LIVING}"
    child = process(tmp_path, deaf.replace("KIND", "'silent'"), stall_timeout_s=LIMIT_S)
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    until(supervisor, child, "backoff")
    assert child.last_end == "it has not reported for 1 s"


def test_a_supervisor_that_did_not_look_for_longer_blames_nobody(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    # Given a process whose signs of life fill the queue, because its supervisor is held, or the
    # machine slept
    child = living(tmp_path, "well")
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    child.kill(signal.SIGSTOP)
    time.sleep(3 * LIMIT_S)  # the time in which nobody looks is tested
    # When both go on
    child.kill(signal.SIGCONT)
    poll_for(supervisor, 2 * LIMIT_S)
    # Then it runs on
    assert (child.state, child.restarts) == ("ready", 0)


def test_a_process_that_is_held_and_asked_to_stop_ends_by_itself(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = f"import signal, sys; signal.signal(15, lambda *_: (print('ended', flush=True), sys.exit(0)))\n{LIVING}"
    child = process(tmp_path, code.replace("KIND", "'well'"))
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    child.kill(signal.SIGSTOP)
    started_s = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - started_s < 5
    assert "ended" in child.last_lines()


def test_a_fault_that_a_process_names_is_the_reason_for_its_end(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = f"""
    {READY}
    import time
    s = socket.socket(1, 2)
    s.sendto(b'STATUS=its work stands still; it waits for postgres', chr(0) + a[1:])
    time.sleep(1)
    s.sendto(b'X_VIGIL_FAULT=its work stood still for 60 s', chr(0) + a[1:])
    os.kill(os.getpid(), {int(STALL_SIGNAL)})
    """
    child = process(tmp_path, code)
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    while not child.doing:
        supervisor.poll()
    [state] = json.loads((tmp_path / "state.json").read_text())["processes"]
    assert state_in_words(state) == "ready, but its work stands still; it waits for postgres"
    until(supervisor, child, "backoff")
    assert child.last_end == "its work stood still for 60 s"


def test_a_process_whose_port_is_taken_is_not_started_until_it_is_free(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    # Given a process that runs, and dies
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    child = process(tmp_path, f"{READY}\nimport time\ntime.sleep(600)", ports={port: "end that program"})
    supervisor.add(child)
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    # When another program takes its port meanwhile
    with socket.create_server(("127.0.0.1", port)):
        child.kill()
        until(supervisor, child, "blocked")
        poll_for(supervisor, 3)
        # Then it is not started in vain, and the state says which port, who has it and what to do
        assert (child.state, child.pid, child.restarts) == ("blocked", None, 0)
        [state] = json.loads((tmp_path / "state.json").read_text())["processes"]
        assert state_in_words(state).endswith(f"(pid {os.getpid()}); end that program")
        assert f": port {port} is taken by " in state_in_words(state)
    # And it is back once the port is free
    assert supervisor.wait_ready(["p"], timeout_s=10) == []
    assert (child.restarts, child.doing) == (1, "")


def test_what_is_blocked_can_be_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = process(tmp_path, READY, ports={server.getsockname()[1]: "end that program"})
        supervisor.add(child)
        assert supervisor.wait_ready(["p"], timeout_s=5, give_up=lambda: child.state == "blocked") == [child]
        supervisor.stop()
        assert child.state == "stopped"
