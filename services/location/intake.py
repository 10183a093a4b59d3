"""One batch of fixes through registry, zones and store: what is stored, and what follows from it."""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from services import admission, config, rows
from services.errors import InvalidMessage
from services.location import shifts, silence
from services.location.judging import Conclusions, Judging
from services.location.store import Arrived, GuardState, LocationStore
from services.location.track import TrackFix
from services.location.zonebook import TenantJudge, Unjudged, ZoneBook
from services.messages import Fix, Receipt, RejectedMessage
from services.owed import Debt
from services.registry import Registry, Source


class Outcome(Conclusions):
    """What one batch came to. Filled in by `Intake.store`."""

    def __init__(self) -> None:
        super().__init__()
        self.debt = Debt()
        self.receipts: list[Receipt] = []
        self.refused: list[RejectedMessage] = []
        self.unjudged: list[Unjudged] = []
        self.off_shift = 0
        self.admitted = 0


class Intake:
    def __init__(
        self,
        store: LocationStore,
        registry: Registry,
        zones: ZoneBook,
        settings: config.Location,
        *,
        shift_tolerance_s: float = shifts.TOLERANCE_S,
    ) -> None:
        self._store = store
        self._registry = registry
        self._zones = zones
        self._settings = settings
        self._shift_tolerance_s = shift_tolerance_s
        self._judging = Judging(store, settings)
        # Batches lock in the order in which they came: one that overtakes another with the same guards makes its fixes
        # late, and late ones cost many times as much. Of other processes' batches nothing is known; there repair helps.
        self._turns = threading.Lock()

    def store(self, fixes: Sequence[Fix], *, now: datetime) -> Outcome:
        """Commit a batch with what it owes. Raises `Unavailable`; a batch done twice is stored once.

        Fixes of tenants whose zones cannot be judged are not stored; why is in `unjudged` of the outcome.
        """
        sources = self._registry.lookup({fix.origin.source_id for fix in fixes}, kind="guard", family="guard")
        admitted, refused = admission.sort_out(fixes, sources)
        outcome = Outcome()
        outcome.refused = refused
        if any(source.shifts is not None for source in sources.values()):
            admitted = self._on_shift(admitted, outcome, now)
        arrived = [Arrived(fix, source, track_fix_of(fix)) for fix, source in admitted]

        def refuse(item: Arrived, error: InvalidMessage) -> None:
            outcome.refused.append(
                admission.rejected(item.fix.origin, error, tenant_id=item.source.tenant_id)
            )

        rows.store_or_isolate(arrived, lambda part: self._store_judged(part, outcome, now), refuse)
        if outcome.refused:
            self._store.keep_rejected(outcome.refused)
        return outcome

    def _on_shift(
        self, admitted: Sequence[tuple[Fix, Source]], outcome: Outcome, now: datetime
    ) -> list[tuple[Fix, Source]]:
        """Those that may be kept. Of the others nothing stays but a count, and a receipt that says so."""
        kept = []
        for fix, source in admitted:
            origin = fix.origin
            if shifts.on_shift(origin.recorded_at, source.shifts, tolerance_s=self._shift_tolerance_s):
                kept.append((fix, source))
                continue
            outcome.off_shift += 1
            if origin.msg_id is not None:
                outcome.receipts.append(Receipt(origin.source_id, origin.msg_id, "off_shift", now))
        return kept

    def _store_judged(self, arrived: Sequence[Arrived], outcome: Outcome, now: datetime) -> None:
        """All that can be judged: one tenant's zone that cannot be read keeps no other tenant's fixes waiting."""
        while arrived:
            try:
                judges = {tenant: self._zones.judge_of(tenant) for tenant in _tenants(arrived)}
                self._commit(arrived, judges, outcome, now)
            except Unjudged as error:
                outcome.unjudged.append(error)
                arrived = [item for item in arrived if item.source.tenant_id != error.tenant_id]
            else:
                return

    def _commit(
        self, arrived: Sequence[Arrived], judges: Mapping[int, TenantJudge], outcome: Outcome, now: datetime
    ) -> None:
        guard_ids = {item.source.source_id for item in arrived}
        newcomers: set[str] = set()
        while True:
            with self._store.transaction() as connection:
                with self._turns:
                    states = self._store.lock(connection, guard_ids, newcomers)
                missing = guard_ids - states.keys() - newcomers
                if not missing:
                    drawn, debt = self._write(connection, arrived, states, judges, now)
                    break
            newcomers |= missing  # once more from the start: they are locked before all rows
        # Only now: a batch that is tried again in parts must not be counted twice.
        outcome.add(drawn)
        outcome.debt.add(debt)
        outcome.admitted += len(arrived)
        outcome.receipts += [
            Receipt(item.fix.origin.source_id, item.fix.origin.msg_id, "stored", now)
            for item in arrived
            if item.fix.origin.msg_id is not None
        ]

    def _write(
        self,
        connection: Connection,
        arrived: Sequence[Arrived],
        states: Mapping[str, GuardState],
        judges: Mapping[int, TenantJudge],
        now: datetime,
    ) -> tuple[Conclusions, Debt]:
        seen = rows.see(connection, [item.fix.origin for item in arrived])
        new = [item for item in arrived if item.track.key in seen]
        debt = Debt()
        if len(new) < len(arrived):
            debt = self._store.owed.earlier(connection, sorted({item.source.source_id for item in arrived}))
        if not new:
            return Conclusions(), debt
        drawn = self._judging.judge(connection, new, states, judges, now=now)
        silence.hear(connection, drawn, known=states)
        debt.add(self._store.owed.owe(connection, drawn.owings))
        return drawn, debt


def track_fix_of(fix: Fix) -> TrackFix:
    """As the judge wants it, with its numbers as the table keeps them: what is judged again must come to the same."""
    origin = fix.origin
    return TrackFix(
        origin.key,
        origin.recorded_at,
        origin.received_at,
        fix.lat,
        fix.lon,
        _as_kept(fix.accuracy),
        _as_kept(fix.speed),
        fix.mock,
    )


def _as_kept(value: float | None) -> float | None:
    """The nearest number of four bytes. One that is too great for that stays as it is, and is refused by PostgreSQL."""
    if value is None:
        return None
    try:
        [kept] = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return value
    return float(kept)


def _tenants(arrived: Sequence[Arrived]) -> list[int]:
    return sorted({item.source.tenant_id for item in arrived})
