"""Operations of the API about profiles of guards, sites and devices. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.noc.api.operation import FILE_BYTES, MAX_BODY_BYTES, Nothing, Operation
from services.contracts import people
from services.contracts.api import Id
from services.contracts.events import Alert


def _of_profile(
    kind: str, change: type[msgspec.Struct], answer: Any, types: dict[str, type]
) -> Iterator[Operation]:
    """Yield the operations that every profile has: read, change, list the changes."""
    path = f"/{kind}s/{{{kind}_id}}/profile"
    yield Operation(
        method="GET",
        path=path,
        service="directory",
        rpc=f"get_{kind}_profile",
        summary=f"The profile of a {kind}; an empty one when nobody has written it",
        tag=f"{kind}s",
        answer=answer,
        types=types,
        ranked=True,
    )

    yield Operation(
        method="PATCH",
        path=path,
        service="directory",
        rpc=f"change_{kind}_profile",
        summary=f"Set fields of a {kind}'s profile; the others stay. A list replaces the former list",
        tag=f"{kind}s",
        answer=answer,
        role="supervisor",
        types=types,
        body=change,
        signed=True,
        ranked=True,
    )

    yield Operation(
        method="GET",
        path=f"{path}/changes",
        service="directory",
        rpc=f"list_{kind}_changes",
        summary=f"Changes of a {kind}'s profile with the former and the new values, newest first",
        tag=f"{kind}s",
        answer=list[people.ProfileChange],
        role="supervisor",
        types=types,
        cursor=("change_id",),
    )


def _picture(method: Any, kind: str, word: str, verb: str, summary: str) -> Operation:
    return Operation(
        method=method,
        path=f"/{kind}s/{{{kind}_id}}/{word}",
        service="directory",
        rpc=f"{verb}_{kind}_{word}",
        summary=summary,
        tag=f"{kind}s",
        answer=people.Picture if method == "GET" else None,
        role="viewer" if method == "GET" else "supervisor",
        body=people.NewPicture if method == "PUT" else Nothing,
        signed=method != "GET",
        status=200 if method == "GET" else 204,
        # A picture of 3 MB has 4 MB in base64.
        max_body_bytes=FILE_BYTES if method == "PUT" else MAX_BODY_BYTES,
        heavy=method == "PUT",
    )


def _pictures(kind: str, word: str) -> Iterator[Operation]:
    yield _picture("GET", kind, word, "get", f"The {word} of a {kind}, in base64")
    yield _picture("PUT", kind, word, "set", f"Set the {word} of a {kind}; its metadata is removed")
    yield _picture("DELETE", kind, word, "remove", f"Remove the {word} of a {kind}")


PEOPLE: tuple[Operation, ...] = (
    *_of_profile("guard", people.GuardProfileChange, people.GuardProfileAnswer, {}),
    *_pictures("guard", "photo"),
    *_of_profile("site", people.SiteProfileChange, people.SiteProfileAnswer, {"site_id": Id}),
    *_of_profile("device", people.DeviceProfileChange, people.DeviceProfileAnswer, {}),
    *_pictures("device", "picture"),
    Operation(
        method="GET",
        path="/wrong-numbers",
        service="directory",
        rpc="list_wrong_numbers",
        summary="Numbers of guards and sites that somebody marked as wrong; each needs a correction",
        tag="guards",
        answer=list[people.WrongNumber],
        role="supervisor",
        limited=True,
    ),
    Operation(
        method="POST",
        path="/alerts/{alert_id}/calls",
        service="alerts",
        rpc="record_call",
        summary="Record the result of a call to a person of the alert; a wrong number is marked",
        tag="alerts",
        answer=Alert,
        role="operator",
        body=people.CallResult,
        signed=True,
    ),
)
