"""A lane: from delivery by the broker to an event that RabbitMQ has confirmed, and only then the ack.

connection -> batcher -> senders (decode, publish, wait for the confirm) -> acknowledgements in order
"""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import eventlet
import msgspec
import structlog
from eventlet.queue import Queue

from gateway.mqtt import link_state, owntracks, payloads, retained_positions, topics, unreadable, wire
from gateway.mqtt.batch import AckOrder, Batch, Batcher, Delivery
from gateway.mqtt.client import Connection, Link, Outgoing
from gateway.mqtt.identity import Recent
from gateway.mqtt.retained import RetainedSweep
from gateway.mqtt.topics import FILTERS, OPTIONAL, Family
from services import metrics, security, tracing
from services.config import Config, Mqtt
from services.errors import InvalidMessage, Misconfigured, Unavailable
from services.messages import (
    DeviceAlert,
    DeviceReading,
    DeviceReadingBatch,
    Fix,
    FixBatch,
    HealthReading,
    HealthReadingBatch,
    Receipt,
    RejectedBatch,
    RejectedMessage,
    SensorReading,
    SensorReadingBatch,
)
from services.security import IDENTITY_REASONS

log = structlog.get_logger(__name__)

PublishAll = Callable[[Sequence[tuple[str, msgspec.Struct]]], None]
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# QoS 1 is bounded by the receive maximum; this bounds QoS 0: a full queue stops the reading of the socket.
MAX_WAITING_BATCHES = 256
CATCH_UP_S = 60.0
"""For so long after a break messages may have waited at the broker, and a late `sent_at` shows no slow clock."""

_EVENTS: list[tuple[type, str, Callable[[list[Any]], msgspec.Struct]]] = [
    (Fix, "guard_gps_received", lambda items: FixBatch(fixes=items)),
    (DeviceReading, "device_telemetry_received", lambda items: DeviceReadingBatch(readings=items)),
    (SensorReading, "sensor_data_received", lambda items: SensorReadingBatch(readings=items)),
    (HealthReading, "system_health_received", lambda items: HealthReadingBatch(readings=items)),
    (RejectedMessage, "message_rejected", lambda items: RejectedBatch(messages=items)),
]


class FreshKeys:
    """Identities for messages that have none: a random part for the process, then a count."""

    def __init__(self) -> None:
        self._process = os.urandom(8)
        self._count = itertools.count(1)

    def __call__(self) -> bytes:
        return self._process + next(self._count).to_bytes(8, "big")


def check_instance(mqtt: Mqtt) -> None:
    """Raises `Misconfigured` when two gateways of a group would be one to the broker."""
    if mqtt.shared_group and not mqtt.instance:
        raise Misconfigured(
            "VIGIL_MQTT_SHARED_GROUP is set, and VIGIL_INSTANCE is not: give each gateway of the group a name"
            " of its own, which it keeps over restarts"
        )


class Lane:
    """`name` is `alert` (each message alone and at once) or `bulk` (in batches)."""

    def __init__(self, config: Config, name: str) -> None:
        check_instance(config.mqtt)
        gateway = config.gateway
        alone = name == "alert"
        self.name = name
        self._limits = payloads.Limits(
            max_payload_bytes=gateway.max_payload_bytes,
            max_depth=gateway.max_depth,
            max_clock_ahead_s=gateway.max_clock_ahead_s,
            max_clock_age_s=gateway.max_clock_age_s,
        )
        self._owntracks = gateway.owntracks
        self._tick_s = max(gateway.batch_light_age_s / 2, 0.001)
        self._batcher = Batcher(
            max_messages=1 if alone else gateway.batch_max_messages,
            max_bytes=gateway.batch_max_bytes,
            max_age_s=gateway.batch_max_age_s,
            light_messages=gateway.batch_light_messages,
            light_age_s=gateway.batch_light_age_s,
        )
        self._senders = gateway.batches_in_flight
        self._idle_senders = 0
        self._outgoing: Queue = Queue(maxsize=MAX_WAITING_BATCHES)
        self._order = AckOrder()
        self._fresh_key = FreshKeys()
        self._recent = Recent()
        self._held_back_until_s = 0.0
        self._connected = metrics.mqtt_connected.labels(name)
        self.connection = Connection(
            config.mqtt,
            lane=name,
            filters=(*FILTERS[name], *(OPTIONAL[name] if gateway.owntracks else ())),
            unwanted=() if gateway.owntracks else OPTIONAL[name],
            receive_maximum=gateway.receive_maximum_alert if alone else gateway.receive_maximum_bulk,
            on_message=self._take,
            on_connected=self._connected_again,
        )
        self._out = Outgoing(config.mqtt, lane=name)
        swept = (
            *retained_positions.FILTERS,
            *(retained_positions.OPTIONAL if gateway.owntracks else ()),
        )
        # One process sweeps: the bulk lane's, which a panic does not wait for.
        self._sweep = (
            None if alone else RetainedSweep(config.mqtt, filters=swept, every_s=gateway.retained_sweep_s)
        )

    def run(self, publish_all: PublishAll) -> None:
        """Serve until stopped; a broken connection is made again with back-off."""
        helpers = [eventlet.spawn(self._send_batches, publish_all) for _ in range(self._senders)]
        helpers += [eventlet.spawn(self._close_aged_batches), eventlet.spawn(self._keep, self._out)]
        if self._sweep is not None:
            helpers.append(eventlet.spawn(self._keep, self._sweep))
        try:
            self._keep(self.connection)
        finally:
            for helper in helpers:
                helper.kill()

    def _keep(self, link: Link) -> None:
        """Serve a connection; make it again with back-off whenever it breaks."""
        failures = 0
        while True:
            started_s = time.monotonic()
            try:
                link.serve()
            except Unavailable as error:
                # The sweep may be away, and the lane still hears everything.
                if link is not self._sweep:
                    self._connected.set(0)
                failures = 1 if time.monotonic() - started_s > RETRY_S[-1] else failures + 1
                pause_s = RETRY_S[min(failures, len(RETRY_S)) - 1]
                log.warning(
                    "mqtt_disconnected",
                    lane=self.name,
                    link=type(link).__name__,
                    error=str(error),
                    again_in_s=pause_s,
                )
                eventlet.sleep(pause_s)

    def send_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Tell sources what became of their messages. Raises `Unavailable` unless the broker has them all."""
        self._out.publish_all([(f"receipt/{r.source_id}", _receipt_payload(r)) for r in receipts])

    def _connected_again(self, generation: int) -> None:
        self._batcher.start_generation(generation)
        self._connected.set(1)
        self._held_back_until_s = time.monotonic() + CATCH_UP_S

    def _take(self, topic: str, message: wire.Published) -> None:
        delivery = Delivery(
            topic,
            message.payload,
            message.qos,
            message.message_id,
            datetime.now(UTC),
            message.redelivered,
            message.retained or message.cleared,
        )
        batch = self._batcher.add(delivery, now_s=time.monotonic())
        if batch is not None:
            self._hand_over(batch)

    def _close_aged_batches(self) -> None:
        while True:
            eventlet.sleep(self._tick_s)
            # While every sender is busy a batch grows instead: the more there is to do, the less each message costs.
            if self._idle_senders:
                batch = self._batcher.due(now_s=time.monotonic())
                if batch is not None:
                    self._hand_over(batch)

    def _hand_over(self, batch: Batch) -> None:
        self._order.sent(batch)
        self._outgoing.put(batch)

    def _send_batches(self, publish_all: PublishAll) -> None:
        while True:
            self._idle_senders += 1
            batch = self._outgoing.get()
            self._idle_senders -= 1
            # A batch of a connection that is gone: the broker delivers it again.
            if batch.generation == self.connection.generation:
                self._send_whatever_happens(batch, publish_all)
            self._acknowledge(batch)

    def _send_whatever_happens(self, batch: Batch, publish_all: PublishAll) -> None:
        """A bug of ours costs the messages that meet it, never the sender: nobody would take its place."""
        try:
            self._send(batch, self._decode(batch), publish_all)
        except Exception:
            log.exception("batch_failed", lane=self.name, messages=len(batch.deliveries))
            self._send(batch, self._decode(batch, self._decode_sendable), publish_all)

    def _send(
        self, batch: Batch, events: Sequence[tuple[str, msgspec.Struct]], publish_all: PublishAll
    ) -> None:
        self._trace(batch, events)
        for attempt in itertools.count():
            try:
                publish_all(events)
            except Unavailable as error:
                self._connected.set(0)
                pause_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                log.warning("publish_failed", lane=self.name, error=str(error), again_in_s=pause_s)
                eventlet.sleep(pause_s)
                self._held_back_until_s = time.monotonic() + CATCH_UP_S
            else:
                self._connected.set(1)
                self._count(batch)
                return

    def _trace(self, batch: Batch, events: Sequence[tuple[str, msgspec.Struct]]) -> None:
        """An alert goes alone, and is its own trace; one that is delivered again has the same."""
        for _, event in events:
            if isinstance(event, DeviceAlert):
                tracing.begin(event.origin.key.hex())
                log.info("alert_taken", source_id=event.origin.source_id, alert_type=event.alert_type)
                return
        tracing.begin(uuid.uuid4().hex)
        log.debug("batch_taken", lane=self.name, messages=len(batch.deliveries))

    def _acknowledge(self, batch: Batch) -> None:
        for done in self._order.confirmed(batch):
            mids = [delivery.mid for delivery in done.deliveries if delivery.qos]
            try:
                self.connection.ack(mids, generation=done.generation)
            except Unavailable as error:
                # The broker delivers them again on the next connection; their keys make that harmless.
                log.warning("ack_failed", lane=self.name, error=str(error), messages=len(mids))

    def _decode(
        self, batch: Batch, decode_one: Callable[[Delivery], list[Any]] | None = None
    ) -> list[tuple[str, msgspec.Struct]]:
        """The events that a batch becomes: one for each family, one for each alert."""
        decode_one = decode_one or self._decode_one
        by_kind: dict[type, list[Any]] = {}
        for delivery in batch.deliveries:
            for message in decode_one(delivery):
                by_kind.setdefault(type(message), []).append(message)
        events: list[tuple[str, msgspec.Struct]] = [
            ("device_alert_received", alert) for alert in by_kind.get(DeviceAlert, [])
        ]
        events += [(event, make(by_kind[kind])) for kind, event, make in _EVENTS if kind in by_kind]
        return events

    def _decode_one(self, delivery: Delivery) -> list[Any]:
        if delivery.passed_over:
            metrics.mqtt_message_ignored.labels(topics.family_of(delivery.topic)).inc()
            return []
        topic = None
        try:
            topic = topics.parse(delivery.topic)
            message = self._decoder_of(topic.family)(
                delivery.topic,
                topic,
                delivery.payload,
                received_at=delivery.received_at,
                limits=self._limits,
                fresh_key=self._fresh_key,
                recent=self._recent,
                redelivered=delivery.redelivered,
                held_back=time.monotonic() < self._held_back_until_s,
            )
        except InvalidMessage as error:
            link = None if unreadable.names_life_safety(delivery.topic) else self._read_link(delivery)
            return self._refuse(delivery, topic, error) if link is None else link
        except Exception as error:
            # A bug of ours must neither lose the message nor stop the lane.
            log.exception("decode_failed", topic=delivery.topic)
            return self._refuse(delivery, topic, InvalidMessage("internal_error", repr(error)))
        if message is None:
            metrics.mqtt_message_ignored.labels(Family.OWNTRACKS).inc()
            return []
        return [message]

    def _decoder_of(self, family: Family) -> Callable[..., payloads.Message | None]:
        """Return what reads a family's payloads. Raises `InvalidMessage` for phones that are not taken here."""
        if family is not Family.OWNTRACKS:
            return payloads.decode
        if not self._owntracks:
            raise InvalidMessage(
                "owntracks_off", "OwnTracks phones are not taken here; VIGIL_OWNTRACKS=true lets them in"
            )
        return owntracks.decode

    def _read_link(self, delivery: Delivery) -> list[Any] | None:
        """Return what a link word comes to: a device's reading, or nothing to keep; None when it is no link word."""
        link = link_state.read(delivery.topic, delivery.payload)
        if link is None:
            return None
        if link.family is Family.DEVICE and link.online is not None:
            return [
                payloads.link_reading(
                    delivery.topic,
                    link.source_id,
                    delivery.payload,
                    online=link.online,
                    received_at=delivery.received_at,
                    fresh_key=self._fresh_key,
                    recent=self._recent,
                )
            ]
        metrics.mqtt_message_ignored.labels(link.family).inc()
        return []

    def _decode_sendable(self, delivery: Delivery) -> list[Any]:
        """As `_decode_one`, and what cannot be sent on is refused."""
        messages = self._decode_one(delivery)
        try:
            msgspec.msgpack.encode(messages)
        except Exception as error:
            topic = topics.parse(delivery.topic)
            return self._refuse(delivery, topic, InvalidMessage("internal_error", repr(error)))
        return messages

    def _refuse(self, delivery: Delivery, topic: topics.Topic | None, error: InvalidMessage) -> list[Any]:
        metrics.mqtt_message_rejected.labels(topics.family_of(delivery.topic), error.reason).inc()
        log.info("message_rejected", topic=delivery.topic, reason=error.reason, detail=error.detail)
        if error.reason in IDENTITY_REASONS:
            security.note(error.reason, topic=delivery.topic)
        source_id = topic.source_id if topic else None
        found = payloads.rejected_identity(
            delivery.topic,
            topic,
            delivery.payload,
            received_at=delivery.received_at,
            limits=self._limits,
            fresh_key=self._fresh_key,
            recent=self._recent,
            redelivered=delivery.redelivered,
        )
        # Of what may have been a silent alarm only an outbox gets a receipt: it shows nothing of a silent one.
        is_alarm = unreadable.names_life_safety(delivery.topic) or (
            topic is not None and topic.family is Family.ALERT
        )
        messages: list[Any] = [
            RejectedMessage(
                found.key,
                delivery.topic.replace("\0", ""),
                delivery.payload,
                error.reason,
                error.detail,
                delivery.received_at,
                source_id,
                msg_id=found.msg_id if found.outbox or not is_alarm else None,
                silent=is_alarm,
            )
        ]
        alert = unreadable.alert_of(
            delivery.topic,
            topic,
            delivery.payload,
            error=error,
            received_at=delivery.received_at,
            key=found.key,
        )
        return messages if alert is None else [*messages, alert]

    def _count(self, batch: Batch) -> None:
        now = datetime.now(UTC)
        oldest: dict[str, datetime] = {}
        counts: Counter[tuple[str, int]] = Counter()
        for delivery in batch.deliveries:
            prefix = topics.metric_prefix(delivery.topic)
            counts[prefix, delivery.qos] += 1
            oldest.setdefault(prefix, delivery.received_at)
        for (prefix, qos), count in counts.items():
            metrics.mqtt_message_processed.labels(prefix, str(qos)).inc(count)
        for prefix, received_at in oldest.items():
            metrics.mqtt_processing_duration.labels(prefix).observe((now - received_at).total_seconds())


def _receipt_payload(receipt: Receipt) -> bytes:
    body: dict[str, Any] = {"msg_id": receipt.msg_id, "status": receipt.status, "at": receipt.at}
    if receipt.alert_id is not None:
        body["alert_id"] = receipt.alert_id
    if receipt.by is not None:
        body["by"] = receipt.by
    if receipt.silent:
        body["silent"] = True
    if receipt.reason is not None:
        body["reason"] = receipt.reason
    return msgspec.json.encode(body)
