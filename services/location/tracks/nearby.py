"""Positions of guards now: all of a tenant, within a shape, or nearest to a place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from services.contracts.errors import Refused
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.location.tracks import search_area
from services.platform.database import Database

MAX_LISTED = 100_000
MAX_NEAREST = 100
LEFT_OUT = 20
"""Most guards that are left out and named: the nearest of them."""
MAX_AGE_S = 86_400.0

POSITION = """
    s.guard_id, s.lat, s.lon, s.accuracy, s.speed, s.heading, s.recorded_at, s.received_at, s.in_geofence,
    s.geofence_violation, q.since AS silent_since
"""
POSITIONS = text(
    f"SELECT {POSITION} FROM guard_state s LEFT JOIN guard_silence q USING (guard_id)"
    " WHERE s.tenant_id = :tenant_id AND (CAST(:after_0 AS text) IS NULL OR s.guard_id > :after_0)"
    " ORDER BY s.guard_id LIMIT :limit"
)
BY_GUARD = ListOrder((("guard_id", "text"),))
AREA = "CAST(ST_SetSRID(ST_GeomFromWKB(:area), 4326) AS geography)"
WITHIN = {
    False: f"ST_Intersects(s.location, {AREA})",
    True: f"ST_DWithin(s.location, {AREA}, :radius_m)",
}
# There is no index on places (migration 0008 says why). The query looks once at each position of
# the tenant, by a distance on a sphere that costs a tenth of the exact one. The exact distance, and
# all else, is asked only of the nearest by that.
NEAREST = """
    WITH keeps AS (
        SELECT EXISTS (SELECT FROM guard_shift WHERE tenant_id = :tenant_id AND ends_at > now() - interval '10 days')
               AS shifts
    ),
    near AS MATERIALIZED (
        SELECT guard_id, tenant_id, lat, lon, accuracy, recorded_at, in_geofence, geofence_violation, location,
               2 * :radius_m * asin(sqrt(least(1, sin(north / 2) * sin(north / 2)
                  + cos(radians(lat)) * cos(radians(:lat)) * sin(east / 2) * sin(east / 2)))) AS about_m
        FROM guard_state, LATERAL (SELECT radians(lat - :lat) AS north, radians(lon - :lon) AS east) off
        WHERE tenant_id = :tenant_id ORDER BY about_m LIMIT CAST(:candidates AS bigint)
    ),
    judged AS (
        SELECT s.guard_id, g.name, s.lat, s.lon, s.accuracy, s.recorded_at, s.in_geofence, s.geofence_violation,
               s.location <-> h.place AS distance_m,
               CAST(extract(epoch FROM now() - s.recorded_at) AS float8) AS age_s,
               NOT g.enabled AS disabled,
               s.recorded_at < now() - make_interval(secs => :max_age_s) AS old,
               q.guard_id IS NOT NULL AS silent,
               keeps.shifts AND NOT {on_shift} AS off_shift,
               s.guard_id = ANY(:busy) OR g.name = ANY(:busy) AS busy
        FROM near s
        JOIN guard g ON g.tenant_id = s.tenant_id AND g.guard_id = s.guard_id
        LEFT JOIN guard_silence q ON q.guard_id = s.guard_id
        CROSS JOIN keeps
        CROSS JOIN (SELECT CAST(ST_SetSRID(ST_MakePoint(:lon, :lat), 4326) AS geography) AS place) h
    )
    SELECT *, (SELECT max(about_m) FROM near) AS reach_m, (SELECT count(*) FROM near) AS considered
    FROM judged WHERE {which} ORDER BY distance_m LIMIT :limit
"""
EARTH_RADIUS_M = 6_371_008.8
SPHERE_IS_NEAR = 0.99
"""Distances on the sphere and on the ellipsoid differ by less than 0.6 %."""
CANDIDATES = (100, 1_000, None)
"""Numbers of nearest guards that are looked at, one after the other until one is enough.

None: all guards.
"""
ON_SHIFT_OF_FEW = """
    EXISTS (SELECT FROM guard_shift d WHERE d.tenant_id = s.tenant_id AND d.guard_id = s.guard_id
            AND d.ends_at > now() AND d.starts_at <= now())
"""
ON_SHIFT_OF_ALL = """
    s.guard_id IN (SELECT guard_id FROM guard_shift
                   WHERE tenant_id = :tenant_id AND ends_at > now() AND starts_at <= now())
"""
FREE = "NOT (disabled OR old OR silent OR off_shift OR busy)"
OTHERS = f"NOT ({FREE})"
NEAREST_OF = {
    (which, is_few): text(
        NEAREST.format(which=which, on_shift=ON_SHIFT_OF_FEW if is_few else ON_SHIFT_OF_ALL)
    )
    for which in (FREE, OTHERS)
    for is_few in (True, False)
}
REASONS = {
    "disabled": "is disabled",
    "silent": "is offline",
    "off_shift": "is not on shift",
    "busy": "is the source of an open alert, or assigned to one",
}


def busy_with(alerts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return ids and names of those with a part in these open alerts: source, carrier, assigned."""
    named = (alert.get(name) for alert in alerts for name in ("source_id", "carried_by", "assigned_to"))
    return {name for name in named if name}


class NearbyGuards:
    def __init__(self, database: Database) -> None:
        self._database = database

    def positions(self, tenant_id: int, *, limit: int = 20_000, after: object = None) -> list[dict[str, Any]]:
        """List the newest believable position of each guard.

        `silent_since` is set when OFFLINE was reported for the guard.
        """
        check_limit(limit, most=MAX_LISTED)
        _, place = beyond(BY_GUARD, after)
        values = {"tenant_id": tenant_id, "limit": limit, "after_0": place.get("after_0")}
        with self._database.of(tenant_id) as connection:
            found = connection.execute(POSITIONS, values)
            names = tuple(found.keys())
            return [dict(zip(names, row, strict=True)) for row in found]

    def within(self, shape: object, *, tenant_id: int, limit: int = 1_000) -> list[dict[str, Any]]:
        """List the guards whose newest position is in a shape.

        The shape is a GeoJSON Polygon, a MultiPolygon, or a Point with `radius_m`.
        Raises `Refused`, which names what is wrong with it.
        """
        check_limit(limit, most=MAX_LISTED)
        area = search_area.parse(shape)
        query = text(
            f"SELECT {POSITION} FROM guard_state s LEFT JOIN guard_silence q USING (guard_id)"
            f" WHERE s.tenant_id = :tenant_id AND {WITHIN[area.radius_m is not None]}"
            " ORDER BY s.guard_id LIMIT :limit"
        )

        values = {"tenant_id": tenant_id, "area": area.wkb, "radius_m": area.radius_m, "limit": limit}
        with self._database.of(tenant_id) as connection:
            return [dict(row) for row in connection.execute(query, values).mappings()]

    def nearest(
        self,
        lat: object,
        lon: object,
        *,
        tenant_id: int,
        busy: Collection[str],
        limit: int,
        max_age_s: float,
        explain: bool,
    ) -> dict[str, Any]:
        """Return the nearest free guards.

        With `explain`, also return the nearest guards who are not free, and why. `busy` holds ids
        and names of those with a part in an open alert. Raises `Refused`.
        """
        check_limit(limit, most=MAX_NEAREST)
        place = search_area.check_place(lat, lon)

        if (
            isinstance(max_age_s, bool)
            or not isinstance(max_age_s, int | float)
            or not 0 < max_age_s <= MAX_AGE_S
        ):
            raise Refused(f"max_age_s must be a number of seconds above 0, at most {MAX_AGE_S:g}")

        values = {"tenant_id": tenant_id, "lat": place[0], "lon": place[1], "busy": sorted(busy)}
        values |= {"max_age_s": max_age_s, "limit": limit}

        with self._database.of(tenant_id) as connection:
            free = _nearest(connection, FREE, values)
            others = _nearest(connection, OTHERS, {**values, "limit": LEFT_OUT}) if explain else []

        answer: dict[str, Any] = {"guards": [_shown(row) for row in free]}
        if explain:
            answer["left_out"] = [{**_shown(row), "reasons": _reasons(row, max_age_s)} for row in others]

        return answer


def _nearest(connection: Connection, which: str, values: Mapping[str, Any]) -> Sequence[RowMapping]:
    """Return the nearest of one kind.

    As many of the nearest guards are looked at as it takes to be sure of the answer.
    """
    rows: Sequence[RowMapping] = []
    for candidates in CANDIDATES:
        query = NEAREST_OF[which, candidates is not None]
        given = {**values, "candidates": candidates, "radius_m": EARTH_RADIUS_M}
        rows = connection.execute(query, given).mappings().all()
        if candidates is None or _are_the_nearest(rows, candidates, values["limit"]):
            break
    return rows


def _are_the_nearest(rows: Sequence[RowMapping], candidates: int, limit: int) -> bool:
    """Return True when no guard that was not looked at can be among the nearest."""
    if rows and rows[0]["considered"] < candidates:
        return True
    return len(rows) == limit and bool(rows[-1]["distance_m"] <= rows[-1]["reach_m"] * SPHERE_IS_NEAR)


def _shown(row: Any) -> dict[str, Any]:
    hidden = {*REASONS, "old", "reach_m", "considered"}
    return {name: value for name, value in row.items() if name not in hidden}


def _reasons(row: Any, max_age_s: float) -> list[str]:
    found = [said for name, said in REASONS.items() if row[name]]
    if row["old"]:
        found.append(f"was last seen {row['age_s']:.0f} s ago, more than {max_age_s:g} s")
    return found
