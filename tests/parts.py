"""The parts of a stack, to be taken away one at a time: what each is called by `vigil health`, and held down by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ops.processes import PROCESSES
from ops.stack import Stack

SERVERS = {"mosquitto": "mqtt", "rabbitmq": "amqp", "redis": "redis", "postgres": "postgres"}
"""A server's process, and the dependency that is down without it."""
PARTS = (*PROCESSES, *SERVERS)
BACK_S = 120.0


@contextmanager
def held_down(stack: Stack, part: str) -> Iterator[None]:
    """The part is stopped and stays so; afterwards it and whatever went down with it are back."""
    supervisor = stack.supervisor
    supervisor.stop(only=[part])
    try:
        yield
    finally:
        supervisor.start(only=[part])
        names = [process.name for process in supervisor.processes]
        late = supervisor.wait_ready(names, timeout_s=BACK_S)
        assert late == [], [(process.name, process.last_lines()) for process in late]
