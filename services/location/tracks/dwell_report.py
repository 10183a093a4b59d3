"""Time that guards were in zones, from the transitions on record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from services.contracts.errors import Refused
from services.contracts.pagination import check_limit
from services.contracts.time_range import Period, as_day, as_period
from services.location.tracks.dwell_time import DwellDay, ZoneCrossing, by_day, stays
from services.platform.database import Database

LONGEST = timedelta(days=31)
LOOKBACK = timedelta(days=31)
"""Time before the period in which stays of all guards of a tenant are searched.

A stay that began earlier is not found. For one guard, every stay is found.
"""
MAX_CROSSINGS = 50_000
MAX_LISTED = 10_000
DAY_MARGIN = timedelta(hours=15)
"""No local day begins or ends further from that of UTC."""

# The crossings of the period, and the last one before it of each guard and zone: it says which
# guards are inside at the beginning of the period.
CROSSINGS = """
    WITH before AS (
        SELECT DISTINCT ON (guard_id, zone_id) guard_id, zone_id, at, confirmed_at, kind
        FROM zone_transition
        WHERE tenant_id = :tenant_id AND superseded_at IS NULL AND kind IN ('entered', 'exited')
              AND at < :since AND at >= :earliest {guard}
        ORDER BY guard_id, zone_id, at DESC, confirmed_at DESC
    )
    SELECT guard_id, zone_id, at, confirmed_at, kind = 'entered' AS entered FROM before WHERE kind = 'entered'
    UNION ALL
    SELECT guard_id, zone_id, at, confirmed_at, kind = 'entered' FROM zone_transition
    WHERE tenant_id = :tenant_id AND superseded_at IS NULL AND kind IN ('entered', 'exited')
          AND at >= :since AND at < :until {guard}
    ORDER BY at, confirmed_at LIMIT :limit
"""
OF_ALL, OF_ONE = (text(CROSSINGS.format(guard=guard)) for guard in ("", "AND guard_id = :guard_id"))
LAST_FIXES = text(
    "SELECT guard_id, recorded_at FROM guard_state WHERE tenant_id = :tenant_id AND guard_id = ANY(:ids)"
)
ZONES = text(
    "SELECT z.zone_id, z.name, coalesce(s.time_zone, 'UTC') AS time_zone FROM zone z"
    " LEFT JOIN site s ON s.tenant_id = z.tenant_id AND s.site_id = z.site_id WHERE z.tenant_id = :tenant_id"
)
LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class DwellReport:
    def __init__(self, database: Database) -> None:
        self._database = database

    def time_in_zones(
        self,
        *,
        tenant_id: int,
        guard_id: str | None = None,
        day: object = None,
        since: object = None,
        until: object = None,
        limit: int = 1_000,
    ) -> dict[str, Any]:
        """Return seconds per guard, zone and local day.

        Give either a `day`, in each zone's own time zone, or a period. Raises `Refused`.
        """
        check_limit(limit, most=MAX_LISTED)
        wanted, period = _asked(day, since, until)
        values = {
            "tenant_id": tenant_id,
            "guard_id": guard_id,
            **period._asdict(),
            "limit": MAX_CROSSINGS + 1,
        }

        values["earliest"] = period.since - LOOKBACK if guard_id is None else LONG_AGO
        with self._database.of(tenant_id, snapshot=True) as connection:
            found = connection.execute(OF_ALL if guard_id is None else OF_ONE, values).all()
            if len(found) > MAX_CROSSINGS:
                raise Refused(
                    f"there are more than {MAX_CROSSINGS:,} entries and exits in that time: "
                    "name a guard_id, or a shorter time"
                )
            crossings = [ZoneCrossing(row.guard_id, row.zone_id, row.at, row.entered) for row in found]
            last = _last_fixes(connection, tenant_id, crossings)
            zones = {row.zone_id: row for row in connection.execute(ZONES, {"tenant_id": tenant_id})}

        spent = by_day(
            stays(crossings, last, since=period.since, until=period.until),
            {zone_id: row.time_zone for zone_id, row in zones.items()},
        )
        rows = [row for row in spent if wanted is None or row.day == wanted]
        names = {zone_id: row.name for zone_id, row in zones.items()}

        return {"days": _named(rows[:limit], names), "truncated": len(rows) > limit}


def _asked(day: object, since: object, until: object) -> tuple[Any, Period]:
    if day is None:
        return None, as_period(since, until, longest=LONGEST)
    if since is not None or until is not None:
        raise Refused("give either day, or since and until")
    wanted = as_day(day, what="day")
    begin = datetime.fromisoformat(f"{wanted.isoformat()}T00:00:00+00:00")
    return wanted, Period(begin - DAY_MARGIN, begin + timedelta(days=1) + DAY_MARGIN)


def _last_fixes(
    connection: Connection, tenant_id: int, crossings: Sequence[ZoneCrossing]
) -> dict[str, datetime]:
    ids = sorted({crossing.guard_id for crossing in crossings})
    found = connection.execute(LAST_FIXES, {"tenant_id": tenant_id, "ids": ids})
    return {row.guard_id: row.recorded_at for row in found}


def _named(rows: Sequence[DwellDay], names: dict[int, str]) -> list[dict[str, Any]]:
    return [{**msgspec.structs.asdict(row), "zone_name": names.get(row.zone_id, "")} for row in rows]
