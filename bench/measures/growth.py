"""Growth of the database: bytes of a message by table, and gigabytes a day of a given mix. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

IDENTITIES = "message_seen"
ALERTS = "alert_occurrence"
# Each table, with the tables that grow with each of its rows. The few alerts of the bench mostly
# repeat an open alert. So their figure is coarse, and has no weight in the sum.
GROUPS = {
    "mqtt_guard_location": ("mqtt_guard_location",),
    "mqtt_device_telemetry": ("mqtt_device_telemetry",),
    "mqtt_sensor_reading": ("mqtt_sensor_reading",),
    "mqtt_system_health": ("mqtt_system_health",),
    ALERTS: (
        ALERTS,
        "mqtt_device_alert",
        "alert_timeline",
        "notification",
        "notification_attempt",
        "alert_timer",
    ),
}
TABLES = tuple(sorted({IDENTITIES, *(table for tables in GROUPS.values() for table in tables)}))
DAY_S = 86_400.0
GB = 1e9


class SenderGroup(NamedTuple):
    """Senders among 1,000 sources, each with a message every `every_s` seconds, day and night."""

    sources: int
    every_s: float


MIX = {
    "mqtt_guard_location": SenderGroup(500, 10.0),
    "mqtt_device_telemetry": SenderGroup(300, 60.0),
    "mqtt_sensor_reading": SenderGroup(180, 60.0),
    "mqtt_system_health": SenderGroup(20, 60.0),
    ALERTS: SenderGroup(1000, 10 * DAY_S),
}
WORDS = "500 guards every 10 s, 300 devices, 180 sensors, 20 systems every 60 s, an alert a source in 10 days"


class TableSize(NamedTuple):
    """Size of a table with its indexes, partitions and long values."""

    rows: int
    size_bytes: int


def of_run(before: Mapping[str, TableSize], after: Mapping[str, TableSize]) -> dict[str, Any]:
    """Return the figures of a run. When a table of the mix got no rows, the sum is None."""
    grown = {
        table: TableSize(
            after[table].rows - before[table].rows, after[table].size_bytes - before[table].size_bytes
        )
        for table in TABLES
    }

    stored = sum(grown[table].rows for table in GROUPS)
    identity_bytes = grown[IDENTITIES].size_bytes / stored if stored else 0.0

    of_message: dict[str, float] = {}
    for name, tables in GROUPS.items():
        if grown[name].rows > 0:
            own_bytes = sum(grown[table].size_bytes for table in tables)
            of_message[name] = round(own_bytes / grown[name].rows + identity_bytes, 1)

    return {
        "bytes_per_message": of_message,
        "identity_bytes_per_message": round(identity_bytes, 1),
        "mix": WORDS,
        "gb_per_1000_sources_day": gb_a_day(of_message),
    }


def gb_a_day(bytes_of_message: Mapping[str, float]) -> float | None:
    """Return the gigabytes a day of `MIX`; None when a part of it was not measured."""
    if set(MIX) - set(bytes_of_message):
        return None
    a_day = sum(
        sender.sources * DAY_S / sender.every_s * bytes_of_message[table] for table, sender in MIX.items()
    )
    return round(a_day / GB, 3)
