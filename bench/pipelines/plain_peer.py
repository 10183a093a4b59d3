"""Runner of the plain peer's two processes (`bench/pipelines/peer`).

They use their own virtual environment (`ops/local/setup.sh peer`).
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ops.environment import PROJECT

PYTHON = PROJECT / ".venv-peer" / "bin" / "python"
PREFIX = "peer/"
DATABASE = "peer"
PARTS = ("store", "gateway")
"""Parts in the order of their start: the store declares the queue that the gateway publishes to."""


class PeerMissing(Exception):  # noqa: N818
    """The peer's virtual environment is missing."""

    def __str__(self) -> str:
        return "the plain peer is not installed: `bash ops/local/setup.sh peer`, or `make bench`"


class PlainPeer:
    """Both processes, from the beginning to the end of a `with` block."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        database_url: str,
        zones: Sequence[tuple[float, float, float]],
    ) -> None:
        if not PYTHON.exists():
            raise PeerMissing

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._websocket_port = free.getsockname()[1]

        self._environment = {
            "PATH": environment["PATH"],
            "PEER_DATABASE_URL": database_url,
            "PEER_AMQP_URI": environment["AMQP_URI"],
            "PEER_MQTT_HOST": environment["MQTT_BROKER_ADDRESS"],
            "PEER_MQTT_PORT": environment["MQTT_BROKER_PORT"],
            "PEER_TOPIC_PREFIX": PREFIX,
            "PEER_WEBSOCKET_PORT": str(self._websocket_port),
            "PEER_ZONES": json.dumps(list(zones)),
        }
        self._running: dict[str, subprocess.Popen[str]] = {}

    @property
    def url(self) -> str:
        """Return the address of the peer's websocket."""
        return f"ws://127.0.0.1:{self._websocket_port}/"

    @property
    def pids(self) -> dict[str, int]:
        return {f"peer_{name}": process.pid for name, process in self._running.items()}

    def __enter__(self) -> Self:
        try:
            for name in PARTS:
                self.start(name)
        except BaseException:
            self._kill_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill_all()

    def start(self, name: str) -> None:
        """Start one part and wait until it is ready. Raises `RuntimeError` when it ends before."""
        command = [str(PYTHON), "-m", f"bench.pipelines.peer.{name}"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=self._environment, cwd=PROJECT
        )
        self._running[name] = process
        assert process.stdout is not None
        if (said := process.stdout.readline().strip()) != "ready":
            raise RuntimeError(f"the peer's {name} did not start: {said or 'see above'}")

    def kill(self, name: str) -> None:
        """End one part as the kernel would when memory is short."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def _kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)
