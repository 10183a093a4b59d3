"""Examples of messages and frames for the AsyncAPI document. Pure.

Tests check each example against its schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.noc.parts_away import REASONS

AT = "2026-01-05T21:14:03Z"
ALERT_ID = "8f6e3c1a-6e0f-4b63-9a57-0b7c2b9d5a11"
POSITION = {
    "guard_id": "guard-789",
    "lat": 12.9716,
    "lon": 77.5946,
    "accuracy": 6.0,
    "speed": 1.2,
    "heading": 90.0,
    "recorded_at": AT,
    "received_at": AT,
    "in_geofence": True,
    "geofence_violation": False,
}
ALERT = {
    "id": ALERT_ID,
    "tenant_id": 1,
    "alert_type": "PANIC",
    "severity": "CRITICAL",
    "status": "NEW",
    "source_id": "guard-789",
    "dedup_key": "PANIC:guard-789",
    "message": "help",
    "occurrences": 1,
    "recorded_at": AT,
    "received_at": AT,
    "last_seen_at": AT,
}
MESSAGES: Mapping[str, Any] = {
    "deviceTelemetry": {"battery": 77, "signal": -70, "temperature": 24.5, "timestamp": AT},
    "guardPosition": {"lat": 12.9716, "lon": 77.5946, "accuracy": 6, "timestamp": AT, "msg_id": "a-17"},
    "sensorData": {"type": "SMOKE", "value": 140, "state": "ALARM", "timestamp": AT},
    "alert": {"message": "help", "location": {"lat": 12.9716, "lon": 77.5946}, "msg_id": "a-18"},
    "systemHealth": {"cpu": 31, "memory": 52, "disk": 64, "uptime": 86400},
    "ownTracks": {"_type": "location", "lat": 12.9716, "lon": 77.5946, "acc": 6, "vel": 4, "tst": 1767647643},
    "receipt": {"msg_id": "a-18", "status": "acknowledged", "at": AT, "alert_id": ALERT_ID, "by": "Asha"},
}
STATUS = {"source_id": "dev-12", "kind": "device", "state": "silent", "since": AT, "last_at": AT}


def _feed(kind: str, data: Any) -> dict[str, Any]:
    """Return a frame as it is with encryption off.

    With encryption, `data` is a token, and `kid` is set.
    """
    return {"type": kind, "id": 1767647643000001, "data": data}


FRAMES: Mapping[str, Any] = {
    "server.connected": {
        "type": "connected",
        "tenant_id": 1,
        "feed_id": "b1946ac92492d234",
        "resumed": False,
        "encryption": "fernet",
        "heartbeat_interval": 5,
    },
    "server.heartbeat": {
        "type": "heartbeat",
        "server_time": AT,
        "blind": True,
        "since": AT,
        "away": [{"part": "redis", "since": AT, "hides_alarms": True, "reason": REASONS["redis"]}],
    },
    "server.ack": {"type": "ack", "ref": 7, "alert_id": ALERT_ID, "status": "ACKNOWLEDGED"},
    "server.metrics": {"type": "metrics", "ref": 8, "open_sockets": 3},
    "server.error": {"type": "error", "message": "type is 'x', which is not a client frame", "ref": None},
    "server.snapshot": _feed(
        "snapshot",
        {
            "alerts": [ALERT],
            "positions": [{**POSITION, "silent_since": None}],
            "devices": [],
            "missing": ["devices"],
        },
    ),
    "server.critical_alert": _feed("critical_alert", {**ALERT, "event": 4711}),
    "server.alert_created": _feed(
        "alert_created", {**ALERT, "alert_type": "LOW_BATTERY", "severity": "MEDIUM", "event": 4712}
    ),
    "server.alert_updated": _feed(
        "alert_updated", {**ALERT, "status": "RESOLVED", "closed_at": AT, "event": 4713}
    ),
    "server.positions": _feed("positions", [POSITION]),
    "server.device_status": _feed("device_status", [STATUS]),
    "client.acknowledge_alert": {"type": "acknowledge_alert", "alert_id": ALERT_ID, "ref": 7},
    "client.start_alert": {"type": "start_alert", "alert_id": ALERT_ID, "note": "Ravi goes"},
    "client.resolve_alert": {"type": "resolve_alert", "alert_id": ALERT_ID},
    "client.false_alarm": {"type": "false_alarm", "alert_id": ALERT_ID, "reason": "test"},
    "client.resume": {"type": "resume", "since": 1767647643000001},
    "client.heartbeat": {"type": "heartbeat"},
    "client.subscribe_client": {"type": "subscribe_client", "client_id": 2, "ref": 9},
    "client.request_metrics": {"type": "request_metrics", "ref": 8},
}
