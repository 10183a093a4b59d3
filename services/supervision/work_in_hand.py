"""The work that this process has in hand, and how much of it was finished, for the progress watch.

Each part of a process that takes work registers itself here, with a function that costs next to
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class PartWork(NamedTuple):
    """The work of one part.

    `in_hand`: a description of the work, for operators; empty when there is none. `finished`:
    pieces of it that were ever finished. A piece counts as finished however it ended. A failed try
    that will be made again counts too: it did not stand still.
    """

    in_hand: str
    finished: int


_looks: list[Callable[[], Mapping[str, PartWork]]] = []


def watch(look: Callable[[], Mapping[str, PartWork]]) -> None:
    """Have the work of some parts, by their names, watched from now on."""
    if look not in _looks:
        _looks.append(look)


def parts() -> dict[str, PartWork]:
    """Return the work of each part now."""
    return {name: part for look in _looks for name, part in look().items()}


class StalledTime:
    """The time for which the work of one part has stood still, by turns of the watch. Pure."""

    LONGEST_TURN_S = 2.0
    """Seconds that one turn counts for at most.

    A process that was held, or a machine that slept, was not at work.
    """

    def __init__(self) -> None:
        self._finished = -1
        self._looked_s: float | None = None
        self.stood_s = 0.0

    def look(self, work: PartWork, now_s: float) -> float:
        """Return for how many seconds there has been work in hand and none was finished."""
        turn_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, self.LONGEST_TURN_S)
        self._looked_s = now_s
        if not work.in_hand or work.finished != self._finished:
            self._finished = work.finished
            self.stood_s = 0.0
        else:
            self.stood_s += turn_s
        return self.stood_s
