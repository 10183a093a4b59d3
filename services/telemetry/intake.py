"""One batch of readings through registry, rules and store: what is stored, and what follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from services import admission, rows
from services.errors import InvalidMessage
from services.messages import Condition, Receipt, RejectedMessage
from services.registry import Registry, Source
from services.telemetry.conditions import Finding
from services.telemetry.store import Reading, Shape, State, TelemetryStore

Findings = Callable[[Any], Iterator[Finding]]
Known = tuple[datetime, set[str]]
"""recorded_at and conditions of a source's newest state."""


class Outcome:
    """What one batch came to. Filled in by `Intake.store`."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.refused: list[RejectedMessage] = []
        self.stored = 0
        self.admitted = 0


class History:
    """What one source's part of a batch came to."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []


class Intake:
    """Stores batches of one kind of reading."""

    def __init__(self, store: TelemetryStore, registry: Registry, shape: Shape, findings: Findings) -> None:
        self._store = store
        self._registry = registry
        self._shape = shape
        self._findings = findings

    def store(self, readings: Sequence[Reading], *, now: datetime) -> Outcome:
        """Commit a batch. Raises `Unavailable`; a batch done twice comes to the same."""
        ids = {reading.origin.source_id for reading in readings}
        sources = self._registry.lookup(ids, kind="device", family=self._shape.family)
        admitted, refused = admission.sort_out(readings, sources)
        outcome = Outcome()
        outcome.refused = refused

        def refuse(item: tuple[Reading, Source], error: InvalidMessage) -> None:
            outcome.refused.append(admission.rejected(item[0].origin, error, tenant_id=item[1].tenant_id))

        rows.store_or_isolate(admitted, lambda part: self._commit(part, outcome, now), refuse)
        if outcome.refused:
            self._store.keep_rejected(outcome.refused)
        return outcome

    def _commit(self, admitted: Sequence[tuple[Reading, Source]], outcome: Outcome, now: datetime) -> None:
        by_source = _by_source(admitted)
        with self._store.transaction() as connection:
            before = self._store.lock_states(connection, list(by_source))
            inserted = self._store.insert(connection, self._shape, admitted)
            histories = [
                self._follow(items, before.get(source_id), repeated=inserted.repeated)
                for source_id, items in by_source.items()
            ]
            self._store.put_states(connection, self._shape, [h.state for h in histories if h.state])
        # Only now: a batch that is tried again in parts must not be counted twice.
        outcome.stored += inserted.stored
        outcome.admitted += len(admitted)
        outcome.met += [condition for history in histories for condition in history.met]
        outcome.cleared += [condition for history in histories for condition in history.cleared]
        outcome.receipts += [
            Receipt(reading.origin.source_id, reading.origin.msg_id, "stored", now)
            for reading, _ in admitted
            if reading.origin.msg_id is not None
        ]

    def _follow(
        self, items: Sequence[tuple[Reading, Source]], before: Known | None, *, repeated: frozenset[bytes]
    ) -> History:
        """Go through one source's readings in device time, from its state before the batch.

        Conditions met are told each time, endings only when there was something to end. A late reading says
        nothing about now. A message that comes again may have ended a condition the first time, and we died before
        telling: its ending is told again; whoever hears them twice does nothing twice.
        """
        history = History()
        known_at, conditions = before if before is not None else (None, set())
        for reading, source in items:
            if known_at is not None and reading.origin.recorded_at < known_at:
                continue
            for finding in self._findings(reading):
                if finding.met:
                    conditions.add(finding.name)
                    history.met.append(_condition(finding, reading, source))
                elif finding.name in conditions or reading.origin.key in repeated:
                    conditions.discard(finding.name)
                    history.cleared.append(_condition(finding, reading, source))
            history.state = self._state(reading, source, conditions)
        return history

    def _state(self, reading: Reading, source: Source, conditions: set[str]) -> State:
        origin = reading.origin
        shown = {name: getattr(reading, name) for name in self._shape.columns}
        return State(
            origin.source_id,
            source.tenant_id,
            origin.recorded_at,
            origin.received_at,
            shown,
            tuple(sorted(conditions)),
        )


def _by_source(admitted: Sequence[tuple[Reading, Source]]) -> dict[str, list[tuple[Reading, Source]]]:
    """Each source's readings in device time; sources in order, as their rows are locked."""
    grouped: dict[str, list[tuple[Reading, Source]]] = {}
    for item in sorted(admitted, key=lambda item: (item[0].origin.source_id, item[0].origin.recorded_at)):
        grouped.setdefault(item[0].origin.source_id, []).append(item)
    return grouped


def _condition(finding: Finding, reading: Reading, source: Source) -> Condition:
    origin = reading.origin
    detail = {name: value for name, value in msgspec.structs.asdict(reading).items() if name != "origin"}
    dedup_key = finding.dedup_key(origin.source_id)
    return Condition(
        tenant_id=source.tenant_id,
        source_id=origin.source_id,
        alert_type=finding.alert_type,
        dedup_key=dedup_key,
        at=origin.recorded_at,
        # One reading may show several conditions, each of which is an occurrence of its own.
        key=hashlib.blake2b(origin.key + dedup_key.encode(), digest_size=16).digest(),
        message=finding.message,
        detail=detail,
    )
