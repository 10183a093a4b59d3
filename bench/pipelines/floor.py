"""The floor: one process with raw MQTT and without a bus.

It has the same validation, judge (of each fix by itself) and unnest insert as Vigil. It keeps
Vigil's promises to a device. Every message has an identity and is stored once. MQTT is acknowledged
after the commit. A session at the broker outlives the process. Each stored message has its receipt.

It has no state of sources, no alerts beyond their rows, and no websocket sessions. No pipeline with
a bus can be faster on the same machine.

`python -m bench.pipelines.floor` runs until it is killed. The owner of the tables must have made
`ALERTS` before.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import select
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from bench.ledger.load import connect
from gateway.mqtt import packets
from gateway.mqtt.decoding import payloads, topics
from services.contracts.errors import InvalidMessage
from services.contracts.events import DeviceAlert, RejectedMessage
from services.contracts.families import TELEMETRY, Fix
from services.geofencing.rule.fixes import track_fix_of
from services.geofencing.rule.track import ZoneSubject
from services.ingestion import bulk_insert
from services.ingestion.admission import keep_rejected
from services.ingestion.source_registry import Source, SourceRegistry
from services.location.store import LocationStore
from services.location.zone_cache import ZoneCache
from services.platform import config
from services.platform.database import Database
from services.telemetry.store import TelemetryStore

SHAPES = {row.message: row for row in TELEMETRY}
FAMILIES = ("device", "guard", "sensor", "alert", "system")
SOURCE = Source("floor", 1, None, "guard", True)
ALERTS = "floor_alert"
MAKE_ALERTS = f"""
    CREATE TABLE {ALERTS} (message_key uuid PRIMARY KEY, source_id text NOT NULL, msg_id text, topic text NOT NULL,
        recorded_at timestamptz NOT NULL, received_at timestamptz NOT NULL, raw_data text);
    GRANT INSERT, SELECT ON {ALERTS} TO PUBLIC
"""
_ALERT = {
    "message_key": "uuid",
    "source_id": "text",
    "msg_id": "text",
    "topic": "text",
    "recorded_at": "timestamptz",
    "received_at": "timestamptz",
    "raw_data": "text",
}
INSERT_ALERTS = text(
    f"INSERT INTO {ALERTS} ({', '.join(_ALERT)}) SELECT * FROM unnest("  # noqa: S608 - names of our own
    + ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _ALERT.items())
    + ")"
)


class Floor:
    def __init__(self) -> None:
        settings = config.load()
        self._database = Database(settings, name="floor", pool_size=1)
        self._location = LocationStore(self._database)
        self._telemetry = TelemetryStore(self._database)
        zones = ZoneCache(self._database, SourceRegistry.from_config(settings), settings.location)
        self._judge = zones.judge_of(SOURCE.tenant_id)
        self._limits = payloads.PayloadLimits()
        self._batch = settings.gateway.batch_max_messages
        self._prefix = settings.mqtt.topic_prefix
        self._sock = connect(settings.mqtt.host, settings.mqtt.port)
        self._sock.settimeout(None)

        # The session outlives the process, so the broker sends unacknowledged messages again.
        self._sock.sendall(packets.connect("floor", clean=False))
        for number, family in enumerate(FAMILIES):
            self._sock.sendall(packets.subscribe(f"{self._prefix}{family}/#", message_id=number + 1))

        self._reader = packets.PacketReader()
        granted = 0
        while granted < len(FAMILIES):
            granted += sum(first == packets.SUBACK for first, _ in self._reader.feed(self._sock.recv(4096)))

        self._sent = itertools.count()

    def run(self) -> None:
        """Store waiting messages until the broker ends the connection.

        A batch is stored when it is full, or at once when no further message is there.
        """
        waiting: list[tuple[bytes, bytes, int]] = []
        while data := self._sock.recv(1_048_576):
            for first, body in self._reader.feed(data):
                if first & 0xF0 == packets.PUBLISH:
                    found = packets.parse_publish(first, body, 0, len(body))
                    waiting.append((found.topic, found.payload, found.message_id))
            while len(waiting) >= self._batch or (waiting and not self._more_is_there()):
                self._store(waiting[: self._batch])
                del waiting[: self._batch]

    def _more_is_there(self) -> bool:
        return bool(select.select([self._sock], [], [], 0)[0])

    def _store(self, batch: Sequence[tuple[bytes, bytes, int]]) -> None:
        now = datetime.now(UTC)
        by_kind: dict[type, list[Any]] = {}
        for topic, payload, _ in batch:
            message = self._decode(topic.decode().removeprefix(self._prefix), payload, now)
            by_kind.setdefault(type(message), []).append(message)

        with self._database.across() as connection:
            self._insert(connection, by_kind)

        receipts = [
            self._receipt(message)
            for kind, messages in by_kind.items()
            if kind is not RejectedMessage
            for message in messages
        ]
        self._sock.sendall(b"".join(receipts) + packets.puback([message_id for *_, message_id in batch]))

    def _receipt(self, message: Any) -> bytes:
        origin = message.origin
        body = json.dumps({"msg_id": origin.msg_id, "status": "stored"}, separators=(",", ":")).encode()
        topic = f"{self._prefix}receipt/{origin.source_id}"
        return packets.publish(topic, body, message_id=next(self._sent) % 65_535 + 1)

    def _decode(self, topic_text: str, payload: bytes, now: datetime) -> Any:
        def key() -> bytes:
            return hashlib.blake2b(topic_text.encode() + b"\0" + payload, digest_size=16).digest()

        try:
            topic = topics.parse(topic_text)
            return payloads.decode(
                topic_text, topic, payload, received_at=now, limits=self._limits, fresh_key=key
            )
        except InvalidMessage as error:
            return RejectedMessage(key(), topic_text, payload, error.reason, error.detail, now)

    def _insert(self, connection: Connection, by_kind: dict[type, list[Any]]) -> None:
        fixes = {fix.origin.key: fix for fix in by_kind.get(Fix, [])}.values()
        seen = bulk_insert.see(connection, [fix.origin for fix in fixes])
        new = [(fix, SOURCE) for fix in fixes if fix.origin.key in seen]
        found = self._judge.judge_many(
            [(ZoneSubject(fix.origin.source_id), None, [track_fix_of(fix)]) for fix, _ in new]
        )
        self._location.insert(connection, new, {step.fix.key: step for _, [step] in found})

        for kind, shape in SHAPES.items():
            readings = {reading.origin.key: reading for reading in by_kind.get(kind, [])}.values()
            if readings:
                self._telemetry.insert(connection, shape, [(reading, SOURCE) for reading in readings])

        self._insert_alerts(connection, by_kind.get(DeviceAlert, []))
        keep_rejected(connection, by_kind.get(RejectedMessage, []))

    def _insert_alerts(self, connection: Connection, alerts: Sequence[DeviceAlert]) -> None:
        origins = {alert.origin.key: alert.origin for alert in alerts}
        seen = bulk_insert.see(connection, list(origins.values())) if origins else set()

        found = [origin for key, origin in origins.items() if key in seen]
        if found:
            names = {"message_key": "key", "raw_data": "raw"}
            values = {
                column: bulk_insert.array(
                    kind, [getattr(origin, names.get(column, column)) for origin in found]
                )
                for column, kind in _ALERT.items()
            }
            connection.execute(INSERT_ALERTS, values)


def main() -> None:
    floor = Floor()
    print("ready", flush=True)
    floor.run()


if __name__ == "__main__":
    main()
