"""Results of a look for offline guards or devices."""

from __future__ import annotations

from typing import NamedTuple

from services.contracts.events import Condition
from services.contracts.source_status import SourceStatus
from services.ingestion.transactional_outbox import Debt, Event, condition_events


class Watched(NamedTuple):
    """The committed result of one look; `full`: there may be more."""

    met: list[Condition]
    cleared: list[Condition]
    statuses: list[tuple[int, SourceStatus]]
    debt: Debt
    full: bool

    @property
    def events(self) -> list[Event]:
        """Return the events to publish: the earlier ones of these sources, then the new ones."""
        return [*self.debt.earlier, *condition_events(self.met, self.cleared)]


NOTHING = Watched([], [], [], Debt(), full=False)
