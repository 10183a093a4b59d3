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
    _list("/sites", "list_sites", "List guarded places", api.Site, "site_id"),
    _add("/sites", "add_site", "Add a site", api.NewSite),
    _list("/guards", "list_guards", "List guards", api.Guard, "guard_id"),
    Operation(
        method="GET",
        path="/guards/{guard_id}",
        service="directory",
        rpc="get_guard",
        summary="Return a guard",
        tag="guards",
        answer=api.Guard,
    ),
    Operation(
        method="GET",
        path="/devices/{device_id}",
        service="directory",
        rpc="get_device",
        summary="Return a device, sensor or system",
        tag="devices",
        answer=api.Device,
    ),
    _add("/guards", "add_guard", "Register a guard; the credential comes from `vigil guard`", api.NewGuard),
    _change("PATCH", "/guards/{guard_id}", "switch_guard", "Enable or disable a guard", body=api.Enabled),
    _list("/devices", "list_devices", "List devices, sensors and systems", api.Device, "device_id"),
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
        "Set the time without a message after which a device is offline",
        body=api.SilenceLimit,
        role="admin",
    ),
    Operation(
        method="GET",
        path="/devices/{device_id}/carriers",
        service="directory",
        rpc="list_carriers",
        summary="List the guards who carried a device, newest first",
        tag="devices",
        answer=list[api.Carrier],
        limited=True,
    ),
    _change(
        "PUT",
        "/devices/{device_id}/carrier",
        "assign_device",
        "Assign a device to the guard who carries it from now on",
        body=api.Carried,
    ),
    _change("DELETE", "/devices/{device_id}/carrier", "release_device", "Release a device from its carrier"),
    _list("/groups", "list_groups", "List groups of guards", api.GuardGroup, "group_id"),
    _add("/groups", "add_group", "Add a group", api.Named),
    _change("PUT", "/groups/{name}/guards/{guard_id}", "join_group", "Put a guard into a group"),
    _change("DELETE", "/groups/{name}/guards/{guard_id}", "leave_group", "Take a guard out of a group"),
    _list("/contacts", "list_contacts", "List contacts", api.Contact, "contact_id"),
    _add("/contacts", "add_contact", "Add a contact", api.NewContact),
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
        "List shifts of guards, newest first",
        api.Shift,
        "starts_at",
        "shift_id",
    ),
    _add("/shifts", "add_shift", "Add a shift", api.NewShift),
    _change("DELETE", "/shifts/{shift_id}", "remove_shift", "Remove a shift", types={"shift_id": Id}),
    _list("/users", "list_users", "List users", api.User, "user_id", role="supervisor"),
    _list(
        "/bars", "list_bars", "List barred subjects, whose tokens are void", api.Bar, "bar_id", role="admin"
    ),
    Operation(
        method="POST",
        path="/bars",
        service="directory",
        rpc="bar_subject",
        summary="Bar a person or program: their tokens are void within two seconds, for good without `until`",
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
        summary="End a bar; tokens from before its end stay void",
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
        "List dead letters, oldest first; the role platform sees those of all tenants",
        list[api.DeadLetter],
        True,
    ),
    (
        "GET",
        "/dead-letters/{letter_id}",
        "get_dead_letter",
        "Return a dead letter with its tries and its content",
        api.DeadLetterInFull,
        False,
    ),
    (
        "POST",
        "/dead-letters/{letter_id}/retry",
        "retry_dead_letter",
        "Put a dead letter back into its queue",
        None,
        False,
    ),
    (
        "DELETE",
        "/dead-letters/{letter_id}",
        "discard_dead_letter",
        "Delete a dead letter for good",
        None,
        False,
    ),
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
