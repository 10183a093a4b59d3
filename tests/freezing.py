"""A part of the stack that is frozen, and what a screen hears of it: after how long, and with which reason."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from tests.outside import Outside, Screen

TOLD_WITHIN_S = 10.0


class Told(NamedTuple):
    """Seconds from the fault to `blind`, and from its end to its end; all parts that were named meanwhile."""

    blind_s: float
    clear_s: float
    named: frozenset[str]


def names(frame: dict[str, Any]) -> set[str]:
    """The parts that a heartbeat says are away."""
    return {away["part"] for away in frame["away"]}


def await_sight(screen: Screen, *, timeout_s: float = 60.0) -> None:
    """Until a heartbeat says that nothing is away."""
    screen.send(type="heartbeat")
    screen.wait("heartbeat", lambda frame: frame["blind"] is False, timeout_s=timeout_s)


def freeze(outside: Outside, screens: list[Screen], *, process: str, part: str, hold_s: float) -> Told:
    """Freeze a process for `hold_s`; every screen must name its part in time, and then see again in time."""
    for screen in screens:
        await_sight(screen)
    with outside.frozen(process):
        frozen_s = time.monotonic()
        heard = [
            screen.wait("heartbeat", lambda frame: part in names(frame), timeout_s=TOLD_WITHIN_S)
            for screen in screens
        ]
        for _, frame in heard:
            assert frame["blind"] is True
            assert frame["since"]
            assert all(away["reason"] and away["since"] for away in frame["away"])
        # All the while it is said, in every heartbeat: nothing but the end of the fault may end it.
        while (left_s := frozen_s + hold_s - time.monotonic()) > 0:
            _, frame = screens[0].wait("heartbeat", timeout_s=TOLD_WITHIN_S)
            assert part in names(frame), (left_s, frame)
    ended_s = time.monotonic()
    seen = [
        screen.wait("heartbeat", lambda frame: frame["blind"] is False, timeout_s=TOLD_WITHIN_S)
        for screen in screens
    ]
    return Told(
        max(came_s for came_s, _ in heard) - frozen_s,
        max(came_s for came_s, _ in seen) - ended_s,
        frozenset(names(heard[0][1])),
    )
