"""SQL of alerts. The database itself holds that there is one open alert a dedup key, under any concurrency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Row, text

from services.admission import keep_rejected
from services.alerts.intake import Occurrence
from services.alerts.lifecycle import Action, step
from services.errors import NotFound
from services.messages import Alert, AlertStatus, AlertType, RejectedMessage, Severity, TimelineEntry
from services.providers import transaction

ALERT_COLUMNS = """
    alert_id, tenant_id, site_id, alert_type, severity, status, source_id, dedup_key, message, occurrences, recorded_at,
    received_at, last_seen_at, ST_Y(location::geometry) AS lat, ST_X(location::geometry) AS lon, silent, drill, flags,
    acknowledged_by, acknowledged_at, cleared_at, closed_at
"""
RANKS = "ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']"
OPEN = "('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS')"

# One statement, one round trip: a message seen before changes nothing and returns no row.
MERGE = text(
    f"""
    WITH seen AS (
        INSERT INTO message_seen (message_key, received_at) VALUES (CAST(:key AS uuid), :received_at)
        ON CONFLICT DO NOTHING RETURNING message_key
    ),
    merged AS (
        INSERT INTO mqtt_device_alert AS a (
            alert_id, tenant_id, site_id, alert_type, severity, status, source_id, dedup_key, message, recorded_at,
            received_at, last_seen_at, location, silent, drill, clock_suspect, flags, raw_data)
        SELECT CAST(:alert_id AS uuid), :tenant_id, :site_id, :alert_type, :severity, 'NEW', :source_id, :dedup_key,
               :message, :recorded_at, :received_at, :recorded_at,
               ST_SetSRID(ST_MakePoint(CAST(:lon AS float8), CAST(:lat AS float8)), 4326)::geography,
               :silent, :drill, :clock_suspect, :flags, CAST(:raw AS jsonb)
        FROM seen
        ON CONFLICT (tenant_id, dedup_key) WHERE status IN {OPEN} DO UPDATE SET
            occurrences = a.occurrences + 1,
            last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at),
            severity = CASE WHEN array_position({RANKS}, excluded.severity) > array_position({RANKS}, a.severity)
                            THEN excluded.severity ELSE a.severity END,
            location = coalesce(excluded.location, a.location),
            flags = ARRAY(SELECT DISTINCT unnest(a.flags || excluded.flags) ORDER BY 1),
            cleared_at = NULL
        RETURNING {ALERT_COLUMNS}, xmax = 0 AS is_new
    ),
    occurrence AS (
        INSERT INTO alert_occurrence (message_key, alert_id, tenant_id, msg_id, topic, recorded_at, received_at,
                                      clock_suspect, flags, raw_data, unreadable)
        SELECT CAST(:key AS uuid), alert_id, tenant_id, :msg_id, :topic, :recorded_at, :received_at, :clock_suspect,
               :flags, CAST(:raw AS jsonb), :unreadable FROM merged
    ),
    line AS (
        INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by)
        SELECT alert_id, tenant_id, :now, CASE WHEN is_new THEN 'raised' ELSE 'repeated' END, status, :by FROM merged
        RETURNING entry_id, at AS line_at, action, status AS line_status, by
    )
    SELECT merged.*, line.* FROM merged, line
    """
)
FIND_BY_KEY = text("SELECT alert_id FROM alert_occurrence WHERE message_key = CAST(:key AS uuid)")
SELECT_ONE = text(f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE alert_id = :alert_id")
LOCK_ONE = text(
    f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE alert_id = :alert_id AND tenant_id = :tenant_id FOR UPDATE"
)
SET_STATUS = text(
    f"""
    UPDATE mqtt_device_alert SET status = :status,
        acknowledged_by = CASE WHEN :human THEN coalesce(acknowledged_by, :by) ELSE acknowledged_by END,
        acknowledged_at = CASE WHEN :human THEN coalesce(acknowledged_at, :now) ELSE acknowledged_at END,
        closed_at = CASE WHEN :closed THEN CAST(:now AS timestamptz) END
    WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}
    """
)
CLEAR = text(
    f"""
    UPDATE mqtt_device_alert SET cleared_at = :at,
        status = CASE WHEN severity IN ('MEDIUM', 'LOW') THEN 'RESOLVED' ELSE status END,
        closed_at = CASE WHEN severity IN ('MEDIUM', 'LOW') THEN CAST(:now AS timestamptz) END
    WHERE tenant_id = :tenant_id AND dedup_key = :dedup_key AND status IN {OPEN} AND cleared_at IS NULL
          AND last_seen_at <= :at
    RETURNING {ALERT_COLUMNS}
    """
)
ADD_LINE = text(
    """
    INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, note)
    VALUES (:alert_id, :tenant_id, :at, :action, :status, :by, :note)
    RETURNING entry_id, at AS line_at, action, status AS line_status, by, note
    """
)
UNTOLD = text(
    """
    SELECT entry_id, alert_id, at AS line_at, action, status AS line_status, by, note FROM alert_timeline
    WHERE announced_at IS NULL AND at < :before ORDER BY entry_id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
TOLD = text("UPDATE alert_timeline SET announced_at = now() WHERE entry_id = ANY(:ids)")
FIRST_MESSAGE = text(
    "SELECT msg_id FROM alert_occurrence WHERE alert_id = :alert_id AND topic IS NOT NULL ORDER BY received_at LIMIT 1"
)


class Change(NamedTuple):
    """An alert after a change, and the timeline rows that are still to be told."""

    alert: Alert
    entry_ids: tuple[int, ...]
    is_new: bool


class AlertStore:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, occurrences: Sequence[Occurrence], *, now: datetime) -> list[Change | UUID | None]:
        """Merge occurrences in one transaction, in order.

        For each: the change it made; or, when it was seen before, the alert that it belongs to.
        """
        with transaction(self._engine) as connection:
            return [self._record(connection, occurrence, now) for occurrence in occurrences]

    def _record(self, connection: Connection, occurrence: Occurrence, now: datetime) -> Change | UUID | None:
        key = str(UUID(bytes=occurrence.key))
        values = {name: getattr(occurrence, name) for name in occurrence.__struct_fields__}
        values |= {"key": key, "alert_id": uuid4(), "now": now, "flags": list(occurrence.flags)}
        row = connection.execute(MERGE, values).one_or_none()
        if row is not None:
            return Change(alert_of(row, [line_of(row)]), (row.entry_id,), row.is_new)
        alert_id: UUID | None = connection.execute(FIND_BY_KEY, {"key": key}).scalar_one_or_none()
        return alert_id

    def act(
        self, action: Action, *, tenant_id: int, alert_id: str, by: str, note: str, now: datetime
    ) -> Change:
        """A person's step. Raises `NotFound`, `Conflict`. No entry ids when there was nothing to do."""
        with transaction(self._engine) as connection:
            row = connection.execute(
                LOCK_ONE, {"alert_id": as_uuid(alert_id), "tenant_id": tenant_id}
            ).one_or_none()
            if row is None:
                raise NotFound(f"no alert {alert_id}")
            taken = step(action, status=AlertStatus(row.status), by=by, acknowledged_by=row.acknowledged_by)
            if not taken.changes:
                return Change(alert_of(row, []), (), False)
            closed = taken.status in (AlertStatus.RESOLVED, AlertStatus.FALSE_ALARM)
            values = {"status": taken.status, "by": by, "now": now, "closed": closed, "human": True}
            changed = connection.execute(SET_STATUS, {**values, "alert_id": row.alert_id}).one()
            return self._with_line(connection, changed, action=action, by=by, note=note, now=now)

    def clear(
        self, *, tenant_id: int, dedup_key: str, at: datetime, note: str, now: datetime
    ) -> Change | None:
        """The condition is over: small alerts are resolved with it, graver ones wait for a person."""
        with transaction(self._engine) as connection:
            values = {"tenant_id": tenant_id, "dedup_key": dedup_key, "at": at, "now": now}
            row = connection.execute(CLEAR, values).one_or_none()
            if row is None:
                return None
            return self._with_line(connection, row, action="cleared", by="rule", note=note, now=now)

    def _with_line(
        self, connection: Connection, row: Row[Any], *, action: str, by: str, note: str, now: datetime
    ) -> Change:
        values = {"alert_id": row.alert_id, "tenant_id": row.tenant_id, "at": now, "action": action}
        line = connection.execute(ADD_LINE, {**values, "status": row.status, "by": by, "note": note}).one()
        return Change(alert_of(row, [line_of(line)]), (line.entry_id,), False)

    def tell_untold(self, tell: Callable[[Change], None], *, before: datetime, limit: int = 100) -> int:
        """Hand rows that nobody heard of to `tell`, alert by alert; each is told by one process only.

        What `tell` raises leaves the rows untold.
        """
        with transaction(self._engine) as connection:
            lines = connection.execute(UNTOLD, {"before": before, "limit": limit}).all()
            by_alert: dict[UUID, list[Row[Any]]] = {}
            for line in lines:
                by_alert.setdefault(line.alert_id, []).append(line)
            for alert_id, its_lines in by_alert.items():
                row = connection.execute(SELECT_ONE, {"alert_id": alert_id}).one()
                alert = alert_of(row, [line_of(line) for line in its_lines])
                ids = tuple(line.entry_id for line in its_lines)
                tell(Change(alert, ids, any(line.action == "raised" for line in its_lines)))
                connection.execute(TOLD, {"ids": list(ids)})
            return len(lines)

    def mark_told(self, entry_ids: Sequence[int]) -> None:
        with transaction(self._engine) as connection:
            connection.execute(TOLD, {"ids": list(entry_ids)})

    def first_msg_id(self, alert_id: str) -> tuple[bool, str | None]:
        """(whether a device sent this alert, the msg_id of its first message)."""
        with transaction(self._engine) as connection:
            row = connection.execute(FIRST_MESSAGE, {"alert_id": as_uuid(alert_id)}).one_or_none()
            return (False, None) if row is None else (True, row.msg_id)

    def get(self, *, tenant_id: int | None, alert_id: str) -> Alert:
        """One alert with its whole timeline. Raises `NotFound`. None as tenant: for Vigil itself."""
        query = text(
            f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert"
            " WHERE alert_id = :id AND tenant_id = coalesce(CAST(:tenant_id AS int), tenant_id)"
        )
        lines = text(
            "SELECT at AS line_at, action, status AS line_status, by, note FROM alert_timeline"
            " WHERE alert_id = :id ORDER BY entry_id"
        )
        with transaction(self._engine) as connection:
            values = {"id": as_uuid(alert_id), "tenant_id": tenant_id}
            row = connection.execute(query, values).one_or_none()
            if row is None:
                raise NotFound(f"no alert {alert_id}")
            return alert_of(row, [line_of(line) for line in connection.execute(lines, values)])

    def list_alerts(self, *, tenant_id: int, status: str, limit: int) -> list[Alert]:
        """Newest first. `status`: open, all, or one status."""
        wanted = {"open": f"status IN {OPEN}", "all": "true"}.get(status, "status = :status")
        query = text(
            f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND {wanted}"
            " ORDER BY received_at DESC LIMIT :limit"
        )
        with transaction(self._engine) as connection:
            found = connection.execute(query, {"tenant_id": tenant_id, "status": status, "limit": limit})
            return [alert_of(row, []) for row in found]

    def count_open(self) -> dict[str, int]:
        query = text(
            f"SELECT severity, count(*) FROM mqtt_device_alert WHERE status IN {OPEN} GROUP BY severity"
        )
        with transaction(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def keep_rejected(self, message: RejectedMessage) -> None:
        with transaction(self._engine) as connection:
            keep_rejected(connection, [message])


def as_uuid(text_form: str) -> UUID:
    """Raises `NotFound` for what is no alert id at all."""
    try:
        return UUID(text_form)
    except (ValueError, AttributeError, TypeError) as error:
        raise NotFound(f"no alert {text_form!r}") from error


def line_of(row: Row[Any]) -> TimelineEntry:
    note = getattr(row, "note", "")
    return TimelineEntry(row.line_at, row.action, AlertStatus(row.line_status), row.by, note)


def alert_of(row: Row[Any], lines: Sequence[TimelineEntry]) -> Alert:
    return Alert(
        id=str(row.alert_id),
        tenant_id=row.tenant_id,
        alert_type=AlertType(row.alert_type),
        severity=Severity(row.severity),
        status=AlertStatus(row.status),
        source_id=row.source_id,
        dedup_key=row.dedup_key,
        message=row.message,
        occurrences=row.occurrences,
        recorded_at=row.recorded_at,
        received_at=row.received_at,
        last_seen_at=row.last_seen_at,
        site_id=row.site_id,
        lat=row.lat,
        lon=row.lon,
        silent=row.silent,
        drill=row.drill,
        flags=tuple(row.flags),
        acknowledged_by=row.acknowledged_by,
        acknowledged_at=row.acknowledged_at,
        cleared_at=row.cleared_at,
        closed_at=row.closed_at,
        timeline=tuple(lines),
    )
