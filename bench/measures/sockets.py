"""Cost of many websocket sessions, and the effect of sessions that stop reading on the others."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.measures.cpu import used_s
from bench.measures.screens import WebsocketClient, WebsocketCrowd
from gateway.noc.auth.tokens import Tokens
from ops.local.stack import Stack
from services.feed.stream import FeedWriter
from services.platform import config as configuration

TENANT_ID = 1
MANY = 1000
MANY_ALERTS, MANY_PER_S = 100, 5.0
FEW, STALLED = 100, 20
ROUNDS = 6
ROUND_ALERTS, PER_S = 400, 40.0
ALL_CAME_TIMEOUT_S = 20.0
GATEWAY = "noc_gateway"
ALERT = {
    "id": "0198c0de-0000-7000-8000-000000000000",
    "alert_type": "PANIC",
    "severity": "CRITICAL",
    "status": "NEW",
    "source_id": "guard-bench",
    "occurrences": 1,
    "message": "x" * 400,
}


class Sockets:
    """Measurements on the gateway of a running stack.

    Alerts are sealed here and go into the feed, as those of a service do.
    """

    def __init__(self, stack: Stack, *, say: Callable[[str], None]) -> None:
        environ = stack.operator_environment()
        self._say = say
        self._feed = FeedWriter.from_config(configuration.load(environ=environ))
        self._tokens = Tokens(environ["JWT_SECRET"])
        self._crowd = WebsocketCrowd("127.0.0.1", int(environ["VIGIL_HTTP_PORT"]))
        [self._pid] = [p.pid for p in stack.supervisor.processes if p.name == GATEWAY and p.pid]

    def measure(self, *, quick: bool = False) -> dict[str, float]:
        """Return all figures. Raises `RuntimeError` when a client that reads misses one alert."""
        rounds = 1 if quick else ROUNDS
        return self._many(MANY // 10 if quick else MANY) | self._stalled(rounds)

    def _many(self, count: int) -> dict[str, float]:
        before_kib, started_s = rss_kib(self._pid), time.monotonic()
        screens = self._open(count)
        opened_s = time.monotonic() - started_s
        cpu_s, started_s = used_s(self._pid), time.monotonic()
        waits_s = self._publish(screens, MANY_ALERTS, per_s=MANY_PER_S)
        busy = (used_s(self._pid) - cpu_s) / (time.monotonic() - started_s)
        held_kib = (rss_kib(self._pid) - before_kib) / count
        self._close(screens)

        return {
            "many": count,
            "many_open_s": round(opened_s, 2),
            "many_rss_kib_per_socket": round(held_kib, 1),
            "many_alert_p50_ms": percentile_ms(waits_s, 50),
            "many_alert_p99_ms": percentile_ms(waits_s, 99),
            "many_gateway_cpu": round(busy, 2),
        }

    def _stalled(self, rounds: int) -> dict[str, float]:
        """Measure in turn without and with stalled clients.

        This order spreads other work of the machine evenly over both.
        """
        readers = self._open(FEW - STALLED)
        without_s: list[float] = []
        with_s: list[float] = []
        closed_s: list[float] = []
        memory_kib: list[float] = []
        for number in range(rounds):
            others = self._open(STALLED, name=f"stalls-{number}")
            without_s += self._publish([*readers, *others], ROUND_ALERTS, per_s=PER_S, of=readers)
            stall = StalledClients(self._crowd, others, self._pid)
            with_s += self._publish(readers, ROUND_ALERTS, per_s=PER_S, also=stall.look)
            closed_s.append(stall.all_closed_s())
            memory_kib.append(stall.memory_kib)
            self._close(others)
            self._say(f"round {number + 1} of {rounds}: the stalled were closed within {closed_s[-1]:.1f} s")

        self._close(readers)
        without_ms, with_ms = percentile_ms(without_s, 99), percentile_ms(with_s, 99)
        return {
            "alert_p99_ms": without_ms,
            "alert_p99_stalled_ms": with_ms,
            "alert_p99_ratio": round(with_ms / without_ms, 3),
            "stalled_closed_s": round(max(closed_s), 2),
            "stalled_rss_kib_per_socket": round(max(memory_kib), 1),
        }

    def _open(self, count: int, *, name: str = "screen") -> list[WebsocketClient]:
        claims: dict[str, Any] = {"tenant_id": TENANT_ID, "role": "operator", "lifetime_s": 3600}
        return self._crowd.open([self._tokens.make(name=f"{name}-{n}", **claims) for n in range(count)])

    def _close(self, screens: Sequence[WebsocketClient]) -> None:
        for screen in screens:
            self._crowd.close(screen)

    def _publish(
        self,
        screens: Sequence[WebsocketClient],
        count: int,
        *,
        per_s: float,
        of: Sequence[WebsocketClient] | None = None,
        also: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """Return the seconds of each alert to each client, or only to the clients in `of`."""
        started_s = time.monotonic()
        sent = []
        for number in range(count):
            self._crowd.serve(for_s=max(0.0, started_s + number / per_s - time.monotonic()))
            sent.append(self._feed.publish(TENANT_ID, "critical_alert", ALERT))
            also()

        self._crowd.serve_until(
            lambda: all(sent[-1] in screen.came_s for screen in screens), timeout_s=ALL_CAME_TIMEOUT_S
        )
        return [wait_s for screen in of or screens for wait_s in waits(screen.came_s, sent)]


class StalledClients:
    """Clients that stop reading. They are watched until the gateway has closed each."""

    def __init__(self, crowd: WebsocketCrowd, screens: Sequence[WebsocketClient], pid: int) -> None:
        for screen in screens:
            crowd.stop_reading(screen)
        self._screens = screens
        self._pid = pid
        self._started_s = time.monotonic()
        self._before_kib = rss_kib(pid)
        self._peak_kib = self._before_kib
        self._closed_s: dict[WebsocketClient, float] = {}

    def look(self) -> None:
        self._peak_kib = max(self._peak_kib, rss_kib(self._pid))
        for screen in self._screens:
            if screen not in self._closed_s and not screen.is_connected:
                self._closed_s[screen] = time.monotonic() - self._started_s

    def all_closed_s(self) -> float:
        """Return the seconds from the stop of reading to the last close.

        Raises:
            RuntimeError: A connection is still open.
        """
        if len(self._closed_s) < len(self._screens):
            raise RuntimeError(f"{len(self._screens) - len(self._closed_s)} stalled sockets are still open")
        return max(self._closed_s.values())

    @property
    def memory_kib(self) -> float:
        """Return the gateway's additional memory for each client, in KiB."""
        return (self._peak_kib - self._before_kib) / len(self._screens)


def waits(came_s: dict[int, float], sent: Sequence[int]) -> list[float]:
    """Return the seconds that each sent alert took.

    Raises:
        RuntimeError: Not all alerts came, once and in order.
    """
    wanted = set(sent)
    came = [frame_id for frame_id in came_s if frame_id in wanted]
    if came != list(sent):
        raise RuntimeError(f"a session that reads got {len(came)} of {len(sent)} alerts, or in another order")
    return [came_s[frame_id] for frame_id in sent]


def percentile_ms(waits_s: Sequence[float], p: int) -> float:
    ordered = sorted(waits_s)
    return round(1000 * ordered[math.ceil(len(ordered) * p / 100) - 1], 1)


def rss_kib(pid: int) -> int:
    """Return the resident memory of a process in KiB, from proc(5)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} is gone")
