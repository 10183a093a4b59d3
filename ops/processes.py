"""Vigil's processes and the class that each one hosts, in the order in which they are shown.

On a small machine one process hosts several of them (`GROUPS`). The parts of a group keep their own
names at all servers: queues, logins, rights and heartbeats. Therefore both layouts run on the same
data, and a change of the layout needs no migration.
"""

from __future__ import annotations

import importlib
import signal
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
"""Names of processes that host several parts, and these parts.

The path of a panic is in no group. In each layout the alert lane, the alerts service and the live
feed run in processes of their own.
"""

STALL_TIMEOUT_S = 10.0
"""Longest time that the loop of a process may stand still.

`supervision.stall_timeout_s` may set another time.
"""
STALL_LIMITS_S = {"mqtt_gateway-alert": 5.0, "mqtt_gateway-bulk": 5.0}
"""Upper limit of that time for processes that a panic has to wait for."""
STALL_SIGNAL = signal.SIGPROF
"""Ends a process of Vigil and leaves its stack for the log (ops/hosting/stall_watch.py)."""


def parts_of(process: str) -> tuple[str, ...]:
    """Return the parts that a process hosts: those of its group, or the part of its own name."""
    return GROUPS.get(process, (process,))


def layout(*, small: bool = False) -> tuple[str, ...]:
    """Return the names of the processes that run all of Vigil.

    With `small`, a group takes the place of its parts.
    """
    if not small:
        return tuple(PROCESSES)
    hosts = {part: group for group, parts in GROUPS.items() for part in parts}
    return tuple(dict.fromkeys(hosts.get(process, process) for process in PROCESSES))


def host_of(part: str, running: Mapping[str, Any]) -> str | None:
    """Return the running process that hosts a part, or None when none does."""
    return next((process for process in running if part in parts_of(process)), None)


def stall_limit_s(process: str, timeout_s: float = STALL_TIMEOUT_S) -> float:
    """Return how long the loop of a process may stand still, in seconds.

    An instance such as `telemetry@2` has the limit of `telemetry`.
    """
    return min(timeout_s, STALL_LIMITS_S.get(process.partition("@")[0], timeout_s))


def service_class(process: str) -> Any:
    """Import and return the class that a process hosts."""
    module, _, name = PROCESSES[process].partition(":")
    return getattr(importlib.import_module(module), name)
