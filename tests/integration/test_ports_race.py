"""Tests of ports that several processes want at once.

Two stacks never choose the same port. A port that a stranger takes is chosen again.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.environment import PROJECT, read_env
from ops.local import ports
from ops.local.stack import PORT_VARIABLES, Stack, StackFailed
from ops.local.supervisor import Process, Supervisor
from services.contracts.errors import Misconfigured

CHOOSER = """
import json, sys
from ops.local import ports
reserved = ports.PortReservations()
sys.stdin.readline()
print(json.dumps(ports.choose({}, take=reserved.take)), flush=True)
sys.stdin.readline()
"""


class Chooser:
    """A checkout that is about to start. It has chosen its ports and bound none."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHOOSER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )

    def order(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def chosen(self) -> dict[str, int]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def choosers() -> Iterator[list[Chooser]]:
    made = [Chooser() for _ in range(6)]
    yield made
    for chooser in made:
        chooser.end()


def test_checkouts_that_start_at_once_choose_different_ports(choosers: list[Chooser]) -> None:
    # Given six checkouts that have not bound a port yet
    # When they choose at the same moment
    for chooser in choosers:
        chooser.order()
    chosen = [chooser.chosen() for chooser in choosers]

    # Then no two have a port in common, and none has one that a seventh could take
    numbers = [port for ports_of_one in chosen for port in ports_of_one.values()]
    assert len(numbers) == len(set(numbers)) == len(choosers) * len(ports.NAMES)
    seventh = ports.PortReservations()
    assert not any(seventh.take(port) for port in numbers)
    seventh.close()


def test_a_checkout_that_is_killed_gives_its_ports_back(choosers: list[Chooser]) -> None:
    first, *_ = choosers
    first.order()
    port = first.chosen()["redis"]
    other = ports.PortReservations()
    assert not other.take(port)
    first.end()
    assert other.take(port)
    assert other.take(port)  # its own
    other.close()


def test_a_port_in_use_is_not_reserved_and_all_taken_is_an_error() -> None:
    reserved = ports.PortReservations()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not reserved.take(server.getsockname()[1])
    with pytest.raises(Misconfigured, match="no free port"):
        ports.choose({}, ["http"], take=lambda _: False)
    reserved.close()


OF_ITS_OWN = dict.fromkeys(("VIGIL_HOME", "PROMETHEUS_MULTIPROC_DIR", "VIGIL_RESTART_DIR"), "")
"""Directories that a stack makes in its own home.

It clears the directory of the metrics when it starts.
"""


class RacedStack(Stack):
    """A stack with one process behind HAProxy.

    A stranger binds the wanted port after the stack's last look at it.
    """

    def __init__(
        self, home: Path, *, given: dict[str, str], said: list[str], strangers: int, wanted: str = "http"
    ) -> None:
        super().__init__(home, say=said.append, prefer_usual_ports=False, given=given)
        self.services = ["noc_api"]
        self.taken: list[int] = []
        self._strangers = strangers
        self._wanted = wanted
        self._sockets = ExitStack()

    def _service(self, name: str) -> Process:
        if len(self.taken) < self._strangers:
            self.taken.append(self._ports[self._wanted])
            self._sockets.enter_context(socket.create_server(("127.0.0.1", self._ports[self._wanted])))
        return super()._service(name)

    def stop(self) -> None:
        super().stop()
        self._sockets.close()


@pytest.mark.parametrize(("wanted", "strangers"), [("http", 1), ("http", 2), ("api", 1)])
def test_a_console_whose_port_is_taken_before_it_is_bound_comes_up_on_another(
    environment: dict[str, str], tmp_path: Path, wanted: str, strangers: int
) -> None:
    # Given a stack that has chosen its port, and strangers that bind it first
    given = {
        name: value
        for name, value in environment.items()
        if name not in (*PORT_VARIABLES.values(), "VIGIL_PUBLIC_URL")
    }
    said: list[str] = []
    stack = RacedStack(
        tmp_path / "home", given=given | OF_ITS_OWN, said=said, strangers=strangers, wanted=wanted
    )
    try:
        # When it starts
        stack.start_servers()
        stack.start_services(timeout_s=120)

        # Then the console answers on another port, which is named everywhere
        address = stack.addresses()["http"]
        port = int(address.rpartition(":")[2])
        assert port not in stack.taken
        assert stack.addresses()[wanted] not in {f"127.0.0.1:{taken}" for taken in stack.taken}
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=20) as answer:
            assert answer.status == 200
        kept = read_env(stack.home / "stack.env")
        assert kept["VIGIL_HTTP_PORT"] == str(port)
        assert kept["VIGIL_PUBLIC_URL"] == f"http://127.0.0.1:{port}"
        assert json.loads((stack.home / "ports.json").read_text())["http"] == port
        assert json.loads((stack.home / "state.json").read_text())["addresses"]["http"] == address
        shown = [line for line in said if f"is taken by another program; {wanted} is on" in line]
        assert len(shown) == len(stack.taken) == strangers
    finally:
        stack.stop()


def test_an_http_port_that_the_operator_named_is_never_replaced(
    environment: dict[str, str], tmp_path: Path
) -> None:
    given = environment | {**OF_ITS_OWN, **dict.fromkeys(PORT_VARIABLES.values(), "10001")}
    stack = RacedStack(tmp_path / "home", given=given, said=[], strangers=0)
    assert stack._http_ports() == {}


def test_an_http_port_that_the_operator_named_and_another_program_has_is_said_at_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # Given the operator's own port, which another program has
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        given = environment | {**OF_ITS_OWN, "VIGIL_API_PORT": str(port)}
        stack = RacedStack(tmp_path / "home", given=given, said=[], strangers=0)
        try:
            stack.start_servers()

            # When the stack starts, then it says at once which port, who has it and what to do, in
            # one sentence
            started_s = time.monotonic()
            with pytest.raises(StackFailed) as failed:
                stack.start_services(timeout_s=300)
            assert time.monotonic() - started_s < 120
            assert re.fullmatch(
                rf"noc_api cannot start: port {port} is taken by .* \(pid {os.getpid()}\);"
                r" end that program, or set VIGIL_API_PORT to another port",
                str(failed.value),
            )
        finally:
            stack.stop()


def test_a_process_whose_port_is_taken_waits_for_it_says_so_once_and_can_be_stopped(
    stack: Stack, tmp_path: Path
) -> None:
    # Given a process of a supervisor without ports, such as systemd, and a program on its port
    supervisor, log = Supervisor(tmp_path / "state.json"), tmp_path / "api.log"
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        own = {"VIGIL_API_PORT": str(port), "VIGIL_RESTART_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "ops.run", "noc_api"]
        environment = stack.process_environment("noc_api") | own
        process = Process("noc_api", command, log=log, environment=environment)
        try:
            # When it starts, then it is blocked, and says why
            supervisor.add(process)
            late = supervisor.wait_ready(
                ["noc_api"], timeout_s=60, give_up=lambda: process.state == "blocked"
            )
            assert (late, process.state) == ([process], "blocked")
            said = (
                rf"port {port} is taken by .* \(pid {os.getpid()}\); end that program, or set VIGIL_API_PORT"
            )
            assert re.match(said, process.doing)
            deadline_s = time.monotonic() + 3
            while time.monotonic() < deadline_s:
                supervisor.poll()
            assert (process.state, process.restarts) == ("blocked", 0)
            assert log.read_text().count("port_not_opened") == 1

            # And it can be stopped meanwhile, in order
            pid = process.pid
            process.kill(signal.SIGTERM)
            while process.pid == pid:
                supervisor.poll()
            assert process.last_end == "it ended with exit code 0"

            # And once the port is free, the process gets it
            late = supervisor.wait_ready(
                ["noc_api"], timeout_s=60, give_up=lambda: process.state == "blocked"
            )
            assert process.state == "blocked"
            stranger.close()
            assert supervisor.wait_ready(["noc_api"], timeout_s=60) == []
            assert (process.doing, process.restarts) == ("", 1)
            assert "Traceback" not in log.read_text()
        finally:
            supervisor.stop()
