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


def service_class(process: str) -> Any:
    """The class that a process hosts; imports it."""
    module, _, name = PROCESSES[process].partition(":")
    return getattr(importlib.import_module(module), name)
