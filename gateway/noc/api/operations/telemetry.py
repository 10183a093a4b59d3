"""Operations about readings of devices, refused messages and rules. Pure."""

from __future__ import annotations

from typing import Any

from gateway.noc.api.operation import Operation
from services.contracts import api

READINGS = (
    Operation(
        method="GET",
        path="/device-states",
        service="telemetry",
        rpc="list_device_states",
        summary="List the newest reading of each device, sensor and system, with its conditions",
        tag="devices",
        answer=list[api.SourceState],
        cursor=("source_id",),
    ),
    Operation(
        method="GET",
        path="/devices/{source_id}/readings",
        service="telemetry",
        rpc="list_readings",
        summary="List readings of a device, sensor or system between two times, newest first",
        tag="devices",
        answer=list[api.Reading],
        query=api.HistoryQuery,
        limited=True,
    ),
    Operation(
        method="GET",
        path="/rejected-messages",
        service="telemetry",
        rpc="list_rejected",
        summary="List refused messages, newest first",
        tag="rejected-messages",
        answer=list[api.Rejected],
        role="supervisor",
        query=api.RejectedQuery,
        cursor=("received_at", "message_key"),
    ),
)
RULES = (
    Operation(
        method="GET",
        path="/rules",
        service="telemetry",
        rpc="list_rules",
        summary="List rules that raise alerts, each followed by the tenant's overrides",
        tag="rules",
        answer=list[dict[str, Any]],
    ),
    Operation(
        method="PUT",
        path="/rules/{rule}",
        service="telemetry",
        rpc="set_rule",
        summary="Change a rule for the tenant, a site or a type of source",
        tag="rules",
        role="supervisor",
        body=api.RuleChange,
        status=204,
    ),
    Operation(
        method="DELETE",
        path="/rules/{rule}",
        service="telemetry",
        rpc="remove_rule_override",
        summary="Remove a change of a rule",
        tag="rules",
        role="supervisor",
        query=api.RulePlace,
        status=204,
    ),
)
