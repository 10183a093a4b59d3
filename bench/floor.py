"""The floor: one process, raw MQTT, the same validation, judge (of each fix by itself) and unnest insert, no bus.

`python -m bench.floor EXPECTED`: takes that many messages, then prints one JSON line: how many, the time of the last
commit on the monotonic clock, which all processes of a machine share, and the CPU seconds it took. Nothing that has to
cross a bus can be faster on the same machine. Alerts are decoded and not stored: they have no insert of this kind.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from gateway.mqtt import payloads, topics, wire
from services import config, rows
from services.admission import keep_rejected
from services.errors import InvalidMessage
from services.location.intake import track_fix_of
from services.location.store import Arrived, LocationStore
from services.location.track import Guarded
from services.location.zonebook import ZoneBook
from services.messages import DeviceReading, Fix, HealthReading, RejectedMessage, SensorReading
from services.providers import Database
from services.registry import Registry, Source
from services.telemetry.store import DEVICE, SENSOR, SYSTEM, TelemetryStore

SHAPES = {DeviceReading: DEVICE, SensorReading: SENSOR, HealthReading: SYSTEM}
FAMILIES = ("device", "guard", "sensor", "alert", "system")
QUIET_S = 5.0
SOURCE = Source("floor", 1, None, "guard", True)


class Floor:
    def __init__(self) -> None:
        settings = config.load()
        self._database = Database(settings, name="floor", pool_size=1)
        self._location = LocationStore(self._database)
        self._telemetry = TelemetryStore(self._database)
        zones = ZoneBook(self._database, Registry.from_config(settings), settings.location)
        self._judge = zones.judge_of(SOURCE.tenant_id)
        self._limits = payloads.Limits()
        self._count = itertools.count(1)
        self._batch = settings.gateway.batch_max_messages
        self._prefix = settings.mqtt.topic_prefix
        self._sock = socket.create_connection((settings.mqtt.host, settings.mqtt.port))
        self._sock.sendall(wire.connect("floor"))
        for number, family in enumerate(FAMILIES):
            self._sock.sendall(wire.subscribe(f"{self._prefix}{family}/#", message_id=number + 1))
        self._reader = wire.Reader()
        granted = 0
        while granted < len(FAMILIES):
            granted += sum(first == wire.SUBACK for first, _ in self._reader.feed(self._sock.recv(4096)))
        self.done = 0
        self.last_s = 0.0

    def run(self, expected: int) -> None:
        waiting: list[tuple[bytes, bytes, int]] = []
        self._sock.settimeout(0.02)
        while self.done + len(waiting) < expected or waiting:
            try:
                data = self._sock.recv(1_048_576)
            except TimeoutError:
                data = b""
                if self.done and time.monotonic() - self.last_s > QUIET_S:
                    return
            for first, body in self._reader.feed(data) if data else ():
                if first & 0xF0 == wire.PUBLISH:
                    found = wire.parse_publish(first, body, 0, len(body))
                    waiting.append((found.topic, found.payload, found.message_id))
            while len(waiting) >= self._batch or (waiting and not data):
                self._store(waiting[: self._batch])
                del waiting[: self._batch]

    def _store(self, batch: Sequence[tuple[bytes, bytes, int]]) -> None:
        now = datetime.now(UTC)
        by_kind: dict[type, list[Any]] = {}
        for topic, payload, _ in batch:
            message = self._decode(topic.decode().removeprefix(self._prefix), payload, now)
            by_kind.setdefault(type(message), []).append(message)
        with self._database.across() as connection:
            self._insert(connection, by_kind)
        self._sock.sendall(wire.puback([message_id for *_, message_id in batch]))
        self.done += len(batch)
        self.last_s = time.monotonic()

    def _decode(self, topic_text: str, payload: bytes, now: datetime) -> Any:
        def key() -> bytes:
            return next(self._count).to_bytes(16, "big")

        try:
            topic = topics.parse(topic_text)
            return payloads.decode(
                topic_text, topic, payload, received_at=now, limits=self._limits, fresh_key=key
            )
        except InvalidMessage as error:
            return RejectedMessage(key(), topic_text, payload, error.reason, error.detail, now)

    def _insert(self, connection: Connection, by_kind: dict[type, list[Any]]) -> None:
        fixes = {fix.origin.key: fix for fix in by_kind.get(Fix, [])}.values()
        seen = rows.see(connection, [fix.origin for fix in fixes])
        arrived = [Arrived(fix, SOURCE, track_fix_of(fix)) for fix in fixes if fix.origin.key in seen]
        found = self._judge.judge_many(
            [(Guarded(item.fix.origin.source_id), None, [item.track]) for item in arrived]
        )
        verdicts = {step.fix.key: (step.in_geofence, step.violation) for _, [step] in found}
        self._location.insert(connection, arrived, verdicts)
        for kind, shape in SHAPES.items():
            readings = {reading.origin.key: reading for reading in by_kind.get(kind, [])}.values()
            if readings:
                self._telemetry.insert(connection, shape, [(reading, SOURCE) for reading in readings])
        keep_rejected(connection, by_kind.get(RejectedMessage, []))


def main(expected: int) -> None:
    floor = Floor()
    print("ready", flush=True)
    before_s = time.process_time()
    floor.run(expected)
    used_s = time.process_time() - before_s
    print(json.dumps({"stored": floor.done, "last_s": floor.last_s, "cpu_s": used_s}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
