"""The MQTT gateway: two lanes of one service, each a separate process.

A panic never waits behind a thousand positions: the lanes share no connection, no queue and no
process.
"""

from __future__ import annotations

from gateway.mqtt.lane import Lane, trace_of
from services.contracts.events import AlertEvent, StoredEvent
from services.messaging import Publisher, Resource, event_handler, loop

SERVICE = "mqtt_gateway"


class BulkLane:
    """Lane of telemetry, positions, sensors and health, in batches."""

    name = SERVICE
    events = Publisher()
    lane = Resource(lambda config: Lane(config, "bulk"))

    @loop
    def run_bulk_lane(self) -> None:
        self.lane.run(self.events.publish_all)

    @event_handler("telemetry", "telemetry_stored", StoredEvent)
    def send_telemetry_receipts(self, event: StoredEvent) -> None:
        self.lane.send_receipts(event.receipts)

    @event_handler("location", "positions_stored", StoredEvent)
    def send_position_receipts(self, event: StoredEvent) -> None:
        self.lane.send_receipts(event.receipts)


class AlertLane:
    """Lane of alerts, each at once."""

    name = SERVICE
    events = Publisher(trace_of=trace_of)
    lane = Resource(lambda config: Lane(config, "alert"))

    @loop
    def run_alert_lane(self) -> None:
        self.lane.run(self.events.publish_all)

    @event_handler("alerts", "alert_raised", AlertEvent)
    def send_raised_receipts(self, event: AlertEvent) -> None:
        self.lane.send_receipts(event.receipts)

    @event_handler("alerts", "alert_updated", AlertEvent)
    def send_updated_receipts(self, event: AlertEvent) -> None:
        self.lane.send_receipts(event.receipts)
