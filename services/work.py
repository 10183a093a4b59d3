"""The work that this process has in hand, and how much of it was finished: what a watch over its progress looks at.

Each part of a process that takes work names itself here, with a function that costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Work(NamedTuple):
    """`in_hand`: what the work is, for people; empty when there is none. `finished`: pieces of it, ever.

    A piece counts as finished however it ended. A failed try that will be made again counts too: what was tried in
    vain did not stand still.
    """

    in_hand: str
    finished: int


_looks: list[Callable[[], Mapping[str, Work]]] = []


def watch(look: Callable[[], Mapping[str, Work]]) -> None:
    """Let the work of some parts, by their names, be watched from now on."""
    if look not in _looks:
        _looks.append(look)


def parts() -> dict[str, Work]:
    """Return the work of each part now."""
    return {name: part for look in _looks for name, part in look().items()}


class Standing:
    """How long the work of one part has stood still, by turns of the watch. Pure."""

    LONGEST_TURN_S = 2.0
    """What a turn counts for at most: a process that was held or a machine that slept was not at work."""

    def __init__(self) -> None:
        self._finished = -1
        self._looked_s: float | None = None
        self.stood_s = 0.0

    def look(self, work: Work, now_s: float) -> float:
        """Return for how long there has been work in hand and none was finished, in seconds."""
        turn_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, self.LONGEST_TURN_S)
        self._looked_s = now_s
        if not work.in_hand or work.finished != self._finished:
            self._finished = work.finished
            self.stood_s = 0.0
        else:
            self.stood_s += turn_s
        return self.stood_s
