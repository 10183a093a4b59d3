"""One batch of fixes through registry, zones and store: what is stored, and what follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from services import admission, rows
from services.errors import InvalidMessage
from services.location import shifts
from services.location.store import GuardState, Judged, LocationStore
from services.location.zones import ZoneIndex
from services.messages import AlertType, Condition, Fix, Receipt, RejectedMessage
from services.owed import Debt
from services.registry import Registry, Source


class Conclusions:
    """What fixes call for."""

    def __init__(self) -> None:
        self.met: list[Condition] = []
        self.cleared: list[Condition] = []
        self.violations_begun = 0

    def draw(self, items: Sequence[Judged], before: GuardState | None) -> None:
        """From one guard's fixes: violations are told each time, their ends only when there was something to end."""
        violating = before is not None and before.violation
        for item in items:
            if item.verdict.violation:
                self.met.append(_condition(item, "outside the zones that apply"))
                self.violations_begun += not violating
                violating = True
            elif item.verdict.in_geofence and violating:
                self.cleared.append(_condition(item, "back in a zone"))
                violating = False


class Outcome(Conclusions):
    """What one batch came to. Filled in by `Intake.store`."""

    def __init__(self) -> None:
        super().__init__()
        self.debt = Debt()
        self.receipts: list[Receipt] = []
        self.refused: list[RejectedMessage] = []
        self.newest: list[Judged] = []
        self.off_shift = 0
        self.stored = 0
        self.admitted = 0


class ZoneBook:
    """Each tenant's zones, indexed; read again when the registry says that something changed."""

    def __init__(self, store: LocationStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._version: int | None = None
        self._of_tenant: dict[int, ZoneIndex] = {}

    def of(self, tenant_id: int) -> ZoneIndex:
        """The tenant's index. Raises `Unavailable`."""
        version = self._registry.check_version()
        if version != self._version:
            self._of_tenant.clear()
            self._version = version
        index = self._of_tenant.get(tenant_id)
        if index is None:
            index = self._of_tenant[tenant_id] = ZoneIndex(self._store.zones(tenant_id))
        return index


class Intake:
    def __init__(
        self, store: LocationStore, registry: Registry, *, shift_tolerance_s: float = shifts.TOLERANCE_S
    ) -> None:
        self._store = store
        self._registry = registry
        self._shift_tolerance_s = shift_tolerance_s
        self._zones = ZoneBook(store, registry)

    def store(self, fixes: Sequence[Fix], *, now: datetime) -> Outcome:
        """Commit a batch with what it owes. Raises `Unavailable`; a batch done twice is stored once."""
        sources = self._registry.lookup({fix.origin.source_id for fix in fixes}, kind="guard", family="guard")
        admitted, refused = admission.sort_out(fixes, sources)
        outcome = Outcome()
        outcome.refused = refused
        if any(source.shifts is not None for source in sources.values()):
            admitted = self._on_shift(admitted, outcome, now)
        judged = [self._judge(fix, source) for fix, source in admitted]

        def refuse(item: Judged, error: InvalidMessage) -> None:
            outcome.refused.append(
                admission.rejected(item.fix.origin, error, tenant_id=item.source.tenant_id)
            )

        rows.store_or_isolate(judged, lambda part: self._commit(part, outcome, now), refuse)
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

    def _judge(self, fix: Fix, source: Source) -> Judged:
        index = self._zones.of(source.tenant_id)
        return Judged(fix, source, index.verdict(lat=fix.lat, lon=fix.lon, accuracy_m=fix.accuracy or 0.0))

    def _commit(self, judged: Sequence[Judged], outcome: Outcome, now: datetime) -> None:
        by_guard = _by_guard(judged)
        with self._store.transaction() as connection:
            before = self._store.lock_states(connection, list(by_guard))
            stored = self._store.insert(connection, judged)
            live = {guard_id: _live(items, before.get(guard_id)) for guard_id, items in by_guard.items()}
            newest = [items[-1] for items in live.values() if items]
            self._store.put_states(connection, newest)
            drawn = Conclusions()
            for guard_id, items in live.items():
                drawn.draw(items, before.get(guard_id))
            debt = self._store.owed.owe(connection, drawn.met, drawn.cleared)
        # Only now: a batch that is tried again in parts must not be counted twice.
        outcome.met += drawn.met
        outcome.cleared += drawn.cleared
        outcome.violations_begun += drawn.violations_begun
        outcome.debt.add(debt)
        outcome.newest += newest
        outcome.stored += stored
        outcome.admitted += len(judged)
        outcome.receipts += [
            Receipt(item.fix.origin.source_id, item.fix.origin.msg_id, "stored", now)
            for item in judged
            if item.fix.origin.msg_id is not None
        ]


def _by_guard(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Each guard's fixes in device time; guards in order, as their rows are locked."""
    grouped: dict[str, list[Judged]] = {}
    for item in sorted(judged, key=lambda item: (item.fix.origin.source_id, item.fix.origin.recorded_at)):
        grouped.setdefault(item.fix.origin.source_id, []).append(item)
    return grouped


def _live(items: Sequence[Judged], before: GuardState | None) -> list[Judged]:
    """Without those that are late: they repair history, and say nothing about now."""
    return [item for item in items if before is None or item.fix.origin.recorded_at >= before.recorded_at]


def _condition(item: Judged, message: str) -> Condition:
    origin = item.fix.origin
    dedup_key = f"{AlertType.GEOFENCE_VIOLATION}:{origin.source_id}"
    return Condition(
        tenant_id=item.source.tenant_id,
        source_id=origin.source_id,
        alert_type=AlertType.GEOFENCE_VIOLATION,
        dedup_key=dedup_key,
        at=origin.recorded_at,
        key=hashlib.blake2b(origin.key + dedup_key.encode(), digest_size=16).digest(),
        message=f"{origin.source_id} is {message}",
        lat=item.fix.lat,
        lon=item.fix.lon,
        detail={"accuracy_m": item.fix.accuracy},
        site_id=item.source.site_id,
    )
