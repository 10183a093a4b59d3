"""SQL of alerts, statement by statement. The partial unique index holds that one alert a dedup key is open."""

from __future__ import annotations

from sqlalchemy import text

from services.alerts.records import ALERT_COLUMNS

RANKS = "ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']"


def rank(severity: str) -> str:
    """SQL: how grave a severity is, as a number that grows with it."""
    return f"array_position({RANKS}, {severity})"


OPEN = "('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS')"

# One statement, one round trip: a message seen before changes nothing and returns no row.
MERGE = text(
    f"""
    WITH seen AS (
        INSERT INTO message_seen (message_key, received_at) VALUES (CAST(:key AS uuid), :received_at)
        ON CONFLICT DO NOTHING RETURNING message_key
    ),
    before AS (
        SELECT severity FROM mqtt_device_alert
        WHERE tenant_id = :tenant_id AND dedup_key = :dedup_key AND status IN {OPEN}
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
            severity = CASE WHEN {rank("excluded.severity")} > {rank("a.severity")}
                            THEN excluded.severity ELSE a.severity END,
            shelved_until = CASE WHEN {rank("excluded.severity")} > {rank("a.severity")} THEN NULL
                                 ELSE a.shelved_until END,
            silent = a.silent OR excluded.silent,
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
    timer AS (
        -- Somebody is told of a new alert now, and of one that grew graver anew.
        INSERT INTO alert_timer AS t (alert_id, tenant_id, kind, due_at)
        SELECT alert_id, tenant_id, 'escalate', :now FROM merged
        WHERE is_new OR (status = 'NEW' AND {rank("severity")} > (SELECT {rank("severity")} FROM before))
        ON CONFLICT (alert_id) DO UPDATE SET kind = 'escalate', round = t.round + 1, step = 0, due_at = :now
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
        acknowledged_by = coalesce(acknowledged_by, :by),
        acknowledged_at = coalesce(acknowledged_at, :now),
        accepted_at = coalesce(accepted_at, :now),
        shelved_until = CASE WHEN :closed THEN NULL ELSE shelved_until END,
        false_alarm_reason = :reason,
        closed_at = CASE WHEN :closed THEN CAST(:now AS timestamptz) END
    WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}
    """
)
ASSIGN = text(
    f"UPDATE mqtt_device_alert SET assigned_to = :to WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}"
)
SHELVE = text(
    f"UPDATE mqtt_device_alert SET shelved_until = :until WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}"
)
EXPIRE = text(
    f"""
    UPDATE mqtt_device_alert SET status = :status, acknowledged_by = NULL, acknowledged_at = NULL
    WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}
    """
)
NOTIFIED = text(
    f"""
    UPDATE mqtt_device_alert SET notified_at = coalesce(notified_at, CASE WHEN :reached THEN :now END)
    WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}
    """
)
SEE = text(
    "INSERT INTO message_seen (message_key, received_at) VALUES (CAST(:key AS uuid), :now) ON CONFLICT DO NOTHING"
)
CLEAR = text(
    f"""
    UPDATE mqtt_device_alert SET cleared_at = :at,
        status = CASE WHEN severity IN ('MEDIUM', 'LOW') THEN 'RESOLVED' ELSE status END,
        closed_at = CASE WHEN severity IN ('MEDIUM', 'LOW') THEN CAST(:now AS timestamptz) END,
        shelved_until = CASE WHEN severity IN ('MEDIUM', 'LOW') THEN NULL ELSE shelved_until END
    WHERE tenant_id = :tenant_id AND dedup_key = :dedup_key AND status IN {OPEN} AND cleared_at IS NULL
          AND last_seen_at <= :at
    RETURNING {ALERT_COLUMNS}
    """
)
# One worker at a time for a condition: whoever hears of its beginning must see an end that another is just told of.
LOCK_CONDITION = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('vigil condition ' || :tenant_id || ' ' || :dedup_key, 0))"
)
REMEMBER_CLEAR = text(
    """
    INSERT INTO condition_clear AS c (tenant_id, dedup_key, cleared_at, note)
    VALUES (:tenant_id, :dedup_key, :at, :note)
    ON CONFLICT (tenant_id, dedup_key) DO UPDATE SET cleared_at = excluded.cleared_at, note = excluded.note,
        heard_at = now() WHERE c.cleared_at < excluded.cleared_at
    """
)
CLEARED_SINCE = text(
    "SELECT cleared_at, note FROM condition_clear"
    " WHERE tenant_id = :tenant_id AND dedup_key = :dedup_key AND cleared_at >= :at"
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
FRAMED = text(
    "UPDATE mqtt_device_alert SET frame_id = :frame_id WHERE alert_id = CAST(:alert_id AS uuid) AND frame_id IS NULL"
)
SHOWN = text(
    """
    UPDATE mqtt_device_alert SET shown_at = :at
    WHERE tenant_id = :tenant_id AND frame_id = :frame_id AND shown_at IS NULL AND received_at > :since
    """
)

# Timers: whoever changes one holds its alert's row.
DUE = text("SELECT alert_id FROM alert_timer WHERE due_at <= :now ORDER BY due_at LIMIT :limit")
# Both rows are locked: of a row that is only read, a worker could see the state before another one's commit.
LOCK_DUE = text(
    f"""
    SELECT {ALERT_COLUMNS}, t.kind, t.round, t.step, t.due_at
    FROM mqtt_device_alert a JOIN alert_timer t USING (tenant_id, alert_id)
    WHERE alert_id = CAST(:alert_id AS uuid) AND t.due_at <= :now FOR UPDATE OF a, t SKIP LOCKED
    """
)
TIMER_OF = text("SELECT kind, round, step, due_at FROM alert_timer WHERE alert_id = :alert_id")
SET_TIMER = text(
    """
    INSERT INTO alert_timer (alert_id, tenant_id, kind, round, step, due_at)
    VALUES (:alert_id, :tenant_id, :kind, :round, :step, :due_at)
    ON CONFLICT (alert_id) DO UPDATE SET kind = :kind, round = :round, step = :step, due_at = :due_at
    """
)
END_TIMER = text("DELETE FROM alert_timer WHERE alert_id = :alert_id")

# Whom policies can name.
POLICIES = text(
    "SELECT policy FROM escalation_policy WHERE tenant_id = :tenant_id AND (site_id IS NULL OR site_id = :site_id)"
    " ORDER BY site_id NULLS LAST"
)
CONTACTS = text(
    "SELECT name, site_id, email, phone, push_token, url, language FROM contact"
    " WHERE tenant_id = :tenant_id ORDER BY name"
)
ROTAS = text("SELECT name, rota FROM rota WHERE tenant_id = :tenant_id")
SITE = text("SELECT name, time_zone FROM site WHERE tenant_id = :tenant_id AND site_id = :site_id")

# A storm: alerts of one site, one worker at a time for each site.
LOCK_SITE = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('vigil storm', 0) # CAST(:site_id AS bigint))"
)
IN_WINDOW = text(
    """
    SELECT count(*) FROM mqtt_device_alert
    WHERE tenant_id = :tenant_id AND site_id = :site_id AND received_at > :since AND NOT alert_type = ANY(:exempt)
    """
)
OPEN_GROUP = text(
    "SELECT group_id, severity FROM alert_group"
    " WHERE tenant_id = :tenant_id AND site_id = :site_id AND last_at > :since ORDER BY last_at DESC LIMIT 1"
)
NEW_GROUP = text(
    f"""
    INSERT INTO alert_group (group_id, tenant_id, site_id, opened_at, last_at, severity)
    SELECT :group_id, :tenant_id, :site_id, :now, :now,
           (ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'])[max({rank("severity")})]
    FROM mqtt_device_alert
    WHERE tenant_id = :tenant_id AND site_id = :site_id AND received_at > :since AND alert_id <> :alert_id
          AND NOT alert_type = ANY(:exempt)
    RETURNING group_id, severity
    """
)
# Members that somebody is just changing are left out: waiting for them could be waiting for one another.
GATHER = text(
    """
    UPDATE mqtt_device_alert SET group_id = :group_id WHERE alert_id IN (
        SELECT alert_id FROM mqtt_device_alert
        WHERE tenant_id = :tenant_id AND site_id = :site_id AND received_at > :since AND group_id IS NULL
              AND NOT alert_type = ANY(:exempt)
        FOR UPDATE SKIP LOCKED)
    """
)
JOIN_GROUP = text(
    f"UPDATE mqtt_device_alert SET group_id = :group_id WHERE alert_id = :alert_id RETURNING {ALERT_COLUMNS}"
)
GROW_GROUP = text(
    f"""
    UPDATE alert_group SET last_at = :now,
        severity = CASE WHEN {rank(":severity")} > {rank("severity")} THEN :severity ELSE severity END
    WHERE group_id = :group_id
    """
)
HUSH = text("UPDATE alert_timer SET due_at = :until WHERE alert_id = :alert_id AND kind = 'escalate'")
FIRST_MESSAGE = text(
    "SELECT msg_id FROM alert_occurrence WHERE alert_id = :alert_id AND topic IS NOT NULL ORDER BY received_at LIMIT 1"
)
MEMBERS = text(
    "SELECT alert_id, status FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND group_id = :group_id"
    " ORDER BY received_at"
)
