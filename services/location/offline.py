"""Guards on shift from whom nothing believable is received: OFFLINE, reported once, and its end.

The time without a fix is counted from the latest of three times:

- the start of the shift;
- the receipt of the last fix that was believed (`guard_state`);
- the time since which the service has listened without a pause (`services.ingestion.liveness`).

All are compared with PostgreSQL's clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from services.contracts.events import AlertType, Condition
from services.contracts.source_status import SourceStatus, State, in_words
from services.ingestion import bulk_insert
from services.ingestion.effects import Effects
from services.ingestion.liveness import ReceptionMarks
from services.location.store import LocationStore
from services.platform.prepared_statements import PreparedStatement

AT_ONCE = 500
"""Most guards in a transaction."""
ROUNDS = 20
"""Most transactions in a second."""

OVERDUE = text(
    """
    SELECT d.guard_id, d.tenant_id, g.site_id, p.lat, p.lon, p.accuracy, p.recorded_at, p.received_at,
           greatest(d.starts_at, p.received_at, :heard_since) AS since, clock_timestamp() AS now
    FROM guard_shift d
    JOIN guard g ON g.tenant_id = d.tenant_id AND g.guard_id = d.guard_id
    LEFT JOIN guard_state p ON p.guard_id = d.guard_id
    LEFT JOIN guard_silence q ON q.guard_id = d.guard_id
    WHERE tstzrange(d.starts_at, d.ends_at) @> now() AND g.enabled AND q.guard_id IS NULL
          AND greatest(d.starts_at, p.received_at, :heard_since) <= now() - make_interval(secs => :limit_s)
    ORDER BY since LIMIT :limit
    """
)
# A process that holds a state has a fix of that guard in hand: OFFLINE is judged in the next
# second. A guard without a state has no fix.
LOCK = text(
    """
    SELECT i.guard_id FROM unnest(CAST(:ids AS text[])) AS i (guard_id)
    WHERE NOT EXISTS (SELECT FROM guard_state s WHERE s.guard_id = i.guard_id)
    UNION ALL
    SELECT guard_id FROM (
        SELECT s.guard_id FROM guard_state s
        WHERE s.guard_id = ANY(CAST(:ids AS text[])) AND s.received_at <= now() - make_interval(secs => :limit_s)
        FOR UPDATE SKIP LOCKED
    ) locked
    """
)
BEGIN = text(
    """
    INSERT INTO guard_silence (guard_id, tenant_id, since, told_at)
    SELECT guard_id, tenant_id, since, clock_timestamp()
    FROM unnest(CAST(:guard_id AS text[]), CAST(:tenant_id AS int[]), CAST(:since AS timestamptz[]))
         AS t (guard_id, tenant_id, since)
    ORDER BY guard_id
    ON CONFLICT (guard_id) DO NOTHING RETURNING guard_id, told_at
    """
)
# An end is never before its beginning, no matter which transaction waited for a lock.
ENDED_AT = "greatest(clock_timestamp(), q.told_at + interval '1 microsecond')"
END = PreparedStatement(
    f"""
    DELETE FROM guard_silence q USING guard g
    WHERE q.guard_id = ANY(CAST(:ids AS text[])) AND g.guard_id = q.guard_id
    RETURNING q.guard_id, q.tenant_id, q.since, q.told_at, g.site_id, {ENDED_AT} AS at, 'spoke' AS why
    """  # noqa: S608 - words of our own
)
# The last of the three conditions is for a guard's very first fix. It has no state to be locked,
# and may have come while OFFLINE was stored.
POINTLESS = text(
    f"""
    WITH over AS (
        SELECT q.guard_id,
               CASE WHEN NOT g.enabled THEN 'disabled' WHEN d.guard_id IS NULL THEN 'off_shift' ELSE 'spoke' END AS why
        FROM guard_silence q
        JOIN guard g ON g.guard_id = q.guard_id
        LEFT JOIN guard_state p ON p.guard_id = q.guard_id
        LEFT JOIN guard_shift d ON d.tenant_id = q.tenant_id AND d.guard_id = q.guard_id AND d.ends_at > now()
                                   AND d.starts_at <= now()
        WHERE NOT g.enabled OR d.guard_id IS NULL OR p.received_at > q.told_at
        ORDER BY q.guard_id LIMIT :limit FOR UPDATE OF q SKIP LOCKED
    )
    DELETE FROM guard_silence q USING over, guard g
    WHERE q.guard_id = over.guard_id AND g.guard_id = q.guard_id
    RETURNING q.guard_id, q.tenant_id, q.since, q.told_at, g.site_id, {ENDED_AT} AS at, over.why
    """  # noqa: S608 - words of our own
)
ENDS = {
    "spoke": "sends messages again",
    "off_shift": "is no longer on shift",
    "disabled": "is disabled",
}


class OfflineEnd(NamedTuple):
    """End of OFFLINE: the condition for the alerts service, the status for websocket sessions."""

    condition: Condition
    status: SourceStatus


class GuardOfflineWatch:
    """Watch for guards that are offline.

    Several processes may look. Each guard is reported by one of them, once.
    """

    def __init__(self, store: LocationStore, listening: ReceptionMarks, *, limit_s: float) -> None:
        self._store = store
        self._listening = listening
        self._limit_s = limit_s

    def is_open(self) -> bool:
        """Return True when OFFLINE can be judged now. Raises `Unavailable`."""
        return self._limit_s > 0 and self._listening.is_open()

    def look(self, *, judge: bool) -> Effects:
        """Commit beginnings (when `judge`) and ends of OFFLINE, with events in the outbox.

        OFFLINE ends here when it no longer matters. Raises `Unavailable`.
        """
        effects = Effects()
        with self._store.transaction() as connection:
            if not self._listening.my_turn(connection):
                return effects

            overdue = self._overdue(connection) if judge else []
            begun = self._begin(connection, overdue)
            over = [_ended(row) for row in connection.execute(POINTLESS, {"limit": AT_ONCE})]

            effects.met = [_condition(row, told_at, self._limit_s) for row, told_at in begun]
            effects.cleared = [ended.condition for ended in over]
            effects.statuses = [(row.tenant_id, _status(row, "silent")) for row, _ in begun]
            effects.statuses += [(ended.condition.tenant_id, ended.status) for ended in over]
            effects.has_more = max(len(overdue), len(over)) == AT_ONCE
            self._store.owed.store_events(connection, effects)
            return effects

    def _overdue(self, connection: Connection) -> list[Row[Any]]:
        values = {
            "heard_since": self._listening.since(connection),
            "limit_s": self._limit_s,
            "limit": AT_ONCE,
        }
        return list(connection.execute(OVERDUE, values))

    def _begin(self, connection: Connection, overdue: Sequence[Row[Any]]) -> list[tuple[Row[Any], datetime]]:
        if not overdue:
            return []

        ids = bulk_insert.array("text", [row.guard_id for row in overdue])
        locked = set(connection.execute(LOCK, {"ids": ids, "limit_s": self._limit_s}).scalars())
        mine = {row.guard_id: row for row in overdue if row.guard_id in locked}
        values = {
            "guard_id": bulk_insert.array("text", mine),
            "tenant_id": bulk_insert.array("int", [row.tenant_id for row in mine.values()]),
            "since": bulk_insert.array("timestamptz", [row.since for row in mine.values()]),
        }

        return [(mine[row.guard_id], row.told_at) for row in connection.execute(BEGIN, values)]


def end(connection: Connection, guard_ids: Iterable[str]) -> list[OfflineEnd]:
    """End OFFLINE of guards from whom a believable fix came that was not late.

    Call this in the transaction that stores the fixes, once it holds the guards' states.
    """
    ids = sorted(set(guard_ids))
    if not ids:
        return []
    return [_ended(row) for row in END.run(connection, {"ids": bulk_insert.array("text", ids)})]


def add_offline_ends(connection: Connection, effects: Effects, *, known: Container[str]) -> None:
    """Add to the effects of a batch the ends of OFFLINE that its fixes bring.

    Statuses of guards from whom the first fix ever came are added too.
    """
    over = end(connection, [position.guard_id for _, position in effects.positions])
    effects.cleared += [ended.condition for ended in over]
    effects.statuses += [(ended.condition.tenant_id, ended.status) for ended in over]

    told = {ended.status.source_id for ended in over}
    for tenant_id, position in effects.positions:
        if position.guard_id not in known and position.guard_id not in told:
            status = SourceStatus(
                source_id=position.guard_id,
                kind="guard",
                state="online",
                since=position.received_at,
                last_at=position.recorded_at,
                lat=position.lat,
                lon=position.lon,
            )
            effects.statuses.append((tenant_id, status))


def dedup_key(guard_id: str) -> str:
    return f"{AlertType.OFFLINE}:{guard_id}"


def _condition(row: Row[Any], told_at: datetime, limit_s: float) -> Condition:
    detail: dict[str, Any] = {"silent_since": row.since.isoformat(), "limit_s": limit_s}
    if row.recorded_at is not None:
        detail |= {
            "last_recorded_at": row.recorded_at.isoformat(),
            "last_received_at": row.received_at.isoformat(),
            "last_age_s": round((row.now - row.recorded_at).total_seconds(), 1),
            "accuracy_m": row.accuracy,
        }

    return Condition(
        tenant_id=row.tenant_id,
        source_id=row.guard_id,
        alert_type=AlertType.OFFLINE,
        dedup_key=dedup_key(row.guard_id),
        at=told_at,
        key=_key(row.guard_id, row.since, "silent"),
        message=_message(row),
        lat=row.lat,
        lon=row.lon,
        detail=detail,
        site_id=row.site_id,
    )


def _message(row: Row[Any]) -> str:
    silent = f"{row.guard_id} has sent no message for {in_words((row.now - row.since).total_seconds())}"
    if row.recorded_at is None:
        return f"{silent}; no position is known"
    within = "" if row.accuracy is None else f" within {row.accuracy:.0f} m"
    age = in_words((row.now - row.recorded_at).total_seconds())
    return f"{silent}; last position {row.lat:.5f}, {row.lon:.5f}{within}, {age} old"


def _ended(row: Row[Any]) -> OfflineEnd:
    condition = Condition(
        tenant_id=row.tenant_id,
        source_id=row.guard_id,
        alert_type=AlertType.OFFLINE,
        dedup_key=dedup_key(row.guard_id),
        at=row.at,
        key=_key(row.guard_id, row.since, row.why),
        message=f"{row.guard_id} {ENDS[row.why]}",
        site_id=row.site_id,
    )

    state: State = "online" if row.why == "spoke" else row.why
    return OfflineEnd(
        condition, SourceStatus(source_id=row.guard_id, kind="guard", state=state, since=row.at)
    )


def _status(row: Row[Any], state: State) -> SourceStatus:
    return SourceStatus(
        source_id=row.guard_id,
        kind="guard",
        state=state,
        since=row.since,
        last_at=row.recorded_at,
        lat=row.lat,
        lon=row.lon,
    )


def _key(guard_id: str, since: datetime, word: str) -> bytes:
    """Return the key of the beginning or end of an episode. A second report does not count."""
    named = f"{dedup_key(guard_id)}\n{since.isoformat()}\n{word}".encode()
    return hashlib.blake2b(named, digest_size=16).digest()
