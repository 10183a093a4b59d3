"""Effects of a batch: all that follows from its messages, gathered before it is published. Pure.

Each transaction fills effects of its own, and puts their events into the outbox. They are added to
the effects of the batch after the commit: a transaction that is tried again must count once.

How to add an effect:

1. Add the field in `Effects.__init__`, and its line in `Effects.add`.
2. Where other services hear of it, add its event in `Effects.events`, and in `Effects.owings` with
   the sources that it is about.
3. Fill it in the domain's intake. The domain's service shell uses it, or publishes `due`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from services.contracts.errors import Unavailable
from services.contracts.events import (
    Condition,
    ConditionsEvent,
    FeedPosition,
    Receipt,
    RejectedMessage,
    StoredEvent,
    ZoneMove,
    ZoneMovesEvent,
)
from services.contracts.source_status import SourceStatus

Event = tuple[str, msgspec.Struct | msgspec.Raw]


class OutboxEvent(NamedTuple):
    """An event for the outbox, with its tenant and the sources that it is about."""

    tenant_id: int
    event: str
    about: Sequence[str]
    body: msgspec.Struct


class Effects:
    """Effects of one transaction, or of one batch.

    Attributes:
        receipts: Receipts of stored messages, and of positions that were not kept.
        rejected: Messages that were refused.
        met, cleared: Conditions that began and ended.
        moves: Entries into zones and exits from them, by the name of their event.
        positions: New places of guards on the map, each with its tenant.
        statuses: Sources that came online or went silent, each with its tenant.
        deferred: Further events, published after the others.
        failures: Reasons why a part of the batch was not stored.
        admitted: Number of messages that the registry admitted.
        stored: Number of messages that were new.
        off_shift: Number of positions that were not kept, because the guard was off shift.
        violations_begun: Number of violations of zones that began.
        has_more: True when there may be more to do, which did not fit into the transaction.
    """

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.rejected: list[RejectedMessage] = []
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.moves: dict[str, list[ZoneMove]] = {}
        self.positions: list[tuple[int, FeedPosition]] = []
        self.statuses: list[tuple[int, SourceStatus]] = []
        self.deferred: list[Event] = []
        self.failures: list[Unavailable] = []
        self.admitted = 0
        self.stored = 0
        self.off_shift = 0
        self.violations_begun = 0
        self.has_more = False
        self._own: set[int] = set()
        self._earlier: dict[int, Event] = {}

    def add(self, part: Effects) -> None:
        """Add the effects of a further part of the batch, which is committed."""
        self.receipts += part.receipts
        self.rejected += part.rejected
        self.met += part.met
        self.cleared += part.cleared
        self.add_moves(part.moves)
        self.positions += part.positions
        self.statuses += part.statuses
        self.deferred += part.deferred
        self.failures += part.failures

        self.admitted += part.admitted
        self.stored += part.stored
        self.off_shift += part.off_shift
        self.violations_begun += part.violations_begun
        self.has_more = self.has_more or part.has_more

        self.note_outbox(part._own, part._earlier)

    def add_moves(self, moves: Mapping[str, Sequence[ZoneMove]]) -> None:
        for event, found in moves.items():
            self.moves.setdefault(event, []).extend(found)

    def note_outbox(self, own: Iterable[int], earlier: Mapping[int, Event]) -> None:
        """Note rows of the outbox: those of these effects, and earlier ones about the same sources.

        A part of a batch may find the rows of the parts before it. These are not earlier events.
        """
        self._earlier |= {number: event for number, event in earlier.items() if number not in self._own}
        self._own.update(own)

    @property
    def outbox_ids(self) -> list[int]:
        """Return the ids of the outbox rows to delete once `due` is published."""
        return sorted(self._own | self._earlier.keys())

    @property
    def earlier(self) -> list[Event]:
        """Return the events that the outbox held already, in order."""
        return [event for _, event in sorted(self._earlier.items())]

    @property
    def events(self) -> list[Event]:
        """Return the events that these effects cause."""
        moves: list[Event] = [(event, ZoneMovesEvent(found)) for event, found in self.moves.items()]
        return [*moves, *condition_events(self.met, self.cleared)]

    @property
    def owings(self) -> list[OutboxEvent]:
        """Return the same events for the outbox, separate for each tenant."""
        return [*_owing_moves(self.moves), *_owing_conditions(self.met, self.cleared)]

    @property
    def due(self) -> list[Event]:
        """Return all events to publish, in order: the earlier ones of these sources come first."""
        return [*self.earlier, *self.events, *self.deferred]

    def report_stored(self, event: str, *, now: datetime) -> None:
        """Add the event that returns the receipts. There is none when no source asked for one."""
        receipts = [*self.receipts, *refusal_receipts(self.rejected, now=now)]
        if not receipts:
            return

        stored = StoredEvent(
            receipts=receipts,
            stored=self.stored,
            duplicates=self.admitted - self.stored,
            rejected=len(self.rejected),
        )
        self.deferred.append((event, stored))


def refusal_receipts(messages: Sequence[RejectedMessage], *, now: datetime) -> list[Receipt]:
    """Return the receipts of messages that were refused, for the sources that gave them an id.

    Without them a device that waits for a receipt sends a refused message again and again.
    """
    return [
        Receipt(
            message.source_id, message.msg_id, "refused", now, silent=message.silent, reason=message.reason
        )
        for message in messages
        if message.source_id is not None and message.msg_id is not None
    ]


def condition_events(met: list[Condition], cleared: list[Condition]) -> list[tuple[str, ConditionsEvent]]:
    """Return the events that report conditions; none when there are no conditions."""
    both = (("alert_condition_met", met), ("alert_condition_cleared", cleared))
    return [(event, ConditionsEvent(conditions)) for event, conditions in both if conditions]


def _owing_conditions(met: Sequence[Condition], cleared: Sequence[Condition]) -> Iterable[OutboxEvent]:
    for tenant_id in sorted({condition.tenant_id for condition in (*met, *cleared)}):
        mine = [[c for c in conditions if c.tenant_id == tenant_id] for conditions in (met, cleared)]
        for event, body in condition_events(*mine):
            about = sorted({condition.source_id for condition in body.conditions})
            yield OutboxEvent(tenant_id, event, about, body)


def _owing_moves(moves: Mapping[str, Sequence[ZoneMove]]) -> Iterable[OutboxEvent]:
    for event, found in moves.items():
        for tenant_id in sorted({move.tenant_id for move in found}):
            mine = [move for move in found if move.tenant_id == tenant_id]
            about = sorted({move.guard_id for move in mine})
            yield OutboxEvent(tenant_id, event, about, ZoneMovesEvent(mine))
