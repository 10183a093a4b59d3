"""Operations about alerts, and the report about their answers. Pure."""

from __future__ import annotations

import msgspec

from gateway.noc.api.operation import Operation
from services.contracts import api
from services.contracts.events import Alert


def _act(
    word: str, rpc: str, summary: str, body: type[msgspec.Struct], *, optional: bool = True
) -> Operation:
    return Operation(
        method="POST",
        path=f"/alerts/{{alert_id}}/{word}",
        service="alerts",
        rpc=rpc,
        summary=summary,
        tag="alerts",
        answer=Alert,
        role="operator",
        body=body,
        body_optional=optional,
        signed=True,
    )


ALERTS = (
    Operation(
        method="GET",
        path="/alerts",
        service="alerts",
        rpc="list_alerts",
        summary="Alerts, newest first; open ones unless `status` says otherwise",
        tag="alerts",
        answer=list[Alert],
        query=api.AlertQuery,
        cursor=("received_at", "id"),
    ),
    Operation(
        method="GET",
        path="/alerts/{alert_id}",
        service="alerts",
        rpc="get_alert",
        summary="One alert with its whole timeline",
        tag="alerts",
        answer=Alert,
    ),
    _act("acknowledge", "acknowledge_alert", "A named human has it", api.Noted),
    _act("start", "start_alert", "Somebody is on the way", api.Noted),
    _act("resolve", "resolve_alert", "It is over", api.Noted),
    _act("false-alarm", "mark_false_alarm", "It never was one", api.FalseAlarm),
    _act(
        "assign",
        "assign_alert",
        "Assign it to `to`: a login, a guard id or a contact of the tenant; they are notified",
        api.Assigned,
        optional=False,
    ),
    _act("note", "add_note", "Something to keep on the record", api.NoteOnly, optional=False),
    _act("shelve", "shelve_alert", "Nobody is told of it until `until`", api.Shelving, optional=False),
    _act("unshelve", "unshelve_alert", "Off the shelf before its time", api.Noted),
    Operation(
        method="POST",
        path="/alerts/{alert_id}/evidence",
        service="alerts",
        rpc="export_evidence",
        summary="All that is on record of it, signed, and a page to read; two texts to be kept as files",
        tag="alerts",
        answer=api.Evidence,
        role="supervisor",
        signed=True,
        heavy=True,
    ),
    Operation(
        method="POST",
        path="/alert-groups/{group_id}/acknowledge",
        service="alerts",
        rpc="acknowledge_group",
        summary="Every member of a storm that nobody has",
        tag="alerts",
        answer=list[str],
        role="operator",
        body=api.Noted,
        body_optional=True,
        signed=True,
    ),
    Operation(
        method="GET",
        path="/report",
        service="alerts",
        rpc="get_report",
        summary="How alerts were answered between two times",
        tag="reports",
        answer=api.Report,
        query=api.Between,
        heavy=True,
    ),
)
