"""What stands and was told to nobody: violations, and ends of them, that only late fixes show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from services import rows
from services.location import statements as sql
from services.location.conditions import Drawn, Nearest, Place, Standing, Who, is_prompt
from services.location.judging import Conclusions
from services.location.store import LocationStore, belief_of, evidence_of, told_of
from services.location.track import Guarded
from services.location.zonebook import Unjudged, ZoneBook
from services.owed import Debt

LIMIT = 200


class Settling:
    def __init__(self, store: LocationStore, zones: ZoneBook) -> None:
        self._store = store
        self._zones = zones

    def settle(self, *, now: datetime) -> tuple[Conclusions, Debt]:
        """Owe what has stood long enough; each guard is one process's at a time, and nobody waits for another."""
        drawn = Conclusions()
        with self._store.transaction() as connection:
            found = connection.execute(sql.LOCK_SETTLING, {"now": now, "limit": LIMIT}).all()
            if not found:
                return drawn, Debt()
            standing = self._standing(connection, found)
            for row in found:
                mine = self._settled(row, standing.get(row.guard_id, []))
                drawn.draw(mine, {})
                connection.execute(
                    sql.PUT_SETTLED,
                    {
                        "guard_id": row.guard_id,
                        "violation": mine.told.violation,
                        "repeat_at": mine.told.repeat_at,
                        "speeding": sorted(mine.told.speeding),
                    },
                )
            return drawn, self._store.owed.owe(connection, drawn.owings)

    def _settled(self, row: Any, standing: Sequence[Standing]) -> Drawn:
        who = Who(row.tenant_id, row.guard_id, row.site_id)
        place = Place(row.judged_at, rows.bytes_of(row.judged_key), row.lat, row.lon, row.accuracy)
        guard = Guarded(row.guard_id, frozenset(row.groups))
        mine = Drawn(who, told_of(row), partial(self._nearest, row.tenant_id, guard))
        mine.settled(belief_of(row.belief), place, standing, prompt=is_prompt(row))
        return mine

    def _nearest(
        self, tenant_id: int, guard: Guarded, lat: float, lon: float, at: datetime
    ) -> Nearest | None:
        """None too while the zones cannot be read: that is on record, and no reason not to tell of a violation."""
        try:
            return self._zones.judge_of(tenant_id).nearest_required(guard, lat, lon, at)
        except Unjudged:
            return None

    def _standing(self, connection: Connection, found: Iterable[Any]) -> dict[str, list[Standing]]:
        """The newest beginnings that are on record of these guards, and were not superseded."""
        guards = [(row.tenant_id, row.guard_id) for row in found]
        values = {
            "tenant_id": rows.array("int", [tenant_id for tenant_id, _ in guards]),
            "guard_id": rows.array("text", [guard_id for _, guard_id in guards]),
        }
        standing: dict[str, list[Standing]] = {}
        for row in connection.execute(sql.STANDING, values):
            standing.setdefault(row.guard_id, []).append(
                Standing(
                    rows.bytes_of(row.transition_id),
                    row.kind,
                    row.zone_id,
                    row.zone_version,
                    evidence_of(row.evidence),
                )
            )
        return standing
