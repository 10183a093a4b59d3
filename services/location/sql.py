"""SQL statements of location: fixes, states of guards, and recorded tracks."""

from __future__ import annotations

from sqlalchemy import text

from services.contracts.families import GUARD
from services.ingestion import bulk_insert
from services.platform.prepared_statements import PreparedStatement

COLUMNS = GUARD.columns
INSERT_FIXES = bulk_insert.insert_statement(
    GUARD.table,
    GUARD.source_column,
    COLUMNS,
    seen=True,
)

# Guards without a row are locked before all rows, so that two workers with a guard's first fixes
# take turns.
LOCK_NEWCOMERS = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('vigil guard ' || id, 0))"
    " FROM unnest(CAST(:ids AS text[])) AS id"
)
LOCK_STATES = PreparedStatement(
    """
    SELECT guard_id, belief, judged_at, uuid_send(judged_key) AS judged_key, violation_told, repeat_told_at,
           speeding_told, settles_at, clock, battery_low, jumps, jumps_told, recorded_at,
           received_at
    FROM guard_state WHERE guard_id = ANY(CAST(:ids AS text[])) ORDER BY guard_id FOR UPDATE
    """
)
STATE = {
    "guard_id": "text",
    "tenant_id": "int",
    "in_geofence": "bool",
    "geofence_violation": "bool",
    "belief": "bytea",
    "judged_at": "timestamptz",
    "judged_key": "uuid",
    "violation_told": "bool",
    "repeat_told_at": "timestamptz or null",
    "speeding_told": "text",
    "settles_at": "timestamptz or null",
    "clock": "bytea",
    "battery_low": "bool",
    "jumps": "real",
    "jumps_told": "bool",
}
EXPRESSIONS = {"speeding_told": "{}speeding_told::int[]", "clock": "nullif({}clock, '')"}
"""Columns of a state that are not sent in the form in which they are stored."""
MARKER = {
    "recorded_at": "timestamptz",
    "received_at": "timestamptz",
    "lat": "float8",
    "lon": "float8",
    "accuracy": "real",
    "speed": "real",
    "heading": "real",
}


def _unnested(types: dict[str, str]) -> str:
    arrays = ", ".join(f"CAST(:{name} AS {kind.removesuffix(' or null')}[])" for name, kind in types.items())
    return f"unnest({arrays}) AS t ({', '.join(types)})"


def _expression(name: str, prefix: str = "") -> str:
    return EXPRESSIONS.get(name, "{}" + name).format(prefix)


def _assigned(names: dict[str, str]) -> str:
    return ", ".join(f"{name} = {_expression(name, 't.')}" for name in names if name != "guard_id")


PUT_STATES = PreparedStatement(
    f"""
    INSERT INTO guard_state ({", ".join([*STATE, *MARKER])}, location)
    SELECT {", ".join(map(_expression, [*STATE, *MARKER]))},
           ST_SetSRID(ST_MakePoint(lon, lat), 4326)::geography
    FROM {_unnested(STATE | MARKER)} ORDER BY guard_id
    ON CONFLICT (guard_id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in [*STATE, *MARKER] if name != "guard_id")},
        location = excluded.location
    """  # noqa: S608 - names from our own code
)
# Without a plausible fix in its order, the marker stays where it is. A guard who never had such a
# fix has no row.
KEEP_STATES = PreparedStatement(
    f"""
    UPDATE guard_state s SET {_assigned(STATE)}
    FROM {_unnested(STATE)} WHERE s.guard_id = t.guard_id
    """  # noqa: S608 - names from our own code
)
# For guards whose new fixes are all of a time that their tenant does not want. These fixes teach
# about the clock, and are not kept.
PUT_CLOCKS = text(
    f"""
    UPDATE guard_state s SET clock = nullif(t.clock, '')
    FROM {_unnested({"guard_id": "text", "clock": "bytea"})} WHERE s.guard_id = t.guard_id
    """  # noqa: S608 - names from our own code
)
# The same rule as `shifts.on_shift`: a shift reaches its tolerance further on both sides.
ON_SHIFT = """
    EXISTS (SELECT FROM guard_shift d WHERE d.tenant_id = {tenant_id} AND d.guard_id = {guard_id}
            AND d.starts_at <= {at} + make_interval(secs => :tolerance_s)
            AND d.ends_at > {at} - make_interval(secs => :tolerance_s))
"""
SHIFTS_KEPT = """
    EXISTS (SELECT FROM guard_shift k WHERE k.tenant_id = {tenant_id} AND k.guard_id = {guard_id})
"""
OFF_SHIFT = PreparedStatement(
    f"""
    SELECT w.guard_id
    FROM unnest(CAST(:guard_id AS text[]), CAST(:tenant_id AS int[]), CAST(:at AS timestamptz[]))
         AS w (guard_id, tenant_id, at)
    WHERE {SHIFTS_KEPT.format(tenant_id="w.tenant_id", guard_id="w.guard_id")}
          AND NOT {ON_SHIFT.format(tenant_id="w.tenant_id", guard_id="w.guard_id", at="w.at")}
    """  # noqa: S608 - conditions of our own
)
# For guards without a judged state: the newest of their fixes that are not before the given ones.
NEWEST_RECORDED = text(
    """
    SELECT DISTINCT ON (w.guard_id) w.guard_id, l.recorded_at, l.message_key
    FROM unnest(CAST(:guard_id AS text[]), CAST(:tenant_id AS int[]), CAST(:recorded_at AS timestamptz[]))
         AS w (guard_id, tenant_id, recorded_at)
    JOIN mqtt_guard_location l ON l.tenant_id = w.tenant_id AND l.guard_id = w.guard_id
         AND l.recorded_at >= w.recorded_at
    ORDER BY w.guard_id, l.recorded_at DESC, l.message_key DESC
    """
)

TRANSITIONS = {
    "transition_id": "uuid",
    "tenant_id": "int",
    "guard_id": "text",
    "kind": "text",
    "zone_id": "int",
    "zone_version": "int",
    "at": "timestamptz",
    "confirmed_at": "timestamptz",
    "confirmed_key": "uuid",
    "late": "bool",
    "evidence": "text",
}
PUT_TRANSITIONS = text(
    f"""
    INSERT INTO zone_transition ({", ".join(TRANSITIONS)})
    SELECT {", ".join("evidence::jsonb" if name == "evidence" else name for name in TRANSITIONS)}
    FROM {_unnested(TRANSITIONS)}
    ON CONFLICT (transition_id) DO UPDATE SET superseded_at = NULL, zone_version = excluded.zone_version,
        evidence = excluded.evidence
    """  # noqa: S608 - names from our own code
)
SUPERSEDE = text(
    "UPDATE zone_transition SET superseded_at = :now WHERE transition_id = ANY(CAST(:ids AS uuid[]))"
)
STANDING = text(
    """
    SELECT DISTINCT ON (guard_id, kind, CASE WHEN kind = 'speeding_began' THEN zone_id END)
           guard_id, transition_id, kind, zone_id, zone_version, evidence
    FROM zone_transition
    WHERE (tenant_id, guard_id) IN (SELECT * FROM unnest(CAST(:tenant_id AS int[]), CAST(:guard_id AS text[])))
          AND kind IN ('violation_began', 'speeding_began') AND superseded_at IS NULL
    ORDER BY guard_id, kind, CASE WHEN kind = 'speeding_began' THEN zone_id END, confirmed_at DESC
    """
)

CHECKPOINTS = {
    "tenant_id": "int",
    "guard_id": "text",
    "recorded_at": "timestamptz",
    "message_key": "uuid",
    "belief": "bytea",
}
PUT_CHECKPOINTS = text(
    f"""
    INSERT INTO track_checkpoint ({", ".join(CHECKPOINTS)}) SELECT * FROM {_unnested(CHECKPOINTS)}
    ON CONFLICT (guard_id, recorded_at, message_key) DO UPDATE SET belief = excluded.belief
    """  # noqa: S608 - names from our own code
)
# The checkpoints from the last one before a position on.
SELECT_CHECKPOINTS = text(
    """
    SELECT c.guard_id, c.recorded_at, c.message_key, c.belief
    FROM unnest(CAST(:guard_id AS text[]), CAST(:recorded_at AS timestamptz[]), CAST(:message_key AS uuid[]))
         AS w (guard_id, recorded_at, message_key)
    JOIN track_checkpoint c ON c.guard_id = w.guard_id AND c.recorded_at >= coalesce(
        (SELECT max(p.recorded_at) FROM track_checkpoint p WHERE p.guard_id = w.guard_id
         AND (p.recorded_at, p.message_key) < (w.recorded_at, w.message_key)), w.recorded_at)
    ORDER BY c.guard_id, c.recorded_at, c.message_key
    """
)
PIECES = {
    "tenant_id": "int",
    "guard_id": "text",
    "from_at": "timestamptz",
    "from_key": "uuid",
    "to_at": "timestamptz",
    "to_key": "uuid",
}
RECORDED = text(
    f"""
    SELECT t.guard_id, l.message_key, l.recorded_at, l.received_at, l.lat, l.lon, l.accuracy::float8 AS accuracy,
           l.speed::float8 AS speed, l.mock, l.in_geofence, l.geofence_violation, i.reason, i.detail
    FROM {_unnested(PIECES)}
    JOIN mqtt_guard_location l ON l.tenant_id = t.tenant_id AND l.guard_id = t.guard_id
         AND l.recorded_at >= t.from_at AND l.recorded_at <= t.to_at
         AND (l.recorded_at, l.message_key) > (t.from_at, t.from_key)
         AND (l.recorded_at, l.message_key) <= (t.to_at, t.to_key)
    LEFT JOIN implausible_fix i USING (message_key)
    """  # noqa: S608 - names from our own code
)
RECORDED_TRANSITIONS = text(
    f"""
    SELECT t.guard_id, z.transition_id, z.superseded_at IS NOT NULL AS superseded, z.zone_version, z.confirmed_at,
           z.confirmed_key, z.evidence
    FROM {_unnested(PIECES)}
    JOIN zone_transition z ON z.tenant_id = t.tenant_id AND z.guard_id = t.guard_id
         AND (z.confirmed_at, z.confirmed_key) > (t.from_at, t.from_key)
         AND (z.confirmed_at, z.confirmed_key) <= (t.to_at, t.to_key)
    """  # noqa: S608 - names from our own code
)
MEND_FIXES = text(
    """
    UPDATE mqtt_guard_location l SET in_geofence = t.in_geofence, geofence_violation = t.geofence_violation
    FROM unnest(CAST(:tenant_id AS int[]), CAST(:guard_id AS text[]), CAST(:recorded_at AS timestamptz[]),
                CAST(:message_key AS uuid[]), CAST(:in_geofence AS bool[]), CAST(:geofence_violation AS bool[]))
         AS t (tenant_id, guard_id, recorded_at, message_key, in_geofence, geofence_violation)
    WHERE l.tenant_id = t.tenant_id AND l.guard_id = t.guard_id AND l.recorded_at = t.recorded_at
          AND l.message_key = t.message_key
    """
)
IMPLAUSIBLE = {
    "message_key": "uuid",
    "tenant_id": "int",
    "guard_id": "text",
    "recorded_at": "timestamptz",
    "reason": "text",
    "detail": "text",
}
PUT_IMPLAUSIBLE = text(
    f"""
    INSERT INTO implausible_fix ({", ".join(IMPLAUSIBLE)})
    SELECT {", ".join("detail::jsonb" if name == "detail" else name for name in IMPLAUSIBLE)}
    FROM {_unnested(IMPLAUSIBLE)}
    ON CONFLICT (message_key) DO UPDATE SET reason = excluded.reason, detail = excluded.detail
    """  # noqa: S608 - names from our own code
)
DROP_IMPLAUSIBLE = text("DELETE FROM implausible_fix WHERE message_key = ANY(CAST(:ids AS uuid[]))")

LOCK_SETTLING = text(
    f"""
    SELECT NOT {SHIFTS_KEPT.format(tenant_id="s.tenant_id", guard_id="s.guard_id")}
           OR {ON_SHIFT.format(tenant_id="s.tenant_id", guard_id="s.guard_id", at="now()")} AS on_shift,
           s.guard_id, s.tenant_id, g.site_id, s.belief, s.judged_at, s.judged_key, s.violation_told,
           s.repeat_told_at, s.speeding_told, s.lat, s.lon, s.accuracy, s.recorded_at, s.received_at,
           ARRAY(SELECT group_id FROM guard_group_member m
                 WHERE m.tenant_id = s.tenant_id AND m.guard_id = s.guard_id) AS groups
    FROM guard_state s LEFT JOIN guard g ON g.tenant_id = s.tenant_id AND g.guard_id = s.guard_id
    WHERE s.settles_at <= :now ORDER BY s.settles_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    """  # noqa: S608 - conditions of our own
)
NEXT_SETTLING = text("SELECT min(settles_at) FROM guard_state WHERE settles_at IS NOT NULL")
# Guards for whom a condition was reported, and whose shift is over. A tenant of replays lives in
# another time.
LOCK_SHIFT_OVER = text(
    f"""
    SELECT s.guard_id, s.tenant_id, g.site_id, s.judged_key, s.violation_told, s.repeat_told_at, s.speeding_told,
           s.lat, s.lon, s.accuracy
    FROM guard_state s
    JOIN tenant t ON t.tenant_id = s.tenant_id
    LEFT JOIN guard g ON g.tenant_id = s.tenant_id AND g.guard_id = s.guard_id
    WHERE (s.violation_told OR s.speeding_told <> '{{}}')
          AND {SHIFTS_KEPT.format(tenant_id="s.tenant_id", guard_id="s.guard_id")}
          AND NOT {ON_SHIFT.format(tenant_id="s.tenant_id", guard_id="s.guard_id", at="now()")}
          AND NOT coalesce(t.settings @> '{{"replay": true}}', false)
    ORDER BY s.guard_id LIMIT :limit FOR UPDATE OF s SKIP LOCKED
    """  # noqa: S608 - conditions of our own
)
PUT_SETTLED = text(
    """
    UPDATE guard_state SET violation_told = :violation, repeat_told_at = :repeat_at, speeding_told = :speeding,
        settles_at = NULL WHERE guard_id = :guard_id
    """
)
