"""SQL of alerts, statement by statement.

A partial unique index ensures one open alert per dedup key.
"""

from __future__ import annotations

from sqlalchemy import text

from services.alerts.rows import ALERT_COLUMNS
from services.platform.prepared_statements import PreparedStatement

RANKS = "ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']"


def rank(severity: str) -> str:
    """Return SQL for the rank of a severity: a number that grows with it."""
    return f"array_position({RANKS}, {severity})"


OPEN = "('NEW', 'ACKNOWLEDGED', 'IN_PROGRESS')"

_GRAVER = f"{rank('excluded.severity')} > {rank('a.severity')}"
_AFTER_CLEAR = "(a.cleared_at IS NOT NULL AND excluded.recorded_at > a.cleared_at)"
# The reason why a repeat notifies the contacts again. For a NEW alert, notification goes on
# already, unless its ladder has ended.
_BECAUSE = f"""CASE
                WHEN {_GRAVER} THEN 'graver'
                WHEN {_AFTER_CLEAR} AND (a.status <> 'NEW' OR NOT EXISTS (
                    SELECT FROM alert_timer t WHERE t.alert_id = a.alert_id)) THEN 'after_clear'
                WHEN :pressed AND excluded.received_at > a.called_at + make_interval(secs => :press_again_s)
                    THEN 'pressed_again'
                WHEN a.shelved_until IS NOT NULL AND :never_held_back THEN 'off_shelf' END"""
_AGAIN = f"({_BECAUSE}) IS NOT NULL"
_OFF_SHELF = f"({_GRAVER} OR :never_held_back)"
# On the shelf, the alert is NEW again. The timer that is there notifies the contacts at the end of
# the shelving.
_CALLS = f"({_AGAIN} AND (a.shelved_until IS NULL OR {_OFF_SHELF}))"

RE_RAISED_BECAUSE = {
    "graver": "severity increased",
    "after_clear": "condition began again",
    "pressed_again": "sent again",
    "off_shelf": "sent again while shelved",
}
"""Text of the timeline for an alert that is raised again, by `called_because`."""
_WORDS = " ".join(f"WHEN '{word}' THEN '{said}'" for word, said in RE_RAISED_BECAUSE.items())


def content_of(alert: str, *, at: str) -> str:
    """Return SQL for the people and place of an alert's row as JSON, at a time.

    The form is that of `contracts.people.People`. A device that a guard carries brings the guard.
    An alert without a site has the site of its guard or device.

    Args:
        alert: the name of the row, with tenant_id, source_id, carried_by and site_id.
        at: the time of the shift.
    """
    return f"""
    SELECT jsonb_build_object(
        'guard', CASE WHEN g.guard_id IS NOT NULL THEN jsonb_build_object(
            'guard_id', g.guard_id, 'name', g.name, 'enabled', g.enabled, 'site_id', g.site_id,
            'erased', g.registered_by = 'erasure',
            'profile', coalesce(gp.profile, '{{}}'), 'photo_sha256', gp.photo_sha256,
            'shift', (SELECT jsonb_build_object('starts_at', f.starts_at, 'ends_at', f.ends_at) FROM guard_shift f
                      WHERE f.tenant_id = g.tenant_id AND f.guard_id = g.guard_id
                        AND f.starts_at <= {at} AND f.ends_at > {at} LIMIT 1)) END,
        'device', CASE WHEN d.device_id IS NOT NULL THEN jsonb_build_object(
            'device_id', d.device_id, 'name', d.name, 'family', d.family,
            'profile', coalesce(dp.profile, '{{}}'), 'picture_sha256', dp.picture_sha256) END,
        'site', CASE WHEN s.site_id IS NOT NULL THEN jsonb_build_object(
            'site_id', s.site_id, 'name', s.name, 'time_zone', s.time_zone,
            'lat', ST_Y(s.location::geometry), 'lon', ST_X(s.location::geometry),
            'profile', coalesce(sp.profile, '{{}}')) END)
    FROM (SELECT) one
    LEFT JOIN guard g ON g.tenant_id = {alert}.tenant_id
        AND g.guard_id = coalesce({alert}.carried_by, {alert}.source_id)
    LEFT JOIN guard_profile gp ON gp.tenant_id = g.tenant_id AND gp.guard_id = g.guard_id
    LEFT JOIN device d ON d.tenant_id = {alert}.tenant_id AND d.device_id = {alert}.source_id
    LEFT JOIN device_profile dp ON dp.tenant_id = d.tenant_id AND dp.device_id = d.device_id
    LEFT JOIN site s ON s.tenant_id = {alert}.tenant_id
        AND s.site_id = coalesce({alert}.site_id, d.site_id, g.site_id)
    LEFT JOIN site_profile sp ON sp.tenant_id = s.tenant_id AND sp.site_id = s.site_id
    """


# One statement is one round trip. A message that was seen before changes nothing and returns no
# row. The former state of the open alert is read in the update itself, where its row is held: a
# snapshot could be older than another worker's commit.
MERGE = PreparedStatement(
    f"""
    WITH seen AS (
        INSERT INTO message_seen (message_key, received_at) VALUES (CAST(:key AS uuid), :received_at)
        ON CONFLICT DO NOTHING RETURNING message_key
    ),
    merged AS (
        INSERT INTO mqtt_device_alert AS a (
            alert_id, tenant_id, site_id, alert_type, severity, status, source_id, dedup_key, message, recorded_at,
            received_at, last_seen_at, location, silent, drill, clock_suspect, flags, raw_data,
            carried_by, called_at, occurrences, called_occurrence)
        SELECT CAST(:alert_id AS uuid), :tenant_id, :site_id, :alert_type, :severity, 'NEW', :source_id, :dedup_key,
               :message, :recorded_at, :received_at, :recorded_at,
               ST_SetSRID(ST_MakePoint(CAST(:lon AS float8), CAST(:lat AS float8)), 4326)::geography,
               :silent, :drill, :clock_suspect, :flags, CAST(:raw AS jsonb), :carried_by, :received_at,
               1 + :more, 1 + :more
        FROM (SELECT FROM seen UNION ALL SELECT WHERE :is_seen) AS new
        ON CONFLICT (tenant_id, dedup_key) WHERE status IN {OPEN} DO UPDATE SET
            occurrences = a.occurrences + 1 + :more,
            last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at),
            severity = CASE WHEN {_GRAVER} THEN excluded.severity ELSE a.severity END,
            status = CASE WHEN {_AGAIN} THEN 'NEW' ELSE a.status END,
            previous_holder = CASE WHEN {_AGAIN} THEN coalesce(a.acknowledged_by, a.previous_holder)
                                   ELSE a.previous_holder END,
            acknowledged_by = CASE WHEN {_AGAIN} THEN NULL ELSE a.acknowledged_by END,
            acknowledged_at = CASE WHEN {_AGAIN} THEN NULL ELSE a.acknowledged_at END,
            called_at = CASE WHEN {_CALLS} THEN greatest(a.called_at, excluded.received_at) ELSE a.called_at END,
            called_occurrence = CASE WHEN {_AGAIN} THEN a.occurrences + 1 + :more ELSE a.called_occurrence END,
            called_because = coalesce({_BECAUSE}, a.called_because),
            called_status = CASE WHEN {_AGAIN} THEN a.status ELSE a.called_status END,
            rounds = CASE WHEN {_CALLS} THEN a.rounds + 1 ELSE a.rounds END,
            shelved_until = CASE WHEN {_OFF_SHELF} THEN NULL ELSE a.shelved_until END,
            silent = a.silent OR excluded.silent,
            message = CASE WHEN :spoken AND NOT (:buffered AND excluded.recorded_at < a.last_seen_at)
                           THEN excluded.message ELSE a.message END,
            location = CASE WHEN :buffered AND excluded.recorded_at < a.last_seen_at
                            THEN coalesce(a.location, excluded.location)
                            ELSE coalesce(excluded.location, a.location) END,
            flags = ARRAY(SELECT DISTINCT unnest(a.flags || excluded.flags) ORDER BY 1),
            cleared_at = CASE WHEN {_AFTER_CLEAR} THEN NULL ELSE a.cleared_at END
        RETURNING {ALERT_COLUMNS}, xmax = 0 AS is_new
    ),
    occurrence AS (
        INSERT INTO alert_occurrence (message_key, alert_id, tenant_id, msg_id, topic, recorded_at, received_at,
                                      clock_suspect, flags, raw_data, unreadable)
        SELECT CAST(:key AS uuid), alert_id, tenant_id, :msg_id, :topic, :recorded_at, :received_at, :clock_suspect,
               :flags, CAST(:raw AS jsonb), :unreadable FROM merged
    ),
    people AS (
        INSERT INTO alert_people (alert_id, tenant_id, taken_at, content)
        SELECT alert_id, tenant_id, :now, ({content_of("merged", at=":now")}) FROM merged WHERE is_new
    ),
    timer AS (
        -- A new round: of a new alert, and of one that calls people again. No round before it had this number.
        INSERT INTO alert_timer AS t (alert_id, tenant_id, kind, round, due_at)
        SELECT alert_id, tenant_id, 'escalate', rounds, :now FROM merged
        WHERE called_occurrence = occurrences AND shelved_until IS NULL
        ON CONFLICT (alert_id) DO UPDATE SET kind = 'escalate', round = excluded.round, step = 0, due_at = :now
    ),
    line AS (
        INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, note)
        SELECT alert_id, tenant_id, :now, l.action, status, l.by, l.note
        FROM merged CROSS JOIN LATERAL (VALUES
            (1, CASE WHEN is_new THEN 'raised' ELSE 'repeated' END, :by, :note),
            (2, 're_raised', 'vigil', CASE called_because {_WORDS} ELSE '' END
                || coalesce('; acknowledged before by ' || previous_holder, ''))) AS l (place, action, by, note)
        WHERE l.place = 1 OR (NOT is_new AND called_occurrence = occurrences AND called_status <> 'NEW')
        ORDER BY l.place
        RETURNING entry_id, at AS line_at, action, status AS line_status, by, note
    )
    SELECT merged.*, line.* FROM merged, line ORDER BY entry_id
    """
)
# The first message of this identity, and the status of its alert (null: the alert is gone).
FIRST_OF_KEY = text(
    """
    SELECT s.received_at, a.status FROM message_seen s
    LEFT JOIN alert_occurrence o USING (message_key) LEFT JOIN mqtt_device_alert a USING (alert_id)
    WHERE s.message_key = CAST(:key AS uuid)
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
PEOPLE_OF_ALERT = text(f"""
    SELECT p.taken_at, p.content AS at_raise, ({content_of("a", at="now()")}) AS present
    FROM mqtt_device_alert a LEFT JOIN alert_people p USING (tenant_id, alert_id)
    WHERE a.tenant_id = :tenant_id AND a.alert_id = :alert_id
    """)
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
    UPDATE mqtt_device_alert SET status = :status, acknowledged_by = NULL, acknowledged_at = NULL,
        previous_holder = coalesce(acknowledged_by, previous_holder)
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
# Further messages behind an alert, besides the one that was merged into it. Their identities are
# seen already.
OCCURRENCES = {
    "message_key": "uuid",
    "msg_id": "text",
    "topic": "text",
    "recorded_at": "timestamptz",
    "received_at": "timestamptz",
    "clock_suspect": "bool",
    "flags": "text",
    "raw_data": "text",
    "unreadable": "text",
}
ADD_OCCURRENCES = text(
    f"""
    INSERT INTO alert_occurrence (message_key, alert_id, tenant_id, msg_id, topic, recorded_at, received_at,
                                  clock_suspect, flags, raw_data, unreadable)
    SELECT message_key, CAST(:alert_id AS uuid), :tenant_id, msg_id, topic, recorded_at, received_at, clock_suspect,
           ARRAY(SELECT json_array_elements_text(flags::json)), raw_data::jsonb, decode(unreadable, 'hex')
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in OCCURRENCES.items())})
         AS t ({", ".join(OCCURRENCES)})
    ON CONFLICT DO NOTHING
    """  # noqa: S608 - names from our own code
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
# One worker at a time for a condition. The worker that handles its beginning must see an end that
# another worker handles at the same time.
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

# Timers. A change of a timer needs the lock of its alert's row.
DUE = text("SELECT alert_id FROM alert_timer WHERE due_at <= :now ORDER BY due_at LIMIT :limit")
NEXT_DUE = text("SELECT min(due_at) FROM alert_timer")
# Both rows are locked. Of a row that is only read, a worker could see the state before another
# worker's commit.
LOCK_DUE = text(
    f"""
    SELECT {ALERT_COLUMNS}, t.kind, t.round, t.step, t.due_at
    FROM mqtt_device_alert a JOIN alert_timer t USING (tenant_id, alert_id)
    WHERE alert_id = CAST(:alert_id AS uuid) AND t.due_at <= :now FOR UPDATE OF a, t SKIP LOCKED
    """
)
TIMER_OF = text("SELECT kind, round, step, due_at FROM alert_timer WHERE alert_id = :alert_id")
# The alert remembers how many rounds there were. Its timer goes when somebody has it. A round with
# an old number would be taken for one that was notified already.
SET_TIMER = text(
    """
    WITH counted AS (
        UPDATE mqtt_device_alert SET rounds = :round WHERE alert_id = :alert_id AND rounds < :round
    )
    INSERT INTO alert_timer (alert_id, tenant_id, kind, round, step, due_at)
    VALUES (:alert_id, :tenant_id, :kind, :round, :step, :due_at)
    ON CONFLICT (alert_id) DO UPDATE SET kind = :kind, round = :round, step = :step, due_at = :due_at
    """
)
END_TIMER = text("DELETE FROM alert_timer WHERE alert_id = :alert_id")

# Contacts, rotas and policies that alerts use.
POLICIES = text(
    "SELECT policy FROM escalation_policy WHERE tenant_id = :tenant_id AND (site_id IS NULL OR site_id = :site_id)"
    " ORDER BY site_id NULLS LAST"
)
# The names that belong to ids and logins.
NAMES = text(
    """
    SELECT name FROM guard WHERE tenant_id = :tenant_id AND guard_id = ANY(:words)
    UNION ALL SELECT name FROM device WHERE tenant_id = :tenant_id AND device_id = ANY(:words)
    UNION ALL SELECT name FROM app_user WHERE tenant_id = :tenant_id AND login = ANY(:words)
    """
)
# Everybody whom a tenant can assign.
PEOPLE = text(
    """
    SELECT 'user' AS kind, login AS registered, name FROM app_user WHERE tenant_id = :tenant_id AND enabled
    UNION ALL SELECT 'guard', guard_id, name FROM guard WHERE tenant_id = :tenant_id AND enabled
    UNION ALL SELECT 'contact', name, name FROM contact WHERE tenant_id = :tenant_id
    UNION ALL SELECT DISTINCT 'operator', name, name FROM operator_presence
              WHERE tenant_id = :tenant_id AND minute > :since
    """
)
ASSIGNMENTS = text(
    "SELECT count(*) FROM alert_timeline WHERE tenant_id = :tenant_id AND alert_id = :alert_id AND action = 'assigned'"
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
# Members that another worker changes now are left out: two workers could wait for each other.
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
