"""The naive pipeline: one event a message, one ORM insert each, as a newcomer to Nameko would write it.

`python -m bench.naive subscriber` and `python -m bench.naive service`, with NAIVE_DATABASE_URL, NAIVE_AMQP_URI,
NAIVE_MQTT_HOST and NAIVE_MQTT_PORT.
"""

from __future__ import annotations

import os
import sys

import eventlet

if __name__ == "__main__" and sys.argv[1:] == ["service"]:
    eventlet.monkey_patch()

import json  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from typing import Any  # noqa: E402

from nameko.events import event_handler  # noqa: E402
from nameko.runners import ServiceRunner  # noqa: E402
from nameko.standalone.events import event_dispatcher  # noqa: E402
from sqlalchemy import JSON, DateTime, String, create_engine  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker  # noqa: E402

CONFIG = {"AMQP_URI": os.environ.get("NAIVE_AMQP_URI", "")}


class Base(DeclarativeBase):
    pass


class Message(Base):
    __tablename__ = "naive_message"

    id: Mapped[int] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(String)
    source: Mapped[str] = mapped_column(String)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)


def sessions() -> sessionmaker[Session]:
    """Sessions on the naive database; its table is made when missing."""
    engine = create_engine(os.environ["NAIVE_DATABASE_URL"], pool_size=10)
    Base.metadata.create_all(engine)
    return sessionmaker(engine)


class NaiveService:
    name = "naive"
    make_session: Any = None

    @event_handler("naive_gateway", "message_received")
    def store(self, event: dict[str, Any]) -> None:
        payload = json.loads(event["payload"])
        with self.make_session() as session:
            session.add(
                Message(
                    topic=event["topic"],
                    source=event["topic"].split("/")[1],
                    received_at=datetime.now(UTC),
                    payload=payload,
                )
            )
            session.commit()


def run_service() -> None:
    NaiveService.make_session = staticmethod(sessions())
    runner = ServiceRunner(config=CONFIG)
    runner.add_service(NaiveService)
    runner.start()
    print("ready", flush=True)
    runner.wait()


def run_subscriber() -> None:
    import paho.mqtt.client as mqtt

    dispatch = event_dispatcher(CONFIG)

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        for family in ("device", "guard", "sensor", "alert", "system"):
            client.subscribe(f"{family}/#", qos=1)

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)

    def on_message(_client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        event = {"topic": message.topic, "payload": message.payload.decode()}
        dispatch("naive_gateway", "message_received", event)

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="naive")
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect(os.environ["NAIVE_MQTT_HOST"], int(os.environ["NAIVE_MQTT_PORT"]))
    client.loop_forever()


if __name__ == "__main__":
    {"service": run_service, "subscriber": run_subscriber}[sys.argv[1]]()
