"""Further NOC gateways on the servers of a stack, for tests to give other limits, and to kill."""

from __future__ import annotations

import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ops import ports
from ops.environment import PROJECT
from ops.stack import Stack
from ops.supervisor import Process, Supervisor

START_TIMEOUT_S = 60.0


class Gateways:
    """Supervised by a thread of their own: what is killed comes back by itself."""

    def __init__(self, stack: Stack, home: Path, *, count: int, noc: dict[str, Any]) -> None:
        names = [f"gateway-{number}" for number in range(1, count + 1)]
        chosen = ports.choose({}, names, prefer=False)
        self.bases = [f"127.0.0.1:{chosen[name]}" for name in names]
        self._stopping = threading.Event()
        self._supervisor = Supervisor(home / "gateways.json")
        settings = yaml.safe_load((PROJECT / "config.yaml").read_text())
        settings["noc"] |= noc
        (home / "config.yaml").write_text(yaml.safe_dump(settings))
        for name in names:
            (home / name).mkdir()
            self._supervisor.add(self._process(stack, home, name, chosen[name]))
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        names = [process.name for process in self._supervisor.processes]
        late = self._supervisor.wait_ready(names, timeout_s=START_TIMEOUT_S)
        assert late == [], late[0].last_lines()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._supervisor.stop()

    def kill(self, number: int) -> None:
        """kill -9; it is back within seconds."""
        self._supervisor.processes[number].kill()

    def is_ready(self, number: int) -> bool:
        return self._supervisor.processes[number].state == "ready"

    def pid(self, number: int) -> int | None:
        return self._supervisor.processes[number].pid

    def metric(self, number: int, line: str) -> float:
        """The value of a line of the gateway's metrics, 0 while it has none."""
        with urllib.request.urlopen(f"http://{self.bases[number]}/metrics/export/", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(found.rpartition(" ")[2]) for found in lines if found.startswith(line))

    def _process(self, stack: Stack, home: Path, name: str, port: int) -> Process:
        environment = {
            **stack.process_environment("noc_gateway"),
            "VIGIL_CONFIG": str(home / "config.yaml"),
            "VIGIL_HTTP_PORT": str(port),
            "VIGIL_INSTANCE": name,
            "PROMETHEUS_MULTIPROC_DIR": str(home / name),
        }
        command = [sys.executable, "-m", "ops.run", "noc_gateway"]
        return Process(name, command, log=home / f"{name}.log", environment=environment)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._supervisor.poll()


@contextmanager
def gateways(stack: Stack, *, count: int = 1, **noc: Any) -> Iterator[Gateways]:
    """So many gateways with other settings in the section `noc`, ready."""
    with tempfile.TemporaryDirectory(prefix="vigil-gateways-") as directory:
        made = Gateways(stack, Path(directory), count=count, noc=noc)
        try:
            made.start()
            yield made
        finally:
            made.stop()
