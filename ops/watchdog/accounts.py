"""Counts all events of a host: published, settled, in hand, and waiting in RabbitMQ."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ops.servers.queues import depths
from ops.watchdog.balance import CountSample, EventBalance, missing
from services.platform import metrics, metrics_export
from services.platform.config import Config

COUNTED = (
    "vigil_event_published_total",
    "vigil_event_settled_total",
    "vigil_event_in_hand",
    "vigil_event_consumers",
)
OF_HANDLERS, OF_RUNGS = "evt-", "vigil.delay."


class EventAccounts:
    """The balance of this host's events.

    There is no figure while processes of other hosts take part.
    """

    def __init__(self, config: Config, names: Sequence[str] | None = None) -> None:
        self._config = config
        names = depths.names(config) if names is None else names
        self._queues = [name for name in names if name.startswith(OF_HANDLERS)]
        self._rungs = [name for name in names if name.startswith(OF_RUNGS)]
        self._balance = EventBalance()

    def look(self) -> None:
        """Count once, and export the figure. Raises `Unavailable` when RabbitMQ does not answer."""
        gauge = metrics.events_unaccounted.labels("2m")
        found = self.count()
        if found is None:
            self._balance.forget()
            gauge.set(math.nan)
            return
        figure = self._balance.take(found)
        if figure is not None:
            gauge.set(figure)

    def count(self) -> float | None:
        """Return how many events are missing now; None when some are counted on another host."""
        counted = _counted()
        states = depths.states(self._config, [*self._queues, *self._rungs])
        if not _are_all_here(counted["vigil_event_consumers"], states):
            return None

        found = CountSample(
            published=counted["vigil_event_published_total"],
            settled=counted["vigil_event_settled_total"],
            in_hand=counted["vigil_event_in_hand"],
            waiting={name: state.messages for name, state in states.items()},
        )
        return missing(found, self._queues, self._rungs)


def _counted() -> Mapping[str, dict[str, float]]:
    """Return values by metric and its one label, over all processes of the host."""
    found: Mapping[str, dict[str, float]] = defaultdict(dict)
    for name, labels, value in metrics_export.samples(COUNTED):
        [label] = labels.values()
        found[name][label] = value
    return found


def _are_all_here(here: Mapping[str, float], states: Mapping[str, depths.QueueState]) -> bool:
    """Return whether RabbitMQ knows of no consumer that is not counted on this host."""
    return any(here.values()) and all(
        state.consumers <= here.get(name, 0) for name, state in states.items() if state.consumers
    )
