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
        summary="The escalation policy of a site, or of the tenant; empty when it has none of its own",
        tag="policies",
        answer=dict[str, Any],
        query=api.OfSite,
    ),
    Operation(
        method="PUT",
        path="/policy",
        service="alerts",
        rpc="set_policy",
        summary="Replace it; an empty one removes it",
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
        summary="Who would be told, step by step",
        tag="policies",
        answer=list[dict[str, Any]],
        query=api.PreviewQuery,
    ),
    Operation(
        method="GET",
        path="/rotas",
        service="alerts",
        rpc="list_rotas",
        summary="Rotas, each with who is on call now",
        tag="policies",
        answer=list[dict[str, Any]],
    ),
    Operation(
        method="PUT",
        path="/rotas/{name}",
        service="alerts",
        rpc="set_rota",
        summary="Add or replace a rota",
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
        summary="Remove a rota",
        tag="policies",
        role="supervisor",
        status=204,
    ),
)
