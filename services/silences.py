"""What a look for silence came to, of guards or of devices."""

from __future__ import annotations

from typing import NamedTuple

from services.messages import Condition
from services.owed import Debt, Event, condition_events
from services.source_status import SourceStatus


class Watched(NamedTuple):
    """What one look came to, committed; `full`: there may be more."""

    met: list[Condition]
    cleared: list[Condition]
    statuses: list[tuple[int, SourceStatus]]
    debt: Debt
    full: bool

    @property
    def events(self) -> list[Event]:
        """What is to be told, after what was owed of these sources before."""
        return [*self.debt.earlier, *condition_events(self.met, self.cleared)]


NOTHING = Watched([], [], [], Debt(), full=False)
