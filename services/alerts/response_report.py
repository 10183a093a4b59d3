"""Figures about the handling of alerts: response times, operators' load, delivery of notifications.

Answer times count from `received_at`, when Vigil had the alarm, to the first acknowledgement by a
human. The limits of 10 s and 40 s follow the demands on an alarm receiving centre. EN 50518 demands
that 80 % of hold-up alarms are answered within 30 s and 98.5 % within 60 s. Vigil's limits are
stricter, and the report also gives the percentiles. Alarms per operator-hour is the measure of
EEMUA 191 and ANSI/ISA-18.2: about 6 an hour are likely to be acceptable.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from services.contracts.errors import Refused
from services.platform.database import Database

LONGEST = timedelta(days=400)

ALERTS = text(
    """
    SELECT severity, drill, count(*) AS raised,
           count(accepted_at) AS accepted,
           count(*) FILTER (WHERE accepted_at - received_at <= interval '10 s') AS accepted_within_10_s,
           count(*) FILTER (WHERE accepted_at - received_at <= interval '40 s') AS accepted_within_40_s,
           count(*) FILTER (WHERE status = 'FALSE_ALARM') AS false_alarms,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM shown_at - received_at)) AS shown_p50_s,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM shown_at - received_at)) AS shown_p95_s,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM notified_at - received_at)) AS notified_p50_s,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM accepted_at - received_at)) AS accepted_p50_s,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM accepted_at - received_at))
               AS accepted_p95_s,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM closed_at - received_at)) AS resolved_p50_s
    FROM mqtt_device_alert
    WHERE tenant_id = :tenant_id AND received_at >= :since AND received_at < :until
    GROUP BY severity, drill
    ORDER BY drill, array_position(ARRAY['CRITICAL', 'HIGH', 'MEDIUM', 'LOW'], severity)
    """
)
DELIVERY = text(
    """
    SELECT channel, drill, count(*) AS made,
           count(*) FILTER (WHERE accepted_at IS NOT NULL) AS accepted,
           count(*) FILTER (WHERE state = 'delivered') AS delivered,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'unknown') AS unknown,
           count(*) FILTER (WHERE state = 'withdrawn') AS withdrawn,
           count(*) FILTER (WHERE state IN ('pending', 'attempting')) AS under_way,
           count(*) FILTER (WHERE possible_duplicate) AS possible_duplicates,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM accepted_at - created_at)) AS accepted_p95_s
    FROM notification
    WHERE tenant_id = :tenant_id AND created_at >= :since AND created_at < :until
    GROUP BY channel, drill ORDER BY drill, channel
    """
)
PRESENCE = text(
    "SELECT count(*) AS minutes, count(DISTINCT name) AS operators FROM operator_presence"
    " WHERE tenant_id = :tenant_id AND minute >= :since AND minute < :until"
)
NOTE_PRESENCE = text(
    "INSERT INTO operator_presence (tenant_id, minute, name)"
    " SELECT :tenant_id, date_trunc('minute', CAST(:now AS timestamptz)), unnest(CAST(:names AS text[]))"
    " ON CONFLICT DO NOTHING"
)


class ResponseReport(msgspec.Struct, frozen=True):
    """Rows by severity and by channel. `drills` holds the same of drills alone.

    Attributes:
        operator_hours: hours with an open session in the control room, added up over the operators.
        alarms_per_operator_hour: None when no operator was present.
    """

    tenant_id: int
    since: datetime
    until: datetime
    alerts: list[dict[str, Any]]
    delivery: list[dict[str, Any]]
    drills: dict[str, list[dict[str, Any]]]
    operators: int
    operator_hours: float
    alarms_per_operator_hour: float | None


class ReportStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def note_presence(self, *, tenant_id: int, names: Sequence[str], now: datetime) -> None:
        with self._database.of(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "now": now, "names": sorted(set(names))}
            connection.execute(NOTE_PRESENCE, values)

    def report(self, *, tenant_id: int, since: datetime, until: datetime) -> ResponseReport:
        """Return the figures of a time range. Raises `Refused` for an invalid range."""
        if not since < until or until - since > LONGEST:
            raise Refused(f"until must be after since, and at most {LONGEST.days} days after it")

        values = {"tenant_id": tenant_id, "since": since, "until": until}
        with self._database.of(tenant_id) as connection:
            alerts = _rows(connection, ALERTS, values)
            delivery = _rows(connection, DELIVERY, values)
            presence = connection.execute(PRESENCE, values).one()

        hours = presence.minutes / 60
        raised = sum(row["raised"] for row in alerts if not row["drill"])
        return ResponseReport(
            tenant_id,
            since,
            until,
            alerts=_part(alerts, drill=False),
            delivery=_part(delivery, drill=False),
            drills={"alerts": _part(alerts, drill=True), "delivery": _part(delivery, drill=True)},
            operators=presence.operators,
            operator_hours=round(hours, 2),
            alarms_per_operator_hour=round(raised / hours, 2) if hours else None,
        )


def _rows(connection: Connection, query: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows with seconds as floats with milliseconds; None where nothing was measured."""
    return [
        {
            name: round(float(value), 3)
            if name.endswith("_s") and value is not None and "_p" in name
            else value
            for name, value in row._mapping.items()
        }
        for row in connection.execute(query, values)
    ]


def _part(rows: list[dict[str, Any]], *, drill: bool) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "drill"} for row in rows if row["drill"] is drill]
