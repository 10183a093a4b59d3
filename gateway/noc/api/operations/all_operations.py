"""All operations of the API, in the order of the OpenAPI document. Pure."""

from __future__ import annotations

from gateway.noc.api.operation import Operation
from gateway.noc.api.operations.alerts import ALERTS
from gateway.noc.api.operations.directory import DEAD_LETTERS, DIRECTORY
from gateway.noc.api.operations.notifications import NOTIFICATIONS
from gateway.noc.api.operations.people import PEOPLE
from gateway.noc.api.operations.policies import POLICIES
from gateway.noc.api.operations.telemetry import READINGS, RULES
from gateway.noc.api.operations.zones import TRACKS, ZONES

OPERATIONS: tuple[Operation, ...] = (
    *ALERTS,
    *POLICIES,
    *NOTIFICATIONS,
    *DIRECTORY,
    *PEOPLE,
    *ZONES,
    *TRACKS,
    *READINGS,
    *DEAD_LETTERS,
    *RULES,
)
