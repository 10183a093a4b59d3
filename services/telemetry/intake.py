"""One batch of readings through registry, rules and store: what is stored, and what follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from services import admission, rows
from services.errors import InvalidMessage
from services.messages import Condition, Receipt, RejectedMessage
from services.owed import Debt, owing_conditions
from services.registry import Registry, Source
from services.source_status import SourceStatus
from services.telemetry import silence
from services.telemetry.findings import Finding, Reading, Ruleset, Standing
from services.telemetry.rulebook import RuleBook
from services.telemetry.store import Known, Shape, State, TelemetryStore

Place = tuple[int, int | None]
"""Tenant and site: what decides which rules are in force."""


class Outcome:
    """What one batch came to. Filled in by `Intake.store`."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.statuses: list[tuple[int, SourceStatus]] = []
        self.debt = Debt()
        self.refused: list[RejectedMessage] = []
        self.stored = 0
        self.admitted = 0


class History:
    """What one source's part of a batch came to."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.silenced: silence.Silenced | None = None
        self.status: SourceStatus | None = None


class Intake:
    """Stores batches of one kind of reading."""

    def __init__(self, store: TelemetryStore, registry: Registry, shape: Shape, rules: RuleBook) -> None:
        self._store = store
        self._registry = registry
        self._shape = shape
        self._rules = rules

    def store(self, readings: Sequence[Reading], *, now: datetime) -> Outcome:
        """Commit a batch with what it owes. Raises `Unavailable`; a batch done twice is stored once."""
        ids = {reading.origin.source_id for reading in readings}
        sources = self._registry.lookup(ids, kind="device", family=self._shape.family)
        admitted, refused = admission.sort_out(readings, sources)
        outcome = Outcome()
        outcome.refused = refused
        # Before the transaction: what has to be read for it must not wait for a second connection while one is held.
        places = {(source.tenant_id, source.site_id) for _, source in admitted}
        rulesets = {place: self._rules.of(*place) for place in places}

        def refuse(item: tuple[Reading, Source], error: InvalidMessage) -> None:
            outcome.refused.append(admission.rejected(item[0].origin, error, tenant_id=item[1].tenant_id))

        rows.store_or_isolate(admitted, lambda part: self._commit(part, rulesets, outcome, now), refuse)
        if outcome.refused:
            self._store.keep_rejected(outcome.refused)
        return outcome

    def _commit(
        self,
        admitted: Sequence[tuple[Reading, Source]],
        rulesets: Mapping[Place, Ruleset],
        outcome: Outcome,
        now: datetime,
    ) -> None:
        by_source = _by_source(admitted)
        with self._store.transaction() as connection:
            before = self._store.lock_states(connection, list(by_source))
            stored = self._store.insert(connection, self._shape, admitted)
            histories = [
                self._follow(items, before.get(source_id), rulesets) for source_id, items in by_source.items()
            ]
            self._store.put_states(connection, self._shape, [h.state for h in histories if h.state])
            met = [condition for history in histories for condition in history.met]
            cleared = [condition for history in histories for condition in history.cleared]
            cleared += silence.end(connection, [h.silenced for h in histories if h.silenced])
            debt = self._store.owed.owe(connection, owing_conditions(met, cleared))
        # Only now: a batch that is tried again in parts must not be counted twice.
        outcome.stored += stored
        outcome.admitted += len(admitted)
        outcome.met += met
        outcome.cleared += cleared
        outcome.statuses += [(h.state.tenant_id, h.status) for h in histories if h.state and h.status]
        outcome.debt.add(debt)
        outcome.receipts += [
            Receipt(reading.origin.source_id, reading.origin.msg_id, "stored", now)
            for reading, _ in admitted
            if reading.origin.msg_id is not None
        ]

    def _follow(
        self,
        items: Sequence[tuple[Reading, Source]],
        before: Known | None,
        rulesets: Mapping[Place, Ruleset],
    ) -> History:
        """Go through one source's readings in device time, from its state before the batch.

        Conditions met are told each time, endings only when there was something to end. A late reading says
        nothing about now.
        """
        history = History()
        known_at = before.recorded_at if before is not None else None
        standing = before.standing if before is not None else Standing()
        source = items[0][1]
        ruleset = rulesets[source.tenant_id, source.site_id]
        standing.forget_all_but(ruleset.names)
        for reading, _ in items:
            origin = reading.origin
            if known_at is not None and origin.recorded_at < known_at:
                continue
            for finding in ruleset.findings(reading):
                told = standing.take(finding, origin.recorded_at)
                if told == "met":
                    history.met.append(_condition(finding, reading, source))
                elif told == "cleared":
                    history.cleared.append(_condition(finding, reading, source))
            history.state = self._state(reading, source, standing)
        if history.state is not None and (before is None or before.silent_since is not None):
            history.status = _online(history.state, self._shape.family)
            if before is not None and before.silent_since is not None:
                history.silenced = silence.Silenced(source, before.silent_since)
        return history

    def _state(self, reading: Reading, source: Source, standing: Standing) -> State:
        origin = reading.origin
        shown = {name: getattr(reading, name) for name in self._shape.columns}
        return State(
            origin.source_id,
            source.tenant_id,
            origin.recorded_at,
            origin.received_at,
            shown,
            tuple(sorted(standing.conditions)),
            dict(standing.pending),
        )


def _online(state: State, family: str) -> SourceStatus:
    """For the first time, or again."""
    return SourceStatus(
        source_id=state.source_id,
        kind=family,
        state="online",
        since=state.received_at,
        last_at=state.recorded_at,
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
        severity=finding.rule.severity,
        detail=detail,
        site_id=source.site_id,
    )
