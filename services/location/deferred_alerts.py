"""Conditions that are reported without a fix.

They are violations, and ends of violations, that only late fixes show, and ends with a shift.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from services.geofencing.rule.track import ZoneSubject
from services.ingestion import bulk_insert
from services.ingestion.effects import Effects
from services.location import sql
from services.location.conditions import (
    JUST_AFTER,
    ConditionPlace,
    ConditionReporter,
    GuardIdentity,
    NearestZone,
    StandingTransition,
    is_prompt,
)
from services.location.guards.shifts import TOLERANCE_S
from services.location.store import LocationStore, belief_of, evidence_of, reported_conditions_of
from services.location.zone_cache import Unjudged, ZoneCache

LIMIT = 200


def _no_zone(_lat: float, _lon: float, _at: datetime) -> None:
    """Return no nearest zone: an end needs none."""


def _put(connection: Connection, mine: ConditionReporter) -> None:
    values = {
        "guard_id": mine.who.guard_id,
        "violation": mine.told.violation,
        "repeat_at": mine.told.repeat_at,
        "speeding": sorted(mine.told.speeding),
    }
    connection.execute(sql.PUT_SETTLED, values)


class DeferredAlerts:
    def __init__(
        self, store: LocationStore, zones: ZoneCache, *, shift_tolerance_s: float = TOLERANCE_S
    ) -> None:
        self._store = store
        self._zones = zones
        self._shift_tolerance_s = shift_tolerance_s

    def settle(self, *, now: datetime) -> Effects:
        """Put into the outbox what has stood long enough.

        One process at a time works on a guard, and no process waits for another.
        """
        effects = Effects()
        with self._store.transaction() as connection:
            values = {"now": now, "limit": LIMIT, "tolerance_s": self._shift_tolerance_s}
            found = connection.execute(sql.LOCK_SETTLING, values).all()
            if not found:
                return effects

            standing = self._standing(connection, found)
            for row in found:
                _put(connection, self._settled(row, standing.get(row.guard_id, []), effects))

            self._store.owed.store_events(connection, effects)
            return effects

    def free_s(self, *, now: datetime) -> float:
        """Return the seconds until something has to settle; infinite when nothing waits."""
        with self._store.transaction() as connection:
            at = connection.execute(sql.NEXT_SETTLING).scalar_one_or_none()
        return float("inf") if at is None else max(0.0, (at - now).total_seconds())

    def end_shifts(self, *, now: datetime) -> Effects:
        """Put into the outbox the ends of conditions of guards whose shift is over.

        A phone that is switched off sends no fix.
        """
        effects = Effects()
        with self._store.transaction() as connection:
            values = {"limit": LIMIT, "tolerance_s": self._shift_tolerance_s}
            for row in connection.execute(sql.LOCK_SHIFT_OVER, values).all():
                told = reported_conditions_of(row)
                mine = ConditionReporter(
                    GuardIdentity(row.tenant_id, row.guard_id, row.site_id), told, _no_zone, effects
                )
                # An end is never before the condition that it ends, whatever the clocks say.
                at = now if told.repeat_at is None else max(now, told.repeat_at + JUST_AFTER)
                key = b"" if row.judged_key is None else bulk_insert.bytes_of(row.judged_key)
                mine.shift_over(ConditionPlace(at, key, row.lat, row.lon, row.accuracy))
                _put(connection, mine)

            self._store.owed.store_events(connection, effects)
            return effects

    def _settled(
        self, row: Any, standing: Sequence[StandingTransition], effects: Effects
    ) -> ConditionReporter:
        who = GuardIdentity(row.tenant_id, row.guard_id, row.site_id)
        place = ConditionPlace(
            row.judged_at, bulk_insert.bytes_of(row.judged_key), row.lat, row.lon, row.accuracy
        )
        guard = ZoneSubject(row.guard_id, frozenset(row.groups))
        mine = ConditionReporter(
            who, reported_conditions_of(row), partial(self._nearest, row.tenant_id, guard), effects
        )
        mine.settled(belief_of(row.belief), place, standing, prompt=is_prompt(row), on_shift=row.on_shift)

        return mine

    def _nearest(
        self, tenant_id: int, guard: ZoneSubject, lat: float, lon: float, at: datetime
    ) -> NearestZone | None:
        """Return the nearest required zone, or None when there is none.

        Return None too while the zones cannot be read. That failure is on record, and is no reason
        to hold back a violation.
        """
        try:
            return self._zones.judge_of(tenant_id).nearest_required(guard, lat, lon, at)
        except Unjudged:
            return None

    def _standing(self, connection: Connection, found: Iterable[Any]) -> dict[str, list[StandingTransition]]:
        """Return the newest beginnings on record of these guards that were not superseded."""
        guards = [(row.tenant_id, row.guard_id) for row in found]
        values = {
            "tenant_id": bulk_insert.array("int", [tenant_id for tenant_id, _ in guards]),
            "guard_id": bulk_insert.array("text", [guard_id for _, guard_id in guards]),
        }
        standing: dict[str, list[StandingTransition]] = {}
        for row in connection.execute(sql.STANDING, values):
            standing.setdefault(row.guard_id, []).append(
                StandingTransition(
                    bulk_insert.bytes_of(row.transition_id),
                    row.kind,
                    row.zone_id,
                    row.zone_version,
                    evidence_of(row.evidence),
                )
            )

        return standing
