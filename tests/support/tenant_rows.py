"""Rows of a tenant in every table that has a tenant.

Each row contains a word of that tenant alone.
"""

from __future__ import annotations

import json
import os
from uuid import uuid4

from sqlalchemy import Connection, text

FIELD = {
    "mqtt_device_telemetry": ("device_id", "", ""),
    "mqtt_guard_location": (
        "guard_id",
        ", lat, lon, mock, in_geofence, geofence_violation",
        ", 12, 77, false, true, false",
    ),
    "mqtt_sensor_reading": ("sensor_id", ", kind, type", ", 'reading', 'SMOKE'"),
    "mqtt_system_health": ("system_id", "", ""),
}


def word_of(tenant_id: int) -> str:
    """Return the word that every row of the tenant contains, and no row of another tenant."""
    return f"only-{tenant_id}-sees"


def fill(connection: Connection, tenant_id: int) -> dict[str, str]:
    """Write one row into every tenant table, and return the ids by name.

    Needs the owner's rights.
    """
    word = word_of(tenant_id)
    guard, device, alert, session = f"guard-{word}", f"device-{word}", str(uuid4()), str(uuid4())
    values = {"t": tenant_id, "w": word, "guard": guard, "device": device, "alert": alert, "session": session}

    def run(statement: str, **further: object) -> object:
        result = connection.execute(text(statement), {**values, **further})
        return result.scalar_one() if result.returns_rows else None

    run("INSERT INTO tenant (tenant_id, name) VALUES (:t, :w)")
    site = run("INSERT INTO site (tenant_id, name) VALUES (:t, :w) RETURNING site_id")
    zone = run(
        "INSERT INTO zone (tenant_id, site_id, name, area, radius_m) VALUES (:t, :site, :w, 'POINT(77 12)', 50)"
        " RETURNING zone_id",
        site=site,
    )
    run("INSERT INTO guard (guard_id, tenant_id, site_id, name) VALUES (:guard, :t, :site, :w)", site=site)
    run("INSERT INTO device (device_id, tenant_id, name, family) VALUES (:device, :t, :w, 'device')")
    user = run(
        "INSERT INTO app_user (tenant_id, login, name, role, password_hash)"
        " VALUES (:t, :w, :w, 'operator', :w) RETURNING user_id"
    )
    group = run("INSERT INTO guard_group (tenant_id, name) VALUES (:t, :w) RETURNING group_id")
    run("INSERT INTO guard_group_member (tenant_id, group_id, guard_id) VALUES (:t, :g, :guard)", g=group)
    contact = run("INSERT INTO contact (tenant_id, name, email) VALUES (:t, :w, :w) RETURNING contact_id")
    run(
        "INSERT INTO rule_override (tenant_id, site_id, rule, change)"
        " VALUES (:t, :site, 'battery', jsonb_build_object('message', CAST(:w AS text)))",
        site=site,
    )
    run(
        "INSERT INTO device_carrier (tenant_id, device_id, guard_id, since) VALUES (:t, :device, :guard, now())"
    )
    run(
        "INSERT INTO user_session (session_id, tenant_id, user_id, expires_at, revoked_why)"
        " VALUES (CAST(:session AS uuid), :t, :user, now() + interval '1 day', :w)",
        user=user,
    )
    run(
        "INSERT INTO refresh_token (token_hash, tenant_id, session_id)"
        " VALUES (convert_to(:w, 'UTF8'), :t, CAST(:session AS uuid))"
    )
    run("INSERT INTO barred_subject (tenant_id, issuer, subject, by) VALUES (:t, 'vigil', :w, :w)")
    run(
        "INSERT INTO owed_event (tenant_id, service, event, sources, body, owed_at)"
        " VALUES (:t, 'telemetry', 'alert_condition_met', ARRAY[:device], convert_to(:w, 'UTF8'), 'infinity')"
    )
    for table, (source, columns, literals) in FIELD.items():
        run(
            f"INSERT INTO {table} (tenant_id, {source}, message_key, recorded_at, received_at, clock_suspect, quality,"
            f" raw_data{columns}) VALUES (:t, :w, CAST(:key AS uuid), now(), now(), false, '{{}}', '{{}}'{literals})",
            key=str(uuid4()),
        )
    run(
        "INSERT INTO guard_state (guard_id, tenant_id, recorded_at, received_at, location, lat, lon, in_geofence,"
        " geofence_violation) VALUES (:guard, :t, now(), now(), 'POINT(77 12)', 12, 77, true, false)"
    )
    run(
        "INSERT INTO source_state (source_id, tenant_id, family, recorded_at, received_at, reading)"
        " VALUES (:device, :t, 'device', now(), now(), '{}')"
    )
    run(
        "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id, dedup_key,"
        " message, recorded_at, received_at, last_seen_at)"
        " VALUES (CAST(:alert AS uuid), :t, 'PANIC', 'CRITICAL', 'NEW', :guard,"
        " :w, :w, now(), now(), now())"
    )
    run(
        "INSERT INTO alert_occurrence (message_key, alert_id, tenant_id, msg_id, recorded_at, received_at)"
        " VALUES (CAST(:key AS uuid), CAST(:alert AS uuid), :t, :w, now(), now())",
        key=str(uuid4()),
    )
    run(
        "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, announced_at)"
        " VALUES (CAST(:alert AS uuid), :t, now(), 'raised', 'NEW', :w, now())"
    )
    # The chain is written at commit. Here it is written at once, because its hash is this tenant's
    # word in `timeline_head`.
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("SET CONSTRAINTS ALL DEFERRED")
    line_hash = run("SELECT encode(hash, 'hex') FROM timeline_head WHERE tenant_id = :t")
    run(
        "INSERT INTO timeline_erased (tenant_id, seq, prev_hash, hash, digest)"
        " VALUES (:t, 0, '', '', convert_to(:w, 'UTF8'))"
    )
    notification = run(
        "INSERT INTO notification (tenant_id, alert_id, channel, recipient, state, body, created_at)"
        " VALUES (:t, CAST(:alert AS uuid), 'email', :w, 'accepted', :w, now()) RETURNING notification_id"
    )
    run(
        "INSERT INTO notification_attempt (notification_id, tenant_id, number, provider, started_at)"
        " VALUES (:n, :t, 1, :w, now())",
        n=notification,
    )
    run(
        "INSERT INTO alert_timer (alert_id, tenant_id, kind, due_at)"
        " VALUES (CAST(:alert AS uuid), :t, 'escalate', 'infinity')"
    )
    run(
        "INSERT INTO alert_group (group_id, tenant_id, site_id, opened_at, last_at, severity)"
        " VALUES (CAST(:key AS uuid), :t, :site, now(), now(), :w)",
        key=str(uuid4()),
        site=site,
    )
    run(
        "INSERT INTO escalation_policy (tenant_id, site_id, policy, changed_by) VALUES (:t, :site, '{}', :w)",
        site=site,
    )
    run("INSERT INTO rota (tenant_id, name, rota) VALUES (:t, :w, '{}')")
    run(
        "INSERT INTO message_template (tenant_id, channel, language, part, source)"
        " VALUES (:t, 'sms', 'en', 'text', :w)"
    )
    run("INSERT INTO operator_presence (tenant_id, minute, name) VALUES (:t, now(), :w)")
    run("INSERT INTO retention_policy (tenant_id, class, days) VALUES (:t, :w, 7)")
    run(
        "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at)"
        " VALUES (:t, :guard, now(), now() + interval '8 hours')"
    )
    key = str(uuid4())
    run(
        "INSERT INTO zone_transition (transition_id, tenant_id, guard_id, kind, zone_id, zone_version, at,"
        " confirmed_at, evidence)"
        " VALUES (CAST(:key AS uuid), :t, :guard, 'entered', :zone, 1, now(), now(), CAST(:evidence AS jsonb))",
        key=key,
        zone=zone,
        evidence=json.dumps({"rule": "schedule", "fixes": [], "count": 0, "zone_name": word}),
    )
    run(
        "INSERT INTO track_checkpoint (tenant_id, guard_id, recorded_at, message_key, belief)"
        " VALUES (:t, :guard, now(), CAST(:key AS uuid), '')",
        key=key,
    )
    run(
        "INSERT INTO implausible_fix (message_key, tenant_id, guard_id, recorded_at, reason, detail)"
        " VALUES (CAST(:key AS uuid), :t, :guard, now(), 'mock', '{}')",
        key=key,
    )
    run("INSERT INTO guard_silence (guard_id, tenant_id, since) VALUES (:guard, :t, now())")
    run("INSERT INTO condition_clear (tenant_id, dedup_key, cleared_at, note) VALUES (:t, :w, now(), :w)")
    run(
        "INSERT INTO erasure (erasure_id, tenant_id, kind, pseudonym, counts)"
        " VALUES (CAST(:key AS uuid), :t, 'guard', :w, '{}')",
        key=str(uuid4()),
    )
    run(
        "INSERT INTO rejected_message (message_key, topic, payload, reason, received_at, tenant_id)"
        " VALUES (CAST(:key AS uuid), :w, :payload, 'broken_json', now(), :t)",
        key=str(uuid4()),
        payload=os.urandom(8),
    )
    run(
        "INSERT INTO alert_hold (alert_id, tenant_id, reason, placed_by)"
        " VALUES (CAST(:alert AS uuid), :t, :w, :w)"
    )
    run(
        "INSERT INTO alert_track (tenant_id, alert_id, message_key, guard_id, recorded_at, received_at, clock_suspect,"
        " lat, lon, mock, in_geofence, geofence_violation)"
        " VALUES (:t, CAST(:alert AS uuid), CAST(:key AS uuid), :guard,"
        " now(), now(), false, 12, 77, false, true, false)",
        key=str(uuid4()),
    )
    ids = {"site_id": site, "zone_id": zone, "user_id": user, "group_id": group, "contact_id": contact}
    ids["line_hash"] = line_hash
    run(
        "INSERT INTO guard_profile (tenant_id, guard_id, profile, changed_by)"
        " VALUES (:t, :guard, jsonb_build_object('call_sign', CAST(:w AS text)), :w)"
    )
    run(
        "INSERT INTO site_profile (tenant_id, site_id, profile, changed_by)"
        " VALUES (:t, :site, jsonb_build_object('address', CAST(:w AS text)), :w)",
        site=site,
    )
    run(
        "INSERT INTO device_profile (tenant_id, device_id, profile, changed_by)"
        " VALUES (:t, :device, jsonb_build_object('mounted_at', CAST(:w AS text)), :w)"
    )
    run(
        "INSERT INTO profile_change (tenant_id, kind, subject, by, before, after)"
        " VALUES (:t, 'guard', :guard, :w, '{}', '{}')"
    )
    run(
        "INSERT INTO alert_people (alert_id, tenant_id, taken_at, content)"
        " VALUES (CAST(:alert AS uuid), :t, now(), jsonb_build_object('guard', jsonb_build_object("
        "'guard_id', CAST(:guard AS text), 'name', CAST(:w AS text), 'enabled', true, 'site_id', null)))"
    )
    return {"guard_id": guard, "device_id": device, "alert_id": alert, "session_id": session} | {
        name: str(value) for name, value in ids.items()
    }


TENANT_TABLES = text(
    "SELECT c.table_name FROM information_schema.columns c JOIN pg_class p ON p.relname = c.table_name"
    " WHERE c.table_schema = current_schema() AND c.column_name = 'tenant_id' AND NOT p.relispartition"
    " AND p.relnamespace = current_schema()::regnamespace ORDER BY 1"
)


def tenant_tables(connection: Connection) -> list[str]:
    """Return every table that has a tenant, independent of the migrations."""
    return list(connection.execute(TENANT_TABLES).scalars())


def fingerprint(connection: Connection, tenant_id: int) -> dict[str, str]:
    """Return a digest of all rows of a tenant, table by table.

    A foreign change would show in it.
    """
    return {
        table: connection.execute(
            text(
                f"SELECT coalesce(md5(string_agg(r::text, '|' ORDER BY r::text)), '') FROM {table} r"
                " WHERE tenant_id = :tenant"
            ),
            {"tenant": tenant_id},
        ).scalar_one()
        for table in tenant_tables(connection)
    }
