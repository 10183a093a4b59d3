"""The location service: stores fixes, judges zones, shows the newest positions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services import admission, metrics
from services.bus import Publisher, Resource, event_handler, rpc, timer
from services.config import Config
from services.errors import Unavailable
from services.feed import FeedWriter
from services.location.intake import Intake, Outcome
from services.location.newest import Newest, position_of
from services.location.store import LocationStore
from services.messages import FixBatch, StoredEvent
from services.owed import Event, condition_events
from services.providers import Database
from services.registry import Registry

FLUSH_INTERVAL_S = 0.1


class Parts:
    """What the service works with, made once a process."""

    def __init__(self, config: Config) -> None:
        self.store = LocationStore(Database(config, name="location"))
        self.intake = Intake(
            self.store,
            Registry.from_config(config),
            shift_tolerance_s=config.retention.shift_tolerance_s,
        )
        self.feed = FeedWriter.from_config(config)
        self.newest = Newest()
        self.positions_interval_s = config.feed.positions_interval_s


class LocationService:
    name = "location"

    events = Publisher()
    parts = Resource(Parts)

    @event_handler("mqtt_gateway", "guard_gps_received", FixBatch)
    def process_guard_gps(self, event: FixBatch) -> None:
        outcome = self.parts.intake.store(event.fixes, now=datetime.now(UTC))
        admission.count_rejected(outcome.refused)
        metrics.mqtt_geofence_violation.inc(outcome.violations_begun)
        metrics.position_off_shift.inc(outcome.off_shift)
        for fix, source, verdict in outcome.newest:
            position = position_of(fix, in_geofence=verdict.in_geofence, violation=verdict.violation)
            self.parts.newest.put(source.tenant_id, position)
        self._tell(outcome)
        oldest = min(fix.origin.received_at for fix in event.fixes)
        metrics.end_to_end.labels("stored").observe((datetime.now(UTC) - oldest).total_seconds())

    @rpc
    def list_positions(
        self, *, tenant_id: int, limit: int = 20_000, after: list[Any] | None = None
    ) -> list[dict[str, Any]]:
        """The newest position of each guard."""
        return self.parts.store.list_positions(tenant_id, limit=limit, after=after)

    @timer(FLUSH_INTERVAL_S)
    def show_positions(self) -> None:
        """Newest per guard, at most one frame an interval and tenant over all location processes."""
        parts = self.parts
        for tenant_id in parts.newest.tenants():
            if not parts.feed.may_send(tenant_id, "positions", interval_s=parts.positions_interval_s):
                continue
            positions = parts.newest.take(tenant_id)
            try:
                oldest = min(position.received_at for position in positions)
                parts.feed.publish(tenant_id, "positions", positions, arrived=oldest)
                parts.feed.put_hot(tenant_id, "positions", {p.guard_id: p for p in positions})
            except Unavailable:
                parts.newest.put_back(tenant_id, positions)
                raise

    @timer(1.0)
    def tell_owed(self) -> None:
        self.parts.store.owed.tell_overdue(self.events.publish_all)

    def _tell(self, outcome: Outcome) -> None:
        events: list[Event] = [*outcome.debt.earlier, *condition_events(outcome.met, outcome.cleared)]
        if outcome.receipts:
            stored = StoredEvent(
                receipts=outcome.receipts,
                stored=outcome.stored,
                duplicates=outcome.admitted - outcome.stored,
                rejected=len(outcome.refused),
            )
            events.append(("positions_stored", stored))
        self.events.publish_all(events)
        self.parts.store.owed.forget(outcome.debt)
