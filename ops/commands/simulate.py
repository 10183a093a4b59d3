"""`vigil simulate`: a fleet that speaks MQTT."""

from __future__ import annotations

import random
import secrets
import select
import socket
import time
from datetime import UTC, datetime

import click

from gateway.mqtt import wire
from ops.environment import apply_environment
from ops.simulator import Fleet, Odds
from services import config
from services.config import Mqtt
from services.errors import Unavailable

WINDOW = 500
"""Unacknowledged messages at the most."""
PING_S = 20.0
CONNECT_TIMEOUT_S = 5.0
RECONNECT_S = 2.0
PROGRESS_S = 10.0


class Line:
    """One connection that publishes at QoS 1 within a window. Raises `OSError`."""

    def __init__(self, mqtt: Mqtt, client_id: str) -> None:
        self._prefix = mqtt.topic_prefix
        self._sock = socket.create_connection((mqtt.host, mqtt.port), timeout=CONNECT_TIMEOUT_S)
        self._sock.sendall(wire.connect(client_id, keepalive_s=60))
        self._reader = wire.Reader()
        self._next_id = 0
        self.in_flight = 0
        self.acknowledged = 0
        self._said_s = time.monotonic()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send one; waits while the window is full."""
        while self.in_flight >= WINDOW:
            self.listen(wait_s=CONNECT_TIMEOUT_S)
        self._next_id = self._next_id % 65_535 + 1
        self._sock.sendall(wire.publish(self._prefix + topic, payload, message_id=self._next_id))
        self.in_flight += 1
        self._said_s = time.monotonic()

    def listen(self, *, wait_s: float) -> None:
        """Take acknowledgements for so long; keep the connection alive."""
        if time.monotonic() - self._said_s > PING_S:
            self._sock.sendall(wire.PINGREQ)
            self._said_s = time.monotonic()
        if not select.select([self._sock], [], [], max(0.0, wait_s))[0]:
            return
        data = self._sock.recv(65_536)
        if not data:
            raise ConnectionError("the broker closed the connection")
        acks = sum(1 for first, _ in self._reader.feed(data) if first & 0xF0 == wire.PUBACK)
        self.in_flight -= acks
        self.acknowledged += acks

    def close(self) -> None:
        self._sock.sendall(wire.DISCONNECT)
        self._sock.close()


@click.command()
@click.option(
    "--guards", type=click.IntRange(1, 100_000), default=25, show_default=True, help="Size of the fleet."
)
@click.option(
    "--rate", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Messages a second."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed walks the same walks.")
@click.option("--duration", type=float, default=0.0, help="Seconds to run; 0 is for ever.")
@click.option("--fast", is_flag=True, help="As fast as the broker takes it, whatever --rate says.")
@click.option("--eventful", is_flag=True, help="Ten times as much trouble.")
def simulate(guards: int, rate: float, seed: int, duration: float, fast: bool, eventful: bool) -> None:
    """Run a simulated fleet against the broker. Ctrl-C ends it."""
    apply_environment()
    mqtt = config.load().mqtt
    odds = Odds(*(10 * chance for chance in Odds())) if eventful else Odds()
    fleet = Fleet(guards=guards, chance=random.Random(seed), run=secrets.token_hex(4), odds=odds)  # noqa: S311
    ends_s = time.monotonic() + duration if duration else float("inf")
    sent = 0
    try:
        while time.monotonic() < ends_s:
            try:
                line = Line(mqtt, f"vigil-simulator-{secrets.token_hex(4)}")
                sent = run_fleet(fleet, line, rate=None if fast else rate, ends_s=ends_s, sent=sent)
            except OSError as error:
                click.echo(f"broker {mqtt.host}:{mqtt.port}: {error}; again in {RECONNECT_S:g} s", err=True)
                if duration and time.monotonic() + RECONNECT_S > ends_s:
                    raise Unavailable(
                        f"the broker {mqtt.host}:{mqtt.port} is not to be had: {error}"
                    ) from error
                time.sleep(RECONNECT_S)  # the broker gives no sign when it is back
    except KeyboardInterrupt:
        click.echo(f"\nstopped after {sent} messages")


def run_fleet(fleet: Fleet, line: Line, *, rate: float | None, ends_s: float, sent: int) -> int:
    """Let the fleet speak until the time is up; returns how many messages were sent in all."""
    started_s = progress_s = time.monotonic()
    begun = sent
    while (now_s := time.monotonic()) < ends_s:
        elapsed_s = len(fleet) / rate if rate else 1.0
        for outgoing in fleet.turn(now=datetime.now(UTC), elapsed_s=elapsed_s):
            line.publish(outgoing.topic, outgoing.payload)
            sent += 1
            if outgoing.notable:
                click.echo(f"{datetime.now():%H:%M:%S}  {outgoing.notable}")
        due_s = started_s + (sent - begun) / rate if rate else now_s
        line.listen(wait_s=0.0)
        while (left_s := min(due_s, ends_s) - time.monotonic()) > 0:
            line.listen(wait_s=left_s)
        if now_s - progress_s > PROGRESS_S:
            progress_s = now_s
            click.echo(f"{datetime.now():%H:%M:%S}  {sent} messages sent, {line.acknowledged} acknowledged")
    while line.in_flight:
        line.listen(wait_s=CONNECT_TIMEOUT_S)
    line.close()
    click.echo(f"{sent} messages sent")
    return sent
