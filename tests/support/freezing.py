"""Freezing of a part of the stack, and the heartbeats that a websocket session gets about it.

The result has the delays and the named parts.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from tests.support.outside_clients import FeedSession, OutsideClients

TOLD_WITHIN_S = 10.0
UP = re.compile(r'vigil_dependency_up\{dependency="(?P<name>\w+)"\} (?P<value>\S+)')


class FaultReports(NamedTuple):
    """Times and reports of a fault.

    The times are seconds from the fault to `blind`, and from its end to the end of `blind`. Further
    fields are all parts that were named at first, and the answer of `/readyz`.
    """

    blind_s: float
    clear_s: float
    named: frozenset[str]
    ready: ReadyAnswer


class ReadyAnswer(NamedTuple):
    """An answer of `/readyz`: its status, its state of each part, and the seconds that it took."""

    status: int
    checks: dict[str, str]
    took_s: float

    @property
    def away(self) -> set[str]:
        """Return the parts that are not ready."""
        return {part for part, state in self.checks.items() if state != "ok"}


def readiness(outside: OutsideClients) -> ReadyAnswer:
    """Ask `/readyz` with a token that may see the details."""
    started_s = time.monotonic()
    status, body = outside.request("GET", "/readyz", token=outside.token())
    return ReadyAnswer(status, body["checks"], time.monotonic() - started_s)


def dependency_up(outside: OutsideClients) -> dict[str, float]:
    """Return the metrics' states of the servers."""
    with urllib.request.urlopen(f"http://{outside.base}/metrics/export/", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    found = [UP.fullmatch(line) for line in lines]
    return {match["name"]: float(match["value"]) for match in found if match}


def names(frame: dict[str, Any]) -> set[str]:
    """Return the parts that a heartbeat names as offline."""
    return {away["part"] for away in frame["away"]}


def await_all_parts_back(screen: FeedSession, *, timeout_s: float = 60.0) -> None:
    """Wait until a heartbeat names no part as offline."""
    screen.send(type="heartbeat")
    screen.wait("heartbeat", lambda frame: frame["blind"] is False, timeout_s=timeout_s)


def freeze(
    outside: OutsideClients, screens: list[FeedSession], *, process: str, part: str, hold_s: float
) -> FaultReports:
    """Freeze a process for `hold_s`.

    Every session must name its part in time, and must recover in time afterwards.
    """
    return fault(outside, screens, lambda: outside.frozen(process), part=part, hold_s=hold_s)


def fault(
    outside: OutsideClients,
    screens: list[FeedSession],
    begin: Callable[[], AbstractContextManager[None]],
    *,
    part: str,
    hold_s: float,
) -> FaultReports:
    """Check the same for any fault. The fault lasts as long as the context."""
    for screen in screens:
        await_all_parts_back(screen)
    with begin():
        began_s = time.monotonic()
        heard = [
            screen.wait("heartbeat", lambda frame: part in names(frame), timeout_s=TOLD_WITHIN_S)
            for screen in screens
        ]
        for _, frame in heard:
            assert frame["blind"] is True
            assert frame["since"]
            assert all(away["reason"] and away["since"] for away in frame["away"])
        ready = readiness(outside)
        # noc_api gets the same heartbeats as noc_gateway, and its own at another moment.
        while part not in ready.away and time.monotonic() - began_s < TOLD_WITHIN_S:
            slowest_s = ready.took_s
            ready = readiness(outside)
            ready = ready._replace(took_s=max(slowest_s, ready.took_s))
        # Every heartbeat names the part: only the end of the fault may end this.
        while (left_s := began_s + hold_s - time.monotonic()) > 0:
            _, frame = screens[0].wait("heartbeat", timeout_s=TOLD_WITHIN_S)
            assert part in names(frame), (left_s, frame)
    ended_s = time.monotonic()
    seen = [
        screen.wait("heartbeat", lambda frame: frame["blind"] is False, timeout_s=TOLD_WITHIN_S)
        for screen in screens
    ]
    return FaultReports(
        max(came_s for came_s, _ in heard) - began_s,
        max(came_s for came_s, _ in seen) - ended_s,
        frozenset(names(heard[0][1])),
        ready,
    )
