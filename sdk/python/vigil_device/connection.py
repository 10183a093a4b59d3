"""One connection to the broker, by paho. What happens on it comes as events, in the order in which it happened."""

from __future__ import annotations

import queue
import ssl
from typing import Any, NamedTuple, Union

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CONNECT_TIMEOUT_S = 10.0
SESSION_EXPIRY_S = 86_400
"""The broker keeps receipts for a device that is away for so long (MQTT 5; in 3.1.1 the broker decides)."""
NO_SUBSCRIBER = 0x10
"""PUBACK of MQTT 5: nobody listens, so the broker kept nothing."""


class Taken(NamedTuple):
    """The broker acknowledged a packet; `kept` is False when it refused it or nobody listens."""

    packet_id: int
    kept: bool


class Arrived(NamedTuple):
    """A receipt came."""

    payload: bytes


class Broken(NamedTuple):
    """The connection is gone; nothing comes after it."""

    reason: str


class Wake(NamedTuple):
    """Something is to be sent."""


Event = Union[Taken, Arrived, Broken, Wake]


class Settings(NamedTuple):
    """How to reach the broker. `tls`: None for plain TCP."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    protocol: int = 5
    keepalive_s: int = 30
    topic_prefix: str = ""


class Connection:
    """Made by the constructor; raises `OSError` when the broker is not reached or lets nobody in.

    paho calls back in a thread of its own and with its locks held, so a callback does nothing but put an event.
    """

    def __init__(self, settings: Settings, events: queue.SimpleQueue[Event], *, receipts: str) -> None:
        self._settings = settings
        self._events = events
        self._receipts = receipts
        self._answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._client = self._make_client()
        self._client.connect(settings.host, settings.port, settings.keepalive_s, **self._options())
        self._client.loop_start()
        try:
            refusal = self._answer.get(timeout=CONNECT_TIMEOUT_S)
        except queue.Empty:
            refusal = "the broker did not answer"
        if refusal:
            self._stop()
            raise ConnectionError(refusal)

    def publish(self, topic: str, payload: bytes) -> int:
        """Publish at QoS 1; return the packet id. Raises `OSError`."""
        info = self._client.publish(self._settings.topic_prefix + topic, payload, qos=1)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise ConnectionError(paho.error_string(info.rc))
        return int(info.mid)

    def close(self) -> None:
        """Say good-bye and end paho's thread."""
        self._client.disconnect()
        self._stop()

    def _make_client(self) -> paho.Client:
        settings = self._settings
        is_5 = settings.protocol == 5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=paho.MQTTv5 if is_5 else paho.MQTTv311,
            # The broker keeps receipts while the device is away.
            clean_session=None if is_5 else False,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # the outbox has its own window
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        if settings.tls is not None:
            client.tls_set_context(settings.tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _options(self) -> dict[str, Any]:
        if self._settings.protocol != 5:
            return {}
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        return {"clean_start": False, "properties": properties}

    def _stop(self) -> None:
        self._client.on_disconnect = None
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._answer.put(f"the broker refused the connection: {code}")
            return
        # Before the first message goes out: its receipt finds the subscription there.
        client.subscribe(self._settings.topic_prefix + self._receipts, qos=1)
        self._answer.put("")

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _p: Any) -> None:
        self._events.put(Broken(str(code)))
        self._answer.put(f"the connection broke: {code}")

    def _on_publish(self, _client: paho.Client, _data: Any, packet_id: int, code: Any, _p: Any) -> None:
        self._events.put(Taken(packet_id, not code.is_failure and code.value != NO_SUBSCRIBER))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._events.put(Arrived(bytes(message.payload)))
