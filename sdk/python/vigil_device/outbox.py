"""The outbox that a device uses. A message is on disk before the call returns.

The outbox sends it until Vigil has stored it. Callers' threads put messages into the store and the
core, under a lock. The outbox's own thread connects, sends, takes receipts and calls `on_update`.
"""

from __future__ import annotations

import logging
import queue
import random
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from vigil_device import payloads, receipts
from vigil_device.clock import ClockMeasure, ClockOffset
from vigil_device.connection import Arrived, Broken, Connection, Event, Settings, Taken, Wake
from vigil_device.core import STATES_OF_STATUS, Core
from vigil_device.ids import MsgIds
from vigil_device.messages import Kind, Message, Receipt, SetAside, State, Update
from vigil_device.policy import Policy
from vigil_device.store import MEMORY, Store, StoreFailed

log = logging.getLogger(__name__)

FLUSH_S = 2.0
"""Longest time until deletions are written, in seconds."""
RAN_EVERY_S = 300.0
"""Interval at which the run time of the outbox is written, in seconds."""
SETTLED_S = 30.0
"""A connection that lasted so many seconds ends the back-off of the next attempt."""
SHORTEST_PAUSE_S = 0.2
NO_ANSWER_S = 60.0
"""A connection is given up when a message was sent and nothing came for so many seconds."""


class Outbox:
    """Outbox of one source. All methods may be called from any thread.

    Args:
        path: File of the outbox. It is made when it is missing. `:memory:` keeps nothing over a
            restart.
        source_id: The source's id, which is also the name of its credential.
        family: `guard`, `device`, `sensor` or `system`.
        port: When left out, 8883 with TLS and 1883 without.
        tls: True for TLS with the system's authorities, the file of an authority, or an
            `ssl.SSLContext`.
        protocol: 5, or 3 for MQTT 3.1.1.
        on_update: Called with an `Update` for each change of a message, in a thread of the outbox.
            An update may come twice. Silent messages have no updates: nothing of the device may
            show that they were sent.
        policy: Limits and waits.
        or_memory: When the file can be neither opened nor made, keep messages in memory instead of
            raising. Use it in the field, where a device with a broken flash must still send its
            alarms. `is_durable` is then False.

    Raises:
        OutboxInUse: Another process has the file open.
        StoreFailed: The file can be neither opened nor made, and `or_memory` is False.
        ValueError: An argument is wrong.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        source_id: str,
        host: str,
        port: int | None = None,
        family: str = "guard",
        username: str | None = None,
        password: str | None = None,
        client_id: str | None = None,
        tls: bool | str | Path | ssl.SSLContext = False,
        protocol: int = 5,
        keepalive_s: int = 30,
        topic_prefix: str = "",
        on_update: Callable[[Update], None] | None = None,
        policy: Policy | None = None,
        or_memory: bool = False,
    ) -> None:
        if protocol not in (3, 5):
            raise ValueError("protocol is 5, or 3 for MQTT 3.1.1")
        self.source_id = payloads.source(source_id, family)
        self._family = family
        self._policy = policy or Policy()
        self._on_update = on_update
        context = _context(tls)
        self._settings = Settings(
            host,
            port or (8883 if context else 1883),
            client_id or source_id,
            username,
            password,
            context,
            protocol,
            keepalive_s,
            topic_prefix,
        )

        self._chance = random.SystemRandom().random
        self._store = _open(path, or_memory=or_memory)
        self._make_id = MsgIds(
            installation=self._store.installation,
            starts=self._store.starts,
            random_part=secrets.token_hex(4),
        )
        self._began_s = time.monotonic() - self._store.ran_s
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._core = Core(self._policy, chance=self._chance)
        self._unstored = 0
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
        self._packets: dict[int, str] = {}
        self._first_sent: dict[str, datetime] = {}
        self._clock = ClockMeasure()
        self._sends = 0
        self._answered_s = 0.0
        self._closing = False
        for message in self._store.waiting():
            self._dropped(self._core.add(message))

        self._worker = threading.Thread(target=self._run, name="vigil-outbox", daemon=True)
        self._worker.start()

    def send_alert(
        self,
        alert_type: str,
        *,
        message: str = "",
        lat: float | None = None,
        lon: float | None = None,
        severity: str | None = None,
        silent: bool = False,
        drill: bool = False,
        at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Send an alert. Return its `msg_id`.

        A failed disk does not keep an alert back: the outbox sends it from memory. DURESS is always
        silent.

        Raises:
            ValueError: The type cannot be part of a topic, or the outbox is closed.
        """
        topic = payloads.alert_topic(alert_type, self.source_id)
        silent = silent or alert_type.strip().upper() == "DURESS"
        own = payloads.alert_fields(
            message=message, severity=severity, lat=lat, lon=lon, silent=silent, drill=drill
        )
        return self._put(Kind.ALERT, topic, {**payloads.extra_fields(fields), **own}, at=at, silent=silent)

    def send_position(
        self,
        lat: float,
        lon: float,
        *,
        accuracy: float | None = None,
        speed: float | None = None,
        heading: float | None = None,
        battery: float | None = None,
        source: str | None = None,
        at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Send a guard's position. Return its `msg_id`. `at` is the time of the fix.

        Raises `ValueError`.
        """
        topic = payloads.position_topic(self._family, self.source_id)
        own = {
            "lat": lat,
            "lon": lon,
            "accuracy": accuracy,
            "speed": speed,
            "heading": heading,
            "battery": battery,
            "source": source,
        }
        return self._put(Kind.POSITION, topic, {**fields, **own}, at=at)

    def send_reading(self, *, at: datetime | None = None, **fields: Any) -> str:
        """Send a reading of a device, sensor or system. Return its `msg_id`.

        Raises `ValueError`.
        """
        return self._put(Kind.READING, payloads.reading_topic(self._family, self.source_id), fields, at=at)

    def send(
        self,
        topic: str,
        fields: Mapping[str, Any],
        *,
        kind: Kind = Kind.READING,
        at: datetime | None = None,
    ) -> str:
        """Send to another topic of the source, such as `guard/<id>/checkin`.

        Returns:
            The `msg_id`.

        Raises:
            ValueError: The topic or the fields cannot be published, or the outbox is closed.
        """
        return self._put(kind, payloads.topic(topic), fields, at=at)

    def pending(self, kind: Kind | None = None) -> int:
        """Return the number of messages without a receipt.

        Silent messages are not counted: nothing may show that they exist.
        """
        with self._lock:
            return sum(
                not message.silent and kind in (None, message.kind) for message in self._core.messages()
            )

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no message is pending, silent messages included.

        Return False after `timeout_s`.
        """
        with self._changed:
            return self._changed.wait_for(lambda: len(self._core) == 0, timeout_s)

    def set_aside(self) -> list[SetAside]:
        """Return the refused and given-up messages, oldest first. The latest 1,000 are kept."""
        with self._lock:
            return self._store.all_set_aside()

    def clear_set_aside(self) -> None:
        """Delete the refused and given-up messages. Raises `StoreFailed`."""
        with self._lock:
            self._store.clear_set_aside()

    def clock_offset(self) -> ClockOffset | None:
        """Return the offset from the device's clock to Vigil's; None before the first receipt."""
        with self._lock:
            return self._clock.offset()

    @property
    def sends(self) -> int:
        """Return the number of messages published since the start, repeats included."""
        return self._sends

    @property
    def is_durable(self) -> bool:
        """Return False when messages are kept only in memory."""
        return self._store.path != MEMORY

    def close(self) -> None:
        """Stop at once. Pending messages stay on disk. `on_update` may call this."""
        self._closing = True
        self._events.put(Wake())
        if threading.current_thread() is not self._worker:
            self._worker.join()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _put(
        self,
        kind: Kind,
        topic: str,
        fields: Mapping[str, Any],
        *,
        at: datetime | None,
        silent: bool = False,
    ) -> str:
        at = at or datetime.now(timezone.utc)
        with self._lock:
            if self._closing:
                raise ValueError("the outbox is closed")
            msg_id = self._make_id()
            payload = payloads.encode(fields, msg_id=msg_id, at=at)
            message = self._stored(msg_id, kind, topic, payload, silent)
            dropped = self._core.add(message)
            self._note(message, State.QUEUED)
            self._dropped(dropped)
        self._events.put(Wake())
        return msg_id

    def _stored(self, msg_id: str, kind: Kind, topic: str, payload: bytes, silent: bool) -> Message:
        """Commit a message.

        When the disk fails, the message is kept in memory and is still sent.
        """
        born_s = self._now_s()
        try:
            return self._store.put(
                msg_id=msg_id, kind=kind, topic=topic, payload=payload, silent=silent, born_s=born_s
            )
        except StoreFailed:
            log.exception("a message is kept in memory only")
            self._unstored += 1
            return Message(-self._unstored, msg_id, kind, topic, payload, silent, born_s)

    def _run(self) -> None:
        """Connect, serve, and connect again, until `close`."""
        failures = 0
        while not self._closing:
            began_s = time.monotonic()
            # Each connection has its own events, because late events of the last connection do not
            # matter.
            self._events = queue.SimpleQueue()
            try:
                connection = Connection(self._settings, self._events, receipts=f"receipt/{self.source_id}")
            except (OSError, ValueError) as error:
                log.info("the broker %s:%s: %s", self._settings.host, self._settings.port, error)
            else:
                self._serve(connection)
            failures = 0 if time.monotonic() - began_s > SETTLED_S else failures + 1
            self._pause(failures)
        with self._lock:
            self._flush(ran=True)
            self._store.close()

    def _pause(self, failures: int) -> None:
        """Wait before the next attempt to connect. A new alert ends the wait."""
        with self._lock:
            alerts = self._alerts()
        pause_s = self._policy.connect_after_s(failures=failures, chance=self._chance(), urgent=alerts > 0)
        until_s = time.monotonic() + SHORTEST_PAUSE_S + pause_s
        self._deliver()
        while not self._closing and (left_s := until_s - time.monotonic()) > 0:
            try:
                self._events.get(timeout=left_s)
            except queue.Empty:
                return
            self._deliver()
            with self._lock:
                if self._alerts() > alerts:
                    return

    def _alerts(self) -> int:
        return sum(message.kind is Kind.ALERT for message in self._core.messages())

    def _serve(self, connection: Connection) -> None:
        """Send and take receipts until the connection breaks or the outbox is closed."""
        self._answered_s = time.monotonic()
        with self._lock:
            self._core.connected(self._now_s())
        try:
            while not self._closing:
                self._send_due(connection)
                if not self._take_events():
                    return
        except OSError as error:
            log.info("the connection broke: %s", error)
        except Exception:
            # A bug of the outbox costs a connection, never the waiting alarms.
            log.exception("the connection is given up")
        finally:
            with self._lock:
                self._core.disconnected()
                self._packets.clear()
                self._flush()
            connection.close()
            self._deliver()

    def _send_due(self, connection: Connection) -> None:
        with self._lock:
            due = self._core.due(self._now_s())
            for message, reason in due.given_up:
                self._give_up(message, State.UNDELIVERED, reason)
        for message in due.sends:
            self._first_sent.setdefault(message.msg_id, datetime.now(timezone.utc))
            self._sends += 1
            try:
                packet_id = connection.publish(message.topic, message.payload)
            except ValueError as error:
                with self._lock:
                    self._core.forget(message.msg_id)
                    self._give_up(message, State.UNDELIVERED, f"it cannot be published: {error}")
                continue
            if not self._packets:
                self._answered_s = time.monotonic()
            self._packets[packet_id] = message.msg_id

    def _take_events(self) -> bool:
        """Wait for events and take all of them. Return False when the connection is gone."""
        with self._lock:
            now_s = self._now_s()
            wake_at_s = self._core.wake_at_s(now_s)
            idle_s = FLUSH_S if self._store.has_deletions else NO_ANSWER_S / 2
        wait_s = idle_s if wake_at_s is None else min(idle_s, max(0.0, wake_at_s - now_s))
        self._deliver()
        try:
            event = self._events.get(timeout=wait_s) if wait_s > 0 else self._events.get_nowait()
        except queue.Empty:
            with self._lock:
                self._flush()
            is_dead = bool(self._packets) and time.monotonic() - self._answered_s > NO_ANSWER_S
            if is_dead:
                log.info("the broker does not answer; the connection is given up")
            return not is_dead
        with self._lock:
            while True:
                if isinstance(event, Broken):
                    log.info("the connection broke: %s", event.reason)
                    return False
                self._take(event)
                if self._events.empty():
                    return True
                event = self._events.get()

    def _take(self, event: Event) -> None:
        if not isinstance(event, Wake):
            self._answered_s = time.monotonic()
        if isinstance(event, Taken):
            self._take_acknowledgement(event)
        elif isinstance(event, Arrived):
            receipt = receipts.read(event.payload)
            if receipt is not None:
                self._take_receipt(receipt)

    def _take_acknowledgement(self, event: Taken) -> None:
        msg_id = self._packets.pop(event.packet_id, None)
        if msg_id is None:
            return
        if not event.kept:
            self._core.not_taken(msg_id)
            return
        message = self._core.taken(msg_id)
        if message is not None:
            self._note(message, State.SENT)

    def _take_receipt(self, receipt: Receipt) -> None:
        arrived = datetime.now(timezone.utc)
        message = self._core.receipt(receipt, self._now_s())
        sent = self._first_sent.pop(receipt.msg_id, None) if message is not None else None
        if sent is not None and receipt.at is not None and receipt.status in ("stored", "off_shift"):
            self._clock.add(sent=sent, at=receipt.at, arrived=arrived)
        state = STATES_OF_STATUS.get(receipt.status)
        if message is not None and state is not None:
            if state is State.REFUSED:
                self._give_up(message, state, receipt.reason or "", receipt=receipt)
            else:
                self._remove(message)
        if state is None or receipt.silent or (message is not None and message.silent):
            return
        if state is not State.REFUSED:
            self._updates.put(Update(receipt.msg_id, state, receipt))

    def _give_up(
        self, message: Message, state: State, reason: str, *, receipt: Receipt | None = None
    ) -> None:
        self._first_sent.pop(message.msg_id, None)
        if message.number > 0:
            try:
                self._store.set_aside(message, state, reason)
            except StoreFailed:
                log.exception("a message that was %s is not kept", state.value)
                self._store.remove(message.number)
        self._note(message, state, reason=reason, receipt=receipt)
        self._changed.notify_all()

    def _dropped(self, messages: list[Message]) -> None:
        for message in messages:
            self._remove(message)
            self._note(message, State.DROPPED, reason="the outbox is full")

    def _remove(self, message: Message) -> None:
        self._first_sent.pop(message.msg_id, None)
        if message.number > 0:
            self._store.remove(message.number)
        self._changed.notify_all()

    def _note(
        self, message: Message, state: State, *, reason: str = "", receipt: Receipt | None = None
    ) -> None:
        if not message.silent:
            self._updates.put(Update(message.msg_id, state, receipt, reason))

    def _flush(self, *, ran: bool = False) -> None:
        ran_s = self._now_s()
        due = ran or ran_s - self._store.ran_s > RAN_EVERY_S
        try:
            self._store.flush(ran_s=ran_s if due else None)
        except StoreFailed:
            log.exception("what is done is not deleted, and is sent again after a restart")
            return
        if due:
            self._store.ran_s = ran_s

    def _deliver(self) -> None:
        """Call `on_update`. An error of the device's own program stops nothing here."""
        while not self._updates.empty():
            update = self._updates.get()
            if self._on_update is None:
                continue
            try:
                self._on_update(update)
            except Exception:
                log.exception("on_update failed for %s", update.msg_id)

    def _now_s(self) -> float:
        """Return the outbox's own clock. It counts while the outbox runs, and nobody can set it."""
        return float(time.monotonic() - self._began_s)


def _open(path: str | Path, *, or_memory: bool) -> Store:
    try:
        return Store(path)
    except StoreFailed:
        if not or_memory:
            raise
        log.exception("messages are kept in memory only")
        return Store(MEMORY)


def _context(tls: bool | str | Path | ssl.SSLContext) -> ssl.SSLContext | None:
    if isinstance(tls, ssl.SSLContext):
        return tls
    if tls is False:
        return None
    return ssl.create_default_context(cafile=None if tls is True else str(tls))
