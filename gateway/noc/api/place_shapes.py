"""Zones, tracks and positions as the API says them. Pure.

Areas are GeoJSON geometries: a Polygon, a MultiPolygon, or a Point, which is the centre of a circle of `radius_m`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.noc.api.shapes import Id, In, Lat, Lon, Moment, Word

Kind = Literal["required", "forbidden", "speed"]
Area = Annotated[
    dict[str, Any], Meta(description="GeoJSON: Polygon, MultiPolygon, or Point (then with radius_m)")
]
Schedule = Annotated[
    dict[str, Any], Meta(description="`weekly` and `exceptions`, in the time zone of the zone's site")
]
Confirming = Annotated[
    dict[str, Any],
    Meta(description="`enter` {fixes, seconds, dwell_s} and `exit` {fixes, seconds, grace_s}, all optional"),
]


class ZoneRules(msgspec.Struct, frozen=True):
    """What of a zone people say."""

    name: str
    kind: str
    area: dict[str, Any]
    radius_m: float | None
    site_id: int | None
    group_id: int | None
    guard_id: str | None
    speed_limit_mps: float | None
    schedule: dict[str, Any] | None
    confirmation: dict[str, Any] | None
    enabled: bool


class Zone(ZoneRules, frozen=True, kw_only=True):
    zone_id: int
    tenant_id: int
    version: int
    changed_by: str
    in_force_from: datetime


class ZoneVersion(ZoneRules, frozen=True, kw_only=True):
    """`in_force_to` is null of the one that holds."""

    version: int
    changed_by: str
    in_force_from: datetime
    in_force_to: datetime | None
    time_zone: str


class ZoneWithVersions(Zone, frozen=True, kw_only=True):
    """`versions`, newest first, a hundred at the most."""

    versions: list[ZoneVersion]


class ZoneMade(msgspec.Struct, frozen=True):
    zone_id: int
    version: int
    in_force_from: datetime


class ZoneChanged(msgspec.Struct, frozen=True):
    """A change that changes nothing makes no version: `changed` is false."""

    zone_id: int
    version: int
    in_force_from: datetime
    changed: bool


class ZoneFields(In, frozen=True):
    name: Word | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    area: Area | UnsetType = UNSET
    radius_m: float | None | UnsetType = UNSET
    site_id: Id | None | UnsetType = UNSET
    group_id: Id | None | UnsetType = UNSET
    guard_id: Word | None | UnsetType = UNSET
    speed_limit_mps: float | None | UnsetType = UNSET
    schedule: Schedule | None | UnsetType = UNSET
    confirmation: Confirming | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class NewZone(In, frozen=True, kw_only=True):
    name: Word
    area: Area
    kind: Kind | UnsetType = UNSET
    radius_m: float | None | UnsetType = UNSET
    site_id: Id | None | UnsetType = UNSET
    group_id: Id | None | UnsetType = UNSET
    guard_id: Word | None | UnsetType = UNSET
    speed_limit_mps: float | None | UnsetType = UNSET
    schedule: Schedule | None | UnsetType = UNSET
    confirmation: Confirming | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class ZoneChange(In, frozen=True):
    """An absent field stays. With `version`, a zone that somebody else changed meanwhile is left alone (409)."""

    changes: ZoneFields
    version: Id | UnsetType = UNSET


class Measures(msgspec.Struct, frozen=True):
    """`depth_m`: how far the middle of it is from its edge, about; what is shallow cannot be confirmed by GPS."""

    area_m2: float
    extent_m: float
    depth_m: float
    vertices: int
    parts: int


class ZoneFile(In, frozen=True):
    """The text of a GeoJSON or KML file; what the format is is seen from it unless it is said."""

    document: Annotated[str, Meta(min_length=1)]
    format: Literal["geojson", "kml"] | UnsetType = UNSET
    update: bool | UnsetType = UNSET
    all_or_nothing: bool | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Imported(msgspec.Struct, frozen=True):
    """What became of one feature: added, changed, unchanged, left, or refused with the reason."""

    index: int
    name: str | None
    outcome: str
    reason: str = ""
    zone_id: int | None = None
    version: int | None = None
    ignored: list[str] = []


class ZoneFileToTry(In, frozen=True):
    """The last seven days, unless `since` and `until` say otherwise."""

    document: Annotated[str, Meta(min_length=1)]
    format: Literal["geojson", "kml"] | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET
    guard_id: Word | UnsetType = UNSET


class TriedZone(msgspec.Struct, frozen=True):
    """`outcome`: what an import would make of it. `zone_id` is null of one that is new."""

    name: str
    outcome: str
    zone_id: int | None


class Violations(msgspec.Struct, frozen=True):
    """How many there were in the period, and how long they lasted together."""

    count: int
    seconds: float


class TriedMoment(msgspec.Struct, frozen=True):
    """A transition that only one of the judgements came to."""

    kind: str
    zone_id: int | None
    zone: str
    at: datetime
    confirmed_at: datetime
    why: str


class TriedShift(msgspec.Struct, frozen=True):
    """A transition that both came to, at different times."""

    kind: str
    zone_id: int | None
    zone: str
    at_today: datetime
    at_edited: datetime


class GuardDifference(msgspec.Struct, frozen=True):
    """What would have been different for one guard. The lists hold the first of each; the counts say how many."""

    guard_id: str
    fixes: int
    violations_today: Violations
    violations_edited: Violations
    gained_count: int
    lost_count: int
    shifted_count: int
    gained: list[TriedMoment]
    lost: list[TriedMoment]
    shifted: list[TriedShift]


class ZoneTrial(msgspec.Struct, frozen=True):
    """`guards` are those for whom something would have been different, of `guards_judged`."""

    since: datetime
    until: datetime
    zones: list[TriedZone]
    fixes: int
    guards_judged: int
    guards: list[GuardDifference]


class TransitionQuery(In, frozen=True):
    guard_id: Word | UnsetType = UNSET
    zone_id: Id | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET
    superseded: bool | UnsetType = UNSET


class Transition(msgspec.Struct, frozen=True):
    """`at` is the first fix that showed it, `confirmed_at` the one that settled it. `late`: from fixes that came late.

    `superseded_at`: when later fixes showed that it was not so.
    """

    transition_id: str
    guard_id: str
    kind: str
    zone_id: int | None
    zone_version: int | None
    zone_name: str | None
    at: datetime
    confirmed_at: datetime
    late: bool
    superseded_at: datetime | None


class TransitionWithWhy(Transition, frozen=True, kw_only=True):
    """`why` for people, `evidence` for machines."""

    why: str
    time_zone: str
    evidence: dict[str, Any]


class TrackQuery(In, frozen=True):
    since: Moment
    until: Moment
    max_points: Annotated[int, Meta(ge=2, le=5_000)] | UnsetType = UNSET


class TrackPoint(msgspec.Struct, frozen=True):
    """`implausible` says why no verdict was built on it; `transition`: a belief changed by it."""

    recorded_at: datetime
    received_at: datetime
    lat: float
    lon: float
    accuracy: float | None
    speed: float | None
    heading: float | None
    in_geofence: bool
    geofence_violation: bool
    implausible: str | None
    transition: bool


class Track(msgspec.Struct, frozen=True):
    """`points` for drawing, of `count` fixes in all."""

    guard_id: str
    since: datetime
    until: datetime
    count: int
    points: list[TrackPoint]


class SearchShape(In, frozen=True):
    shape: Annotated[
        dict[str, Any], Meta(description="GeoJSON: Polygon, MultiPolygon, or Point with `radius_m` beside")
    ]


class NearestQuery(In, frozen=True):
    lat: Lat
    lon: Lon
    limit: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    max_age_s: Annotated[float, Meta(gt=0, le=86_400)] | UnsetType = UNSET
    explain: bool | UnsetType = UNSET


class NearGuard(msgspec.Struct, frozen=True, kw_only=True):
    guard_id: str
    name: str
    lat: float
    lon: float
    accuracy: float | None
    recorded_at: datetime
    in_geofence: bool
    geofence_violation: bool
    distance_m: float
    age_s: float


class LeftOut(NearGuard, frozen=True, kw_only=True):
    reasons: list[str]


class Nearest(msgspec.Struct, frozen=True, omit_defaults=True):
    """`left_out`, when it was asked to explain: who is near too, and why not they."""

    guards: list[NearGuard]
    left_out: list[LeftOut] | None = None


class ZoneTimeQuery(In, frozen=True):
    """Either `day`, which is local to each zone's site, or `since` and `until`."""

    guard_id: Word | UnsetType = UNSET
    day: date | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class DayInZone(msgspec.Struct, frozen=True):
    """`open`: the guard has not left since."""

    guard_id: str
    zone_id: int
    zone_name: str
    day: date
    seconds: float
    stays: int
    open: bool


class DaysInZones(msgspec.Struct, frozen=True):
    """`truncated`: there are more; ask for a guard, or for less time."""

    days: list[DayInZone]
    truncated: bool


class ImplausibleQuery(In, frozen=True):
    guard_id: Word | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class ImplausibleFix(msgspec.Struct, frozen=True):
    """`detail` holds the figures that `reason` goes by; places are null when the fix itself is past its retention."""

    message_key: str
    guard_id: str
    recorded_at: datetime
    received_at: datetime | None
    reason: str
    detail: dict[str, Any]
    lat: float | None
    lon: float | None
    accuracy: float | None
    speed: float | None
