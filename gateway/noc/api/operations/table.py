"""The operations of the API, one after the other. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.noc.api.operation import Nothing, Operation
from gateway.noc.api.operations.people import PEOPLE
from gateway.noc.api.operations.zones import TRACKS, ZONES
from services.contracts import api
from services.contracts.api import Id
from services.contracts.events import Alert
from services.contracts.people import AlertInFull


class Report(msgspec.Struct, frozen=True):
    """Report about the answers to alerts and the delivery of notifications.

    Rows are by severity and by channel. Drills are separate.
    """

    tenant_id: int
    since: api.Moment
    until: api.Moment
    alerts: list[dict[str, Any]]
    delivery: list[dict[str, Any]]
    drills: dict[str, list[dict[str, Any]]]
    operators: int
    operator_hours: float
    alarms_per_operator_hour: float | None


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
        summary="One alert with its whole timeline, and the people and place that it concerns",
        tag="alerts",
        answer=AlertInFull,
        ranked=True,
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
        answer=Report,
        query=api.Between,
        heavy=True,
    ),
)
PLANS = (
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
NOTIFICATIONS = (
    Operation(
        method="GET",
        path="/notifications",
        service="notifications",
        rpc="list_notifications",
        summary="Who was told and how it went, newest first",
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
        summary="The tenant's own templates of messages",
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
        summary="The built-in template holds again",
        tag="notifications",
        role="supervisor",
        status=204,
    ),
)


def _list(path: str, rpc: str, summary: str, answer: Any, *key: str, role: Any = "viewer") -> Operation:
    return Operation(
        method="GET",
        path=path,
        service="directory",
        rpc=rpc,
        summary=summary,
        tag=path.strip("/"),
        answer=list[answer],
        role=role,
        cursor=key,
    )


def _add(
    path: str, rpc: str, summary: str, body: type[msgspec.Struct], *, role: Any = "supervisor"
) -> Operation:
    return Operation(
        method="POST",
        path=path,
        service="directory",
        rpc=rpc,
        summary=summary,
        tag=path.strip("/"),
        answer=api.Added,
        role=role,
        body=body,
        status=201,
    )


def _change(
    method: Any,
    path: str,
    rpc: str,
    summary: str,
    *,
    body: type[msgspec.Struct] = Nothing,
    role: Any = "supervisor",
    types: dict[str, type] | None = None,
) -> Operation:
    return Operation(
        method=method,
        path=path,
        service="directory",
        rpc=rpc,
        summary=summary,
        tag=path.strip("/").partition("/")[0],
        role=role,
        status=204,
        types=types or {},
        body=body,
    )


DIRECTORY = (
    _list("/sites", "list_sites", "Guarded places", api.Site, "site_id"),
    _add("/sites", "add_site", "Add a site", api.NewSite),
    _list("/guards", "list_guards", "Guards", api.Guard, "guard_id"),
    Operation(
        method="GET",
        path="/guards/{guard_id}",
        service="directory",
        rpc="get_guard",
        summary="One guard",
        tag="guards",
        answer=api.Guard,
    ),
    Operation(
        method="GET",
        path="/devices/{device_id}",
        service="directory",
        rpc="get_device",
        summary="One device, sensor or system",
        tag="devices",
        answer=api.Device,
    ),
    _add("/guards", "add_guard", "Register a guard; the credential comes from `vigil guard`", api.NewGuard),
    _change("PATCH", "/guards/{guard_id}", "switch_guard", "Enable or disable a guard", body=api.Enabled),
    _list("/devices", "list_devices", "Devices, sensors, systems", api.Device, "device_id"),
    _add(
        "/devices",
        "add_device",
        "Register a device; the credential comes from `vigil device`",
        api.NewDevice,
        role="admin",
    ),
    _change(
        "PATCH",
        "/devices/{device_id}",
        "switch_device",
        "Enable or disable a device",
        body=api.Enabled,
        role="admin",
    ),
    _change(
        "PUT",
        "/devices/{device_id}/silence-limit",
        "set_silence_limit",
        "After how long without a message it is OFFLINE",
        body=api.SilenceLimit,
        role="admin",
    ),
    Operation(
        method="GET",
        path="/devices/{device_id}/carriers",
        service="directory",
        rpc="list_carriers",
        summary="Which guard carried the device, newest first",
        tag="devices",
        answer=list[api.Carrier],
        limited=True,
    ),
    _change(
        "PUT",
        "/devices/{device_id}/carrier",
        "assign_device",
        "From now on this guard carries it",
        body=api.Carried,
    ),
    _change("DELETE", "/devices/{device_id}/carrier", "release_device", "Nobody carries it any more"),
    _list("/groups", "list_groups", "Groups of guards", api.GuardGroup, "group_id"),
    _add("/groups", "add_group", "Add a group", api.Named),
    _change("PUT", "/groups/{name}/guards/{guard_id}", "join_group", "Put a guard into a group"),
    _change("DELETE", "/groups/{name}/guards/{guard_id}", "leave_group", "Take a guard out of a group"),
    _list("/contacts", "list_contacts", "People to be told", api.Contact, "contact_id"),
    _add("/contacts", "add_contact", "Add a person to be told", api.NewContact),
    _change(
        "PATCH",
        "/contacts/{name}",
        "change_contact",
        "Change a contact; what is left out stays",
        body=api.ContactChange,
    ),
    _change("DELETE", "/contacts/{name}", "remove_contact", "Remove a contact"),
    _list(
        "/shifts",
        "list_shifts",
        "When guards are on duty, newest first",
        api.Shift,
        "starts_at",
        "shift_id",
    ),
    _add("/shifts", "add_shift", "Add a shift", api.NewShift),
    _change("DELETE", "/shifts/{shift_id}", "remove_shift", "Remove a shift", types={"shift_id": Id}),
    _list("/users", "list_users", "People who log in", api.User, "user_id", role="supervisor"),
    _list("/bars", "list_bars", "Subjects whose tokens are void", api.Bar, "bar_id", role="admin"),
    Operation(
        method="POST",
        path="/bars",
        service="directory",
        rpc="bar_subject",
        summary="Void the tokens of a person or program, within two seconds; `until` left out: without an end",
        tag="bars",
        answer=api.Added,
        role="admin",
        body=api.NewBar,
        signed=True,
        status=201,
    ),
    Operation(
        method="DELETE",
        path="/bars/{bar_id}",
        service="directory",
        rpc="lift_bar",
        summary="End a bar; tokens from before it ended stay void",
        tag="bars",
        role="admin",
        types={"bar_id": Id},
        signed=True,
        status=204,
    ),
)
LETTERS: tuple[tuple[Any, str, str, str, Any, bool], ...] = (
    (
        "GET",
        "/dead-letters",
        "list_dead_letters",
        "Messages between services that were given up on, oldest first; the platform's people see all tenants'",
        list[api.DeadLetter],
        True,
    ),
    (
        "GET",
        "/dead-letters/{letter_id}",
        "get_dead_letter",
        "One with its tries, and what is in it",
        api.DeadLetterInFull,
        False,
    ),
    (
        "POST",
        "/dead-letters/{letter_id}/retry",
        "retry_dead_letter",
        "Back to the queue that it came from",
        None,
        False,
    ),
    ("DELETE", "/dead-letters/{letter_id}", "discard_dead_letter", "It goes for good", None, False),
)
FIELD = (
    Operation(
        method="GET",
        path="/device-states",
        service="telemetry",
        rpc="list_device_states",
        summary="The newest reading of each device, sensor and system, and the conditions it shows",
        tag="devices",
        answer=list[api.SourceState],
        cursor=("source_id",),
    ),
    Operation(
        method="GET",
        path="/devices/{source_id}/readings",
        service="telemetry",
        rpc="list_readings",
        summary="Readings of a device, sensor or system between two times, newest first",
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
        summary="Messages that were refused, newest first",
        tag="rejected-messages",
        answer=list[api.Rejected],
        role="supervisor",
        query=api.RejectedQuery,
        cursor=("received_at", "message_key"),
    ),
    *(
        Operation(
            method=method,
            path=path,
            service="directory",
            rpc=rpc,
            summary=summary,
            tag="dead-letters",
            answer=answer,
            role="admin",
            limited=limited,
            signed=answer is None,
            across=True,
            status=200 if answer is not None else 204,
        )
        for method, path, rpc, summary, answer, limited in LETTERS
    ),
    Operation(
        method="GET",
        path="/rules",
        service="telemetry",
        rpc="list_rules",
        summary="Rules that raise alerts, each followed by the tenant's overrides",
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
        summary="Take such a change back",
        tag="rules",
        role="supervisor",
        query=api.RulePlace,
        status=204,
    ),
)
OPERATIONS: tuple[Operation, ...] = (
    *ALERTS,
    *PLANS,
    *NOTIFICATIONS,
    *DIRECTORY,
    *PEOPLE,
    *ZONES,
    *TRACKS,
    *FIELD,
)
