"""Conversion of alerts' rows into the message types of services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from services.contracts.events import Alert, AlertStatus, AlertType, Severity, TimelineEntry

ALERT_COLUMNS = """
    alert_id, tenant_id, site_id, alert_type, severity, status, source_id, dedup_key, message, occurrences, recorded_at,
    received_at, last_seen_at, ST_Y(location::geometry) AS lat, ST_X(location::geometry) AS lon, silent, drill, flags,
    carried_by, acknowledged_by, acknowledged_at, cleared_at, closed_at, assigned_to, shelved_until,
    false_alarm_reason, group_id, shown_at, notified_at, accepted_at, previous_holder, rounds, called_at,
    called_occurrence, called_because, called_status
"""


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
        carried_by=row.carried_by,
        acknowledged_by=row.acknowledged_by,
        acknowledged_at=row.acknowledged_at,
        cleared_at=row.cleared_at,
        closed_at=row.closed_at,
        timeline=tuple(lines),
        assigned_to=row.assigned_to,
        shelved_until=row.shelved_until,
        false_alarm_reason=row.false_alarm_reason,
        group_id=None if row.group_id is None else str(row.group_id),
        shown_at=row.shown_at,
        notified_at=row.notified_at,
        accepted_at=row.accepted_at,
        previous_holder=row.previous_holder,
    )
