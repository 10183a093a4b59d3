"""Intake of one batch of fixes: registry, zones and store, and what follows from the fixes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, NestedTransaction

from services.contracts.errors import InvalidMessage
from services.contracts.events import Receipt
from services.contracts.families import Fix, FixBatch, Origin
from services.ingestion import admission, bulk_insert
from services.ingestion.clock_offset import SourceClock
from services.ingestion.effects import Effects
from services.ingestion.source_registry import Source, SourceRegistry
from services.location import offline
from services.location.guard_turns import GuardTurn, GuardTurns
from services.location.guards import shifts
from services.location.guards.battery import BatteryRule
from services.location.guards.device_clocks import correct, is_near, known_time, needs_no_correction
from services.location.judging import NO_STATE, BatchJudge
from services.location.store import Admitted, GuardState, LocationStore
from services.location.zone_cache import TenantJudge, Unjudged, ZoneCache
from services.platform import config

HELD_EVENT = "guard_fixes_held"
"""Event that brings back, together, the fixes of a guard whose track takes long to repair."""


class FixIntake:
    def __init__(
        self,
        store: LocationStore,
        registry: SourceRegistry,
        zones: ZoneCache,
        settings: config.LocationSettings,
        *,
        shift_tolerance_s: float = shifts.TOLERANCE_S,
        battery_rule: BatteryRule | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._zones = zones
        self._settings = settings
        self._shift_tolerance_s = shift_tolerance_s
        self._judging = BatchJudge(
            store, settings, shift_tolerance_s=shift_tolerance_s, battery_rule=battery_rule
        )

        # Batches lock in the order in which they came. When a batch overtakes another with the same
        # guards, the other's fixes are late, and late fixes cost many times as much. Nothing is
        # known of batches of other processes: there repair helps.
        self._turnstile = GuardTurns()

    def store(self, fixes: Sequence[Fix], *, now: datetime, hold: bool = False) -> Effects:
        """Commit a batch with its events in the outbox. A batch that comes twice is stored once.

        Fixes of tenants whose zones cannot be judged are not stored. The reason is in `failures`.

        Args:
            fixes: The batch.
            now: The time of day.
            hold: Do not store fixes of guards whose tracks take too much time to repair. An event
                for each guard brings them back later (`deferred`).

        Raises:
            Unavailable: Something that the service depends on did not answer.
        """
        with self._turnstile.turn() as turn:
            return self._store_in_turn(fixes, turn, now=now, hold=hold)

    def _store_in_turn(self, fixes: Sequence[Fix], turn: GuardTurn, *, now: datetime, hold: bool) -> Effects:
        effects = Effects()
        if hold and self._judging.share:
            fixes, held = self._parted(fixes)
            effects.deferred = [(HELD_EVENT, FixBatch(mine)) for mine in held.values()]

        sources = self._registry.lookup({fix.origin.source_id for fix in fixes}, kind="guard", family="guard")
        admitted, effects.rejected = admission.sort_out(fixes, sources)

        if any(source.shifts is not None for source in sources.values()):
            admitted = self._on_shift(admitted, effects, now)

        def refuse(item: Admitted, error: InvalidMessage) -> None:
            effects.rejected.append(admission.rejected(item[0].origin, error, tenant_id=item[1].tenant_id))

        bulk_insert.store_or_isolate(
            admitted, lambda part: self._store_judged(part, effects, turn, now), refuse
        )
        if effects.rejected:
            self._store.keep_rejected(effects.rejected)

        return effects

    def _parted(self, fixes: Sequence[Fix]) -> tuple[list[Fix], dict[str, list[Fix]]]:
        """Split fixes into those that are stored now, and those that are held, by guard."""
        now_s = time.monotonic()
        free: list[Fix] = []
        held: dict[str, list[Fix]] = {}
        for fix in fixes:
            guard_id = fix.origin.source_id
            if self._judging.share.is_held(guard_id, now_s):
                held.setdefault(guard_id, []).append(fix)
            else:
                free.append(fix)

        return free, held

    def _on_shift(self, admitted: Sequence[Admitted], effects: Effects, now: datetime) -> list[Admitted]:
        """Return the fixes that may be kept, as far as this is known without the guards' clocks.

        Only a count stays of the others, and a receipt that says so. A fix that came long after the
        time that it names may be late, or its clock may be slow. `_off_shift` decides on such a
        fix, once the clock is known.
        """
        kept = []
        for fix, source in admitted:
            if not is_near(fix.origin) or self._is_on_shift(fix.origin.recorded_at, source):
                kept.append((fix, source))
            else:
                _count_off_shift(effects, fix.origin, now)
        return kept

    def _is_on_shift(self, at: datetime, source: Source) -> bool:
        return shifts.on_shift(at, source.shifts, tolerance_s=self._shift_tolerance_s)

    def _store_judged(
        self, admitted: Sequence[Admitted], effects: Effects, turn: GuardTurn, now: datetime
    ) -> None:
        """Store all fixes that can be judged.

        When the zones of a tenant cannot be read, the fixes of other tenants do not wait for them.
        """
        while admitted:
            try:
                judges = {tenant: self._zones.judge_of(tenant) for tenant in _tenants(admitted)}
                effects.add(self._commit(admitted, judges, turn, now))
            except Unjudged as error:
                effects.failures.append(error)
                admitted = [item for item in admitted if item[1].tenant_id != error.tenant_id]
            else:
                return

    def _commit(
        self,
        admitted: Sequence[Admitted],
        judges: Mapping[int, TenantJudge],
        turn: GuardTurn,
        now: datetime,
    ) -> Effects:
        guard_ids = {source.source_id for _, source in admitted}
        newcomers: set[str] = set()
        while True:
            turn.wait()  # without a connection: the batch whose turn it is may need one
            with self._store.transaction() as connection:
                states = self._store.lock(connection, guard_ids, newcomers)
                missing = guard_ids - states.keys() - newcomers
                if not missing:
                    turn.end()
                    return self._write(connection, admitted, states, judges, now)
            newcomers |= missing  # start again: newcomers are locked before all rows

    def _write(
        self,
        connection: Connection,
        admitted: Sequence[Admitted],
        states: Mapping[str, GuardState],
        judges: Mapping[int, TenantJudge],
        now: datetime,
    ) -> Effects:
        effects = Effects()
        savepoint = connection.begin_nested() if any(map(_may_be_off_shift, admitted)) else None

        new = _new(connection, admitted)
        if len(new) < len(admitted):
            guard_ids = sorted({source.source_id for _, source in admitted})
            self._store.owed.note_earlier(connection, guard_ids, effects)

        new, clocks = corrected(new, states)
        off_shift = self._off_shift(admitted, new, states, clocks)
        if off_shift:
            new = [item for item in new if item[0].origin.key not in off_shift]
            self._forget(connection, savepoint, new, clocks)

        _count(effects, admitted, off_shift, now)
        if not new:
            return effects

        effects.add(self._judging.judge(connection, new, states, judges, clocks=clocks, now=now))
        offline.add_offline_ends(connection, effects, known=states)
        self._store.owed.store_events(connection, effects)

        return effects

    def _forget(
        self,
        connection: Connection,
        savepoint: NestedTransaction | None,
        kept: Sequence[Admitted],
        clocks: Mapping[str, SourceClock],
    ) -> None:
        """Keep nothing of the fixes off shift, and store the identities of `kept` again.

        The identities of fixes off shift are not kept either, because a shift may be entered after
        its time. The knowledge about clocks that the fixes brought is kept.
        """
        assert savepoint is not None, "only what may be off shift is"
        savepoint.rollback()
        _new(connection, kept)
        judged = {source.source_id for _, source in kept}
        unjudged = {guard_id: clock for guard_id, clock in clocks.items() if guard_id not in judged}
        self._store.put_clocks(connection, unjudged)

    def _off_shift(
        self,
        admitted: Sequence[Admitted],
        new: Sequence[Admitted],
        states: Mapping[str, GuardState],
        clocks: Mapping[str, SourceClock],
    ) -> set[bytes]:
        """Return the keys of fixes that must not be kept.

        New fixes are judged by their corrected times, the others by the clock as it is known now.
        """
        times = {fix.origin.key: fix.origin.recorded_at for fix, _ in new}
        found = set()
        for fix, source in filter(_may_be_off_shift, admitted):
            guard_id, key = source.source_id, fix.origin.key
            clock = clocks.get(guard_id, states.get(guard_id, NO_STATE).clock)
            at = times[key] if key in times else known_time(fix.origin, clock)
            if not self._is_on_shift(at, source):
                found.add(key)
        return found


def _count(effects: Effects, admitted: Sequence[Admitted], off_shift: set[bytes], now: datetime) -> None:
    """Count the fixes of a transaction, and add a receipt for each that has an id."""
    for fix, _ in admitted:
        origin = fix.origin
        if origin.key in off_shift:
            _count_off_shift(effects, origin, now)
            continue
        effects.admitted += 1
        if origin.msg_id is not None:
            effects.receipts.append(Receipt(origin.source_id, origin.msg_id, "stored", now))


def _count_off_shift(effects: Effects, origin: Origin, now: datetime) -> None:
    effects.off_shift += 1
    if origin.msg_id is not None:
        effects.receipts.append(Receipt(origin.source_id, origin.msg_id, "off_shift", now))


def _may_be_off_shift(item: Admitted) -> bool:
    """Return True when a fix may be off shift, and only the guard's clock can decide it.

    The tenant wants positions on shift only, and the fix was not recorded at the time of its
    receipt by its device's clock.
    """
    fix, source = item
    return source.shifts is not None and not is_near(fix.origin)


def _new(connection: Connection, admitted: Sequence[Admitted]) -> list[Admitted]:
    """Return the fixes that were never stored before. This transaction stores them."""
    seen = bulk_insert.see(connection, [fix.origin for fix, _ in admitted])
    return [item for item in admitted if item[0].origin.key in seen]


def corrected(
    new: Sequence[Admitted], states: Mapping[str, GuardState]
) -> tuple[list[Admitted], dict[str, SourceClock]]:
    """Give new fixes the times that their guards' clocks should have shown.

    Returns:
        The fixes, in their order, and the clocks by guard. Only clocks about which something else
        is known now than before are returned.
    """
    found = list(new)
    places: dict[str, list[int]] = {}
    for fix, source in new:
        guard_id = source.source_id
        if not needs_no_correction(fix.origin, states.get(guard_id, NO_STATE).clock):
            places[guard_id] = []

    if not places:
        return found, {}

    for place, (_, source) in enumerate(new):
        if source.source_id in places:
            places[source.source_id].append(place)

    clocks = {}
    for guard_id, mine in places.items():
        state = states.get(guard_id, NO_STATE)
        fixes, clock = correct([new[place][0] for place in mine], state.clock, state.heard)
        if clock != state.clock:
            clocks[guard_id] = clock
        for place, fix in zip(mine, fixes, strict=True):
            found[place] = fix, new[place][1]

    return found, clocks


def _tenants(admitted: Sequence[Admitted]) -> list[int]:
    return sorted({source.tenant_id for _, source in admitted})
