"""Operations about zones, and about positions of guards. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.noc.api.operation import AREA_BYTES, AREA_VALUES, FILE_BYTES, Nothing, Operation
from services.contracts import api, api_zones
from services.contracts.api import Id

ZONE = {"zone_id": Id}
AREA: dict[str, Any] = {"max_body_bytes": AREA_BYTES, "max_values": AREA_VALUES}
"""Limits of a body that holds a zone's area."""
FILE: dict[str, Any] = {"max_body_bytes": FILE_BYTES, "max_values": 0, "heavy": True}


def _zone(
    method: Any,
    path: str,
    rpc: str,
    summary: str,
    *,
    answer: Any = None,
    body: type[msgspec.Struct] = Nothing,
    status: int = 200,
    is_file: bool = False,
) -> Operation:
    """Return an operation that changes zones. The version stores the caller's name."""
    size = FILE if is_file else AREA if body is not Nothing else {}
    return Operation(
        method=method,
        path=path,
        service="directory",
        rpc=rpc,
        summary=summary,
        tag="zones",
        answer=answer,
        role="supervisor",
        body=body,
        status=status,
        signed=True,
        types=ZONE if "{zone_id}" in path else {},
        **size,
    )


def _file(format: str, media: str, answer: Any) -> Operation:  # noqa: A002 - its name on the wire
    return Operation(
        method="GET",
        path=f"/zones.{format}",
        service="directory",
        rpc="export_zones",
        name=f"export_zones_{format}",
        summary=f"All zones as one file, which `POST /zones/import` takes ({media})",
        tag="zones",
        answer=answer,
        fixed={"format": format},
        media=media,
        heavy=True,
    )


ZONES = (
    Operation(
        method="GET",
        path="/zones",
        service="directory",
        rpc="list_zones",
        summary="Zones as they are now, disabled ones too",
        tag="zones",
        answer=list[api_zones.Zone],
        cursor=("zone_id",),
    ),
    Operation(
        method="GET",
        path="/zones/{zone_id}",
        service="directory",
        rpc="get_zone",
        summary="One zone, with what it was before and who changed it",
        tag="zones",
        answer=api_zones.ZoneWithVersions,
        types=ZONE,
    ),
    _zone(
        "POST",
        "/zones",
        "add_zone",
        "Add a zone; it is in force two seconds later",
        answer=api_zones.ZoneMade,
        body=api_zones.NewZone,
        status=201,
    ),
    _zone(
        "PATCH",
        "/zones/{zone_id}",
        "change_zone",
        "Change some fields; makes a new version, in force two seconds later",
        answer=api_zones.ZoneChanged,
        body=api_zones.ZoneChange,
    ),
    _zone(
        "DELETE",
        "/zones/{zone_id}",
        "disable_zone",
        "Disable a zone; its versions stay on record, and `enabled` brings it back",
        status=204,
    ),
    Operation(
        method="POST",
        path="/zones/check",
        service="directory",
        rpc="check_zone",
        summary="Check whether a zone is valid, and how large it is; nothing is stored",
        tag="zones",
        answer=api_zones.Measures,
        role="supervisor",
        body=api_zones.NewZone,
        **AREA,
    ),
    _zone(
        "POST",
        "/zones/import",
        "import_zones",
        "Import zones from a file; the response has the result of each feature",
        answer=list[api_zones.Imported],
        body=api_zones.ZoneFile,
        is_file=True,
    ),
    Operation(
        method="POST",
        path="/zones/try",
        service="location",
        rpc="try_zones",
        summary="Try zones from a file on the last week; nothing is stored and no alert is raised",
        tag="zones",
        answer=api_zones.ZoneTrial,
        role="supervisor",
        body=api_zones.ZoneFileToTry,
        **FILE,
    ),
    _file("geojson", "application/geo+json", dict[str, Any]),
    _file("kml", "application/vnd.google-earth.kml+xml", None),
)


def _look(path: str, rpc: str, summary: str, tag: str, answer: Any, **further: Any) -> Operation:
    """Return an operation that reads stored tracks. Every user of the control room may call it."""
    return Operation(
        **{"method": "GET", **further},
        path=path,
        service="location",
        rpc=rpc,
        summary=summary,
        tag=tag,
        answer=answer,
    )


TRACKS = (
    _look(
        "/positions",
        "list_positions",
        "The newest position of each guard; `silent_since` of a guard that is offline",
        "positions",
        list[api.Position],
        cursor=("guard_id",),
    ),
    _look(
        "/positions/within",
        "guards_within",
        "Guards with their newest position in a shape; by POST, as a shape may be long",
        "positions",
        list[api.Position],
        method="POST",
        body=api_zones.SearchShape,
        limited=True,
    ),
    _look(
        "/positions/nearest",
        "nearest_guards",
        "The nearest free guards: on shift, seen lately, without an open alert",
        "positions",
        api_zones.Nearest,
        query=api_zones.NearestQuery,
    ),
    _look(
        "/guards/{guard_id}/track",
        "get_track",
        "A guard's track between two times, thinned for drawing",
        "tracks",
        api_zones.Track,
        query=api_zones.TrackQuery,
    ),
    _look(
        "/transitions",
        "list_transitions",
        "Entries, exits, violations and speeding, newest first",
        "tracks",
        list[api_zones.Transition],
        query=api_zones.TransitionQuery,
        pages=True,
    ),
    _look(
        "/transitions/{transition_id}",
        "get_transition",
        "One transition with its evidence and an explanation",
        "tracks",
        api_zones.TransitionWithWhy,
    ),
    _look(
        "/time-in-zones",
        "time_in_zones",
        "Seconds of each local day that guards were in zones",
        "tracks",
        api_zones.DaysInZones,
        query=api_zones.ZoneTimeQuery,
        limited=True,
    ),
    _look(
        "/implausible-fixes",
        "list_implausible",
        "Implausible fixes, which the rules leave out, newest first",
        "tracks",
        list[api_zones.ImplausibleFix],
        query=api_zones.ImplausibleQuery,
        pages=True,
    ),
)
