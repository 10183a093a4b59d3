"""Loopback ports for private servers: below 32768, remembered, and the usual ones when free.

A port is chosen long before its server binds it. Meanwhile it is reserved among the Vigil stacks of
the host, so two stacks that start at once never choose the same. When another program takes the
port meanwhile, another port is chosen (`ops.local.stack`).

Above 32768 is the ephemeral range. There a client that reconnects can be given the very port that
its server wants back.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ops.environment import write_private
from services.contracts.errors import Misconfigured

LOWEST, HIGHEST = 10_000, 32_000
PREFERRED = {"mqtt": 1883, "mqtts": 8883, "http": 8000, "feed": 8001, "api": 8002}
NAMES = (
    "mqtt",
    "mqtts",
    "mqtts_certificate",
    "http",
    "feed",
    "api",
    "amqp",
    "amqp_dist",
    "epmd",
    "redis",
    "postgres",
)
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Return whether the port can be bound on the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class PortReservations:
    """Ports that this process reserves among the Vigil stacks of the host.

    They are reserved until the process closes them or ends.

    A reservation is a name of an abstract Unix socket (unix(7)). The kernel gives the name to one
    process, of any user. It takes the name back when the process ends, however it ends. The TCP
    port stays free for the server.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}

    def take(self, port: int) -> bool:
        """Reserve a free port; return False when it is in use or another stack has reserved it."""
        if not is_free(port):
            return False
        if port in self._held:
            return True

        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0vigil-port-{port}")
        except OSError:
            held.close()
            return False

        self._held[port] = held
        return True

    def close(self) -> None:
        """Release all reservations."""
        for held in self._held.values():
            held.close()
        self._held.clear()


def choose(
    kept: Mapping[str, int],
    names: Iterable[str] = NAMES,
    *,
    prefer: bool = True,
    take: Callable[[int], bool] = is_free,
) -> dict[str, int]:
    """Return a free port for each name: the one kept from last time, else the usual one, else any.

    `take(port)` says whether the port may be chosen, and may reserve it.
    """
    chosen: dict[str, int] = {}
    for name in names:
        wishes = [port for port in (kept.get(name), PREFERRED.get(name) if prefer else None) if port]
        free = (port for port in [*wishes, *_random_ports()] if port not in chosen.values() and take(port))
        port = next(free, None)
        if port is None:
            raise Misconfigured(f"no free port from {LOWEST} to {HIGHEST} for {name}")
        chosen[name] = port
    return chosen


def remembered(
    path: Path,
    *,
    prefer: bool = True,
    more: Iterable[str] = (),
    take: Callable[[int], bool] = is_free,
) -> dict[str, int]:
    """Choose ports for a home and remember them for the next start.

    `more` adds names to the usual ones.
    """
    kept = json.loads(path.read_text()) if path.exists() else {}
    chosen = choose(kept, [*NAMES, *more], prefer=prefer, take=take)
    write_private(path, json.dumps(chosen))
    return chosen


def _random_ports() -> Iterable[int]:
    return (random.randrange(LOWEST, HIGHEST) for _ in range(ATTEMPTS))
