"""The sweep of retained positions. It clears a person's place from the broker within a minute.

The broker accepts retained messages, because most devices send them and some depend on them. A
place that stays at the broker outlives every retention rule. So one connection of the bulk lane
asks for retained messages and clears these places.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import structlog

from gateway.mqtt import packets
from gateway.mqtt.client import BufferedPaho, MqttLink
from gateway.mqtt.retained_positions import bears_place
from services.platform.config import MqttSettings

log = structlog.get_logger(__name__)


class RetainedSweep(MqttLink):
    """Connection that clears retained messages which give a person's place.

    From time to time it subscribes, and receives the retained messages. It unsubscribes when the
    broker has sent them all: live messages belong to the lanes.
    """

    def __init__(self, config: MqttSettings, *, filters: Sequence[str], every_s: float) -> None:
        super().__init__(config, name="retained")
        self._filters = [config.topic_prefix + name for name in filters]
        self._every_s = every_s
        self._next_s = 0.0
        self._answers: dict[str, Any] = {}
        self._found: list[bytes] = []

    def _connect(self, client: BufferedPaho) -> None:
        self._answers = self._open(client, clean_start=True)
        self._next_s = 0.0

    def _between_turns(self, client: BufferedPaho) -> None:
        if time.monotonic() < self._next_s:
            return
        self._sweep(client)
        self._next_s = time.monotonic() + self._every_s

    def _sweep(self, client: BufferedPaho) -> None:
        self._found = []
        self._join(client, self._answers, self._filters, qos=0, with_retained=True)

        # The broker sent every retained message before its answer to this.
        self._leave(client, self._answers, self._filters)

        if self._found:
            for topic in self._found:
                client.buffered.send(packets.clear(topic))
            self._write(client)
            log.info("retained_positions_cleared", count=len(self._found))

    def _on_packet(self, first: int, buffer: bytes, start: int, end: int) -> bool:
        if first & 0xF0 != packets.PUBLISH:
            return False

        message = packets.parse_publish(first, buffer, start, end, version=5)
        # An exception here would end the sweep for good.
        try:
            topic = message.topic.decode("utf-8", "replace").removeprefix(self._config.topic_prefix)
            if message.retained and bears_place(topic, message.payload):
                self._found.append(message.topic)
        except Exception:
            log.exception("retained_sweep_failed", mid=message.message_id)

        return True
