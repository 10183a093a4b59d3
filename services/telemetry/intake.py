"""Intake of one batch of readings: registry, rules and store, and what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from services.contracts.errors import InvalidMessage
from services.contracts.events import Condition, Receipt
from services.contracts.families import BatchedFamily, Reading, SensorReading
from services.contracts.source_status import SourceStatus
from services.ingestion import admission, bulk_insert
from services.ingestion.effects import Effects
from services.ingestion.source_registry import Source, SourceRegistry
from services.telemetry import offline
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rule_engine import Ruleset, refused_alarm_finding
from services.telemetry.source_states import DatedFinding, KnownSource, correct, follow
from services.telemetry.store import SourceAfterBatch, TelemetryStore

Admitted = Sequence[tuple[Reading, Source]]
Place = tuple[int, int | None]
"""Tenant and site, which decide the rules in force."""


class ReadingIntake:
    """Intake of batches of one kind of reading."""

    def __init__(
        self, store: TelemetryStore, registry: SourceRegistry, row: BatchedFamily, rules: RuleCache
    ) -> None:
        self._store = store
        self._registry = registry
        self._row = row
        self._rules = rules

    def store(self, readings: Sequence[Reading], *, now: datetime) -> Effects:
        """Commit a batch with its events in the outbox. A batch that comes twice is stored once.

        Raises `Unavailable`.
        """
        ids = {reading.origin.source_id for reading in readings}
        sources = self._registry.lookup(ids, kind="device", family=self._row.name)
        effects = Effects()
        admitted, effects.rejected = admission.sort_out(readings, sources)

        # Read the rules before the transaction: a read must not wait for a second connection while
        # one is held.
        places = {(source.tenant_id, source.site_id) for _, source in admitted}
        rulesets = {place: self._rules.of(*place) for place in places}

        def refuse(item: tuple[Reading, Source], error: InvalidMessage) -> None:
            effects.rejected.append(admission.rejected(item[0].origin, error, tenant_id=item[1].tenant_id))

        bulk_insert.store_or_isolate(
            admitted, lambda part: effects.add(self._commit(part, rulesets, now)), refuse
        )
        if effects.rejected:
            self._keep_refused(readings, sources, effects)

        return effects

    def _commit(self, admitted: Admitted, rulesets: Mapping[Place, Ruleset], now: datetime) -> Effects:
        by_source = _by_source(admitted)
        newcomers: set[str] = set()
        while True:
            with self._store.transaction() as connection:
                before = self._store.lock_states(connection, by_source, newcomers)
                missing = by_source.keys() - before.keys() - newcomers
                if not missing:
                    effects = self._write(connection, by_source, before, rulesets)
                    break
            newcomers |= missing  # start again: newcomers are locked before all rows

        effects.admitted = len(admitted)
        effects.receipts = [
            Receipt(reading.origin.source_id, reading.origin.msg_id, "stored", now)
            for reading, _ in admitted
            if reading.origin.msg_id is not None
        ]

        return effects

    def _write(
        self,
        connection: Connection,
        by_source: Mapping[str, tuple[Source, list[Reading]]],
        before: Mapping[str, KnownSource],
        rulesets: Mapping[Place, Ruleset],
    ) -> Effects:
        effects = Effects()
        states: list[SourceAfterBatch] = []
        silenced: list[offline.OfflineSource] = []
        kept: list[tuple[Reading, Source]] = []
        for source_id, (source, sent) in by_source.items():
            known = before.get(source_id)
            readings, clock = correct(sent, known)
            kept += [(reading, source) for reading in readings]
            followed = follow(readings, known, rulesets[source.tenant_id, source.site_id])
            assert followed.judged_at is not None, "a source that is followed has a reading"
            state = SourceAfterBatch(
                source_id,
                source.tenant_id,
                followed.newest,
                followed.judged_at,
                followed.standing,
                clock,
            )

            states.append(state)
            effects.met += [_condition(verdict, source) for verdict in followed.met]
            effects.cleared += [_condition(verdict, source) for verdict in followed.cleared]

            # A source came online, or sends messages again. Late readings do not say so.
            silent_since = None if known is None else known.silent_since
            if state.newest is not None and (known is None or silent_since is not None):
                effects.statuses.append((state.tenant_id, _online(state.newest, self._row.name)))
            if state.newest is not None and silent_since is not None:
                silenced.append(offline.OfflineSource(source, silent_since))

        effects.stored = self._store.insert(connection, self._row, kept)
        self._store.put_states(connection, self._row, states)
        effects.cleared += offline.end(connection, silenced)
        self._store.owed.store_events(connection, effects)

        return effects

    def _keep_refused(
        self, readings: Sequence[Reading], sources: Mapping[str, Source], effects: Effects
    ) -> None:
        """Keep what was refused, and report the refused alarms.

        Alarms of a source that a user disabled are not reported.
        """
        reasons = {message.key: message.reason for message in effects.rejected}
        alarms = {
            reading.origin.key: reading
            for reading in readings
            if type(reading) is SensorReading and reading.kind == "alarm"
            if reasons.get(reading.origin.key, "source_disabled") != "source_disabled"
        }

        met = []
        for key, reading in alarms.items():
            source = sources.get(reading.origin.source_id) or self._stranger(reading)
            finding = refused_alarm_finding(reading, reasons[key])
            met.append(_condition(DatedFinding(finding, reading, reading.origin.received_at), source))

        effects.add(self._store.keep_refused(effects.rejected, met))

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


def _condition(verdict: DatedFinding, source: Source) -> Condition:
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
