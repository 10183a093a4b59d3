import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.platform import metrics
from services.supervision import sd_notify


@pytest.fixture(params=["abstract", "path"])
def supervisor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """Yield a socket that a supervisor has bound, and does not read."""
    name = (
        f"\0vigil-test-{os.getpid()}-{time.monotonic_ns()}"
        if request.param == "abstract"
        else str(tmp_path / "n")
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name)
        monkeypatch.setenv(sd_notify.VARIABLE, name.replace("\0", "@"))
        yield bound


def dropped(reason: str) -> float:
    return metrics.notification_dropped.labels(reason)._value.get()


def test_what_is_said_arrives_as_assignments(supervisor: socket.socket) -> None:
    assert sd_notify.notify("READY=1", "WATCHDOG=1")
    assert sd_notify.read(supervisor.recv(4096)) == {"READY": "1", "WATCHDOG": "1"}
    assert sd_notify.status("two\nlines = one")
    assert sd_notify.read(supervisor.recv(4096)) == {"STATUS": "two lines = one"}


def test_a_full_queue_neither_blocks_nor_raises_and_is_counted(supervisor: socket.socket) -> None:
    before, started_s = dropped("queue_full"), time.monotonic()
    said = [sd_notify.notify("WATCHDOG=1") for _ in range(5000)]
    assert said[0]
    assert not said[-1]
    assert dropped("queue_full") - before == said.count(False)
    assert time.monotonic() - started_s < 5
    # The messages that were taken are there, and there is room again once they are read.
    for _ in range(said.count(True)):
        supervisor.recv(4096)
    assert sd_notify.notify("READY=1")


def test_a_supervisor_that_is_gone_is_no_error(supervisor: socket.socket) -> None:
    before = dropped("nobody_listens")
    supervisor.close()
    assert not sd_notify.notify("WATCHDOG=1")
    assert dropped("nobody_listens") == before + 1


def test_a_supervisor_that_is_held_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"vigil-test-held-{os.getpid()}"
    code = "import socket, sys; s = socket.socket(1, 2); s.bind(chr(0) + sys.argv[1]); print(1, flush=True); s.recv(1)"
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        reader.send_signal(signal.SIGSTOP)
        monkeypatch.setenv(sd_notify.VARIABLE, f"@{name}")
        assert False in [sd_notify.notify("WATCHDOG=1") for _ in range(5000)]
        reader.kill()
    assert not sd_notify.notify("WATCHDOG=1")


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@" + "x" * 300, "x" * 300])
def test_an_address_of_nobody_is_no_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sd_notify.VARIABLE, address)
    assert sd_notify.notify("READY=1") is (address == "")


def test_lines_that_are_no_assignments_are_left_out() -> None:
    assert sd_notify.read(b"READY=1\n\nnonsense\nSTATUS=a=b\n\xff=1") == {
        "READY": "1",
        "STATUS": "a=b",
        "\ufffd": "1",
    }
