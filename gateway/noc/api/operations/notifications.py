"""Operations about notifications and the templates of their texts. Pure."""

from __future__ import annotations

from typing import Any

from gateway.noc.api.operation import Operation
from services.contracts import api

NOTIFICATIONS = (
    Operation(
        method="GET",
        path="/notifications",
        service="notifications",
        rpc="list_notifications",
        summary="List notifications with their outcome, newest first",
        tag="notifications",
        answer=list[api.Notification],
        query=api.NotificationQuery,
        cursor=("notification_id",),
    ),
    Operation(
        method="GET",
        path="/templates",
        service="notifications",
        rpc="list_templates",
        summary="List the tenant's own templates of messages",
        tag="notifications",
        answer=list[dict[str, Any]],
    ),
    Operation(
        method="PUT",
        path="/templates/{channel}/{language}/{part}",
        service="notifications",
        rpc="set_template",
        summary="Replace a template",
        tag="notifications",
        role="supervisor",
        body=api.Template,
        status=204,
    ),
    Operation(
        method="DELETE",
        path="/templates/{channel}/{language}/{part}",
        service="notifications",
        rpc="remove_template",
        summary="Remove a template, so that the built-in one is used again",
        tag="notifications",
        role="supervisor",
        status=204,
    ),
)
