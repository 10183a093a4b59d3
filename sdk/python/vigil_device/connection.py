"""One connection to the broker, by paho. It reports events in the order in which they happened."""

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
"""Seconds for which the broker keeps receipts for an absent device.

This holds for MQTT 5. In MQTT 3.1.1 the broker decides.
"""
NO_SUBSCRIBER = 0x10
"""Reason code of a PUBACK of MQTT 5: there is no subscriber, so the broker kept nothing."""


class Taken(NamedTuple):
    """PUBACK of the broker.

    `kept` is False when the broker refused the message or has no subscriber.
    """

    packet_id: int
    kept: bool


class Arrived(NamedTuple):
    """Receipt that came."""

    payload: bytes


class Broken(NamedTuple):
    """End of the connection. No event follows."""

    reason: str


class Wake(NamedTuple):
    """Signal that a message waits to be sent."""


Event = Union[Taken, Arrived, Broken, Wake]


class Settings(NamedTuple):
    """Address and credentials of the broker. `tls` is None for plain TCP."""

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
    """Connection to the broker, made by the constructor.

    The constructor raises `OSError` when the broker is not reached or refuses the device. paho
    calls back in its own thread with its locks held. So a callback only puts an event.
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
        """Publish at QoS 1. Return the packet id. Raises `OSError`."""
        info = self._client.publish(self._settings.topic_prefix + topic, payload, qos=1)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise ConnectionError(paho.error_string(info.rc))
        return int(info.mid)

    def close(self) -> None:
        """Disconnect and end paho's thread."""
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
        # This comes before the first message, so that its receipt finds the subscription.
        client.subscribe(self._settings.topic_prefix + self._receipts, qos=1)
        self._answer.put("")

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _p: Any) -> None:
        self._events.put(Broken(str(code)))
        self._answer.put(f"the connection broke: {code}")

    def _on_publish(self, _client: paho.Client, _data: Any, packet_id: int, code: Any, _p: Any) -> None:
        self._events.put(Taken(packet_id, not code.is_failure and code.value != NO_SUBSCRIBER))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._events.put(Arrived(bytes(message.payload)))
