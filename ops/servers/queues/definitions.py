"""RabbitMQ's queues as `vigil topology` sees them, queried in a separate process.

To find the queues, the classes of the services are imported. That import changes the process
(eventlet).
"""

from __future__ import annotations

import subprocess
import sys

import msgspec

from ops.environment import PROJECT
from services.contracts.errors import Unavailable

TIMEOUT_S = 90.0


class QueueDefinition(msgspec.Struct, frozen=True):
    """A queue. `state` is there, missing or differs."""

    queue: str
    state: str
    messages: int | None = None
    detail: str = ""


def states_of() -> list[QueueDefinition]:
    """Return the state of each queue, without declaring any. Raises `Unavailable`."""
    said = _topology("--check", "--json")
    try:
        return msgspec.json.decode(said.stdout, type=list[QueueDefinition])
    except msgspec.DecodeError as error:
        raise Unavailable(_reason(said)) from error


def declare() -> str:
    """Declare the missing queues. Raises `Unavailable`."""
    said = _topology()
    if said.returncode != 0:
        raise Unavailable(_reason(said))
    return said.stdout.strip()


def _topology(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.cli", "topology", *options]
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=PROJECT, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"RabbitMQ did not answer within {TIMEOUT_S:g} s") from error


def _reason(said: subprocess.CompletedProcess[str]) -> str:
    lines = (said.stderr or said.stdout).strip().splitlines()
    return lines[-1].removeprefix("vigil: ") if lines else "`vigil topology` said nothing"
