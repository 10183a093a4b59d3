"""The parts of a stack, which tests take away one at a time.

Each part has its name in `vigil health`, and the process whose stop takes it away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ops.local.stack import Stack
from ops.processes import PROCESSES

SERVERS = {"mosquitto": "mqtt", "rabbitmq": "amqp", "redis": "redis", "postgres": "postgres"}
"""Server processes, and the dependency that is down without each."""
PARTS = (*PROCESSES, *SERVERS)
BACK_S = 120.0


@contextmanager
def held_down(stack: Stack, part: str) -> Iterator[None]:
    """Stop the part for the length of the block.

    Afterwards the part and all others are ready again.
    """
    supervisor = stack.supervisor
    supervisor.stop(only=[part])
    try:
        yield
    finally:
        supervisor.start(only=[part])
        names = [process.name for process in supervisor.processes]
        late = supervisor.wait_ready(names, timeout_s=BACK_S)
        assert late == [], [(process.name, process.last_lines()) for process in late]
