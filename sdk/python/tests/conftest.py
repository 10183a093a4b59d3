"""A real Mosquitto for the tests of the connection."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

DEADLINE_S = 20.0
TIMEOUT_S = 30.0


class Mosquitto:
    """Broker on a free port. Its messages survive `stop`, but not `kill`."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._config = directory / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"persistence true\npersistence_location {directory}/\nautosave_interval 1800\n"
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "mosquitto is not installed"
        self._process = subprocess.Popen(
            [program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
            except OSError:
                assert time.monotonic() < deadline_s, "mosquitto does not listen"
                time.sleep(0.02)  # the broker gives no sign when it listens
            else:
                return

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.stop()


class Gateway:
    """Receives a source's messages and, while `answers`, sends receipts."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.answers = True
        self.ahead = timedelta()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="gateway", clean_session=False)
        self._client.on_message = self._on_message
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(
            [("guard/#", 1), ("alert/#", 1), ("device/#", 1)]
        )
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(TIMEOUT_S)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))
        if self.answers:
            self.answer(json.loads(message.payload)["msg_id"])

    def answer(self, msg_id: str, status: str = "stored", **fields: Any) -> None:
        at = (datetime.now(timezone.utc) + self.ahead).isoformat()
        body = {"msg_id": msg_id, "status": status, "at": at, **fields}
        self._client.publish("receipt/guard-1", json.dumps(body), qos=1)

    @property
    def ids(self) -> Counter[str]:
        return Counter(json.loads(payload)["msg_id"] for _, payload in self.heard)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def gateway(broker: Mosquitto) -> Iterator[Gateway]:
    made = Gateway(broker.port)
    yield made
    made.close()


@pytest.fixture
def gateways(broker: Mosquitto) -> Iterator[Callable[[], Gateway]]:
    """Return a function that makes further gateways."""
    made: list[Gateway] = []

    def make() -> Gateway:
        made.append(Gateway(broker.port))
        return made[-1]

    yield make
    for one in made:
        one.close()
