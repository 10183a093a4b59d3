"""`vigil simulate`: a fleet that speaks MQTT."""

from __future__ import annotations

import json
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
TIMEOUT_S = 5.0
RECONNECT_S = 2.0
PROGRESS_S = 10.0


class Teller:
    """Counts, and tells what happens: lines for people, or one JSON object a line for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self.sent = 0
        self.acknowledged = 0
        self._as_json = as_json

    def notable(self, text: str) -> None:
        self._tell(text, event=text)

    def progress(self) -> None:
        text = f"{self.sent} messages sent, {self.acknowledged} acknowledged"
        self._tell(text, sent=self.sent, acknowledged=self.acknowledged)

    def _tell(self, text: str, **facts: str | int) -> None:
        if self._as_json:
            click.echo(json.dumps({"at": datetime.now(UTC).isoformat(), **facts}))
        else:
            click.echo(f"{datetime.now():%H:%M:%S}  {text}")


class Line:
    """One connection that publishes at QoS 1 within a window. Raises `OSError`."""

    def __init__(self, mqtt: Mqtt, client_id: str, teller: Teller) -> None:
        self._prefix = mqtt.topic_prefix
        self._teller = teller
        self._sock = socket.create_connection((mqtt.host, mqtt.port), timeout=TIMEOUT_S)
        self._sock.sendall(wire.connect(client_id, keepalive_s=60))
        self._reader = wire.Reader()
        self._next_id = 0
        self._in_flight = 0
        self._said_s = time.monotonic()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send one; waits while the window is full."""
        self.settle(WINDOW - 1)
        self._next_id = self._next_id % 65_535 + 1
        self._sock.sendall(wire.publish(self._prefix + topic, payload, message_id=self._next_id))
        self._in_flight += 1
        self._teller.sent += 1
        self._said_s = time.monotonic()

    def settle(self, at_most: int) -> None:
        """Wait until no more than so many messages are unacknowledged."""
        while self._in_flight > at_most:
            before = self._in_flight
            self.listen(wait_s=TIMEOUT_S)
            if self._in_flight == before:
                raise TimeoutError(f"nothing acknowledged within {TIMEOUT_S:g} s")

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
        self._in_flight -= acks
        self._teller.acknowledged += acks

    def close(self) -> None:
        """Wait for what is on its way, and say good-bye."""
        try:
            self.settle(0)
            self._sock.sendall(wire.DISCONNECT)
        finally:
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
@click.option(
    "--json-progress", is_flag=True, help="One JSON object a line: `sent`, `acknowledged`, or an `event`."
)
def simulate(
    guards: int, rate: float, seed: int, duration: float, fast: bool, eventful: bool, json_progress: bool
) -> None:
    """Run a simulated fleet against the broker. Ctrl-C ends it."""
    apply_environment()
    mqtt = config.load().mqtt
    odds = Odds(*(10 * chance for chance in Odds())) if eventful else Odds()
    fleet = Fleet(guards=guards, chance=random.Random(seed), run=secrets.token_hex(4), odds=odds)  # noqa: S311
    ends_s = time.monotonic() + duration if duration else float("inf")
    teller = Teller(as_json=json_progress)
    try:
        while time.monotonic() < ends_s:
            try:
                line = Line(mqtt, f"vigil-simulator-{secrets.token_hex(4)}", teller)
                run_fleet(fleet, line, teller, rate=None if fast else rate, ends_s=ends_s)
            except OSError as error:
                click.echo(f"broker {mqtt.host}:{mqtt.port}: {error}; again in {RECONNECT_S:g} s", err=True)
                if time.monotonic() + RECONNECT_S > ends_s:
                    raise Unavailable(
                        f"the broker {mqtt.host}:{mqtt.port} is not to be had: {error}"
                    ) from error
                time.sleep(RECONNECT_S)  # the broker gives no sign when it is back
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    teller.progress()


def run_fleet(fleet: Fleet, line: Line, teller: Teller, *, rate: float | None, ends_s: float) -> None:
    """Let the fleet speak until the time is up."""
    started_s = progress_s = time.monotonic()
    begun = teller.sent
    elapsed_s = len(fleet) / rate if rate else 1.0
    while (now_s := time.monotonic()) < ends_s:
        for outgoing in fleet.turn(now=datetime.now(UTC), elapsed_s=elapsed_s):
            line.publish(outgoing.topic, outgoing.payload)
            if outgoing.notable:
                teller.notable(outgoing.notable)
        due_s = started_s + (teller.sent - begun) / rate if rate else now_s
        line.listen(wait_s=0.0)
        while (left_s := min(due_s, ends_s) - time.monotonic()) > 0:
            line.listen(wait_s=left_s)
        if now_s - progress_s > PROGRESS_S:
            progress_s = now_s
            teller.progress()
    line.close()
