"""The telemetry service: stores readings and refused messages, and says what they call for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from services import admission, metrics
from services.bus import Publisher, Resource, event_handler, rpc, timer
from services.config import Config
from services.messages import (
    ConditionsEvent,
    DeviceReadingBatch,
    HealthReadingBatch,
    RejectedBatch,
    SensorReadingBatch,
    StoredEvent,
)
from services.providers import Database
from services.registry import Registry
from services.telemetry import conditions
from services.telemetry.conditions import Thresholds
from services.telemetry.intake import Intake, Outcome
from services.telemetry.store import DEVICE, SENSOR, SYSTEM, Reading, TelemetryStore

PARTITIONS_AHEAD_WEEKS = 4


class Parts:
    """What the service works with, made once a process."""

    def __init__(self, config: Config) -> None:
        self.store = TelemetryStore(Database(config, name="telemetry"))
        self.registry = Registry.from_config(config)
        thresholds = msgspec.convert(config.rules, Thresholds, from_attributes=True)
        self.device = Intake(
            self.store, self.registry, DEVICE, partial(conditions.of_device, thresholds=thresholds)
        )
        self.sensor = Intake(
            self.store, self.registry, SENSOR, partial(conditions.of_sensor, thresholds=thresholds)
        )
        self.system = Intake(
            self.store, self.registry, SYSTEM, partial(conditions.of_system, thresholds=thresholds)
        )


class TelemetryService:
    name = "telemetry"

    events = Publisher()
    parts = Resource(Parts)

    @event_handler("mqtt_gateway", "device_telemetry_received", DeviceReadingBatch)
    def process_device_telemetry(self, event: DeviceReadingBatch) -> None:
        self._process(self.parts.device, event.readings)

    @event_handler("mqtt_gateway", "sensor_data_received", SensorReadingBatch)
    def process_sensor_data(self, event: SensorReadingBatch) -> None:
        self._process(self.parts.sensor, event.readings)

    @event_handler("mqtt_gateway", "system_health_received", HealthReadingBatch)
    def process_system_health(self, event: HealthReadingBatch) -> None:
        self._process(self.parts.system, event.readings)

    @event_handler("mqtt_gateway", "message_rejected", RejectedBatch)
    def keep_rejected_messages(self, event: RejectedBatch) -> None:
        self.parts.store.keep_rejected(event.messages)

    @rpc
    def list_device_states(self, *, tenant_id: int, limit: int = 10_000) -> list[dict[str, Any]]:
        """The newest reading of each device, sensor and system, and the conditions that it shows."""
        return self.parts.store.list_states(tenant_id, limit=limit)

    @timer(3600)
    def make_partitions(self) -> None:
        self.parts.store.make_partitions(PARTITIONS_AHEAD_WEEKS)

    def _process(self, intake: Intake, readings: Sequence[Reading]) -> None:
        now = datetime.now(UTC)
        outcome = intake.store(readings, now=now)
        admission.count_rejected(outcome.refused)
        self._tell(outcome)
        oldest = min(reading.origin.received_at for reading in readings)
        metrics.end_to_end.labels("stored").observe((datetime.now(UTC) - oldest).total_seconds())

    def _tell(self, outcome: Outcome) -> None:
        stored = StoredEvent(
            receipts=outcome.receipts,
            stored=outcome.stored,
            duplicates=outcome.admitted - outcome.stored,
            rejected=len(outcome.refused),
        )
        events: list[tuple[str, msgspec.Struct]] = []
        if outcome.met:
            events.append(("alert_condition_met", ConditionsEvent(outcome.met)))
        if outcome.cleared:
            events.append(("alert_condition_cleared", ConditionsEvent(outcome.cleared)))
        if outcome.receipts:
            events.append(("telemetry_stored", stored))
        self.events.publish_all(events)
