"""SQL of alerts, statement by statement. The partial unique index holds that one alert a dedup key is open."""

from __future__ import annotations

from sqlalchemy import text

from services.alerts.records import ALERT_COLUMNS

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
            received_at, last_seen_at, location, silent, drill, clock_suspect, flags, raw_data,
            carried_by)
        SELECT CAST(:alert_id AS uuid), :tenant_id, :site_id, :alert_type, :severity, 'NEW', :source_id, :dedup_key,
               :message, :recorded_at, :received_at, :recorded_at,
               ST_SetSRID(ST_MakePoint(CAST(:lon AS float8), CAST(:lat AS float8)), 4326)::geography,
               :silent, :drill, :clock_suspect, :flags, CAST(:raw AS jsonb), :carried_by
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
FIND_BY_KEY = text(
    f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE alert_id ="
    " (SELECT alert_id FROM alert_occurrence WHERE message_key = CAST(:key AS uuid))"
)
SELECT_ONE = text(f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE alert_id = :alert_id")
SELECT_OF_TENANT = text(
    f"SELECT {ALERT_COLUMNS} FROM mqtt_device_alert WHERE alert_id = :id AND tenant_id = :tenant_id"
)
SELECT_LINES = text(
    "SELECT at AS line_at, action, status AS line_status, by, note FROM alert_timeline"
    " WHERE alert_id = :id ORDER BY entry_id"
)
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
    WHERE announced_at IS NULL AND at < :before AND alert_id = coalesce(CAST(:alert_id AS uuid), alert_id)
    ORDER BY entry_id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
TOLD = text("UPDATE alert_timeline SET announced_at = now() WHERE entry_id = ANY(:ids)")
FIRST_MESSAGE = text(
    "SELECT msg_id FROM alert_occurrence WHERE alert_id = :alert_id AND topic IS NOT NULL ORDER BY received_at LIMIT 1"
)
