"""Operations about escalation policies and on-call schedules. Pure."""

from __future__ import annotations

from typing import Any

from gateway.noc.api.operation import Operation
from services.contracts import api

POLICIES = (
    Operation(
        method="GET",
        path="/policy",
        service="alerts",
        rpc="get_policy",
        summary="Return the escalation policy of a site or of the tenant; empty when it has none of its own",
        tag="policies",
        answer=dict[str, Any],
        query=api.OfSite,
    ),
    Operation(
        method="PUT",
        path="/policy",
        service="alerts",
        rpc="set_policy",
        summary="Replace an escalation policy; an empty one removes it",
        tag="policies",
        role="supervisor",
        body=api.Policy,
        signed=True,
        status=204,
    ),
    Operation(
        method="GET",
        path="/policy/preview",
        service="alerts",
        rpc="preview_escalation",
        summary="Show who would be notified, step by step",
        tag="policies",
        answer=list[dict[str, Any]],
        query=api.PreviewQuery,
    ),
    Operation(
        method="GET",
        path="/rotas",
        service="alerts",
        rpc="list_rotas",
        summary="List on-call schedules, each with the contact who is on call now",
        tag="policies",
        answer=list[dict[str, Any]],
    ),
    Operation(
        method="PUT",
        path="/rotas/{name}",
        service="alerts",
        rpc="set_rota",
        summary="Add or replace an on-call schedule",
        tag="policies",
        role="supervisor",
        body=api.Rota,
        status=204,
    ),
    Operation(
        method="DELETE",
        path="/rotas/{name}",
        service="alerts",
        rpc="remove_rota",
        summary="Remove an on-call schedule",
        tag="policies",
        role="supervisor",
        status=204,
    ),
)
