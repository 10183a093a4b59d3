"""Intake of one batch of readings: registry, rules and store, and what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from services.contracts.errors import InvalidMessage
from services.contracts.events import Condition, Receipt, RejectedMessage, SensorReading
from services.contracts.source_status import SourceStatus
from services.ingestion import admission, bulk_insert
from services.ingestion.source_registry import Registry, Source
from services.ingestion.transactional_outbox import Debt, owing_conditions
from services.telemetry import offline
from services.telemetry.rule_cache import RuleBook
from services.telemetry.rule_engine import Reading, Ruleset, of_refused_alarm
from services.telemetry.source_states import Known, Verdict, correct, follow
from services.telemetry.store import Shape, State, TelemetryStore

Admitted = Sequence[tuple[Reading, Source]]
Place = tuple[int, int | None]
"""Tenant and site, which decide the rules in force."""


class Outcome:
    """Result of one batch, filled in by `Intake.store`."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.statuses: list[tuple[int, SourceStatus]] = []
        self.debt = Debt()
        self.refused: list[RejectedMessage] = []
        self.stored = 0
        self.admitted = 0


class Part:
    """Result of one transaction."""

    def __init__(self) -> None:
        self.stored = 0
        self.states: list[State] = []
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.silenced: list[offline.Silenced] = []
        self.statuses: list[tuple[int, SourceStatus]] = []
        self.debt = Debt()


class Intake:
    """Intake of batches of one kind of reading."""

    def __init__(self, store: TelemetryStore, registry: Registry, shape: Shape, rules: RuleBook) -> None:
        self._store = store
        self._registry = registry
        self._shape = shape
        self._rules = rules

    def store(self, readings: Sequence[Reading], *, now: datetime) -> Outcome:
        """Commit a batch with its events in the outbox. A batch that comes twice is stored once.

        Raises `Unavailable`.
        """
        ids = {reading.origin.source_id for reading in readings}
        sources = self._registry.lookup(ids, kind="device", family=self._shape.family)
        admitted, refused = admission.sort_out(readings, sources)
        outcome = Outcome()
        outcome.refused = refused
        # Read the rules before the transaction: a read must not wait for a second connection while
        # one is held.
        places = {(source.tenant_id, source.site_id) for _, source in admitted}
        rulesets = {place: self._rules.of(*place) for place in places}

        def refuse(item: tuple[Reading, Source], error: InvalidMessage) -> None:
            outcome.refused.append(admission.rejected(item[0].origin, error, tenant_id=item[1].tenant_id))

        bulk_insert.store_or_isolate(
            admitted, lambda part: self._commit(part, rulesets, outcome, now), refuse
        )
        if outcome.refused:
            self._keep_refused(readings, sources, outcome)
        return outcome

    def _commit(
        self, admitted: Admitted, rulesets: Mapping[Place, Ruleset], outcome: Outcome, now: datetime
    ) -> None:
        by_source = _by_source(admitted)
        newcomers: set[str] = set()
        while True:
            with self._store.transaction() as connection:
                before = self._store.lock_states(connection, by_source, newcomers)
                missing = by_source.keys() - before.keys() - newcomers
                if not missing:
                    part = self._write(connection, by_source, before, rulesets)
                    break
            newcomers |= missing  # start again: newcomers are locked before all rows
        # Count only now: a batch that is tried again in parts must not be counted twice.
        outcome.stored += part.stored
        outcome.admitted += len(admitted)
        outcome.met += part.met
        outcome.cleared += part.cleared
        outcome.statuses += part.statuses
        outcome.debt.add(part.debt)
        outcome.receipts += [
            Receipt(reading.origin.source_id, reading.origin.msg_id, "stored", now)
            for reading, _ in admitted
            if reading.origin.msg_id is not None
        ]

    def _write(
        self,
        connection: Connection,
        by_source: Mapping[str, tuple[Source, list[Reading]]],
        before: Mapping[str, Known],
        rulesets: Mapping[Place, Ruleset],
    ) -> Part:
        part = Part()
        kept: list[tuple[Reading, Source]] = []
        for source_id, (source, sent) in by_source.items():
            known = before.get(source_id)
            readings, clock = correct(sent, known)
            kept += [(reading, source) for reading in readings]
            followed = follow(readings, known, rulesets[source.tenant_id, source.site_id])
            assert followed.judged_at is not None, "a source that is followed has a reading"
            state = State(
                source_id,
                source.tenant_id,
                followed.newest,
                followed.judged_at,
                followed.standing,
                clock,
            )
            part.states.append(state)
            part.met += [_condition(verdict, source) for verdict in followed.met]
            part.cleared += [_condition(verdict, source) for verdict in followed.cleared]
            self._note_heard(part, state, known, source)
        part.stored = self._store.insert(connection, self._shape, kept)
        self._store.put_states(connection, self._shape, part.states)
        part.cleared += offline.end(connection, part.silenced)
        part.debt = self._store.owed.owe(connection, owing_conditions(part.met, part.cleared))
        return part

    def _note_heard(self, part: Part, state: State, known: Known | None, source: Source) -> None:
        """Note that a source came online, or sends messages again. Late readings do not say so."""
        silent_since = None if known is None else known.silent_since
        if state.newest is None or (known is not None and silent_since is None):
            return
        part.statuses.append((state.tenant_id, _online(state.newest, self._shape.family)))
        if silent_since is not None:
            part.silenced.append(offline.Silenced(source, silent_since))

    def _keep_refused(
        self, readings: Sequence[Reading], sources: Mapping[str, Source], outcome: Outcome
    ) -> None:
        """Keep what was refused, and report the refused alarms.

        Alarms of a source that a user disabled are not reported.
        """
        reasons = {message.key: message.reason for message in outcome.refused}
        alarms = {
            reading.origin.key: reading
            for reading in readings
            if type(reading) is SensorReading and reading.kind == "alarm"
            if reasons.get(reading.origin.key, "source_disabled") != "source_disabled"
        }
        met = []
        for key, reading in alarms.items():
            source = sources.get(reading.origin.source_id) or self._stranger(reading)
            finding = of_refused_alarm(reading, reasons[key])
            met.append(_condition(Verdict(finding, reading, reading.origin.received_at), source))
        owed, debt = self._store.keep_refused(outcome.refused, met)
        outcome.met += owed
        outcome.debt.add(debt)

    def _stranger(self, reading: SensorReading) -> Source:
        """Return a source of the default tenant for a reading of a source that nobody registered.

        Alerts of such sources belong to the default tenant too.
        """
        return Source(reading.origin.source_id, self._registry.default_tenant_id, None, "device", False)


def _online(reading: Reading, family: str) -> SourceStatus:
    """Return the status of a source that is online, for the first time or again."""
    origin = reading.origin
    return SourceStatus(
        source_id=origin.source_id,
        kind=family,
        state="online",
        since=origin.received_at,
        last_at=origin.recorded_at,
    )


def _by_source(admitted: Admitted) -> dict[str, tuple[Source, list[Reading]]]:
    """Group readings by source. Sources are in the order in which their rows are locked."""
    grouped: dict[str, tuple[Source, list[Reading]]] = {}
    for reading, source in admitted:
        grouped.setdefault(source.source_id, (source, []))[1].append(reading)
    return dict(sorted(grouped.items()))


def _condition(verdict: Verdict, source: Source) -> Condition:
    finding, origin = verdict.finding, verdict.reading.origin
    detail = {
        name: value for name, value in msgspec.structs.asdict(verdict.reading).items() if name != "origin"
    }
    dedup_key = finding.dedup_key(origin.source_id)
    return Condition(
        tenant_id=source.tenant_id,
        source_id=origin.source_id,
        alert_type=finding.alert_type,
        dedup_key=dedup_key,
        at=verdict.at,
        # One reading may show several conditions. Each is an occurrence of its own.
        key=hashlib.blake2b(origin.key + dedup_key.encode(), digest_size=16).digest(),
        message=finding.message,
        severity=finding.rule.severity,
        detail=detail,
        site_id=source.site_id,
    )
