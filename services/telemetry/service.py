"""The telemetry service: stores readings and refused messages, and publishes their conditions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from services.contracts.events import RejectedBatch
from services.contracts.families import (
    DEVICE,
    SENSOR,
    SYSTEM,
    TELEMETRY,
    BatchedFamily,
    DeviceReadingBatch,
    HealthReadingBatch,
    Reading,
    SensorReadingBatch,
)
from services.contracts.source_status import StatusPublisher
from services.feed.stream import FeedWriter
from services.ingestion import admission
from services.ingestion.effects import Effects
from services.ingestion.liveness import ReceptionMarks
from services.ingestion.source_registry import SourceRegistry
from services.messaging import (
    NOTHING_DUE,
    Publisher,
    QueueDepth,
    Resource,
    event_handler,
    rpc,
    rpc_of,
    shard_handler,
    shard_queue_names,
    timer,
)
from services.platform import metrics
from services.platform.config import Config
from services.platform.database import Database
from services.retention.keeper import RetentionKeeper
from services.telemetry.history import HistoryStore
from services.telemetry.intake import ReadingIntake
from services.telemetry.offline import ROUNDS, SourceOfflineWatch, limits_of
from services.telemetry.overrides import OverrideStore
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import RuleOverride, parse_rules
from services.telemetry.store import TelemetryStore

SILENCE_INTERVAL_S = 2.0
SILENCE_LOOK_EVERY = 5
"""Marks for each look for offline sources.

The shortest limit is minutes, and a look goes through all devices.
"""
STATUS_INTERVAL_S = 0.25
REST_S = 5.0
"""Rest of a timer in seconds, when it looked for work and found none."""
RETENTION_INTERVAL_S = 10.0
RETENTION_BUDGET_S = 4.0
"""Most seconds of each interval that the day's run takes: messages come first."""


class TelemetryParts:
    """Objects that the service works with, made once per process."""

    def __init__(self, config: Config) -> None:
        # Parse the rules first: a rule that cannot work ends the start before anything is opened.
        rules = parse_rules(config.rules)
        database = Database(config, name="telemetry")
        self.store = TelemetryStore(database)
        self.history = HistoryStore(database)
        self.keeper = RetentionKeeper(Database(config, name="retention", pool_size=2), config)
        self.overrides = OverrideStore(database, rules)
        self.registry = SourceRegistry.from_config(config)
        book = RuleCache(rules, self.registry, self.overrides.of_tenant)
        self.intakes = {row.name: ReadingIntake(self.store, self.registry, row, book) for row in TELEMETRY}
        self.feed = FeedWriter.from_config(config)
        self.statuses = StatusPublisher()
        queues = [
            queue
            for row in TELEMETRY
            for queue in shard_queue_names(
                "mqtt_gateway", row.event, "telemetry", row.handler, shards=config.amqp.shards
            )
        ]

        self.depth = QueueDepth(config.amqp, queues)
        listening = ReceptionMarks("telemetry", self.depth)
        self.silence = SourceOfflineWatch(self.store, listening, limits_of(config.location))
        self.silence_marks = itertools.count()

    def close(self) -> None:
        self.depth.close()


class TelemetryService:
    name = "telemetry"

    events = Publisher()
    parts = Resource(TelemetryParts)

    list_device_states = rpc_of("store", TelemetryStore.list_states)
    list_readings = rpc_of("history", HistoryStore.readings)
    list_rejected = rpc_of("history", HistoryStore.rejected)
    list_rules = rpc_of("overrides", OverrideStore.list_rules)
    remove_rule_override = rpc_of("overrides", OverrideStore.remove)

    @shard_handler("mqtt_gateway", "device_telemetry_received", DeviceReadingBatch)
    def process_device_telemetry(self, events: list[DeviceReadingBatch]) -> None:
        self._process(DEVICE, [reading for event in events for reading in event.readings])

    @shard_handler("mqtt_gateway", "sensor_data_received", SensorReadingBatch)
    def process_sensor_data(self, events: list[SensorReadingBatch]) -> None:
        self._process(SENSOR, [reading for event in events for reading in event.readings])

    @shard_handler("mqtt_gateway", "system_health_received", HealthReadingBatch)
    def process_system_health(self, events: list[HealthReadingBatch]) -> None:
        self._process(SYSTEM, [reading for event in events for reading in event.readings])

    @event_handler("mqtt_gateway", "message_rejected", RejectedBatch)
    def keep_rejected_messages(self, event: RejectedBatch) -> None:
        self.parts.store.keep_rejected(event.messages)
        effects = Effects()
        effects.rejected = event.messages
        self._publish(effects)

    @rpc
    def set_rule(
        self,
        *,
        tenant_id: int,
        rule: str,
        change: dict[str, Any],
        site_id: int | None = None,
        source_type: str | None = None,
    ) -> None:
        """Change a rule for a tenant, or for one of its sites or types of source.

        The change is effective within two seconds. `change` takes the place of what was set there
        before. Raises `NotFound`, and `Refused`, which says what is wrong.
        """
        wanted = RuleOverride(rule=rule, change=change, site_id=site_id, source_type=source_type)
        self.parts.overrides.put(wanted, tenant_id=tenant_id)

    @timer(3600, eager=True)
    def make_partitions(self) -> None:
        self.parts.keeper.make_partitions()

    @timer(RETENTION_INTERVAL_S)
    def keep_retention(self) -> None:
        self.parts.keeper.work(now=datetime.now(UTC), budget_s=RETENTION_BUDGET_S)

    @timer(1.0, rest_s=REST_S)
    def tell_owed(self) -> float | None:
        return None if self.parts.store.owed.publish_overdue(self.events.publish_all) else NOTHING_DUE

    @timer(SILENCE_INTERVAL_S, rest_s=SILENCE_INTERVAL_S)
    def watch_silence(self) -> float | None:
        """Report OFFLINE of sources from which nothing is received."""
        parts, free_s = self.parts, NOTHING_DUE
        if not parts.silence.is_open():
            return free_s
        if next(parts.silence_marks) % SILENCE_LOOK_EVERY:
            parts.silence.mark()
            return free_s

        has_found = False
        for _ in range(ROUNDS):
            effects = parts.silence.look()
            has_found = has_found or bool(effects.statuses)
            parts.statuses.put(effects.statuses)
            parts.store.owed.publish(effects, self.events.publish_all)
            if not effects.has_more:
                break

        return None if has_found else free_s

    @timer(STATUS_INTERVAL_S, rest_s=REST_S)
    def show_statuses(self) -> float:
        self.parts.statuses.show(self.parts.feed)
        return NOTHING_DUE

    def _process(self, row: BatchedFamily, readings: Sequence[Reading]) -> None:
        effects = self.parts.intakes[row.name].store(readings, now=datetime.now(UTC))
        admission.count_rejected(effects.rejected)
        self.parts.statuses.put(effects.statuses)
        self._publish(effects)

        oldest = min(reading.origin.received_at for reading in readings)
        metrics.end_to_end.labels("stored").observe((datetime.now(UTC) - oldest).total_seconds())

    def _publish(self, effects: Effects) -> None:
        effects.report_stored("telemetry_stored", now=datetime.now(UTC))
        self.parts.store.owed.publish(effects, self.events.publish_all)
