"""Further NOC processes on the servers of a stack. Tests give them other limits, and kill them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ops.environment import PROJECT
from ops.local import ports, servers
from ops.local.stack import Stack
from ops.local.supervisor import Process, Supervisor

START_TIMEOUT_S = 60.0
FEED, API, FRONT = "noc_gateway", "noc_api", "haproxy"


class Gateways:
    """Feed processes, and with `api` an API process and HAProxy for each.

    A process that is killed comes back by itself. `bases` are the addresses of the feed processes,
    `apis` those of the API processes, `fronts` those of HAProxy.
    """

    def __init__(self, stack: Stack, home: Path, *, count: int, api: bool, noc: dict[str, Any]) -> None:
        self._home = home
        self._kinds = [FEED, API, FRONT] if api else [FEED]
        names = [self._name(kind, number) for number in range(count) for kind in self._kinds]
        chosen = ports.choose({}, names, prefer=False)
        self.bases, self.apis, self.fronts = (
            [f"127.0.0.1:{port}" for name, port in chosen.items() if name.startswith(kind)]
            for kind in (FEED, API, FRONT)
        )
        self._stopping = threading.Event()
        self._waiting: list[Process] = []
        self._supervisor = Supervisor(home / "gateways.json")
        settings = yaml.safe_load((PROJECT / "config.yaml").read_text())
        settings["noc"] |= noc
        self._limits_of_haproxy = {
            "VIGIL_CONNECTIONS_PER_ADDRESS": str(noc.get("connections_per_address", 200)),
            "VIGIL_ADDRESS_REQUESTS": str(noc.get("address_requests", {"count": 6000})["count"]),
            "VIGIL_OPEN_REQUESTS": str(noc.get("open_requests", {"count": 120})["count"]),
        }
        (home / "config.yaml").write_text(yaml.safe_dump(settings))
        for number in range(count):
            self._metrics(number).mkdir()
            own = {kind: chosen[self._name(kind, number)] for kind in self._kinds}
            for kind in self._kinds:
                made = self._process(stack, number, kind, own)
                if kind == FRONT:
                    self._waiting.append(made)
                else:
                    self._supervisor.add(made)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._await_all()
        self._supervisor.add(*self._waiting)  # HAProxy last, as in a stack
        self._await_all()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._supervisor.stop()

    def kill(self, number: int, kind: str = FEED) -> None:
        """Kill a process with SIGKILL. It is back within seconds."""
        self._find(number, kind).kill()

    def is_ready(self, number: int, kind: str = FEED) -> bool:
        return self._find(number, kind).state == "ready"

    def pid(self, number: int, kind: str = FEED) -> int | None:
        return self._find(number, kind).pid

    @contextmanager
    def frozen(self, kind: str, number: int = 0) -> Iterator[None]:
        """Stop a process for the length of the block: it exists and does nothing.

        No supervisor notices this.
        """
        process = self._find(number, kind)
        process.kill(signal.SIGSTOP)
        try:
            yield
        finally:
            process.kill(signal.SIGCONT)

    def metric(self, number: int, line: str) -> float:
        """Return the value of a line of the gateway's metrics, or 0 while it has none."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._metrics(number)))  # type: ignore[no-untyped-call]
        lines = generate_latest(registry).decode().splitlines()
        return sum(float(found.rpartition(" ")[2]) for found in lines if found.startswith(line))

    def _await_all(self) -> None:
        names = [process.name for process in self._supervisor.processes]
        late = self._supervisor.wait_ready(names, timeout_s=START_TIMEOUT_S)
        assert late == [], late[0].last_lines()

    def _find(self, number: int, kind: str) -> Process:
        name = self._name(kind, number)
        return next(process for process in self._supervisor.processes if process.name == name)

    def _name(self, kind: str, number: int) -> str:
        return f"{kind}-{number + 1}"

    def _metrics(self, number: int) -> Path:
        return self._home / f"gateway-{number + 1}"

    def _process(self, stack: Stack, number: int, kind: str, own: dict[str, int]) -> Process:
        name = self._name(kind, number)
        log = self._home / f"{name}.log"
        if kind == FRONT:
            environment = {**os.environ, **self._limits_of_haproxy}
            return servers.haproxy(
                log, environment, port=own[FRONT], feeds=[own[FEED]], apis=[own[API]], name=name
            )
        environment = stack.process_environment(kind) | {
            "VIGIL_CONFIG": str(self._home / "config.yaml"),
            "VIGIL_FEED_PORT": str(own[FEED]),
            "VIGIL_API_PORT": str(own.get(API, 0)),
            "VIGIL_INSTANCE": f"gateway-{number + 1}",
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics(number)),
        }
        return Process(name, [sys.executable, "-m", "ops.run", kind], log=log, environment=environment)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._supervisor.poll()


@contextmanager
def gateways(stack: Stack, *, count: int = 1, api: bool = False, **noc: Any) -> Iterator[Gateways]:
    """Run `count` gateways with other settings in the section `noc`.

    Yields them when they are ready.
    """
    with tempfile.TemporaryDirectory(prefix="vigil-gateways-") as directory:
        made = Gateways(stack, Path(directory), count=count, api=api, noc=noc)
        try:
            made.start()
            yield made
        finally:
            made.stop()
