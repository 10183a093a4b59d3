"""Lane from the MQTT broker to RabbitMQ: it acknowledges a delivery after RabbitMQ has it.

connection -> batcher -> senders (decode, publish, wait for the confirm)
-> acknowledgements in order
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import eventlet
import msgspec
import structlog
from eventlet.event import Event
from eventlet.queue import Queue
from eventlet.semaphore import Semaphore

from gateway.mqtt import backlog, packets, repeats, retained_positions
from gateway.mqtt.backlog import BrokerBacklog
from gateway.mqtt.batch import AckOrder, Batcher, DeliveryBatch, MqttDelivery
from gateway.mqtt.client import Connection, MqttLink, OutgoingConnection, client_id
from gateway.mqtt.decoding import link_state, owntracks, payloads, topics, unreadable
from gateway.mqtt.decoding.identity import RecentMessages
from gateway.mqtt.decoding.topics import FILTERS, OPTIONAL
from gateway.mqtt.fair_queue import FairQueue
from gateway.mqtt.rate_limit import MessageClass, PressLimits, SourceLimits, SourceRate
from gateway.mqtt.retained_sweep import RetainedSweep
from services.contracts.errors import InvalidMessage, Misconfigured, Unavailable
from services.contracts.events import (
    DeviceAlert,
    Receipt,
    RejectedBatch,
    RejectedMessage,
    SourceFlood,
)
from services.contracts.families import BATCHED, Family
from services.messaging.shards import shard_key, shard_of, split
from services.platform import metrics, security_events, tracing
from services.platform.config import Config, MqttSettings
from services.platform.security_events import IDENTITY_REASONS
from services.supervision import poison, restarts, work_in_hand
from services.supervision.crash_marker import CrashMarker
from services.supervision.work_in_hand import PartWork

log = structlog.get_logger(__name__)

PublishAll = Callable[[Sequence[tuple[str, msgspec.Struct]]], None]
Turn = AbstractContextManager[object]
"""Held while a batch is on its way to RabbitMQ."""
RETRY_S = (0.2, 0.5, 1.0)
"""Pauses between attempts to reach RabbitMQ or the broker, in seconds.

An alarm waits for the end of an outage, not for a pause of ours.
"""
HEALTHY_AFTER_S = 5.0
# The receive maximum bounds QoS 1. This bounds QoS 0: a full queue stops the reading of the socket.
MAX_WAITING_BATCHES = 256
MAX_TOGETHER = 50
"""Most waiting alerts that are sent together.

Each is an event; they share the wait for the confirm.
"""
MAX_TOGETHER_BYTES = 262_144
GATHER_REPEATS_S = 0.02
MAX_REPEATS = 250
"""Most repeats that are sent together; they are gathered for `GATHER_REPEATS_S`.

It is a quarter of the messages that the broker may have on their way to us. So a flood does not
fill the connection while its repeats are gathered, or while they are confirmed.
"""
MAX_REPEATS_BYTES = 2_097_152
"""Largest size of repeats that are sent together. They are one RabbitMQ message, at most 16 MiB."""
REPEAT_SENDERS = 2
MAX_WAITING_REPEATS = 1024
FLOOD_LOOK_S = 1.0
CATCH_UP_S = 60.0
"""Seconds after a break in which messages may have waited at the broker.

In this time a late `sent_at` is no proof of a slow clock.
"""
POISON_STRIKES = 2
"""After so many ends of the process while it decodes one message, the message is not read again."""
UNNAMED_STRIKES = 3
"""After so many ends the message's topic is not read either.

The last of these ends was while the process set the message aside.
"""
LONGEST_UNREAD_TOPIC = 200
"""Most characters of a topic that are used when the topic itself may stop the process."""


class FairBatches(Queue):
    """Batches of the alert lane, taken from their sources in turn. Each holds one delivery."""

    def __init__(self, maxsize: int, sender_name_of: Callable[[str], str]) -> None:
        self._sender_name_of = sender_name_of
        super().__init__(maxsize)

    def _init(self, _maxsize: int | None) -> None:
        self.queue: FairQueue[DeliveryBatch] = FairQueue(self._sender_of, _size_of)

    def _sender_of(self, batch: DeliveryBatch) -> str:
        return self._sender_name_of(batch.deliveries[0].topic) if batch.deliveries else ""


def _source_of(message: Any) -> str:
    source_id: str = message.origin.source_id
    return source_id


def _size_of(batch: DeliveryBatch) -> int:
    return sum(len(delivery.payload) for delivery in batch.deliveries)


class FreshKeys:
    """Keys for messages without an identity: a random part for the process, then a count."""

    def __init__(self) -> None:
        self._process = os.urandom(8)
        self._count = itertools.count(1)

    def __call__(self) -> bytes:
        return self._process + next(self._count).to_bytes(8, "big")


def trace_of(event: Any) -> str | None:
    """Return the trace of an alert, which is the key of its message.

    A message that is delivered again has the same trace.
    """
    return event.origin.key.hex() if isinstance(event, DeviceAlert) else None


def check_instance(mqtt: MqttSettings) -> None:
    """Check that two gateways of a group have different names for the broker.

    Raises:
        Misconfigured: A shared group is set, and the instance has no name.
    """
    if mqtt.shared_group and not mqtt.instance:
        raise Misconfigured(
            "VIGIL_MQTT_SHARED_GROUP is set, and VIGIL_INSTANCE is not: give each gateway of the group a name"
            " of its own, which it keeps over restarts"
        )


class Lane:
    """One path from the MQTT broker to RabbitMQ.

    `name` is `alert` (each message alone and at once) or `bulk` (in batches).
    """

    def __init__(self, config: Config, name: str) -> None:
        check_instance(config.mqtt)
        gateway = config.gateway
        alone = name == "alert"
        self.name = name
        self._limits = payloads.PayloadLimits(
            max_payload_bytes=gateway.max_payload_bytes,
            max_depth=gateway.max_depth,
            max_clock_ahead_s=gateway.max_clock_ahead_s,
            max_clock_age_s=gateway.max_clock_age_s,
        )

        self._owntracks = gateway.owntracks
        self._batcher = Batcher(
            max_messages=1 if alone else gateway.batch_max_messages,
            max_bytes=gateway.batch_max_bytes,
            max_age_s=gateway.batch_max_age_s,
            light_messages=gateway.batch_light_messages,
            light_age_s=gateway.batch_light_age_s,
        )

        self._senders = gateway.batches_in_flight
        self._is_timed = False
        self._changed = Event()
        self._tries = 0
        limit = gateway.source_limit_alert if alone else gateway.source_limit_bulk
        kind = PressLimits if alone else SourceLimits
        self._shares = kind(
            SourceRate(limit.per_s, limit.burst, gateway.source_backlog, gateway.first_press_s)
        )
        self._seen = repeats.SeenKeys()

        self._outgoing: Queue = Queue(maxsize=MAX_WAITING_BATCHES)
        self._repeated: Queue | None = None
        if alone:
            self._outgoing = FairBatches(MAX_WAITING_BATCHES, self._shares.sender_of)
            self._repeated = FairBatches(MAX_WAITING_REPEATS, self._shares.sender_of)

        self._order = AckOrder()
        # Messages of one source stay in order: a batch is published when the batch before it is
        # confirmed.
        self._turn = Semaphore(1)
        self._shards = config.amqp.shards
        self._fresh_key = FreshKeys()
        self._recent = RecentMessages()
        self._held_back_until_s = 0.0
        self._marker = CrashMarker(restarts.path(f"{client_id(config.mqtt, name)}.decoding"))
        self._epoch_s = time.time() - time.monotonic()
        self._backlog = BrokerBacklog(self._marker.heard_at)
        self._connected = metrics.mqtt_connected.labels(name)
        self.connection = Connection(
            config.mqtt,
            lane=name,
            filters=(*FILTERS[name], *(OPTIONAL[name] if gateway.owntracks else ())),
            unwanted=() if gateway.owntracks else OPTIONAL[name],
            receive_maximum=gateway.receive_maximum_alert if alone else gateway.receive_maximum_bulk,
            on_message=self._take,
            on_connected=self._connected_again,
            on_session=lambda had_session: self._backlog.connected(had_session=had_session),
            on_read=self._has_read,
            on_taken=self._has_taken,
        )

        self._out = OutgoingConnection(config.mqtt, lane=name)
        self._way_out: Any = None
        swept = (
            *retained_positions.FILTERS,
            *(retained_positions.OPTIONAL if gateway.owntracks else ()),
        )

        # Only the process of the bulk lane sweeps, because no panic waits for it.
        self._sweep = (
            None if alone else RetainedSweep(config.mqtt, filters=swept, every_s=gateway.retained_sweep_s)
        )

    def run(self, publish_all: PublishAll) -> None:
        """Serve until stopped. A broken connection is made again with back-off."""
        work_in_hand.watch(self._work)
        helpers = [eventlet.spawn(self._send_batches, publish_all) for _ in range(self._senders)]
        helpers.append(eventlet.spawn(self._close_due_batches))

        if self._way_out is None:
            self._way_out = eventlet.spawn(self._keep, self._out)

        helpers.append(eventlet.spawn(self._tell_of_floods, publish_all))
        if self._repeated is not None:
            helpers += [
                eventlet.spawn(self._send_repeats, self._repeated, publish_all) for _ in range(REPEAT_SENDERS)
            ]
        if self._sweep is not None:
            helpers.append(eventlet.spawn(self._keep, self._sweep))

        try:
            self._keep(self.connection)
        finally:
            for helper in helpers:
                helper.kill()

    def _work(self) -> dict[str, PartWork]:
        """Return the work that waits: messages to publish, with the number of ended attempts."""
        is_idle = self._order.is_idle and self._batcher.is_empty
        return {} if is_idle else {"messages": PartWork(f"messages of the {self.name} lane", self._tries)}

    def _keep(self, link: MqttLink) -> None:
        """Serve a connection. After each break, make it again with back-off."""
        failures = 0
        while True:
            started_s = time.monotonic()
            try:
                link.serve()
            except Unavailable as error:
                # When only the sweep is disconnected, the lane still receives everything.
                if link is not self._sweep:
                    self._connected.set(0)

                failures = 1 if time.monotonic() - started_s > HEALTHY_AFTER_S else failures + 1
                pause_s = RETRY_S[min(failures, len(RETRY_S)) - 1]
                log.warning(
                    "mqtt_disconnected",
                    lane=self.name,
                    link=type(link).__name__,
                    error=str(error),
                    retry_in_s=pause_s,
                )
                eventlet.sleep(pause_s)

    def close(self) -> None:
        """End the outgoing connection, which stays open until the last receipt is sent."""
        if self._way_out is not None:
            self._way_out.kill()

    def send_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Publish receipts to sources. Raises `Unavailable` unless the broker has all of them."""
        self._out.publish_all([(f"receipt/{r.source_id}", _receipt_payload(r)) for r in receipts])

    def _connected_again(self, generation: int) -> None:
        self._batcher.start_generation(generation)
        self._connected.set(1)
        self._held_back_until_s = time.monotonic() + CATCH_UP_S
        self._backlog.connecting(self._now_s())

    def _now_s(self) -> float:
        """Return the time of the epoch in seconds, by a clock that nobody sets."""
        return self._epoch_s + time.monotonic()

    def _has_read(self, heard: bool, waited_s: float) -> None:
        now_s = self._now_s()
        outstanding = not (self._order.is_idle and self._batcher.is_empty)
        self._backlog.read(now_s, heard=heard, waited_s=waited_s, outstanding=outstanding)
        if heard:
            self._marker.heard(now_s)

    def _take(self, topic: str, message: packets.PublishPacket) -> None:
        now_s = time.monotonic()
        delivery = MqttDelivery(
            topic,
            message.payload,
            message.qos,
            message.message_id,
            datetime.now(UTC),
            message.redelivered,
            message.retained or message.cleared,
            self._backlog.note,
            self._share_of(topic, message.payload, now_s),
        )

        batch = self._batcher.add(delivery, now_s=now_s)
        if batch is not None:
            self._hand_over(batch)

    def _has_taken(self) -> None:
        """Close a batch that is due, with all messages of one read."""
        self._close_due_batch()
        if not self._is_timed and (self._backlog.note or self._is_waiting):
            self._is_timed = True
            self._changed.send(None)

    @property
    def _is_waiting(self) -> bool:
        """Return True when deliveries wait only for the time at which they are due."""
        return self._order.in_flight < self._senders and not self._batcher.is_empty

    def _close_due_batch(self) -> None:
        """Close the open batch when it is due and a sender is free.

        Messages that come while a batch is on its way form the next batch. So each message costs
        less when there is more to do.
        """
        if self._is_waiting:
            batch = self._batcher.due(now_s=time.monotonic())
            if batch is not None:
                self._hand_over(batch)

    def _close_due_batches(self) -> None:
        """Close batches when they are due. This sleeps as long as nothing waits."""
        while True:
            self._changed.wait()
            self._changed = Event()
            while self._is_waiting or self._backlog.note:
                eventlet.sleep(self._rest_s(time.monotonic()))
                self._backlog.ticked(self._now_s())
                self._close_due_batch()
            self._is_timed = False

    def _rest_s(self, now_s: float) -> float:
        """Return the seconds until the open batch is due, or until the next tick of the backlog."""
        due_s = self._batcher.due_s if self._is_waiting else None
        wait_s = float("inf") if due_s is None else max(0.0, due_s - now_s)
        return min(wait_s, backlog.TICK_S) if self._backlog.note else wait_s

    def _hand_over(self, batch: DeliveryBatch) -> None:
        self._order.sent(batch)
        if self._repeated is not None and any(delivery.share for delivery in batch.deliveries):
            self._repeated.put(batch)
        else:
            self._outgoing.put(batch)

    def _send_batches(self, publish_all: PublishAll) -> None:
        while True:
            batches = [self._outgoing.get()]
            if self._repeated is not None:
                self._add_waiting(batches, self._outgoing, MAX_TOGETHER, MAX_TOGETHER_BYTES)
            began_s = time.monotonic()
            self._send_live(batches, publish_all, self._turn)
            self._batcher.took(time.monotonic() - began_s)
            self._acknowledge(*batches)
            self._has_taken()  # messages that came meanwhile

    def _add_waiting(self, batches: list[DeliveryBatch], waiting: Queue, most: int, most_bytes: int) -> None:
        """Add waiting batches, of all sources in turn, to the batch that was taken."""
        size = _size_of(batches[0])
        while len(batches) < most and size < most_bytes and not waiting.empty():
            batches.append(waiting.get())
            size += _size_of(batches[-1])

    def _send_live(self, batches: Sequence[DeliveryBatch], publish_all: PublishAll, turn: Turn) -> None:
        """Send batches in one pipeline.

        Batches of an ended connection are dropped: the broker delivers their messages again.
        """
        generation = self.connection.generation
        live = [batch for batch in batches if batch.generation == generation]
        if len(live) == 1:
            self._send_whatever_happens(live[0], publish_all, turn)
        elif live:
            deliveries = [delivery for batch in live for delivery in batch.deliveries]
            self._send_whatever_happens(DeliveryBatch(0, generation, deliveries), publish_all, turn)

    def _send_repeats(self, waiting: Queue, publish_all: PublishAll) -> None:
        """Send repeats of alerts, of all sources in turn. They never delay a first message."""
        while True:
            batches = [waiting.get()]
            if waiting.qsize() < MAX_REPEATS:
                eventlet.sleep(GATHER_REPEATS_S)
            self._add_waiting(batches, waiting, MAX_REPEATS, MAX_REPEATS_BYTES)
            self._send_live(batches, publish_all, contextlib.nullcontext())
            self._acknowledge(*batches)

    def _tell_of_floods(self, publish_all: PublishAll) -> None:
        """Publish the beginnings and ends of floods: sources that send more than their limit."""
        untold: list[tuple[str, msgspec.Struct]] = []
        while True:
            eventlet.sleep(FLOOD_LOOK_S)
            untold += [("source_flood_changed", event) for event in self._floods()]
            try:
                if untold:
                    publish_all(untold)
                    untold = []
            except Unavailable as error:
                log.warning("floods_not_reported", lane=self.name, error=str(error), waiting=len(untold))

    def _floods(self) -> list[SourceFlood]:
        now, now_s = datetime.now(UTC), time.monotonic()
        found = []
        for news in self._shares.floods(now_s):
            if not news.is_over:
                security_events.note(repeats.RATE_LIMITED, source_id=news.source_id, lane=self.name)

            found.append(
                SourceFlood(
                    key=os.urandom(16),
                    source_id=news.source_id,
                    lane=self.name,
                    is_over=news.is_over,
                    began_at=now - timedelta(seconds=now_s - news.began_s),
                    at=now,
                    rate_per_s=news.rate_per_s,
                    limit_per_s=self._shares.per_s,
                    counted=news.counted,
                    refused=news.refused,
                )
            )

        return found

    def _send_whatever_happens(self, batch: DeliveryBatch, publish_all: PublishAll, turn: Turn) -> None:
        """Send a batch.

        A bug costs the messages that cause it, never the sender: no other takes its place.
        """
        try:
            self._send(batch, self._decode(batch), publish_all, turn)
        except Exception:
            log.exception("batch_failed", lane=self.name, messages=len(batch.deliveries))
            self._send(batch, self._decode(batch, self._decode_sendable), publish_all, turn)

    def _send(
        self,
        batch: DeliveryBatch,
        events: Sequence[tuple[str, msgspec.Struct]],
        publish_all: PublishAll,
        turn: Turn,
    ) -> None:
        with turn:
            self._trace(batch, events)
            self._publish(batch, events, publish_all)

    def _publish(
        self, batch: DeliveryBatch, events: Sequence[tuple[str, msgspec.Struct]], publish_all: PublishAll
    ) -> None:
        """Publish events. Try again until RabbitMQ has confirmed all of them."""
        for attempt in itertools.count():
            try:
                publish_all(events)
            except Unavailable as error:
                self._tries += 1
                self._connected.set(0)
                pause_s = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                log.warning("publish_failed", lane=self.name, error=str(error), retry_in_s=pause_s)
                eventlet.sleep(pause_s)
                self._held_back_until_s = time.monotonic() + CATCH_UP_S
            else:
                self._tries += 1
                self._connected.set(1)
                self._count(batch)
                return

    def _trace(self, batch: DeliveryBatch, events: Sequence[tuple[str, msgspec.Struct]]) -> None:
        """Log alerts under their own traces. Other messages share one trace of the batch."""
        is_traced = False
        for _, event in events:
            trace_id = trace_of(event)
            if trace_id is not None and isinstance(event, DeviceAlert):
                is_traced = True
                tracing.begin(trace_id)
                log.info("alert_published", source_id=event.origin.source_id, alert_type=event.alert_type)

        if not is_traced:
            tracing.begin(uuid.uuid4().hex)
            log.debug("batch_published", lane=self.name, messages=len(batch.deliveries))

    def _acknowledge(self, *batches: DeliveryBatch) -> None:
        done = [ready for batch in batches for ready in self._order.confirmed(batch)]
        for generation, ready in itertools.groupby(done, key=lambda batch: batch.generation):
            mids = [delivery.mid for batch in ready for delivery in batch.deliveries if delivery.qos]
            try:
                self.connection.ack(mids, generation=generation)
            except Unavailable as error:
                # The broker delivers these messages again on the next connection. Their keys make
                # that harmless.
                log.warning("ack_failed", lane=self.name, error=str(error), messages=len(mids))

    def _decode(
        self, batch: DeliveryBatch, decode_one: Callable[[MqttDelivery], list[Any]] | None = None
    ) -> list[tuple[str, msgspec.Struct]]:
        """Return the events of a batch: one for each family and shard, and one for each alert."""
        by_kind: dict[type, list[Any]] = {}
        # In a second decoding the keys are already seen, and each message must still count.
        repeated = repeats.Repeats(self._seen if decode_one is None else repeats.SeenKeys())

        for delivery in batch.deliveries:
            for message in self._survive(delivery, decode_one or self._decode_one):
                if delivery.share and isinstance(message, DeviceAlert):
                    repeated.add(message, is_over=delivery.share is MessageClass.OVER)
                else:
                    by_kind.setdefault(type(message), []).append(message)

        events: list[tuple[str, msgspec.Struct]] = [
            (shard_key("device_alert_received", shard_of(_source_of(alert), self._shards)), alert)
            for alert in by_kind.get(DeviceAlert, [])
        ]

        for alert in by_kind.get(DeviceAlert, ()):
            self._seen.add(alert.origin.key)

        events += [("device_alert_repeated", event) for event in repeated.events(self._fresh_key)]
        for row in BATCHED:
            pieces = split(by_kind.get(row.message, ()), _source_of, self._shards)
            events += [(shard_key(row.event, shard), row.batch_of(items)) for shard, items in pieces.items()]

        if RejectedMessage in by_kind:
            merged = repeats.merged(by_kind[RejectedMessage])
            events.append(("message_rejected", RejectedBatch(messages=merged)))

        self._note_excess(repeated.excess, by_kind.get(RejectedMessage, ()))
        return events

    def _survive(self, delivery: MqttDelivery, decode_one: Callable[[MqttDelivery], list[Any]]) -> list[Any]:
        """Decode a message, with a note on disk for the next process in case this process ends.

        One note is enough, because decoding never yields to another green thread.
        """
        digest, strikes = self._strikes_of(delivery.topic, delivery.payload)
        self._marker.begin_reading(delivery.topic, delivery.payload)

        try:
            if strikes >= POISON_STRIKES:
                # The strikes stay: the same bytes, sent again, would end the process as many times.
                return self._set_aside(delivery, digest, strikes)
            found = decode_one(delivery)
        finally:
            self._marker.end_reading()

        if strikes:
            self._marker.forget(digest)

        return found

    def _strikes_of(self, topic: str, payload: bytes) -> tuple[bytes, int]:
        """Return a message's digest and strikes.

        Nothing is computed while no message has a strike.
        """
        if not self._marker.has_strikes:
            return poison.NONE, 0
        digest = poison.digest(topic, payload)
        return digest, self._marker.strikes_of(digest)

    def _share_of(self, topic: str, payload: bytes, now_s: float) -> MessageClass:
        """Return the class in which a message travels.

        A new topic is read, with a note for the next process in case this process ends.
        """
        if self._shares.knows(topic):
            return self._shares.judge(topic, now_s, len(payload))
        if self._strikes_of(topic, payload)[1] >= POISON_STRIKES:
            return MessageClass.FIRST
        self._marker.begin_reading(topic, payload)
        try:
            return self._shares.judge(topic, now_s, len(payload))
        finally:
            self._marker.end_reading()

    def _note_excess(self, counted: Mapping[str, int], refused: Sequence[RejectedMessage]) -> None:
        """Record messages beyond their source's rate. Such a source floods."""
        now_s = time.monotonic()
        for source_id, count in counted.items():
            self._shares.note(source_id, now_s, counted=count)
        for message in refused:
            if message.reason == repeats.RATE_LIMITED and message.source_id is not None:
                self._shares.note(message.source_id, now_s, refused=message.count)
                prefix = topics.family_of(message.topic)
                metrics.mqtt_message_rejected.labels(prefix, message.reason).inc(message.count)

    def _decode_excess(self, delivery: MqttDelivery) -> Any:
        """Return the result of a message beyond its source's rate.

        It is a press to count, a message that the device kept while it was offline, or a refusal.
        """
        message = self._read_excess(delivery)
        if isinstance(message, DeviceAlert):
            if repeats.is_counted(message):
                return message
        elif message is not None and self._is_backlog(message, delivery.topic):
            return message

        return repeats.refusal(
            delivery.topic,
            delivery.payload,
            source_id=self._shares.source_of(delivery.topic),
            lane=self.name,
            received_at=delivery.received_at,
            per_s=self._shares.per_s,
        )

    def _is_backlog(self, message: payloads.Message, topic: str) -> bool:
        origin, now_s = message.origin, time.monotonic()
        if repeats.is_kept(origin):
            return self._shares.takes_backlog(topic, now_s, is_old=True)
        return not origin.clock_suspect and self._shares.takes_backlog(topic, now_s, is_old=False)

    def _read_excess(self, delivery: MqttDelivery) -> payloads.Message | None:
        """Return the message, or the alert that replaces an unreadable one; None when neither."""
        topic = None
        try:
            topic = topics.parse(delivery.topic)
            return self._read(delivery, topic)
        except InvalidMessage as error:
            return unreadable.alert_of(
                delivery.topic,
                topic,
                delivery.payload,
                error=error,
                received_at=delivery.received_at,
                key=self._fresh_key(),
            )

    def _read(self, delivery: MqttDelivery, topic: topics.Topic) -> payloads.Message | None:
        return self._decoder_of(topic.family)(
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

    def _decode_one(self, delivery: MqttDelivery) -> list[Any]:
        if delivery.passed_over:
            metrics.mqtt_message_ignored.labels(topics.family_of(delivery.topic)).inc()
            return []

        topic = None
        try:
            if delivery.share is MessageClass.OVER:
                return [self._decode_excess(delivery)]
            topic = topics.parse(delivery.topic)
            message = self._read(delivery, topic)
        except InvalidMessage as error:
            link = None if unreadable.names_life_safety(delivery.topic) else self._read_link(delivery)
            return self._refuse(delivery, topic, error) if link is None else link
        except Exception as error:
            # A bug must neither lose the message nor stop the lane.
            log.exception("decode_failed", topic=delivery.topic)
            return self._refuse(delivery, topic, InvalidMessage("internal_error", repr(error)))

        if message is None:
            metrics.mqtt_message_ignored.labels(Family.OWNTRACKS).inc()
            return []

        return [backlog.noted(message, delivery.outage) if delivery.outage else message]

    def _set_aside(self, delivery: MqttDelivery, digest: bytes, strikes: int) -> list[Any]:
        """Return the records of a message that ended the process.

        The message is kept and reported, but not read.
        """
        topic, topic_text = None, delivery.topic
        if strikes < UNNAMED_STRIKES:
            with contextlib.suppress(InvalidMessage):  # a topic of no known shape has no source
                topic = topics.parse(topic_text)
        else:
            topic_text = topic_text[:LONGEST_UNREAD_TOPIC]

        error = InvalidMessage(
            "poison", f"the gateway stopped {strikes} times while it read this message; it was not read again"
        )
        metrics.mqtt_message_rejected.labels(topics.family_of(delivery.topic), error.reason).inc()
        log.error(
            "poison_message_quarantined",
            topic=topic_text[:LONGEST_UNREAD_TOPIC],
            bytes=len(delivery.payload),
            strikes=strikes,
        )

        key = poison.key(digest, delivery.mid, self._fresh_key)
        return self._refused(delivery, topic, error, key, topic_text, searched=b"")

    def _decoder_of(self, family: Family) -> Callable[..., payloads.Message | None]:
        """Return the decoder of a family's payloads.

        Raises:
            InvalidMessage: The message is from an OwnTracks phone, and these are not accepted here.
        """
        if family is not Family.OWNTRACKS:
            return payloads.decode
        if not self._owntracks:
            raise InvalidMessage(
                "owntracks_off", "OwnTracks phones are not taken here; VIGIL_OWNTRACKS=true lets them in"
            )
        return owntracks.decode

    def _read_link(self, delivery: MqttDelivery) -> list[Any] | None:
        """Return the messages for a link word: a device's reading, or an empty list.

        Returns:
            None when the payload is no link word.
        """
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

    def _decode_sendable(self, delivery: MqttDelivery) -> list[Any]:
        """Decode as `_decode_one` does, and refuse messages that cannot be encoded."""
        messages = self._decode_one(delivery)
        try:
            msgspec.msgpack.encode(messages)
        except Exception as error:
            topic = topics.parse(delivery.topic)
            return self._refuse(delivery, topic, InvalidMessage("internal_error", repr(error)))
        return messages

    def _refuse(self, delivery: MqttDelivery, topic: topics.Topic | None, error: InvalidMessage) -> list[Any]:
        metrics.mqtt_message_rejected.labels(topics.family_of(delivery.topic), error.reason).inc()
        log.info("message_rejected", topic=delivery.topic, reason=error.reason, detail=error.detail)

        if error.reason in IDENTITY_REASONS:
            security_events.note(error.reason, topic=delivery.topic)

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

        # A refused message that may be a silent alarm gets a receipt only when the device has an
        # outbox. An outbox does not show the receipt of a silent alarm.
        is_alarm = unreadable.names_life_safety(delivery.topic) or (
            topic is not None and topic.family is Family.ALERT
        )
        return self._refused(
            delivery,
            topic,
            error,
            found.key,
            delivery.topic,
            searched=delivery.payload,
            receipt_id=found.msg_id if found.outbox or not is_alarm else None,
            is_silent=is_alarm,
        )

    def _refused(
        self,
        delivery: MqttDelivery,
        topic: topics.Topic | None,
        error: InvalidMessage,
        key: bytes,
        topic_text: str,
        *,
        searched: bytes,
        receipt_id: str | None = None,
        is_silent: bool = False,
    ) -> list[Any]:
        """Return the message as it is stored, and the alert that replaces it.

        `searched` holds the bytes that may be searched for words. The source gets a receipt of the
        refusal under `receipt_id`.
        """
        messages: list[Any] = [
            RejectedMessage(
                key,
                delivery.topic.replace("\0", ""),
                delivery.payload,
                error.reason,
                f"{error.detail} ({delivery.outage})" if delivery.outage else error.detail,
                delivery.received_at,
                topic.source_id if topic else None,
                msg_id=receipt_id,
                silent=is_silent,
            )
        ]

        alert = unreadable.alert_of(
            topic_text, topic, searched, error=error, received_at=delivery.received_at, key=key
        )
        if alert is not None:
            alert = msgspec.structs.replace(alert, unreadable=delivery.payload)
            messages.append(backlog.noted(alert, delivery.outage) if delivery.outage else alert)

        return messages

    def _count(self, batch: DeliveryBatch) -> None:
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
