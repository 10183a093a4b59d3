"""OFFLINE of devices, sensors, systems and panic buttons: reported once, with its end.

It is as with guards (`services.location.offline`), but without shifts. The time without a message
is counted from the latest of these times:

1. the receipt of the newest reading, or of an alert that the source sent by itself;
2. when the source was registered, enabled, or given a limit of its own (`device.watched_since`; the
   upgrade that brought this counts too);
3. since when the limit of its family holds (`offline_limit`): a limit that is switched on does not
   alarm on the past;
4. since when the service has listened without a pause (`services.ingestion.liveness`).

An alert leaves no state. Alerts are searched when a source would be OFFLINE otherwise, and for
sources that are OFFLINE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from services.contracts.events import AlertType, Condition
from services.contracts.families import OF_DEVICES
from services.contracts.source_status import SourceStatus, State, in_words
from services.ingestion import bulk_insert
from services.ingestion.effects import Effects
from services.ingestion.liveness import ReceptionMarks
from services.ingestion.source_registry import Source
from services.platform import config
from services.telemetry.store import TelemetryStore

AT_ONCE = 500
"""Most sources in a transaction."""
ROUNDS = 20
"""Most transactions in a look."""

SET_LIMITS = text(
    """
    INSERT INTO offline_limit AS l (family, limit_s, since)
    SELECT family, limit_s, clock_timestamp()
    FROM unnest(CAST(:families AS text[]), CAST(:limits AS float8[])) AS t (family, limit_s)
    ON CONFLICT (family) DO UPDATE SET limit_s = excluded.limit_s, since = excluded.since
    WHERE l.limit_s <> excluded.limit_s
    """
)
# An alert that a source sent by itself came on a topic. An alert that rules found did not, and
# OFFLINE itself is one of these.
SENT = """
    SELECT max(o.received_at) FROM mqtt_device_alert a
    JOIN alert_occurrence o ON o.tenant_id = a.tenant_id AND o.alert_id = a.alert_id
    WHERE a.tenant_id = d.tenant_id AND a.source_id = d.device_id AND o.topic IS NOT NULL
"""
OVERDUE = text(
    f"""
    SELECT d.*, ({SENT} AND o.received_at > d.since) AS alert_at
    FROM (
        SELECT d.device_id, d.tenant_id, d.site_id, d.family, s.recorded_at, s.source_id IS NOT NULL AS has_state,
               nullif(s.reading, '{{}}') IS NOT NULL AS has_reading, greatest(s.received_at, s.heard_at) AS heard_at,
               w.limit_s, w.since
        FROM device d
        JOIN tenant t ON t.tenant_id = d.tenant_id
        JOIN offline_limit l ON l.family = d.family
        LEFT JOIN source_state s ON s.source_id = d.device_id
        CROSS JOIN LATERAL (
            SELECT coalesce(d.silence_limit_s, l.limit_s) AS limit_s,
                   greatest(s.received_at, s.heard_at, d.watched_since, :heard_since,
                            CASE WHEN d.silence_limit_s IS NULL THEN l.since END) AS since
        ) w
        WHERE d.enabled AND w.limit_s > 0 AND s.silent_since IS NULL
              AND w.since <= clock_timestamp() - make_interval(secs => w.limit_s)
              AND d.registered_by <> 'watchdog' AND NOT t.settings @> '{{"replay": true}}'
        ORDER BY d.device_id LIMIT :limit
    ) d
    """  # noqa: S608 - words of our own
)
SOURCES = {
    "source_id": "text",
    "tenant_id": "int",
    "family": "text",
    "since": "timestamptz",
}
_SOURCES = (
    "unnest(CAST(:source_id AS text[]), CAST(:tenant_id AS int[]), CAST(:family AS text[]),"
    " CAST(:since AS timestamptz[])) AS t (source_id, tenant_id, family, since)"
)
# A source that has no state gets one without a reading: the time of its alert stands for a reading.
HEARD = text(
    f"""
    INSERT INTO source_state AS s (source_id, tenant_id, family, recorded_at, received_at, clock_suspect, reading,
                                   heard_at)
    SELECT source_id, tenant_id, family, since, since, true, '{{}}', since FROM {_SOURCES} ORDER BY source_id
    ON CONFLICT (source_id) DO UPDATE SET heard_at = greatest(s.heard_at, excluded.heard_at)
    """  # noqa: S608 - words of our own
)
# A process that locks a state has a reading in hand: the next look will know. The same holds for a
# state that has changed since.
BEGIN = text(
    f"""
    WITH mine AS (
        SELECT s.source_id, t.since FROM source_state s JOIN {_SOURCES} ON t.source_id = s.source_id
        WHERE s.silent_since IS NULL AND greatest(s.received_at, s.heard_at) <= t.since
        ORDER BY s.source_id FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE source_state s SET silent_since = mine.since FROM mine WHERE s.source_id = mine.source_id
    RETURNING s.source_id, clock_timestamp() AS at
    """  # noqa: S608 - words of our own
)
# The process that has the first reading of a source in hand holds the source's lock by name
# (`store.LOCK_NEWCOMERS`).
BEGIN_UNHEARD = text(
    f"""
    INSERT INTO source_state (source_id, tenant_id, family, recorded_at, received_at, clock_suspect, reading,
                              silent_since)
    SELECT source_id, tenant_id, family, since, since, true, '{{}}', since FROM {_SOURCES}
    WHERE pg_try_advisory_xact_lock(hashtextextended('vigil source ' || source_id, 0)) ORDER BY source_id
    ON CONFLICT (source_id) DO NOTHING RETURNING source_id, clock_timestamp() AS at
    """  # noqa: S608 - words of our own
)
POINTLESS = text(
    f"""
    WITH over AS (
        SELECT s.source_id, s.silent_since, d.tenant_id, d.site_id, d.family, w.why, w.alert_at
        FROM source_state s
        JOIN device d ON d.tenant_id = s.tenant_id AND d.device_id = s.source_id
        LEFT JOIN offline_limit l ON l.family = d.family
        CROSS JOIN LATERAL (SELECT ({SENT} AND o.received_at > s.silent_since) AS alert_at) h
        CROSS JOIN LATERAL (SELECT h.alert_at,
            CASE WHEN NOT d.enabled THEN 'disabled'
                 WHEN coalesce(d.silence_limit_s, l.limit_s, 0) = 0 THEN 'unwatched'
                 WHEN h.alert_at IS NOT NULL THEN 'spoke' END AS why) w
        WHERE s.silent_since IS NOT NULL AND w.why IS NOT NULL
        ORDER BY s.source_id LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE source_state s SET silent_since = NULL, heard_at = greatest(s.heard_at, over.alert_at)
    FROM over WHERE s.source_id = over.source_id
    RETURNING s.source_id, over.tenant_id, over.family, over.silent_since, over.site_id, over.why,
              clock_timestamp() AS at
    """  # noqa: S608 - words of our own
)
NOW = text("SELECT clock_timestamp()")
ENDS = {
    "spoke": "sends messages again",
    "disabled": "is disabled",
    "unwatched": "has no offline limit any more",
}


class SourceOfflineWatch:
    """Watch for sources that are offline.

    Several processes may look. Each source is reported by one of them, once.
    """

    def __init__(
        self, store: TelemetryStore, listening: ReceptionMarks, limits_s: Mapping[str, float]
    ) -> None:
        self._store = store
        self._listening = listening
        self._limits_s = dict(limits_s)
        self._limits_are_set = False

    def is_open(self) -> bool:
        """Return True when OFFLINE can be judged now. Raises `Unavailable`."""
        return self._listening.is_open()

    def mark(self) -> None:
        """Store the mark that messages are heard, without a look. Raises `Unavailable`.

        A look goes through all devices.
        """
        with self._store.transaction() as connection:
            if self._listening.my_turn(connection):
                self._listening.since(connection)

    def look(self) -> Effects:
        """Commit the beginnings and ends of OFFLINE, with their events in the outbox.

        OFFLINE ends here when it no longer matters. Raises `Unavailable`.
        """
        effects = Effects()
        with self._store.transaction() as connection:
            if not self._listening.my_turn(connection):
                return effects

            heard_since = self._listening.since(connection)
            if not self._limits_are_set:
                connection.execute(SET_LIMITS, _limits(self._limits_s))

            overdue = connection.execute(OVERDUE, {"heard_since": heard_since, "limit": AT_ONCE}).all()
            begun = self._begin(connection, overdue)
            over = connection.execute(POINTLESS, {"limit": AT_ONCE}).all()

            effects.met = [_begun(row, at) for row, at in begun]
            effects.cleared = [_over(row) for row in over]
            self._store.owed.store_events(connection, effects)

        self._limits_are_set = True
        effects.statuses = [
            _status(row, row.device_id, "silent", row.since, _last_at(row)) for row, _ in begun
        ]
        effects.statuses += [
            _status(row, row.source_id, "online" if row.why == "spoke" else "disabled", row.at)
            for row in over
        ]

        effects.has_more = max(len(overdue), len(over)) == AT_ONCE
        return effects

    def _begin(self, connection: Connection, overdue: Sequence[Row[Any]]) -> list[tuple[Row[Any], datetime]]:
        """Store which sources are offline. Return them with the times of the reports.

        A source that has sent an alert was heard.
        """
        if heard := [row for row in overdue if row.alert_at is not None]:
            connection.execute(HEARD, _sources(heard, [row.alert_at for row in heard]))
        silent = [row for row in overdue if row.alert_at is None]
        told_at: dict[str, datetime] = {}
        for statement, has_state in ((BEGIN, True), (BEGIN_UNHEARD, False)):
            if mine := [row for row in silent if row.has_state is has_state]:
                values = _sources(mine, [row.since for row in mine])
                told_at |= {row.source_id: row.at for row in connection.execute(statement, values)}
        return [(row, told_at[row.device_id]) for row in silent if row.device_id in told_at]


class OfflineSource(NamedTuple):
    """A source that was offline and now has a newer reading."""

    source: Source
    silent_since: datetime


def end(connection: Connection, heard: Sequence[OfflineSource]) -> list[Condition]:
    """Return the ends of OFFLINE of these sources.

    Call this in the transaction that stores the readings, once it holds the states.
    """
    if not heard:
        return []

    # Read the time only now, under the lock. A beginning that was reported before the lock was held
    # must not look newer than its end.
    at: datetime = connection.execute(NOW).scalar_one()
    return [
        Condition(
            tenant_id=source.tenant_id,
            source_id=source.source_id,
            alert_type=AlertType.OFFLINE,
            dedup_key=dedup_key(source.source_id),
            at=at,
            key=_key(source.source_id, since, "over"),
            message=f"{source.source_id} sends messages again",
            site_id=source.site_id,
        )
        for source, since in heard
    ]


def limits_of(settings: config.LocationSettings) -> dict[str, float]:
    """Return the limits in seconds by family of device. 0 means never."""
    return {row.name: float(getattr(settings, row.silence_limit)) for row in OF_DEVICES}


def dedup_key(source_id: str) -> str:
    return f"{AlertType.OFFLINE}:{source_id}"


def _limits(limits_s: Mapping[str, float]) -> dict[str, str]:
    return {
        "families": bulk_insert.array("text", limits_s),
        "limits": bulk_insert.array("float8", limits_s.values()),
    }


def _sources(found: Sequence[Row[Any]], since: Sequence[datetime]) -> dict[str, str]:
    values = {
        "source_id": [row.device_id for row in found],
        "tenant_id": [row.tenant_id for row in found],
        "family": [row.family for row in found],
        "since": since,
    }
    return bulk_insert.arrays(SOURCES, values)


def _last_at(row: Row[Any]) -> datetime | None:
    at: datetime | None = row.recorded_at if row.has_reading else row.heard_at
    return at


def _begun(row: Row[Any], at: datetime) -> Condition:
    detail: dict[str, Any] = {"silent_since": row.since.isoformat(), "limit_s": row.limit_s}
    if row.has_reading:
        detail["last_recorded_at"] = row.recorded_at.isoformat()
    if row.heard_at is not None:
        detail["last_received_at"] = row.heard_at.isoformat()

    return Condition(
        tenant_id=row.tenant_id,
        source_id=row.device_id,
        alert_type=AlertType.OFFLINE,
        dedup_key=dedup_key(row.device_id),
        at=at,
        key=_key(row.device_id, row.since, "silent"),
        message=_message(row, at),
        detail=detail,
        site_id=row.site_id,
    )


def _message(row: Row[Any], at: datetime) -> str:
    silent = f"{row.device_id} has sent no message for {in_words((at - row.since).total_seconds())}"
    last_at = _last_at(row)
    if last_at is None:
        return f"{silent}; no earlier message is known"
    what = "reading" if row.has_reading else "message"
    return f"{silent}; its last {what} is {in_words((at - last_at).total_seconds())} old"


def _over(row: Row[Any]) -> Condition:
    return Condition(
        tenant_id=row.tenant_id,
        source_id=row.source_id,
        alert_type=AlertType.OFFLINE,
        dedup_key=dedup_key(row.source_id),
        at=row.at,
        key=_key(row.source_id, row.silent_since, "over"),
        message=f"{row.source_id} {ENDS[row.why]}",
        site_id=row.site_id,
    )


def _status(
    row: Row[Any], source_id: str, state: State, since: datetime, last_at: datetime | None = None
) -> tuple[int, SourceStatus]:
    status = SourceStatus(source_id=source_id, kind=row.family, state=state, since=since, last_at=last_at)
    return row.tenant_id, status


def _key(source_id: str, since: datetime, word: str) -> bytes:
    """Return the key of the beginning or end of an episode. A second report does not count."""
    named = f"{dedup_key(source_id)}\n{since.isoformat()}\n{word}".encode()
    return hashlib.blake2b(named, digest_size=16).digest()
