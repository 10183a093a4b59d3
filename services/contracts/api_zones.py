"""Types of zones, tracks and positions in the API. Pure.

Areas are GeoJSON geometries: a Polygon, a MultiPolygon, or a Point. A Point is the centre of a
circle of `radius_m`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.contracts import zone_parameters
from services.contracts.api import Id, In, Lat, Lon, Moment, Word

Kind = Literal["required", "forbidden", "speed"]
Area = Annotated[
    dict[str, Any], Meta(description="GeoJSON: Polygon, MultiPolygon, or Point (then with radius_m)")
]
Schedule = Annotated[
    dict[str, Any], Meta(description="`weekly` and `exceptions`, in the time zone of the zone's site")
]
Confirming = Annotated[
    dict[str, Any],
    Meta(description=zone_parameters.described()),
]


class ZoneRules(msgspec.Struct, frozen=True):
    """The part of a zone that users set."""

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
    """Version of a zone. `in_force_to` is null for the current one."""

    version: int
    changed_by: str
    in_force_from: datetime
    in_force_to: datetime | None
    time_zone: str


class ZoneWithVersions(Zone, frozen=True, kw_only=True):
    """Zone with its versions, newest first, at most a hundred."""

    versions: list[ZoneVersion]


class ZoneMade(msgspec.Struct, frozen=True):
    zone_id: int
    version: int
    in_force_from: datetime


class ZoneChanged(msgspec.Struct, frozen=True):
    """Result of a change. When nothing changes, `changed` is false and no version is made."""

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
    """Change of a zone. An absent field stays as it is.

    With `version`, a zone that another user has changed meanwhile is not changed (409).
    """

    changes: ZoneFields
    version: Id | UnsetType = UNSET


class Measures(msgspec.Struct, frozen=True):
    """Measures of a zone.

    `depth_m` is the approximate distance from the middle to the edge. GPS cannot confirm a guard in
    a shallow zone.
    """

    area_m2: float
    extent_m: float
    depth_m: float
    vertices: int
    parts: int


class ZoneFile(In, frozen=True):
    """The text of a GeoJSON or KML file. Without `format`, the text decides the format."""

    document: Annotated[str, Meta(min_length=1)]
    format: Literal["geojson", "kml"] | UnsetType = UNSET
    update: bool | UnsetType = UNSET
    all_or_nothing: bool | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Imported(msgspec.Struct, frozen=True):
    """Result of one feature: added, changed, unchanged, left, or refused with the reason."""

    index: int
    name: str | None
    outcome: str
    reason: str = ""
    zone_id: int | None = None
    version: int | None = None
    ignored: list[str] = []


class ZoneFileToTry(In, frozen=True):
    """Zones to try. The period is the last seven days, unless `since` and `until` are given."""

    document: Annotated[str, Meta(min_length=1)]
    format: Literal["geojson", "kml"] | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET
    guard_id: Word | UnsetType = UNSET


class TriedZone(msgspec.Struct, frozen=True):
    """Zone of a trial. `outcome` is the result of an import. `zone_id` is null for a new zone."""

    name: str
    outcome: str
    zone_id: int | None


class Violations(msgspec.Struct, frozen=True):
    """Number of violations in the period, and their total duration."""

    count: int
    seconds: float


class TriedMoment(msgspec.Struct, frozen=True):
    """Transition that only one of the two judgements found."""

    kind: str
    zone_id: int | None
    zone: str
    at: datetime
    confirmed_at: datetime
    why: str


class TriedShift(msgspec.Struct, frozen=True):
    """Transition that both judgements found, at different times."""

    kind: str
    zone_id: int | None
    zone: str
    at_today: datetime
    at_edited: datetime


class GuardDifference(msgspec.Struct, frozen=True):
    """Differences for one guard. The lists hold the first items of each kind.

    The counts are complete.
    """

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
    """Result of a trial. `guards` are the guards with a difference, among `guards_judged`."""

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
    """Transition of a guard.

    `at` is the first fix that showed the transition, and `confirmed_at` the fix that confirmed it.
    `late`: the fixes came late. `superseded_at`: the time at which later fixes showed that the
    transition was wrong.
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
    """Transition with its reason: `why` for readers, `evidence` for programs."""

    why: str
    time_zone: str
    evidence: dict[str, Any]


class TrackQuery(In, frozen=True):
    since: Moment
    until: Moment
    max_points: Annotated[int, Meta(ge=2, le=5_000)] | UnsetType = UNSET


class TrackPoint(msgspec.Struct, frozen=True):
    """Point of a track.

    `implausible` is the reason why no verdict uses the point. `transition`: the point changed a
    judgement.
    """

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
    """Track of a guard.

    `points` are a selection for drawing, and `count` is the number of all fixes.
    """

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
    """Nearest guards.

    With `explain`, `left_out` lists other near guards, and the reasons against them.
    """

    guards: list[NearGuard]
    left_out: list[LeftOut] | None = None


class ZoneTimeQuery(In, frozen=True):
    """Period: `day`, which is local to each zone's site, or `since` and `until`."""

    guard_id: Word | UnsetType = UNSET
    day: date | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class DayInZone(msgspec.Struct, frozen=True):
    """Time of a guard in a zone on one day. `open`: the guard has not left since."""

    guard_id: str
    zone_id: int
    zone_name: str
    day: date
    seconds: float
    stays: int
    open: bool


class DaysInZones(msgspec.Struct, frozen=True):
    """Days in zones. `truncated`: there are more; ask for one guard, or for a shorter period."""

    days: list[DayInZone]
    truncated: bool


class ImplausibleQuery(In, frozen=True):
    guard_id: Word | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class ImplausibleFix(msgspec.Struct, frozen=True):
    """Implausible fix. `detail` holds the figures for `reason`.

    The place is null when the fix itself is past its retention.
    """

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
