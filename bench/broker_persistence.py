"""`python -m bench.broker_persistence`: losses of a killed Mosquitto, and the cost of saving.

A loss is a message that the broker had acknowledged.

A subscriber with a kept session is away, as a gateway is while RabbitMQ is frozen. So all messages
wait at the broker. A publisher sends at a rate. The broker is killed at a random moment of its
saving interval and started again. Then the subscriber counts the messages that are left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.measures.cpu import used_s
from gateway.mqtt import packets
from ops.local.servers import answers, binary

RATE = 200.0
PAYLOAD = (
    b'{"lat":12.9716,"lon":77.5946,"accuracy":5.0,"timestamp":"2026-11-29T10:00:00+00:00","msg_id":"%012d"}'
)
TOPIC = "guard/guard-1/gps"
WINDOW = 100
CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {data}/
autosave_interval {interval}
autosave_on_changes {on_changes}
max_queued_messages 1000000
max_queued_bytes 1073741824
max_inflight_messages 20000
{user}
"""


class PersistenceSetting(NamedTuple):
    """Setting of Mosquitto: `autosave_interval` in seconds, or in changes when `on_changes`."""

    interval: int
    on_changes: bool

    def __str__(self) -> str:
        return f"{self.interval} {'changes' if self.on_changes else 's'}"


SETTINGS = (
    PersistenceSetting(30, False),
    PersistenceSetting(5, False),
    PersistenceSetting(1, False),
    PersistenceSetting(1000, True),
    PersistenceSetting(100, True),
    PersistenceSetting(1, True),
)


class PrivateBroker:
    """Private Mosquitto in `data`."""

    def __init__(self, data: Path, setting: PersistenceSetting) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

        self._config = data / "mosquitto.conf"
        self._config.write_text(
            CONFIG.format(
                port=self.port,
                data=data,
                interval=setting.interval,
                on_changes=str(setting.on_changes).lower(),
                user="user root" if os.geteuid() == 0 else "",
            )
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [binary("mosquitto"), "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        while not answers(self.port):
            time.sleep(0.01)  # the broker gives no sign when it listens

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def connect(port: int, name: str, *, clean: bool = True) -> socket.socket:
    """Return a socket after CONNACK."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    packet = bytearray(packets.connect(name, keepalive_s=0))
    if not clean:
        packet[packet.index(b"MQTT\x04") + 5] &= ~2
    sock.sendall(packet)
    answer = sock.recv(4)
    assert answer[3] == 0, f"the broker refused {name}"
    return sock


def leave_session(port: int) -> None:
    """Subscribe with a session that is kept, and disconnect."""
    sock = connect(port, "gateway", clean=False)
    sock.sendall(packets.subscribe("guard/#"))
    sock.recv(5)
    sock.sendall(packets.DISCONNECT)
    sock.close()


def count_session(port: int) -> set[bytes]:
    """Return the numbers of the messages that wait for the session."""
    sock = connect(port, "gateway", clean=False)
    sock.sendall(packets.subscribe("guard/#"))
    reader, found = packets.PacketReader(), set()

    while select.select([sock], [], [], 2.0)[0]:
        data = sock.recv(1_048_576)
        assert data, "the broker closed the connection"
        ids = []
        for first, body in reader.feed(data):
            if first & 0xF0 == packets.PUBLISH:
                message = packets.parse_publish(first, body, 0, len(body))
                found.add(bytes(message.payload[-14:-2]))
                ids.append(message.message_id)
        sock.sendall(packets.puback(ids))

    sock.close()
    return found


class NumberedPublisher:
    """Sender of numbered messages. It records acknowledged messages, and the time of each."""

    def __init__(self, port: int, *, first: int = 0) -> None:
        self._sock = connect(port, f"publisher-{first}")
        self._reader = packets.PacketReader()
        self._sent: dict[int, tuple[int, float]] = {}
        self.number = first
        self.acknowledged: set[bytes] = set()
        self.took_s: list[float] = []

    def run(self, seconds: float, *, rate: float | None) -> None:
        """Send for `seconds`. Without a rate, send as fast as the window allows."""
        began_s = time.monotonic()
        sent = 0
        while (now_s := time.monotonic()) - began_s < seconds:
            while len(self._sent) < WINDOW and (rate is None or sent < (now_s - began_s) * rate):
                self._send()
                sent += 1
            self._listen(0.001)

    def fill(self, count: int) -> None:
        """Send `count` messages as fast as the window allows."""
        end = self.number + count
        while self.number < end or self._sent:
            while len(self._sent) < WINDOW and self.number < end:
                self._send()
            self._listen(0.05)

    def _send(self) -> None:
        message_id = self.number % 65_535 + 1
        self._sent[message_id] = (self.number, time.monotonic())
        self._sock.sendall(packets.publish(TOPIC, PAYLOAD % self.number, message_id=message_id))
        self.number += 1

    def _listen(self, wait_s: float) -> None:
        if not select.select([self._sock], [], [], wait_s)[0]:
            return
        now_s = time.monotonic()
        for first, body in self._reader.feed(self._sock.recv(262_144)):
            if first & 0xF0 == packets.PUBACK:
                number, sent_s = self._sent.pop(int.from_bytes(bytes(body[:2]), "big"))
                self.acknowledged.add(b"%012d" % number)
                self.took_s.append(now_s - sent_s)


def loss(setting: PersistenceSetting, *, chance: random.Random) -> tuple[int, int]:
    """Return (acknowledged, lost) of one kill at a random moment of the saving interval."""
    interval_s = setting.interval / RATE if setting.on_changes else setting.interval
    with tempfile.TemporaryDirectory(prefix="vigil-broker-") as directory:
        Path(directory).chmod(0o755)
        broker = PrivateBroker(Path(directory), setting)
        leave_session(broker.port)
        publisher = NumberedPublisher(broker.port)
        publisher.run(max(interval_s, 4.0) + chance.uniform(0, max(interval_s, 1.0)), rate=RATE)
        broker.kill()
        broker.start()
        kept = count_session(broker.port)
        broker.kill()
        return len(publisher.acknowledged), len(publisher.acknowledged - kept)


class PersistenceCost(NamedTuple):
    """Cost of a setting, at a rate over a backlog.

    It holds the cores that the broker used, and the time of a publish until its PUBACK.
    """

    cores: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


def cost(setting: PersistenceSetting, *, backlog: int, seconds: float) -> PersistenceCost:
    with tempfile.TemporaryDirectory(prefix="vigil-broker-") as directory:
        Path(directory).chmod(0o755)
        broker = PrivateBroker(Path(directory), setting)
        leave_session(broker.port)

        if backlog:
            # The broker is filled under a setting that saves seldom. Then it starts under the
            # measured setting.
            broker.kill()
            filler = PrivateBroker(Path(directory), PersistenceSetting(1800, False))
            leave_session(filler.port)
            NumberedPublisher(filler.port).fill(backlog)
            filler.process.terminate()
            filler.process.wait()
            broker = PrivateBroker(Path(directory), setting)

        publisher = NumberedPublisher(broker.port, first=backlog)
        before_s, began_s = used_s(broker.process.pid), time.monotonic()
        publisher.run(seconds, rate=RATE)
        cores = (used_s(broker.process.pid) - before_s) / (time.monotonic() - began_s)
        broker.kill()
        took = sorted(publisher.took_s) or [float("nan")]
        return PersistenceCost(
            cores,
            statistics.median(took) * 1e3,
            took[min(len(took) - 1, int(len(took) * 0.99))] * 1e3,
            took[-1] * 1e3,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.broker_persistence", description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="kills for each setting")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each measurement of the cost")
    parser.add_argument("--backlogs", type=int, nargs="*", default=[0, 20_000])
    chosen = parser.parse_args()
    chance = random.Random(1)  # noqa: S311 - moments of a kill

    for setting in SETTINGS:
        kills = [loss(setting, chance=chance) for _ in range(chosen.kills)]
        lost = [one[1] for one in kills]
        found = {
            "setting": str(setting),
            "kills": len(kills),
            "acknowledged": sum(one[0] for one in kills),
            "lost_mean": round(statistics.mean(lost)),
            "lost_max": max(lost),
        }

        print(json.dumps(found), flush=True)
        for backlog in chosen.backlogs:
            measured = cost(setting, backlog=backlog, seconds=chosen.seconds)
            rounded = {name: round(value, 3) for name, value in measured._asdict().items()}
            print(json.dumps({"setting": str(setting), "backlog": backlog, **rounded}), flush=True)


if __name__ == "__main__":
    main()
