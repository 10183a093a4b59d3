"""The balance of events: published events that are neither settled nor waiting anywhere. Pure.

RabbitMQ holds some messages where no figure shows them. When messages expire on a rung of the
ladder into a full queue, they wait in its dead-letter worker. Lost messages would look the same.
Both are missing from the balance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

import msgspec

WINDOW = 9
"""Number of looks for one figure.

A single look sees events on their way from one place to the next.
"""


class CountSample(msgspec.Struct, frozen=True):
    """Counts at one time. Events are named `<service>.<type>`; all other counts are by queue."""

    published: Mapping[str, float]
    settled: Mapping[str, float]
    in_hand: Mapping[str, float]
    waiting: Mapping[str, int]


def missing(look: CountSample, queues: Iterable[str], rungs: Iterable[str]) -> float:
    """Return how many events are in no place that can be counted.

    Events that waited before Vigil counted are subtracted.
    """
    total = 0.0
    for queue in queues:
        total += look.published.get(event_of(queue), 0) - look.settled.get(queue, 0)
        total -= look.in_hand.get(queue, 0) + look.waiting.get(queue, 0)
    return total - sum(look.waiting.get(rung, 0) for rung in rungs)


def event_of(queue: str) -> str:
    """Return the event that a handler's queue takes."""
    head, _, handler = queue.removeprefix("evt-").partition("--")
    source, _, event = head.partition("-")
    _, _, shard = handler.partition(".")[2].partition(".")
    return f"{source}.{event}.{shard}" if shard else f"{source}.{event}"


class EventBalance:
    """Turns looks into a figure.

    An event that is delivered twice is settled twice. Therefore only a rise above the least figure
    is a finding.
    """

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._least: float | None = None

    def take(self, found: float) -> float | None:
        """Return how many events are unaccounted for, or None until there are enough looks."""
        self._window.append(found)
        if len(self._window) < WINDOW:
            return None
        figure = median(self._window)
        self._least = figure if self._least is None else min(self._least, figure)
        return figure - self._least

    def forget(self) -> None:
        """Start again: earlier looks say nothing about later ones."""
        self._window.clear()
        self._least = None
