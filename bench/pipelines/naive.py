"""The naive pipeline: the same job in the way of a Nameko beginner.

Each message is one event and one ORM insert. The gateway is a Nameko service with an MQTT
entrypoint and an `EventDispatcher`. The other service has a handler for each family and an ORM
model for each table. The models have Vigil's columns, an index for each source, and a unique msg_id
where Vigil has `message_seen`. The service asks PostGIS about the zones. All settings are Nameko's
defaults.

Run it as `python -m bench.pipelines.naive gateway|service` with NAIVE_DATABASE_URL, NAIVE_AMQP_URI,
NAIVE_MQTT_HOST, NAIVE_MQTT_PORT, NAIVE_TOPIC_PREFIX and NAIVE_ZONES (JSON: [[latitude, longitude,
radius in metres], ...]).
"""

from __future__ import annotations

import os
import sys

import eventlet

if __name__ == "__main__":
    eventlet.monkey_patch()

import json  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from typing import Any  # noqa: E402

import paho.mqtt.client as mqtt  # noqa: E402
from geoalchemy2 import Geography  # noqa: E402
from nameko.events import EventDispatcher, event_handler  # noqa: E402
from nameko.extensions import DependencyProvider, Entrypoint  # noqa: E402
from nameko.runners import ServiceRunner  # noqa: E402
from sqlalchemy import JSON, DateTime, Index, create_engine, func, select  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker  # noqa: E402

FAMILIES = ("device", "guard", "sensor", "alert", "system")


class NaiveBase(DeclarativeBase):
    pass


class NaiveColumns:
    id: Mapped[int] = mapped_column(primary_key=True)
    msg_id: Mapped[str | None] = mapped_column(unique=True)
    source: Mapped[str]
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    raw_data: Mapped[dict[str, Any]] = mapped_column(JSON)
    stored_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
    """Time of storing, for the bench's latencies. The commit follows at once.

    There are no receipts.
    """


class NaiveTelemetry(NaiveColumns, NaiveBase):
    __tablename__ = "telemetry"
    __table_args__ = (Index("telemetry_source", "source", "recorded_at"),)

    battery: Mapped[float | None]
    signal: Mapped[float | None]
    temperature: Mapped[float | None]
    connectivity: Mapped[str | None]


class NaiveLocation(NaiveColumns, NaiveBase):
    __tablename__ = "location"
    __table_args__ = (Index("location_source", "source", "recorded_at"),)

    point: Mapped[Any] = mapped_column(Geography("POINT", srid=4326, spatial_index=False))
    accuracy: Mapped[float | None]
    speed: Mapped[float | None]
    heading: Mapped[float | None]
    in_geofence: Mapped[bool]
    geofence_violation: Mapped[bool]


class NaiveSensor(NaiveColumns, NaiveBase):
    __tablename__ = "sensor"
    __table_args__ = (Index("sensor_source", "source", "recorded_at"),)

    type: Mapped[str | None]
    value: Mapped[float | None]
    state: Mapped[str | None]


class NaiveSystem(NaiveColumns, NaiveBase):
    __tablename__ = "system"
    __table_args__ = (Index("system_source", "source", "recorded_at"),)

    cpu: Mapped[float | None]
    memory: Mapped[float | None]
    disk: Mapped[float | None]
    uptime: Mapped[float | None]


class NaiveAlert(NaiveColumns, NaiveBase):
    __tablename__ = "alert"
    __table_args__ = (Index("alert_source", "source", "recorded_at"),)

    severity: Mapped[str | None]
    message: Mapped[str | None]


class NaiveZone(NaiveBase):
    __tablename__ = "zone"

    id: Mapped[int] = mapped_column(primary_key=True)
    centre: Mapped[Any] = mapped_column(Geography("POINT", srid=4326))
    radius_m: Mapped[float]


def engine() -> Any:
    return create_engine(os.environ["NAIVE_DATABASE_URL"], pool_size=10)


def make_tables() -> None:
    """Create the tables and the zones."""
    made = engine()
    NaiveBase.metadata.create_all(made)
    with Session(made) as session:
        for lat, lon, radius_m in json.loads(os.environ["NAIVE_ZONES"]):
            session.add(NaiveZone(centre=f"SRID=4326;POINT({lon} {lat})", radius_m=radius_m))
        session.commit()


class MqttMessages(Entrypoint):
    """Entrypoint that calls the method for each MQTT message."""

    def start(self) -> None:
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="naive")
        self.prefix = os.environ["NAIVE_TOPIC_PREFIX"]
        self.client.on_connect = lambda client, *_: client.subscribe(
            [(f"{self.prefix}{name}/#", 1) for name in FAMILIES]
        )
        self.client.on_subscribe = lambda *_: print("ready", flush=True)
        self.client.on_message = self.handle
        self.client.connect(os.environ["NAIVE_MQTT_HOST"], int(os.environ["NAIVE_MQTT_PORT"]))
        self.container.spawn_managed_thread(self.client.loop_forever)

    def handle(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.container.spawn_worker(self, (message.topic.removeprefix(self.prefix), message.payload), {})


class NaiveGateway:
    name = "naive_gateway"

    dispatch = EventDispatcher()

    @MqttMessages.decorator
    def take(self, topic: str, payload: bytes) -> None:
        family, *rest = topic.split("/")
        source = rest[0] if family in ("device", "guard", "sensor") else rest[-1]
        event = {
            "source": source,
            "payload": json.loads(payload),
            "received_at": datetime.now(UTC).isoformat(),
        }
        self.dispatch(f"{family}_received", event)


class NaiveDatabase(DependencyProvider):
    """Session for each worker."""

    def setup(self) -> None:
        self.make = sessionmaker(engine())

    def get_dependency(self, _worker_ctx: Any) -> Any:
        return self.make()


class NaiveService:
    name = "naive"

    session = NaiveDatabase()

    @event_handler("naive_gateway", "device_received")
    def store_device(self, event: dict[str, Any]) -> None:
        self._store(NaiveTelemetry, event, "battery", "signal", "temperature", "connectivity")

    @event_handler("naive_gateway", "sensor_received")
    def store_sensor(self, event: dict[str, Any]) -> None:
        self._store(NaiveSensor, event, "type", "value", "state")

    @event_handler("naive_gateway", "system_received")
    def store_system(self, event: dict[str, Any]) -> None:
        self._store(NaiveSystem, event, "cpu", "memory", "disk", "uptime")

    @event_handler("naive_gateway", "alert_received")
    def store_alert(self, event: dict[str, Any]) -> None:
        self._store(NaiveAlert, event, "severity", "message")

    @event_handler("naive_gateway", "guard_received")
    def store_guard(self, event: dict[str, Any]) -> None:
        payload = event["payload"]
        point = f"SRID=4326;POINT({payload['lon']} {payload['lat']})"
        near = select(NaiveZone).where(func.ST_DWithin(NaiveZone.centre, point, NaiveZone.radius_m)).limit(1)
        inside = self.session.scalar(near)
        extra = {"point": point, "in_geofence": inside is not None, "geofence_violation": inside is None}
        self._store(NaiveLocation, event, "accuracy", "speed", "heading", **extra)

    def _store(self, model: Any, event: dict[str, Any], *names: str, **extra: Any) -> None:
        payload = event["payload"]
        row = model(
            msg_id=payload.get("msg_id"),
            source=event["source"],
            recorded_at=datetime.fromisoformat(payload["timestamp"]),
            received_at=datetime.fromisoformat(event["received_at"]),
            raw_data=payload,
            **{name: payload.get(name) for name in names},
            **extra,
        )
        with self.session as session:
            session.add(row)
            session.commit()


def main(part: str) -> None:
    runner = ServiceRunner(config={"AMQP_URI": os.environ["NAIVE_AMQP_URI"]})
    if part == "service":
        make_tables()
    runner.add_service({"service": NaiveService, "gateway": NaiveGateway}[part])
    runner.start()
    if part == "service":
        print("ready", flush=True)
    runner.wait()


if __name__ == "__main__":
    main(sys.argv[1])
