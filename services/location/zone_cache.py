"""Zones of each tenant, with all versions that a fix may still ask for.

They are read again when the registry says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import shapely
import structlog
from sqlalchemy import Row, text

from services.contracts.errors import Unavailable
from services.contracts.zone_parameters import confirmation_of, usual
from services.geofencing.assignment import applies, holds, in_force
from services.geofencing.geometry import Geofence, ZoneIndex, distance_m
from services.geofencing.rule.track import Belief, EvaluatedFix, Judge, TrackFix, ZoneSubject
from services.geofencing.schedule import parse
from services.ingestion.source_registry import SourceRegistry
from services.location.conditions import NearestZone
from services.platform import config, metrics
from services.platform.database import Database

log = structlog.get_logger(__name__)

REACHES_M = (500.0, 5_000.0, 50_000.0)
KEPT_DAYS = 8
"""Days for which a version that holds no more is kept: a fix may be a week late."""
SELECT_VERSIONS = text(
    """
    SELECT zone_id, version, kind, name, site_id, time_zone, group_id, guard_id, ST_AsBinary(area) AS area, radius_m,
           speed_limit_mps, schedule, confirmation, enabled, nullif(in_force_from, '-infinity') AS in_force_from,
           in_force_to
    FROM zone_version
    WHERE tenant_id = :tenant_id AND (in_force_to IS NULL OR in_force_to > now() - make_interval(days => :days))
    ORDER BY zone_id, version
    """
)
NAMED = ("zone_id", "version", "kind", "name", "site_id", "time_zone", "group_id", "guard_id")
MORE = ("radius_m", "speed_limit_mps", "enabled", "in_force_from", "in_force_to")


Track = tuple[ZoneSubject, Belief | None, Sequence[TrackFix]]


class Unjudged(Unavailable):
    """Error: a tenant's fixes cannot be judged.

    They are tried again, and then kept among the dead letters: no verdict is ever made up.
    """

    def __init__(self, message: str, tenant_id: int = 0) -> None:
        super().__init__(message)
        self.tenant_id = tenant_id


class TenantJudge(Judge):
    """Judge that fails loudly. Its error names the tenant and the zone that cannot be judged by."""

    def __init__(self, tenant_id: int, index: ZoneIndex, settings: config.LocationSettings) -> None:
        super().__init__(index, settings)
        self._tenant_id = tenant_id
        self._index = index

    def judge_many(self, tracks: Sequence[Track]) -> list[tuple[Belief, list[EvaluatedFix]]]:
        try:
            return super().judge_many(tracks)
        except Exception as error:
            places = [(fix.lat, fix.lon) for _, _, fixes in tracks for fix in fixes]
            raise _unjudged(self._tenant_id, _culprit(self._index.zones, places), error) from error

    def nearest_required(
        self, guard: ZoneSubject, lat: float, lon: float, at: datetime
    ) -> NearestZone | None:
        """Return the nearest zone in force that the guard should be in.

        Return None when there is none as far as a guard may be from one.
        """
        for reach_m in REACHES_M:
            found = [
                (d, zone.zone_id, zone)
                for zone, d in self._index.near(lat, lon, reach_m)
                if zone.kind == "required" and holds(zone, at) and applies(zone, guard) and in_force(zone, at)
            ]
            if found:
                d, zone_id, zone = min(found)
                return NearestZone(zone_id, zone.version, zone.name, d)

        return None


class ZoneCache:
    """Zones of all tenants: one book per process.

    A tenant's judge is the same until the registry's version grows.
    """

    def __init__(
        self, database: Database, registry: SourceRegistry, settings: config.LocationSettings
    ) -> None:
        self._database = database
        self._registry = registry
        self._settings = settings
        self._version: int | None = None
        self._of_tenant: dict[int, TenantJudge] = {}

    def judge_of(self, tenant_id: int) -> TenantJudge:
        """Return the judge of a tenant.

        Raises `Unavailable`. It is an `Unjudged`, which names the zone, when a zone cannot be read.
        """
        version = self._registry.check_version()
        if version != self._version:
            self._of_tenant.clear()
            self._version = version

        judge = self._of_tenant.get(tenant_id)
        if judge is None:
            judge = TenantJudge(tenant_id, self._read(tenant_id), self._settings)
            if version == self._version:  # else another green thread saw a newer version meanwhile
                self._of_tenant[tenant_id] = judge

        return judge

    def _read(self, tenant_id: int) -> ZoneIndex:
        with self._database.across() as connection:
            found = connection.execute(SELECT_VERSIONS, {"tenant_id": tenant_id, "days": KEPT_DAYS}).all()
        zones = [self._zone(tenant_id, row) for row in found]
        try:
            return ZoneIndex(zones)
        except Exception as error:
            raise _unjudged(tenant_id, _unindexable(zones), error) from error

    def _zone(self, tenant_id: int, row: Row[Any]) -> Geofence:
        try:
            return zone_of(row, self._settings)
        except Exception as error:
            raise _unjudged(tenant_id, row, error) from error


def zone_of(row: Any, settings: config.LocationSettings) -> Geofence:
    """Convert a row of `zone_version` to the form that the judge takes.

    Raises any error that the row causes.
    """
    own, default = row.confirmation or {}, usual(settings)
    return Geofence(
        **{name: getattr(row, name) for name in (*NAMED, *MORE)},
        area=shapely.from_wkb(bytes(row.area)),
        schedule=None if row.schedule is None else parse(row.schedule),
        enter=confirmation_of(own.get("enter") or {}, "enter", default),
        exit=confirmation_of(own.get("exit") or {}, "exit", default),
    )


def _unjudged(tenant_id: int, zone: Any, error: Exception) -> Unjudged:
    named = "its zones" if zone is None else f"zone {zone.zone_id} ({zone.name}), version {zone.version}"
    why = f"{type(error).__name__}: {error}"
    metrics.zone_unjudged.inc()
    log.error("zone_not_evaluated", tenant_id=tenant_id, zone=named, error=why)
    return Unjudged(
        f"tenant {tenant_id}: {named} cannot be judged: {why}; correct or disable it, then send the dead letters again",
        tenant_id,
    )


def _unindexable(zones: Sequence[Geofence]) -> Geofence | None:
    for zone in zones:
        try:
            ZoneIndex([zone])
        except Exception:  # noqa: BLE001 - whatever it is, it is this zone's
            return zone
    return None


def _culprit(zones: Sequence[Geofence], places: Iterable[tuple[float, float]]) -> Geofence | None:
    for lat, lon in places:
        for zone in zones:
            try:
                distance_m(zone, lat, lon)
            except Exception:  # noqa: BLE001 - whatever it is, it is this zone's
                return zone
    return None
