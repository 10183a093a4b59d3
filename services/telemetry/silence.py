"""Devices, sensors and systems of which nothing is heard: OFFLINE, told once, and its end.

As with guards (`services.location.silence`), but without shifts: from the receipt of the newest reading on, or since
the service has heard without a pause. Which kinds are watched, and for how long, config.yaml says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from services import config, rows
from services.listening import Listening
from services.messages import AlertType, Condition
from services.owed import owing_conditions
from services.registry import Source
from services.silences import NOTHING, Watched
from services.source_status import SourceStatus, in_words
from services.telemetry.store import TelemetryStore

AT_ONCE = 500
"""Sources a transaction."""
ROUNDS = 20
"""Transactions a look at the most."""

# A state that is locked has a reading in hand: the next look will know.
BEGIN = text(
    """
    WITH overdue AS (
        SELECT s.source_id, d.site_id, w.limit_s
        FROM unnest(CAST(:families AS text[]), CAST(:limits AS float8[])) AS w (family, limit_s)
        JOIN source_state s ON s.family = w.family
        JOIN device d ON d.tenant_id = s.tenant_id AND d.device_id = s.source_id
        WHERE d.enabled AND s.silent_since IS NULL
              AND greatest(s.received_at, :heard_since) <= now() - make_interval(secs => w.limit_s)
        ORDER BY s.source_id LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE source_state s SET silent_since = greatest(s.received_at, :heard_since)
    FROM overdue o WHERE s.source_id = o.source_id
    RETURNING s.source_id, s.tenant_id, s.family, s.recorded_at, s.received_at, s.silent_since, o.site_id, o.limit_s,
              clock_timestamp() AS at
    """
)
POINTLESS = text(
    """
    WITH over AS (
        SELECT s.source_id, s.silent_since, d.site_id FROM source_state s
        JOIN device d ON d.tenant_id = s.tenant_id AND d.device_id = s.source_id
        WHERE s.silent_since IS NOT NULL AND NOT d.enabled
        ORDER BY s.source_id LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE source_state s SET silent_since = NULL FROM over WHERE s.source_id = over.source_id
    RETURNING s.source_id, s.tenant_id, s.family, over.silent_since, over.site_id, clock_timestamp() AS at
    """
)
NOW = text("SELECT clock_timestamp()")


class SilenceWatch:
    """Finds what fell silent. Several processes may look: each source is told of by one of them, once."""

    def __init__(self, store: TelemetryStore, listening: Listening, limits_s: Mapping[str, float]) -> None:
        self._store = store
        self._listening = listening
        self._limits_s = {family: limit_s for family, limit_s in limits_s.items() if limit_s > 0}

    def is_open(self) -> bool:
        """Whether there is anything to watch, and silence can be judged now. Raises `Unavailable`."""
        return bool(self._limits_s) and self._listening.is_open()

    def look(self) -> Watched:
        """Commit what is silent now, and of what it no longer matters, with what that owes. Raises `Unavailable`."""
        with self._store.transaction() as connection:
            if not self._listening.my_turn(connection):
                return NOTHING
            values = {
                "families": rows.array("text", self._limits_s),
                "limits": rows.array("float8", self._limits_s.values()),
                "heard_since": self._listening.since(connection),
                "limit": AT_ONCE,
            }
            begun = connection.execute(BEGIN, values).all()
            over = connection.execute(POINTLESS, {"limit": AT_ONCE}).all()
            met = [_begun(row) for row in begun]
            cleared = [_over(row, row.at, f"{row.source_id} is disabled") for row in over]
            debt = self._store.owed.owe(connection, owing_conditions(met, cleared))
            statuses = [_silent(row) for row in begun]
            statuses += [
                _status(row.tenant_id, row.source_id, row.family, "disabled", row.at) for row in over
            ]
            return Watched(met, cleared, statuses, debt, full=max(len(begun), len(over)) == AT_ONCE)


class Silenced(NamedTuple):
    """A source that was silent and now has a newer reading."""

    source: Source
    silent_since: datetime


def end(connection: Connection, heard: Sequence[Silenced]) -> list[Condition]:
    """The ends of these silences, for the transaction that stores the readings, once it holds the states."""
    if not heard:
        return []
    # Asked for only now: what was told before the lock was ours must not look newer than its end.
    at: datetime = connection.execute(NOW).scalar_one()
    return [
        Condition(
            tenant_id=source.tenant_id,
            source_id=source.source_id,
            alert_type=AlertType.OFFLINE,
            dedup_key=dedup_key(source.source_id),
            at=at,
            key=_key(source.source_id, since, "over"),
            message=f"{source.source_id} is heard of again",
            site_id=source.site_id,
        )
        for source, since in heard
    ]


def limits_of(settings: config.Location) -> dict[str, float]:
    """Seconds by family; 0: never."""
    return {
        "device": settings.device_silence_limit_s,
        "sensor": settings.sensor_silence_limit_s,
        "system": settings.system_silence_limit_s,
    }


def dedup_key(source_id: str) -> str:
    return f"{AlertType.OFFLINE}:{source_id}"


def _begun(row: Row[Any]) -> Condition:
    silent_s = (row.at - row.silent_since).total_seconds()
    return Condition(
        tenant_id=row.tenant_id,
        source_id=row.source_id,
        alert_type=AlertType.OFFLINE,
        dedup_key=dedup_key(row.source_id),
        at=row.at,
        key=_key(row.source_id, row.silent_since, "silent"),
        message=f"{row.source_id} has not been heard of for {in_words(silent_s)};"
        f" its last reading is {in_words((row.at - row.recorded_at).total_seconds())} old",
        detail={
            "silent_since": row.silent_since.isoformat(),
            "limit_s": row.limit_s,
            "last_recorded_at": row.recorded_at.isoformat(),
            "last_received_at": row.received_at.isoformat(),
        },
        site_id=row.site_id,
    )


def _over(row: Row[Any], at: datetime, message: str) -> Condition:
    return Condition(
        tenant_id=row.tenant_id,
        source_id=row.source_id,
        alert_type=AlertType.OFFLINE,
        dedup_key=dedup_key(row.source_id),
        at=at,
        key=_key(row.source_id, row.silent_since, "over"),
        message=message,
        site_id=row.site_id,
    )


def _silent(row: Row[Any]) -> tuple[int, SourceStatus]:
    status = SourceStatus(
        source_id=row.source_id,
        kind=row.family,
        state="silent",
        since=row.silent_since,
        last_at=row.recorded_at,
    )
    return row.tenant_id, status


def _status(
    tenant_id: int, source_id: str, family: str, state: Any, since: datetime
) -> tuple[int, SourceStatus]:
    return tenant_id, SourceStatus(source_id=source_id, kind=family, state=state, since=since)


def _key(source_id: str, since: datetime, word: str) -> bytes:
    """Of an episode's beginning or end: what is told twice counts once."""
    named = f"{dedup_key(source_id)}\n{since.isoformat()}\n{word}".encode()
    return hashlib.blake2b(named, digest_size=16).digest()
