"""Vigil's processes: which class each one hosts. The order is the order in which they are shown.

On a small machine one process hosts several of them (`GROUPS`). The parts of a group keep their names at all servers:
queues, logins, rights, heartbeats. So both layouts run on the same data, and a change needs no migration.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
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

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"domains": ("directory", "telemetry", "location", "notifications")}
)
"""Names of processes that host several parts, and these parts. What a panic waits for is in no group: the alert lane,
the alerts service and the live feed run for themselves in each layout."""

STALL_TIMEOUT_S = 10.0
"""How long the loop of a process may stand still when `supervision.stall_timeout_s` does not say otherwise."""
STALL_LIMITS_S = {"mqtt_gateway-alert": 5.0, "mqtt_gateway-bulk": 5.0}
"""The most that it may be in processes behind which a panic waits."""


def parts_of(process: str) -> tuple[str, ...]:
    """Return the parts that a process hosts: those of its group, or the one that it is named after."""
    return GROUPS.get(process, (process,))


def layout(*, small: bool = False) -> tuple[str, ...]:
    """Return the names of the processes that run all of Vigil; `small`: groups in the place of their parts."""
    if not small:
        return tuple(PROCESSES)
    hosts = {part: group for group, parts in GROUPS.items() for part in parts}
    return tuple(dict.fromkeys(hosts.get(process, process) for process in PROCESSES))


def host_of(part: str, running: Mapping[str, Any]) -> str | None:
    """Return which of the running processes hosts a part; None when none of them does."""
    return next((process for process in running if part in parts_of(process)), None)


def stall_limit_s(process: str, timeout_s: float = STALL_TIMEOUT_S) -> float:
    """Return how long the loop of a process may stand still; of `telemetry@2` that of `telemetry`."""
    return min(timeout_s, STALL_LIMITS_S.get(process.partition("@")[0], timeout_s))


def service_class(process: str) -> Any:
    """The class that a process hosts; imports it."""
    module, _, name = PROCESSES[process].partition(":")
    return getattr(importlib.import_module(module), name)
