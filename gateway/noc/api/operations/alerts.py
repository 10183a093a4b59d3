"""Operations about alerts, and the report about their answers. Pure."""

from __future__ import annotations

import msgspec

from gateway.noc.api.operation import Operation
from services.contracts import api
from services.contracts.events import Alert
from services.contracts.people import AlertInFull


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
        summary="List alerts, newest first; only open ones when `status` is left out",
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
        summary="Return an alert with its timeline, and the profiles of its guard, device and site",
        tag="alerts",
        answer=AlertInFull,
        ranked=True,
    ),
    _act("acknowledge", "acknowledge_alert", "Acknowledge an alert: the caller takes it", api.Noted),
    _act("start", "start_alert", "Set an alert in progress: somebody is on the way", api.Noted),
    _act("resolve", "resolve_alert", "Resolve an alert", api.Noted),
    _act("false-alarm", "mark_false_alarm", "Close an alert as a false alarm", api.FalseAlarm),
    _act(
        "assign",
        "assign_alert",
        "Assign an alert to a login, a guard id or a contact, and notify the assignee",
        api.Assigned,
        optional=False,
    ),
    _act("note", "add_note", "Add a note to an alert's timeline", api.NoteOnly, optional=False),
    _act("shelve", "shelve_alert", "Mute an alert until a time", api.Shelving, optional=False),
    _act("unshelve", "unshelve_alert", "End the muting of an alert", api.Noted),
    Operation(
        method="POST",
        path="/alerts/{alert_id}/evidence",
        service="alerts",
        rpc="export_evidence",
        summary="Return the evidence of an alert: the signed records and a page to read, each to be kept as a file",
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
        summary="Acknowledge each alert of a group that is not acknowledged yet",
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
        summary="Report how alerts were answered between two times",
        tag="reports",
        answer=api.Report,
        query=api.Between,
        heavy=True,
    ),
)
