"""The location service: stores fixes, judges zones, shows the newest positions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import eventlet
import structlog

from services.contracts.families import Fix, FixBatch
from services.contracts.source_status import StatusPublisher
from services.feed.stream import FeedWriter
from services.ingestion import admission
from services.ingestion.liveness import ReceptionMarks
from services.ingestion.source_registry import SourceRegistry
from services.location.deferred_alerts import DeferredAlerts
from services.location.guards.battery import battery_rule
from services.location.intake import HELD_EVENT, FixIntake
from services.location.live_positions.position_feed import PositionFeed
from services.location.offline import ROUNDS, GuardOfflineWatch
from services.location.store import LocationStore
from services.location.tracks.dwell_report import DwellReport
from services.location.tracks.nearby import NearbyGuards, busy_with
from services.location.tracks.queries import TrackQueries
from services.location.what_if import WhatIfResult, WhatIfTrials, the_last_week
from services.location.zone_cache import ZoneCache
from services.messaging import (
    NOTHING_DUE,
    Publisher,
    QueueDepth,
    Resource,
    RpcProxy,
    gathering_handler,
    loop,
    rpc,
    rpc_of,
    shard_handler,
    shard_queue_names,
    timer,
)
from services.platform import metrics
from services.platform.config import Config
from services.platform.database import Database

log = structlog.get_logger(__name__)

STATUS_INTERVAL_S = 0.25
REST_S = 5.0
"""Rest of a timer in seconds, when it looked for work and found none."""
SILENCE_REST_S = 3.0
"""Rest of `watch_silence` in seconds.

The mark that the pipeline is open may be missing for ten seconds
(`services/ingestion/liveness.py`).
"""
HELD_INTERVAL_S = 2.0
"""Interval in seconds at which held fixes are stored together.

Fixes are held when the track of their guard takes long to repair.
"""
ALERTS_A_PAGE = 1_000
"""Alerts on one page: as many as the alerts service lists at once."""


class LocationParts:
    """Objects that the service works with, made once per process."""

    def __init__(self, config: Config) -> None:
        database = Database(config, name="location")
        self.store = LocationStore(database)
        registry = SourceRegistry.from_config(config)
        self.zones = ZoneCache(database, registry, config.location)
        self.intake = FixIntake(
            self.store,
            registry,
            self.zones,
            config.location,
            shift_tolerance_s=config.retention.shift_tolerance_s,
            battery_rule=battery_rule(config.rules),
        )

        self.settling = DeferredAlerts(
            self.store, self.zones, shift_tolerance_s=config.retention.shift_tolerance_s
        )
        self.feed = FeedWriter.from_config(config)
        self.positions = PositionFeed(
            self.feed,
            shortest_s=config.feed.positions_shortest_interval_s,
            longest_s=config.feed.positions_interval_s,
        )

        self.statuses = StatusPublisher()
        self.tracks = TrackQueries(database)
        self.whereabouts = NearbyGuards(database)
        self.zone_days = DwellReport(database)
        self.hindsight = WhatIfTrials(database, config.location)
        queues = shard_queue_names(
            "mqtt_gateway", "guard_gps_received", "location", "process_guard_gps", shards=config.amqp.shards
        )
        self.depth = QueueDepth(config.amqp, queues)
        self.silence = GuardOfflineWatch(
            self.store, ReceptionMarks("location", self.depth), limit_s=config.location.silence_limit_s
        )

    def close(self) -> None:
        self.positions.close()
        self.depth.close()


class LocationService:
    name = "location"

    events = Publisher(optional=("zone_entered", "zone_exited"))
    parts = Resource(LocationParts)
    alerts = RpcProxy("alerts")
    directory = RpcProxy("directory")

    list_positions = rpc_of("whereabouts", NearbyGuards.positions)
    guards_within = rpc_of("whereabouts", NearbyGuards.within)
    get_track = rpc_of("tracks", TrackQueries.track)
    list_transitions = rpc_of("tracks", TrackQueries.transitions)
    get_transition = rpc_of("tracks", TrackQueries.transition)
    list_implausible = rpc_of("tracks", TrackQueries.implausible)
    time_in_zones = rpc_of("zone_days", DwellReport.time_in_zones)

    @shard_handler("mqtt_gateway", "guard_gps_received", FixBatch)
    def process_guard_gps(self, events: list[FixBatch]) -> None:
        self._store([fix for event in events for fix in event.fixes], hold=True)

    @gathering_handler(
        "location",
        HELD_EVENT,
        FixBatch,
        key_of=lambda event: event.fixes[0].origin.source_id,
        every_s=HELD_INTERVAL_S,
    )
    def process_held_fixes(self, events: list[FixBatch]) -> None:
        """Store the fixes that guards sent while their tracks were repaired.

        Each guard's track is repaired once for all of its fixes.
        """
        self._store([fix for event in events for fix in event.fixes], hold=False)

    def _store(self, fixes: list[Fix], *, hold: bool) -> None:
        effects = self.parts.intake.store(fixes, now=datetime.now(UTC), hold=hold)

        admission.count_rejected(effects.rejected)
        metrics.mqtt_geofence_violation.inc(effects.violations_begun)
        metrics.position_off_shift.inc(effects.off_shift)

        for tenant_id, position in effects.positions:
            self.parts.positions.put(tenant_id, position)

        self.parts.statuses.put(effects.statuses)

        effects.report_stored("positions_stored", now=datetime.now(UTC))
        self.parts.store.owed.publish(effects, self.events.publish_all)
        oldest = min(fix.origin.received_at for fix in fixes)
        metrics.end_to_end.labels("stored").observe((datetime.now(UTC) - oldest).total_seconds())

        if effects.failures:
            raise effects.failures[0]

    @loop
    def show_positions(self) -> None:
        """Publish the newest position of each guard in frames of the feed."""
        self.parts.positions.run()

    @timer(1.0, rest_s=REST_S)
    def tell_owed(self) -> float | None:
        return None if self.parts.store.owed.publish_overdue(self.events.publish_all) else NOTHING_DUE

    @timer(1.0, rest_s=REST_S)
    def tell_settled(self) -> float:
        """Publish violations, and ends of violations, that no prompt fix reported.

        Conditions that ended with a shift are published too.
        """
        for tell in (self.parts.settling.settle, self.parts.settling.end_shifts):
            effects = tell(now=datetime.now(UTC))
            metrics.mqtt_geofence_violation.inc(effects.violations_begun)
            self.parts.store.owed.publish(effects, self.events.publish_all)
        return self.parts.settling.free_s(now=datetime.now(UTC))

    @timer(1.0, rest_s=SILENCE_REST_S)
    def watch_silence(self) -> float | None:
        """Report OFFLINE of guards on shift from whom nothing is received.

        OFFLINE ends here when it no longer matters: the guard is off shift or disabled.
        """
        judge = self.parts.silence.is_open()
        free_s: float | None = NOTHING_DUE

        for _ in range(ROUNDS):
            effects = self.parts.silence.look(judge=judge)
            free_s = None if effects.statuses else free_s
            self.parts.statuses.put(effects.statuses)
            self.parts.store.owed.publish(effects, self.events.publish_all)
            if not effects.has_more:
                break

        return free_s

    @timer(STATUS_INTERVAL_S, rest_s=REST_S)
    def show_statuses(self) -> float:
        self.parts.statuses.show(self.parts.feed)
        return NOTHING_DUE

    def _open_alerts(self, tenant_id: int) -> list[dict[str, Any]]:
        """Return all open alerts of a tenant, read page by page.

        A guard with an open alert is not free, however many alerts came after it.
        """
        found: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.alerts.list_alerts(
                tenant_id=tenant_id, status="open", limit=ALERTS_A_PAGE, after=after
            )
            found += page
            if len(page) < ALERTS_A_PAGE:
                return found
            after = [page[-1]["received_at"], page[-1]["id"]]

    @rpc
    def nearest_guards(
        self,
        *,
        tenant_id: int,
        lat: float,
        lon: float,
        limit: int = 5,
        max_age_s: float = 600,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Return the nearest guards who can go to a place.

        Such a guard is enabled, was seen lately and is not OFFLINE. The guard is on shift, where
        shifts are kept. The guard has no open alert, neither as its source nor assigned. With
        `explain`, the answer also lists the guards who are nearer, and why they cannot go. Raises
        `Refused`.
        """
        alerts = self._open_alerts(tenant_id)
        return self.parts.whereabouts.nearest(
            lat,
            lon,
            tenant_id=tenant_id,
            busy=busy_with(alerts),
            limit=limit,
            max_age_s=max_age_s,
            explain=explain,
        )

    @rpc
    def try_zones(
        self,
        *,
        tenant_id: int,
        document: str,
        format: str | None = None,  # noqa: A002 - its name on the wire
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        guard_id: str | None = None,
    ) -> WhatIfResult:
        """Compare the zones of a GeoJSON or KML text with today's zones, on the tracks of a period.

        Without a period, the last seven days are judged. Nothing is changed and nobody is notified.

        Raises:
            Refused: The features are wrong, or the period has more fixes than are judged while the
                caller waits.
            NotFound: The guard, or something that a feature names, does not exist.
        """
        edits = self.directory.list_zone_edits(tenant_id=tenant_id, document=document, format=format)
        period = the_last_week(since, until, now=datetime.now(UTC))
        return self.parts.hindsight.try_zones(
            edits, tenant_id=tenant_id, since=period[0], until=period[1], guard_id=guard_id, say=give_way
        )


def give_way(*_: object) -> None:
    """Let other green threads run, so that fixes keep coming in meanwhile."""
    eventlet.sleep(0)
