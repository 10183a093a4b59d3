"""Judging of the new fixes of one batch, within its transaction, with all that they change."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from services.contracts.families import Fix
from services.geofencing.rule.fixes import track_fix_of
from services.geofencing.rule.late_fixes import CHECKPOINT_FIXES, Checkpoint, Position, period_of, position_of
from services.geofencing.rule.repair_budget import DEAR_STRETCHES, CheckpointCounter, RepairShare
from services.geofencing.rule.track import Belief, EvaluatedFix, TrackFix, ZoneSubject
from services.ingestion.clock_offset import SourceClock
from services.ingestion.effects import Effects
from services.ingestion.source_registry import Source
from services.location.conditions import (
    ConditionReporter,
    GuardIdentity,
    all_ends_reported,
    all_reported,
    moves_of,
    speeding_of,
)
from services.location.guards import battery, two_devices
from services.location.guards.device_clocks import is_late_by_us
from services.location.guards.shifts import TOLERANCE_S
from services.location.late_fix_store import LateFixes, LateFixStore, TrackRepair
from services.location.store import Admitted, GuardOutcome, GuardState, LocationStore
from services.location.tracks.latest_positions import position_of as shown_at
from services.location.zone_cache import TenantJudge
from services.platform import config, metrics

NO_STATE = GuardState()
NO_CLOCKS: Mapping[str, SourceClock] = {}


class GuardFixes(NamedTuple):
    """New fixes of one guard in a batch.

    `late` come before the newest fix that was judged already. `on_time` go on from it.
    """

    source: Source
    state: GuardState
    late: list[TrackFix]
    on_time: list[TrackFix]


class JudgedGuardFixes(NamedTuple):
    """Result of a piece: the steps of its late fixes (`late`) and of the others (`steps`).

    `before` is what is believed before `steps`, `belief` what is believed after them.
    """

    piece: GuardFixes
    before: Belief | None
    late: Sequence[EvaluatedFix]
    steps: Sequence[EvaluatedFix]
    belief: Belief


class BatchJudge:
    def __init__(
        self,
        store: LocationStore,
        settings: config.LocationSettings,
        *,
        shift_tolerance_s: float = TOLERANCE_S,
        battery_rule: battery.BatteryRule | None = None,
    ) -> None:
        self._battery_rule = battery_rule
        self._store = store
        self._settings = settings
        self._shift_tolerance_s = shift_tolerance_s
        self._record = LateFixStore(store)
        self._density = CheckpointCounter(most=CHECKPOINT_FIXES)
        self.share = RepairShare()

    def judge(
        self,
        connection: Connection,
        new: Sequence[Admitted],
        states: Mapping[str, GuardState],
        judges: Mapping[int, TenantJudge],
        *,
        clocks: Mapping[str, SourceClock] = NO_CLOCKS,
        now: datetime,
    ) -> Effects:
        """Judge fixes that were never stored before, and store them.

        Args:
            connection: The transaction that holds the locks of the guards' states.
            new: Fixes whose times are corrected.
            states: By guard. A guard without a state is new.
            judges: By tenant.
            clocks: By guard. Only clocks about which something else is known than the state says.
            now: The time of day.
        """
        pieces = self._pieces(connection, new, states)
        mended = self._judge_late(connection, pieces, judges, {fix.origin.key for fix, _ in new}, now)
        judged = self._judge_on_time(pieces, mended, judges)
        effects = Effects()
        effects.stored = len(new)
        self._write(connection, new, judged)
        facts = {fix.origin.key: fix for fix, _ in new}
        off_shift = self._off_shift(connection, judged, now)
        outcomes = [
            self._conclude(item, judges[item.piece.source.tenant_id], facts, effects, off_shift, clocks, now)
            for item in judged
        ]

        # Without a believable fix there is no place to show. Such a guard is new again next time.
        self._store.put_states(
            connection,
            [
                outcome
                for item, outcome in zip(judged, outcomes, strict=True)
                if item.piece.state is not NO_STATE or outcome.marker is not None
            ],
        )

        return effects

    def _pieces(
        self, connection: Connection, new: Sequence[Admitted], states: Mapping[str, GuardState]
    ) -> list[GuardFixes]:
        """Group fixes by guard, each guard's fixes in the order of its track.

        Guards are in the order in which their rows are locked.
        """
        sources: dict[str, Source] = {}
        grouped: dict[str, list[TrackFix]] = {}
        for fix, source in sorted(new, key=_by_track):
            sources[source.source_id] = source
            grouped.setdefault(source.source_id, []).append(track_fix_of(fix))

        unjudged = {
            guard_id: (sources[guard_id].tenant_id, fixes[0].recorded_at)
            for guard_id, fixes in grouped.items()
            if states.get(guard_id, NO_STATE).frontier is None
        }
        ends = self._store.newest_recorded(connection, unjudged)

        pieces = []
        for guard_id, fixes in grouped.items():
            state = states.get(guard_id, NO_STATE)
            frontier = state.frontier or ends.get(guard_id)
            late = [fix for fix in fixes if _before(fix, frontier)]
            pieces.append(GuardFixes(sources[guard_id], state, late, fixes[len(late) :]))

        return pieces

    def _judge_late(
        self,
        connection: Connection,
        pieces: Sequence[GuardFixes],
        judges: Mapping[int, TenantJudge],
        new: set[bytes],
        now: datetime,
    ) -> dict[str, tuple[Sequence[EvaluatedFix], Belief | None]]:
        """Mend the tracks on record before the frontiers.

        Returns:
            By guard: the steps of its late fixes, and what is believed at the frontier. The belief
            is None when it has not changed.
        """
        tracks = [
            LateFixes(piece.source, judges[piece.source.tenant_id], piece.late)
            for piece in pieces
            if piece.late
        ]
        if not tracks:
            return {}

        metrics.late_by_us.inc(
            sum(
                is_late_by_us(fix.recorded_at, fix.received_at, piece.state.heard)
                for piece in pieces
                for fix in piece.late
            )
        )

        work = self._record.begin(connection, tracks)
        mended: dict[str, tuple[Sequence[EvaluatedFix], Belief | None]] = {}
        with self._charged(work):
            self._record.judge_again(connection, work)
            for item in work:
                self._record.repair(connection, item.source, item.mending, new=new, now=now)
                steps = [step for step in item.mending.changes.steps if step.fix.key in new]
                mended[item.source.source_id] = (steps, item.mending.belief)

        metrics.track_repaired.inc(len(tracks))
        return mended

    @contextmanager
    def _charged(self, work: Sequence[TrackRepair]) -> Iterator[None]:
        """Charge each guard with its part of the time that repairs take."""
        stretches = {item.source.source_id: item.mending.stretches for item in work}
        began_s = time.monotonic()

        for guard_id, count in stretches.items():
            if count >= DEAR_STRETCHES:
                self.share.begin(guard_id, began_s)

        try:
            yield
        finally:
            ended_s = time.monotonic()
            took_s = (ended_s - began_s) / sum(stretches.values())
            for guard_id, count in stretches.items():
                self.share.end(guard_id, ended_s, took_s=took_s * count)

    def _judge_on_time(
        self,
        pieces: Sequence[GuardFixes],
        mended: Mapping[str, tuple[Sequence[EvaluatedFix], Belief | None]],
        judges: Mapping[int, TenantJudge],
    ) -> list[JudgedGuardFixes]:
        """Judge the fixes on time. All guards of a tenant need one look into the index."""
        judged = []
        for tenant_id in sorted({piece.source.tenant_id for piece in pieces}):
            mine = [piece for piece in pieces if piece.source.tenant_id == tenant_id]
            late = [mended.get(piece.source.source_id, ((), None)) for piece in mine]
            before = [belief or piece.state.belief for piece, (_, belief) in zip(mine, late, strict=True)]
            found = judges[tenant_id].judge_many(
                [
                    (guarded(piece.source), held, piece.on_time)
                    for piece, held in zip(mine, before, strict=True)
                ]
            )

            judged += [
                JudgedGuardFixes(piece, held, steps_late, steps, belief)
                for piece, held, (steps_late, _), (belief, steps) in zip(
                    mine, before, late, found, strict=True
                )
            ]

        return judged

    def _write(
        self, connection: Connection, new: Sequence[Admitted], judged: Sequence[JudgedGuardFixes]
    ) -> None:
        """Write the fixes with their verdicts, and what follows from them.

        The changes that late fixes made are written already.
        """
        flat = [(item.piece.source, step) for item in judged for step in item.steps]
        verdicts = {step.fix.key: step for item in judged for step in (*item.late, *item.steps)}
        self._store.insert(connection, new, verdicts)
        self._store.put_implausible(connection, [pair for pair in flat if pair[1].implausible is not None])
        moved = [(source, found, step.fix.key) for source, step in flat for found in step.transitions]
        self._store.put_transitions(connection, moved, late=False)
        due = [(item.piece.source, self._checkpoint(item)) for item in judged if item.steps]
        self._store.put_checkpoints(
            connection, [(source, checkpoint) for source, checkpoint in due if checkpoint is not None]
        )

    def _checkpoint(self, judged: JudgedGuardFixes) -> Checkpoint | None:
        """Return the checkpoint that is due, or None.

        One is due after a guard's first fixes. Later ones are due before the first fix of each
        period, and before there are too many fixes since the last checkpoint.

        They are due before that fix, not after it. A fix that comes late within a period is judged
        from the checkpoint on. Nothing older is judged again, by zones that are no longer at hand.
        """
        frontier, last = judged.piece.state.frontier, position_of(judged.steps[-1].fix)
        if frontier is None or judged.before is None:
            return Checkpoint(last, judged.belief)
        many = self._density.is_due(judged.piece.source.source_id, len(judged.steps))
        if many or period_of(frontier[0]) != period_of(last[0]):
            return Checkpoint(frontier, judged.before)
        return None

    def _conclude(
        self,
        judged: JudgedGuardFixes,
        judge: TenantJudge,
        facts: Mapping[bytes, Fix],
        effects: Effects,
        off_shift: Collection[str],
        clocks: Mapping[str, SourceClock],
        now: datetime,
    ) -> GuardOutcome:
        """Add what follows from a guard's fixes to `effects`.

        Returns:
            The guard's new state, with the fix at which the guard is shown from now on.
        """
        (source, state, _, _), _, late, steps, belief = judged
        on_shift = source.source_id not in off_shift
        fixes = [facts[step.fix.key] for step in steps]
        buffered = {fix.origin.key for fix in fixes if fix.origin.buffered}
        clock = clocks.get(source.source_id, state.clock)
        who = GuardIdentity(source.tenant_id, source.source_id, source.site_id, source.replayed)
        mine = ConditionReporter(who, state.told, partial(judge.nearest_required, guarded(source)), effects)
        mine.after(
            steps,
            belief,
            repeat_interval_s=self._settings.repeat_interval_s,
            on_shift=on_shift,
            buffered=buffered,
        )

        effects.add_moves(moves_of(who, steps))
        settles_at = None
        if not all_reported(mine.told, belief):
            begins = on_shift and not (steps and steps[-1].fix.key in buffered)
            if begins and clock.offset_s is not None and clock.offset_s != state.clock.offset_s:
                # By the clock as it is measured now, the earlier fixes were no later than this one.
                settles_at = now
            elif begins or not all_ends_reported(mine.told, belief):
                settles_at = state.settles_at or now + timedelta(seconds=self._settings.settle_s)

        low, jumping = state.battery_low, state.jumping
        if steps and mine.is_prompt(steps[-1]):
            low = self._battery_low(judged.piece, fixes, effects)
            jumping, condition = two_devices.conclude(
                steps,
                state.jumping,
                guard_id=source.source_id,
                tenant_id=source.tenant_id,
                site_id=source.site_id,
            )
            if condition is not None:
                (effects.met if jumping.told else effects.cleared).append(condition)

        # A late fix moves no marker. Where there is no marker, a late fix is better than none.
        last = _last_plausible(steps if state is not NO_STATE else [*late, *steps])
        if last is None:
            return GuardOutcome(source, belief, mine.told, settles_at, None, clock, low, jumping)

        fact = facts[last.fix.key]
        position = shown_at(fact, in_geofence=last.in_geofence, violation=last.violation)
        effects.positions.append((source.tenant_id, position))

        return GuardOutcome(
            source, belief, mine.told, settles_at, last.fix, clock, low, jumping, fact.heading
        )

    def _battery_low(self, piece: GuardFixes, prompt: Sequence[Fix], effects: Effects) -> bool:
        """Return True when the battery of the guard's phone is low.

        The condition that this begins or ends is added to `effects`.
        """
        known = [fix for fix in prompt if fix.battery is not None]
        if not known or self._battery_rule is None:
            return piece.state.battery_low

        low, condition = battery.conclude(
            self._battery_rule,
            known,
            low=piece.state.battery_low,
            tenant_id=piece.source.tenant_id,
            site_id=piece.source.site_id,
        )
        if condition is not None:
            (effects.met if low else effects.cleared).append(condition)

        return low

    def _off_shift(
        self, connection: Connection, judged: Sequence[JudgedGuardFixes], now: datetime
    ) -> set[str]:
        """Return the guards off shift, among those about whom there is something to report.

        For an ordinary batch there is no query.
        """
        asked = []
        for (source, state, _, _), _, _, steps, belief in judged:
            concerned = belief.violation or state.told.violation or state.told.speeding or speeding_of(belief)
            if concerned and not source.replayed:
                asked.append((source, steps[-1].fix.recorded_at if steps else now))
        return self._store.off_shift(connection, asked, tolerance_s=self._shift_tolerance_s)


def guarded(source: Source) -> ZoneSubject:
    return ZoneSubject(source.source_id, source.groups)


def _by_track(item: Admitted) -> tuple[str, datetime, bytes]:
    origin = item[0].origin
    return item[1].source_id, origin.recorded_at, origin.key


def _last_plausible(steps: Sequence[EvaluatedFix]) -> EvaluatedFix | None:
    return next((step for step in reversed(steps) if step.implausible is None), None)


def _before(fix: TrackFix, frontier: Position | None) -> bool:
    return frontier is not None and position_of(fix) < frontier
