"""Rights of each process at the servers, and the secrets that it is given. Pure.

This is the only declaration: a process may do nothing that is not declared here. These are made
from it, or a test compares them with it:

- database roles and grants (`ops.servers.postgres_grants`)
- RabbitMQ users (`ops.servers.rabbitmq_users`)
- Redis users (`ops.servers.redis_users`)
- secret files, units and containers.

To give a process a new right:

1. Add it to the process's entry in `PRIVILEGES`: a table with its privileges, an event, an RPC, a
   Redis key.
2. Run `vigil migrate up`, which brings the grants to the declaration. A running development stack
   takes the users of RabbitMQ and Redis at its next start. In an installation, run
   `ops/install/install.sh` again.
3. A new process needs an entry here and in `ops.processes`, and its database roles in a migration.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from services.contracts.families import BATCHED, TELEMETRY
from services.notifications.channels.sms_providers import secrets_of

Access = Literal["tenant", "ingest", "login"]
"""Rows that a role sees: those of one tenant, of the pipeline of field messages, or of the log-in.

See ADR 7.
"""
ACCESSES: tuple[Access, ...] = get_args(Access)

Grants = Mapping[str, str]
"""Table to privileges in the words of GRANT, with columns in parentheses."""

OWN_URLS = ("DATABASE_URL", "AMQP_URI", "REDIS_URL")
"""Secrets that differ for each process: address, login and password of a server."""


class RedisRights(NamedTuple):
    """Rights in Redis: keys (after the prefix) to read, keys to read and write, and commands."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class ProcessPrivileges(NamedTuple):
    """All rights of one process.

    Every process may also send its own heartbeats.

    Attributes:
        consumes: (service, event, handler) of the events that it takes.
        publishes: event types of its own service.
        calls: service to methods that it may call.
        serves_api: it may also call the RPCs of every operation of the HTTP API
            (`gateway.noc.api.operations.all_operations`).
        hears_heartbeats: it hears the heartbeats of all processes.
        shares_shards: it takes events by shard, and hears the heartbeats of its own service.
        checks_servers: it publishes test messages that have no receiver.
    """

    service: str
    tables: Mapping[Access, Grants] = MappingProxyType({})
    functions: Mapping[Access, tuple[str, ...]] = MappingProxyType({})
    consumes: tuple[tuple[str, str, str], ...] = ()
    publishes: tuple[str, ...] = ()
    serves_rpc: bool = False
    calls: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    serves_api: bool = False
    settles_dead_letters: bool = False
    hears_heartbeats: bool = False
    shares_shards: bool = False
    checks_servers: bool = False
    redis: RedisRights | None = None
    secrets: frozenset[str] = frozenset()


# Tables that `services.ingestion.source_registry` reads, and that open registration adds rows to.
REGISTRY = {
    "registry_version": "SELECT",
    "tenant": "SELECT",
    "guard": "SELECT, INSERT",
    "device": "SELECT, INSERT",
    "source_id": "SELECT, INSERT",
    "device_carrier": "SELECT",
    "guard_group_member": "SELECT",
    "guard_shift": "SELECT",
}
# Tables that `services.ingestion` writes, for both domains that take messages in batches.
BATCHES = {
    "message_seen": "SELECT, INSERT",
    "owed_event": "SELECT, INSERT, UPDATE (owed_at), DELETE",
    "road_heard": "SELECT, INSERT, UPDATE",
    "rejected_message": "SELECT, INSERT, UPDATE (occurrences)",
}
RETENTION_FUNCTIONS = (
    "vigil_drop_partition",
    "vigil_make_partition",
    "vigil_partitions",
    "vigil_partitions_wanted",
    "vigil_retention_work",
    "vigil_retire_rows",
)
# People and places of an alert, without their pictures.
PROFILES = {
    "guard_profile": "SELECT (tenant_id, guard_id, profile, photo_sha256)",
    "site_profile": "SELECT (tenant_id, site_id, profile)",
    "device_profile": "SELECT (tenant_id, device_id, profile, picture_sha256)",
    "guard_shift": "SELECT",
}
FEED = RedisRights(write=("feed:*",), commands=("xadd", "xrevrange"))
LANE_EVENTS = (
    "device_alert_received",
    "device_alert_repeated",
    "message_rejected",
    "source_flood_changed",
)
BULK_EVENTS = tuple(row.event for row in BATCHED)
READINGS = tuple(row.table for row in TELEMETRY)

PRIVILEGES: Mapping[str, ProcessPrivileges] = {
    "directory": ProcessPrivileges(
        service="directory",
        tables={
            "tenant": {
                "tenant": "SELECT",
                "site": "SELECT, INSERT, UPDATE",
                "zone": "SELECT, INSERT, UPDATE",
                "zone_version": "SELECT",
                "guard": "SELECT, INSERT, UPDATE",
                "device": "SELECT, INSERT, UPDATE",
                "source_id": "SELECT",
                "device_carrier": "SELECT, INSERT, UPDATE (until)",
                "guard_group": "SELECT, INSERT, UPDATE, DELETE",
                "guard_group_member": "SELECT, INSERT, DELETE",
                "guard_shift": "SELECT, INSERT, UPDATE, DELETE",
                "contact": "SELECT, INSERT, UPDATE, DELETE",
                "app_user": "SELECT (user_id, tenant_id, login, name, role, enabled, created_at)",
                "barred_subject": "SELECT, INSERT, UPDATE",
                "guard_profile": "SELECT, INSERT, UPDATE",
                "site_profile": "SELECT, INSERT, UPDATE",
                "device_profile": "SELECT, INSERT, UPDATE",
                "profile_change": "SELECT, INSERT",
            },
            # To find the tenant of a dead letter.
            "ingest": {"guard": "SELECT", "device": "SELECT"},
            "login": {
                "app_user": "SELECT, UPDATE (password_hash, changed_at)",
                "user_session": "SELECT, INSERT, UPDATE, DELETE",
                "refresh_token": "SELECT, INSERT, UPDATE, DELETE",
                "barred_subject": "SELECT, DELETE",
            },
        },
        serves_rpc=True,
        calls={
            "alerts": ("list_gravest",),
            "location": ("list_positions",),
            "telemetry": ("list_device_states",),
        },
        settles_dead_letters=True,
        secrets=frozenset({"DATABASE_URL", "AMQP_URI", "CHANNELS_ENCRYPTION_KEY"}),
    ),
    "telemetry": ProcessPrivileges(
        service="telemetry",
        tables={
            "tenant": {
                "rule_override": "SELECT, INSERT, UPDATE, DELETE",
                "site": "SELECT",
                "source_state": "SELECT",
                "rejected_message": "SELECT",
                **dict.fromkeys(READINGS, "SELECT"),
            },
            "ingest": {
                **REGISTRY,
                **BATCHES,
                **dict.fromkeys(READINGS, "SELECT, INSERT"),
                "source_state": "SELECT, INSERT, UPDATE",
                "offline_limit": "SELECT, INSERT, UPDATE",
                "rule_override": "SELECT",
                "retention_run": "SELECT, INSERT",
                # To know whether a source of alarms was heard.
                "alert_occurrence": "SELECT (tenant_id, alert_id, topic, received_at)",
                "mqtt_device_alert": "SELECT (tenant_id, alert_id, source_id)",
            },
        },
        functions={"ingest": RETENTION_FUNCTIONS},
        consumes=(
            *(("mqtt_gateway", row.event, row.handler) for row in TELEMETRY),
            ("mqtt_gateway", "message_rejected", "keep_rejected_messages"),
        ),
        publishes=("telemetry_stored", "alert_condition_met", "alert_condition_cleared"),
        serves_rpc=True,
        shares_shards=True,
        redis=FEED,
        secrets=frozenset({"DATABASE_URL", "AMQP_URI", "REDIS_URL", "CHANNELS_ENCRYPTION_KEY"}),
    ),
    "location": ProcessPrivileges(
        service="location",
        tables={
            "tenant": {
                "site": "SELECT",
                "zone": "SELECT",
                "zone_version": "SELECT",
                "zone_transition": "SELECT",
                "guard": "SELECT",
                "guard_group_member": "SELECT",
                "guard_shift": "SELECT",
                "guard_silence": "SELECT",
                "guard_state": "SELECT",
                "implausible_fix": "SELECT",
                "mqtt_guard_location": "SELECT",
            },
            "ingest": {
                **REGISTRY,
                **BATCHES,
                "zone_version": "SELECT",
                "zone_transition": "SELECT, INSERT, UPDATE",
                "track_checkpoint": "SELECT, INSERT, UPDATE, DELETE",
                "implausible_fix": "SELECT, INSERT, UPDATE, DELETE",
                "guard_silence": "SELECT, INSERT, UPDATE, DELETE",
                "guard_state": "SELECT, INSERT, UPDATE",
                "mqtt_guard_location": "SELECT, INSERT, UPDATE (in_geofence, geofence_violation)",
            },
        },
        consumes=(
            ("mqtt_gateway", "guard_gps_received", "process_guard_gps"),
            ("location", "guard_fixes_held", "process_held_fixes"),
        ),
        publishes=(
            "guard_fixes_held",
            "positions_stored",
            "zone_entered",
            "zone_exited",
            "alert_condition_met",
            "alert_condition_cleared",
        ),
        serves_rpc=True,
        shares_shards=True,
        calls={"alerts": ("list_alerts",), "directory": ("list_zone_edits",)},
        redis=RedisRights(write=("feed:*", "hot:*"), commands=("xadd", "xrevrange", "unlink")),
        secrets=frozenset({"DATABASE_URL", "AMQP_URI", "REDIS_URL", "CHANNELS_ENCRYPTION_KEY"}),
    ),
    "alerts": ProcessPrivileges(
        service="alerts",
        tables={
            "tenant": {
                "tenant": "SELECT",
                "site": "SELECT",
                "zone": "SELECT",
                "guard": "SELECT",
                "device": "SELECT",
                "contact": "SELECT",
                "app_user": "SELECT (user_id, tenant_id, login, name, role, enabled, created_at)",
                "mqtt_device_alert": "SELECT, UPDATE",
                "alert_occurrence": "SELECT",
                "alert_timeline": "SELECT, INSERT",
                "timeline_head": "SELECT",
                "timeline_erased": "SELECT",
                "alert_timer": "SELECT, INSERT, UPDATE, DELETE",
                "alert_group": "SELECT",
                "alert_hold": "SELECT",
                "alert_track": "SELECT",
                "escalation_policy": "SELECT, INSERT, UPDATE, DELETE",
                "rota": "SELECT, INSERT, UPDATE, DELETE",
                "operator_presence": "SELECT, INSERT",
                **PROFILES,
                "alert_people": "SELECT",
                # For the evidence and the report.
                "mqtt_guard_location": "SELECT",
                "notification": "SELECT",
                "notification_attempt": "SELECT",
            },
            "ingest": {
                **REGISTRY,
                "message_seen": "SELECT, INSERT",
                "rejected_message": "SELECT, INSERT, UPDATE (occurrences)",
                "site": "SELECT",
                "contact": "SELECT",
                "app_user": "SELECT (tenant_id, login, name)",
                "mqtt_device_alert": "SELECT, INSERT, UPDATE",
                "alert_occurrence": "SELECT, INSERT",
                "alert_timeline": "SELECT, INSERT, UPDATE (announced_at)",
                "alert_timer": "SELECT, INSERT, UPDATE, DELETE",
                "alert_group": "SELECT, INSERT, UPDATE",
                "condition_clear": "SELECT, INSERT, UPDATE, DELETE",
                "escalation_policy": "SELECT",
                "rota": "SELECT",
                "operator_presence": "SELECT",
                **PROFILES,
                "alert_people": "SELECT, INSERT",
            },
        },
        functions={"tenant": ("vigil_timeline_canonical",)},
        consumes=(
            ("mqtt_gateway", "device_alert_received", "process_device_alert"),
            ("mqtt_gateway", "device_alert_repeated", "process_repeated_alerts"),
            ("mqtt_gateway", "source_flood_changed", "follow_flood"),
            ("telemetry", "alert_condition_met", "open_for_telemetry"),
            ("location", "alert_condition_met", "open_for_location"),
            ("telemetry", "alert_condition_cleared", "clear_for_telemetry"),
            ("location", "alert_condition_cleared", "clear_for_location"),
            ("notifications", "notification_finished", "record_notification"),
        ),
        calls={"directory": ("mark_wrong_number",)},
        publishes=("alert_raised", "alert_updated", "notification_requested"),
        shares_shards=True,
        serves_rpc=True,
        redis=FEED,
        secrets=frozenset(
            {
                "DATABASE_URL",
                "AMQP_URI",
                "REDIS_URL",
                "CHANNELS_ENCRYPTION_KEY",
                "VIGIL_EVIDENCE_KEY_FILE",
                "ALERT_URL_RECIPIENTS",
            }
        ),
    ),
    "notifications": ProcessPrivileges(
        service="notifications",
        tables={
            "tenant": {
                "message_template": "SELECT, INSERT, UPDATE, DELETE",
                "notification": "SELECT",
            },
            "ingest": {
                "mqtt_device_alert": "SELECT (tenant_id, alert_id, status)",
                "notification": "SELECT, INSERT, UPDATE",
                "notification_attempt": "SELECT, INSERT, UPDATE",
                "message_template": "SELECT",
                "sms_reply": "SELECT, INSERT, UPDATE, DELETE",
                "sms_answer": "SELECT, INSERT, UPDATE, DELETE",
            },
        },
        consumes=(
            ("alerts", "notification_requested", "write_notifications"),
            ("alerts", "alert_updated", "withdraw_notifications"),
        ),
        publishes=("notification_finished",),
        serves_rpc=True,
        calls={"alerts": ("acknowledge_alert", "add_note")},
        secrets=frozenset(
            {
                "DATABASE_URL",
                "AMQP_URI",
                "CHANNELS_ENCRYPTION_KEY",
                "SMTP_URL",
                *(secret.variable for secret in secrets_of()),
                "FCM_CREDENTIALS_FILE",
                "FCM_SERVER_KEY",
                "VIGIL_WEBHOOK_SECRET",
                "ALERT_URL_RECIPIENTS",
            }
        ),
    ),
    "mqtt_gateway-alert": ProcessPrivileges(
        service="mqtt_gateway",
        consumes=(
            ("alerts", "alert_raised", "send_raised_receipts"),
            ("alerts", "alert_updated", "send_updated_receipts"),
        ),
        publishes=LANE_EVENTS,
        secrets=frozenset({"AMQP_URI", "MQTT_BROKER_PASSWORD"}),
    ),
    "mqtt_gateway-bulk": ProcessPrivileges(
        service="mqtt_gateway",
        consumes=(
            ("telemetry", "telemetry_stored", "send_telemetry_receipts"),
            ("location", "positions_stored", "send_position_receipts"),
        ),
        # Alarms too: messages on `sensor/+/alarm`, and link states.
        publishes=(*LANE_EVENTS, *BULK_EVENTS),
        secrets=frozenset({"AMQP_URI", "MQTT_BROKER_PASSWORD"}),
    ),
    "noc_gateway": ProcessPrivileges(
        service="noc_gateway",
        calls={
            "directory": ("list_barred", "seal_snapshot"),
            "alerts": (
                "mark_shown",
                "note_presence",
                "acknowledge_alert",
                "start_alert",
                "resolve_alert",
                "mark_false_alarm",
            ),
        },
        hears_heartbeats=True,
        redis=RedisRights(
            read=("feed:*",),
            write=("feed-id:*", "feed-begun:*", "gateways", "sockets:*", "messages:*", "ticket:*"),
            commands=(
                *("xread", "xrange", "xrevrange", "info"),
                *("multi", "exec", "discard", "get", "set", "getdel", "del", "incrby", "expire"),
                *("hset", "hgetall", "hmget", "lpush", "lindex", "ltrim"),
            ),
        ),
        secrets=frozenset({"AMQP_URI", "REDIS_URL", "CHANNELS_ENCRYPTION_KEY", "JWT_SECRET"}),
    ),
    "noc_api": ProcessPrivileges(
        service="noc_api",
        serves_api=True,
        calls={
            "directory": ("check", "list_barred", "open_session", "refresh_session", "close_session"),
            "alerts": ("list_alerts",),
            "telemetry": ("list_device_states",),
            "location": ("list_positions",),
            "notifications": (
                "list_notifications",
                "describe_link",
                "use_link",
                "take_provider_report",
                "take_reply",
            ),
        },
        hears_heartbeats=True,
        redis=RedisRights(
            write=("login:*", "ticket:*", "idempotency:*"),
            commands=("multi", "exec", "discard", "get", "set", "del", "incrby", "expire"),
        ),
        secrets=frozenset({"AMQP_URI", "REDIS_URL", "CHANNELS_ENCRYPTION_KEY", "JWT_SECRET"}),
    ),
    "watchdog": ProcessPrivileges(
        service="watchdog",
        tables={
            "ingest": {
                "alert_occurrence": "SELECT (tenant_id, msg_id, received_at)",
                "guard_state": "SELECT (tenant_id, recorded_at)",
            }
        },
        functions={"ingest": ("vigil_partition_report",)},
        calls={"alerts": ("list_alerts", "resolve_alert")},
        checks_servers=True,
        redis=RedisRights(read=("feed:*",), commands=("xread", "info")),
        secrets=frozenset(
            {
                "DATABASE_URL",
                "AMQP_URI",
                "REDIS_URL",
                "CHANNELS_ENCRYPTION_KEY",
                "JWT_SECRET",
                "MQTT_WATCHDOG_PASSWORD",
            }
        ),
    ),
}

OF_OPERATORS = frozenset(
    {"VIGIL_OWNER_DATABASE_URL", "VIGIL_SUPERUSER_DATABASE_URL", "MQTT_ADMIN_PASSWORD", "VIGIL_CA_DIRECTORY"}
)
"""Variables that no process is given."""
SECRETS = OF_OPERATORS.union(*(privileges.secrets for privileges in PRIVILEGES.values()))
"""The variable of every secret."""


def database_role(process: str, access: Access) -> str:
    """Return the role with the rights of a process on these rows."""
    return f"vigil_{process}_{access}"


def database_roles() -> list[str]:
    """Return every role that holds grants of a process."""
    return [
        database_role(process, access)
        for process, privileges in PRIVILEGES.items()
        for access in privileges.tables
    ]


def of_process(process: str) -> ProcessPrivileges:
    """Return the privileges of a process, which may be one of several instances: `telemetry@2`."""
    return PRIVILEGES[process.partition("@")[0]]
