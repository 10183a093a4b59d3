"""Vigil's processes: which class each one hosts. The order is the order in which they are shown."""

from __future__ import annotations

import importlib
from typing import Any

PROCESSES = {
    "directory": "services.directory.service:DirectoryService",
    "telemetry": "services.telemetry.service:TelemetryService",
    "location": "services.location.service:LocationService",
    "alerts": "services.alerts.service:AlertsService",
    "notifications": "services.notifications.service:NotificationsService",
    "mqtt_gateway-alert": "gateway.mqtt.service:AlertLane",
    "mqtt_gateway-bulk": "gateway.mqtt.service:BulkLane",
    "noc_gateway": "gateway.noc.service:NocGateway",
    "noc_api": "gateway.noc.api.service:NocApi",
    "watchdog": "ops.watchdog.service:WatchdogService",
}

STALL_TIMEOUT_S = 10.0
"""How long the loop of a process may stand still when `supervision.stall_timeout_s` does not say otherwise."""
STALL_LIMITS_S = {"mqtt_gateway-alert": 5.0, "mqtt_gateway-bulk": 5.0}
"""The most that it may be in processes behind which a panic waits."""


def stall_limit_s(process: str, timeout_s: float = STALL_TIMEOUT_S) -> float:
    """Return how long the loop of a process may stand still; of `telemetry@2` that of `telemetry`."""
    return min(timeout_s, STALL_LIMITS_S.get(process.partition("@")[0], timeout_s))


def service_class(process: str) -> Any:
    """The class that a process hosts; imports it."""
    module, _, name = PROCESSES[process].partition(":")
    return getattr(importlib.import_module(module), name)
