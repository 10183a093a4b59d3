"""Operations about the registry: sites, guards, devices, contacts, shifts, users, dead letters. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.noc.api.operation import Nothing, Operation
from services.contracts import api
from services.contracts.api import Id


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
_DEAD_LETTERS: tuple[tuple[Any, str, str, str, Any, bool], ...] = (
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
DEAD_LETTERS = tuple(
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
    for method, path, rpc, summary, answer, limited in _DEAD_LETTERS
)
