"""Result of a replay, read from the database when no message of it is on its way any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, text

from ops.servers.queues.depths import depths
from services.location.tracks.queries import TrackQueries
from services.messaging.topology import event_queue_name
from services.platform.config import Config
from services.platform.database import Database

PATIENCE_S = 30.0
"""Time without any change after which messages count as missing."""
LOOK_S = 0.1
ALERT_QUEUES = tuple(
    event_queue_name("location", event, "alerts", handler)
    for event, handler in (
        ("alert_condition_met", "open_for_location"),
        ("alert_condition_cleared", "clear_for_location"),
    )
)
ARRIVED = text(
    """
    SELECT (SELECT count(*) FROM mqtt_guard_location WHERE tenant_id = :tenant_id AND guard_id = ANY(:ids)) AS stored,
           (SELECT count(*) FROM rejected_message WHERE source_id = ANY(:ids)) AS refused
    """
)
# Nothing waits to be published, and the alerts agree with the guards' states.
UNSETTLED = text(
    """
    SELECT (SELECT count(*) FROM owed_event WHERE tenant_id = :tenant_id)
         + (SELECT count(*) FROM guard_state s WHERE tenant_id = :tenant_id AND guard_id = ANY(:ids)
            AND (settles_at IS NOT NULL OR CASE WHEN violation_told
                THEN NOT EXISTS (SELECT 1 FROM mqtt_device_alert a WHERE a.tenant_id = s.tenant_id
                    AND a.dedup_key = 'GEOFENCE_VIOLATION:' || s.guard_id AND a.cleared_at IS NULL)
                ELSE EXISTS (SELECT 1 FROM mqtt_device_alert a WHERE a.tenant_id = s.tenant_id
                    AND a.dedup_key = 'GEOFENCE_VIOLATION:' || s.guard_id AND a.cleared_at IS NULL
                    AND a.status NOT IN ('RESOLVED', 'FALSE_ALARM')) END))
    """
)
TRANSITIONS = text(
    """
    SELECT transition_id, guard_id, kind, at FROM zone_transition
    WHERE tenant_id = :tenant_id AND guard_id = ANY(:ids) AND superseded_at IS NULL ORDER BY at, kind
    """
)
COUNTS = {
    "refused": "SELECT reason AS word, count(*) FROM rejected_message WHERE source_id = ANY(:ids) GROUP BY 1",
    "implausible": "SELECT reason AS word, count(*) FROM implausible_fix WHERE tenant_id = :tenant_id"
    " AND guard_id = ANY(:ids) GROUP BY 1",
}
ALERTS = text(
    """
    SELECT alert_id::text, source_id, alert_type, severity, status, message, occurrences, recorded_at, cleared_at
    FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND source_id = ANY(:ids) ORDER BY recorded_at
    """
)

AS_THEY_ARE = ("alert_id", "alert_type", "severity", "status", "message", "occurrences")


class TransitionFound(msgspec.Struct, frozen=True, kw_only=True):
    """A transition.

    `recorded_at` is by the recording's own clock; `why` uses the times of the replay.
    """

    transition_id: str
    guard_id: str
    track: str
    kind: str
    recorded_at: datetime
    why: str


class AlertFound(msgspec.Struct, frozen=True, kw_only=True):
    alert_id: str
    guard_id: str
    track: str
    alert_type: str
    severity: str
    status: str
    message: str
    occurrences: int
    recorded_at: datetime
    cleared_at: datetime | None


class ReplayOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a replay.

    Attributes:
        points: number of points in the file.
        unusable: number of points that were left out, by the reason.
        left_out: number of points that lost an optional field, by the field.
        complete: all fixes were sent, each is stored or refused, and all verdicts are published.
    """

    tenant_id: int
    guards: Mapping[str, str]
    zones: int
    moved_by_s: float
    keeps: str
    points: int
    unusable: dict[str, int]
    left_out: dict[str, int]
    fixes: int
    sent: int
    stored: int
    refused: dict[str, int]
    implausible: dict[str, int]
    transitions: list[TransitionFound]
    alerts: list[AlertFound]
    complete: bool


class ReplayWatcher:
    """Watcher of the processing of some guards' fixes."""

    def __init__(
        self, database: Database, config: Config, *, tenant_id: int, guards: Mapping[str, str]
    ) -> None:
        self._database = database
        self._config = config
        self._tenant_id = tenant_id
        self._tracks = {guard_id: track for track, guard_id in guards.items()}
        self._values = {"tenant_id": tenant_id, "ids": sorted(self._tracks)}

    def wait(self, sent: int, say: Callable[[str], None]) -> bool:
        """Wait until all fixes are on record and all verdicts are published.

        Returns:
            False when nothing changes any more before that.
        """
        return self._until(
            lambda: sent - sum(self._arrived()), "fixes are on their way", say
        ) and self._until(self._unsettled, "verdicts are not published yet", say)

    def transitions(self, by: timedelta) -> list[TransitionFound]:
        queries = TrackQueries(self._database)
        with self._database.of(self._tenant_id) as connection:
            rows = connection.execute(TRANSITIONS, self._values).all()

        return [
            TransitionFound(
                transition_id=str(row.transition_id),
                guard_id=row.guard_id,
                track=self._tracks[row.guard_id],
                kind=row.kind,
                recorded_at=row.at - by,
                why=queries.transition(row.transition_id, tenant_id=self._tenant_id)["why"],
            )
            for row in rows
        ]

    def alerts(self, by: timedelta) -> list[AlertFound]:
        with self._database.of(self._tenant_id) as connection:
            rows = connection.execute(ALERTS, self._values).mappings().all()

        return [
            AlertFound(
                **{name: row[name] for name in AS_THEY_ARE},
                guard_id=row["source_id"],
                track=self._tracks[row["source_id"]],
                recorded_at=row["recorded_at"] - by,
                cleared_at=None if row["cleared_at"] is None else row["cleared_at"] - by,
            )
            for row in rows
        ]

    def counts(self, what: str) -> dict[str, int]:
        """Return counts by reason."""
        with self._database.of(self._tenant_id) as connection:
            found = connection.execute(text(COUNTS[what]), self._values)
            return {row["word"]: row["count"] for row in found.mappings()}

    def _arrived(self) -> Sequence[int]:
        with self._database.of(self._tenant_id) as connection:
            row = connection.execute(ARRIVED, self._values).one()
        return int(row.stored), int(row.refused)

    def stored(self) -> int:
        return self._arrived()[0]

    def _unsettled(self) -> int:
        with self._database.across() as connection:
            return self._untold(connection) + sum(depths(self._config, ALERT_QUEUES).values())

    def _untold(self, connection: Connection) -> int:
        return int(connection.execute(UNSETTLED, self._values).scalar_one())

    def _until(self, left: Callable[[], int], what: str, say: Callable[[str], None]) -> bool:
        last, changed_s = -1, time.monotonic()
        while (now := left()) > 0:
            if now != last:
                last, changed_s = now, time.monotonic()
            if time.monotonic() - changed_s > PATIENCE_S:
                return False
            say(f"{now:,} {what}")
            time.sleep(LOOK_S)
        return True
