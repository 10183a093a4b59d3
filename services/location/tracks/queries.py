"""Queries of recorded tracks: the track itself, its transitions, and fixes not believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import RowMapping, text

from services.contracts.errors import NotFound, Refused
from services.contracts.pagination import ListOrder, beyond, check_limit
from services.contracts.time_range import as_period, as_time
from services.geofencing.rule import explanation
from services.geofencing.rule.transitions import TransitionEvidence
from services.location.tracks.simplify import GAP_S, StoredTrackPoint, thin
from services.platform.database import Database

LONGEST_TRACK = timedelta(days=31)
MAX_POINTS = 5_000
READ_POINTS = 5_000
"""Most points that are thinned by corners.

They take about 50 ms of the process that also takes in fixes. Of a longer track, PostgreSQL returns
all points that must stay, and every n-th of the others.
"""
MAX_LISTED = 1_000
MAX_CHANGES = 2_000

POINT = """
    l.recorded_at, l.received_at, l.lat, l.lon, l.accuracy::float8 AS accuracy, l.speed::float8 AS speed,
    l.heading::float8 AS heading, l.in_geofence, l.geofence_violation, i.reason AS implausible,
    l.recorded_at = ANY(:changes) AS transition
"""
OF_TRACK = """
    FROM mqtt_guard_location l LEFT JOIN implausible_fix i USING (message_key)
    WHERE l.tenant_id = :tenant_id AND l.guard_id = :guard_id AND l.recorded_at >= :since AND l.recorded_at < :until
"""
POINT_NAMES = StoredTrackPoint.__struct_fields__
"""Names of the columns of `POINT`, in its order. They are the first columns of a row."""
# Most tracks are short enough to be read whole.
ALL_POINTS = text(f"SELECT {POINT} {OF_TRACK} ORDER BY l.recorded_at, l.message_key LIMIT :read + 1")
POINTS = text(
    f"""
    WITH track AS (
        SELECT {POINT}, row_number() OVER way AS number, count(*) OVER () AS total,
               l.geofence_violation IS DISTINCT FROM lag(l.geofence_violation) OVER way
                   OR l.in_geofence IS DISTINCT FROM lag(l.in_geofence) OVER way
                   OR l.recorded_at - lag(l.recorded_at) OVER way > make_interval(secs => :gap_s)
                   OR lead(l.recorded_at) OVER way - l.recorded_at > make_interval(secs => :gap_s) AS stays
        {OF_TRACK}
        WINDOW way AS (ORDER BY l.recorded_at, l.message_key)
    ),
    ranked AS (
        SELECT *, CASE WHEN number = 1 OR number = total THEN 0 WHEN transition OR stays THEN 1
                       WHEN implausible IS NOT NULL THEN 2 ELSE 3 END AS rank
        FROM track
    ),
    counted AS (SELECT *, count(*) FILTER (WHERE rank < 3) OVER () AS kept FROM ranked)
    SELECT * FROM counted
    ORDER BY rank, number % CAST(ceil(total / greatest(CAST(:read AS float8) - kept, 1)) AS bigint), number
    LIMIT :read
    """  # noqa: S608 - columns and conditions of our own
)
CHANGES = text(
    """
    SELECT at, confirmed_at FROM zone_transition
    WHERE tenant_id = :tenant_id AND guard_id = :guard_id AND superseded_at IS NULL
          AND at >= :since AND at < :until ORDER BY at LIMIT :limit
    """
)
GUARD = text("SELECT 1 FROM guard WHERE tenant_id = :tenant_id AND guard_id = :guard_id")

TRANSITION_COLUMNS = """
    t.transition_id, t.guard_id, t.kind, t.zone_id, t.zone_version, v.name AS zone_name, t.at, t.confirmed_at, t.late,
    t.superseded_at
"""
FROM_TRANSITIONS = """
    FROM zone_transition t LEFT JOIN zone_version v
         ON v.tenant_id = t.tenant_id AND v.zone_id = t.zone_id AND v.version = t.zone_version
"""
FILTERS = {
    "guard_id": "t.guard_id = :guard_id",
    "zone_id": "t.zone_id = :zone_id",
    "since": "t.at >= :since",
    "until": "t.at < :until",
}
ONE = text(
    f"SELECT {TRANSITION_COLUMNS}, t.evidence, coalesce(v.time_zone, 'UTC') AS time_zone {FROM_TRANSITIONS}"
    " WHERE t.tenant_id = :tenant_id AND t.transition_id = :id"
)
IMPLAUSIBLE = """
    SELECT i.message_key, i.guard_id, i.recorded_at, i.reason, i.detail, l.lat, l.lon, l.accuracy::float8 AS accuracy,
           l.speed::float8 AS speed, l.received_at
    FROM implausible_fix i LEFT JOIN mqtt_guard_location l
         ON l.tenant_id = i.tenant_id AND l.guard_id = i.guard_id AND l.recorded_at = i.recorded_at
            AND l.message_key = i.message_key
    WHERE i.tenant_id = :tenant_id AND {wanted} {order} LIMIT :limit
"""
TRANSITION_ORDER = ListOrder((("t.at", "timestamptz"), ("t.transition_id", "uuid")), descending=True)
IMPLAUSIBLE_ORDER = ListOrder((("i.recorded_at", "timestamptz"), ("i.message_key", "uuid")), descending=True)


class TrackQueries:
    """Queries of one tenant at a time, in the role that sees only that tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def track(
        self, guard_id: str, *, tenant_id: int, since: object, until: object, max_points: int = 500
    ) -> dict[str, Any]:
        """Return a guard's track between two times, thinned for drawing.

        Ends, changes of the verdict, gaps and corners stay. Implausible fixes are marked. `count`
        is the number of fixes before thinning. Raises `Refused`, `NotFound`.
        """
        period = as_period(since, until, longest=LONGEST_TRACK)
        most = check_limit_of("max_points", max_points, most=MAX_POINTS)
        values: dict[str, Any] = {"tenant_id": tenant_id, "guard_id": guard_id, **period._asdict()}

        with self._database.of(tenant_id) as connection:
            _check_guard(connection.execute(GUARD, values).first(), guard_id, tenant_id)
            changes = connection.execute(CHANGES, {**values, "limit": MAX_CHANGES}).all()
            values |= {"changes": [moment for row in changes for moment in row], "gap_s": GAP_S}
            values["read"] = READ_POINTS
            found = connection.execute(ALL_POINTS, values).all()
            count = len(found)
            if count > READ_POINTS:
                found = sorted(connection.execute(POINTS, values), key=attrgetter("number"))
                count = found[0].total

        return {
            "guard_id": guard_id,
            **period._asdict(),
            "count": count,
            "points": thin(_points(found), max_points=most),
        }

    def transitions(
        self,
        *,
        tenant_id: int,
        guard_id: str | None = None,
        zone_id: int | None = None,
        since: object = None,
        until: object = None,
        superseded: bool = False,
        after: object = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """List transitions, newest first.

        `after` is the place, (`at`, `transition_id`), of the last row before. Raises `Refused`.
        """
        check_limit(limit, most=MAX_LISTED)
        values: dict[str, Any] = {"guard_id": guard_id, "zone_id": zone_id}
        values |= {name: None if at is None else as_time(at, what=name) for name, at in _named(since, until)}
        wanted = [FILTERS[name] for name, value in values.items() if value is not None]

        if not superseded:
            wanted.append("t.superseded_at IS NULL")

        place, place_values = beyond(TRANSITION_ORDER, after)
        query = text(
            f"SELECT {TRANSITION_COLUMNS} {FROM_TRANSITIONS}"
            f" WHERE {' AND '.join(['t.tenant_id = :tenant_id', place, *wanted])}"
            f" {TRANSITION_ORDER.clause} LIMIT :limit"
        )

        values |= {"tenant_id": tenant_id, "limit": limit, **place_values}
        with self._database.of(tenant_id) as connection:
            return [_plain(row) for row in connection.execute(query, values).mappings()]

    def transition(self, transition_id: object, *, tenant_id: int) -> dict[str, Any]:
        """Return one transition with its evidence, and `why` in plain words. Raises `NotFound`."""
        with self._database.of(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "id": _transition_uuid(transition_id)}
            row = connection.execute(ONE, values).mappings().one_or_none()
        if row is None:
            raise NotFound(f"no transition {transition_id} of tenant {tenant_id}")
        return {**_plain(row), "why": _why(row)}

    def implausible(
        self,
        *,
        tenant_id: int,
        guard_id: str | None = None,
        since: object = None,
        until: object = None,
        after: object = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """List the fixes that no verdict was built on, newest first.

        `after` is the place, (`recorded_at`, `message_key`), of the last row before. Raises
        `Refused`.
        """
        check_limit(limit, most=MAX_LISTED)
        values: dict[str, Any] = {"tenant_id": tenant_id, "limit": limit, "guard_id": guard_id}
        values |= {name: None if at is None else as_time(at, what=name) for name, at in _named(since, until)}
        columns = {"guard_id": "i.guard_id = ", "since": "i.recorded_at >= ", "until": "i.recorded_at < "}
        wanted = [f"{column}:{name}" for name, column in columns.items() if values[name] is not None]
        place, place_values = beyond(IMPLAUSIBLE_ORDER, after)
        conditions = " AND ".join([place, *wanted])
        query = text(IMPLAUSIBLE.format(wanted=conditions, order=IMPLAUSIBLE_ORDER.clause))

        with self._database.of(tenant_id) as connection:
            return [_plain(row) for row in connection.execute(query, values | place_values).mappings()]


def _points(found: Iterable[Sequence[Any]]) -> list[StoredTrackPoint]:
    return [StoredTrackPoint(**dict(zip(POINT_NAMES, row, strict=False))) for row in found]


def check_limit_of(what: str, value: object, *, most: int) -> int:
    """Return a bound between 2 and `most`, as `check_limit` does for a limit. Raises `Refused`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= most:
        raise Refused(f"{what} must be a number from 2 to {most}")
    return value


def _named(since: object, until: object) -> Sequence[tuple[str, object]]:
    return ("since", since), ("until", until)


def _check_guard(row: object, guard_id: object, tenant_id: int) -> None:
    if row is None:
        raise NotFound(f"no guard {guard_id} of tenant {tenant_id}; `vigil guard list` lists them")


def _transition_uuid(text_form: object) -> UUID:
    try:
        return UUID(str(text_form))
    except ValueError as error:
        raise NotFound(
            f"no transition {str(text_form)[:50]!r}; `vigil zone transitions` lists them"
        ) from error


def _why(row: RowMapping) -> str:
    told = explanation.ExplainedTransition(
        guard_id=row["guard_id"],
        kind=row["kind"],
        zone_name=row["zone_name"] or "",
        zone_version=row["zone_version"],
        at=row["at"],
        confirmed_at=row["confirmed_at"],
        evidence=msgspec.convert(row["evidence"], TransitionEvidence),
        late=row["late"],
        superseded_at=row["superseded_at"],
    )
    return explanation.explain(told, time_zone=row["time_zone"])


def _plain(row: RowMapping) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}
