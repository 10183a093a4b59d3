"""Loopback ports for private servers: below 32768, remembered, and the usual ones when they are free.

Above 32768 is the ephemeral range: a client that reconnects can be given the very port that its server wants back.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from services.errors import Misconfigured

LOWEST, HIGHEST = 10_000, 32_000
PREFERRED = {"mqtt": 1883, "mqtts": 8883, "http": 8000}
NAMES = ("mqtt", "mqtts", "mqtts_certificate", "http", "amqp", "amqp_dist", "epmd", "redis", "postgres")
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether the port can be bound on the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(kept: Mapping[str, int], names: Iterable[str] = NAMES, *, prefer: bool = True) -> dict[str, int]:
    """A free port for each name: the one kept from last time, else the usual one, else any."""
    chosen: dict[str, int] = {}
    for name in names:
        wishes = [port for port in (kept.get(name), PREFERRED.get(name) if prefer else None) if port]
        free = (port for port in [*wishes, *_random_ports()] if port not in chosen.values() and is_free(port))
        port = next(free, None)
        if port is None:
            raise Misconfigured(f"no free port from {LOWEST} to {HIGHEST} for {name}")
        chosen[name] = port
    return chosen


def remembered(path: Path, *, prefer: bool = True, more: Iterable[str] = ()) -> dict[str, int]:
    """Choose ports for a home, of `more` than the usual names, and remember them for the next start."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    chosen = choose(kept, [*NAMES, *more], prefer=prefer)
    path.write_text(json.dumps(chosen))
    return chosen


def _random_ports() -> Iterable[int]:
    return (random.randrange(LOWEST, HIGHEST) for _ in range(ATTEMPTS))
