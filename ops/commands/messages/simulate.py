"""`vigil simulate`: a fleet that speaks MQTT."""

from __future__ import annotations

import csv
import json
import random
import secrets
import selectors
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from ops.environment import apply_environment
from ops.input_output.csv_tables import read_table
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes
from ops.servers.mqtt_connection import PublishingConnection
from ops.simulation.phones import Phones
from ops.simulation.simulator import EventChances, Fleet
from services.contracts.errors import Refused, Unavailable
from services.platform import config
from services.platform.config import MqttSettings

RECONNECT_S = 2.0
PROGRESS_S = 10.0
CREDENTIAL_COLUMNS = ("username", "client_id", "password")


class FleetProgress:
    """Counter that reports progress and events.

    It prints text lines for operators, or one JSON object in each line for programs.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.stored = 0
        self.pending = 0
        self._as_json = as_json

    def notable(self, text: str) -> None:
        self._tell(text, event=text)

    def progress(self) -> None:
        text = f"{self.sent} messages sent, {self.acknowledged} acknowledged"
        facts = {"sent": self.sent, "acknowledged": self.acknowledged}
        if self.stored or self.pending:
            text += f", {self.stored} stored, {self.pending} in the outbox"
            facts |= {"stored": self.stored, "pending": self.pending}
        self._tell(text, **facts)

    def take(self, phones: Phones) -> None:
        """Take the counts of the phones."""
        self.acknowledged, self.stored, self.pending = phones.acknowledged, phones.stored, phones.pending

    def _tell(self, text: str, **facts: str | int) -> None:
        if self._as_json:
            click.echo(json.dumps({"at": datetime.now(UTC).isoformat(), **facts}))
        else:
            click.echo(f"{datetime.now():%H:%M:%S}  {text}")


class FleetConnections:
    """Connections of the fleet: one for each source with its own credential, or one for all.

    Methods raise `OSError` and `Unavailable`.
    """

    def __init__(self, mqtt: MqttSettings, passwords: Mapping[str, str] | None) -> None:
        self._mqtt = mqtt
        self._passwords = passwords
        self._lines: dict[str, PublishingConnection] = {}
        self._selector = selectors.DefaultSelector()

    def of(self, source_id: str) -> PublishingConnection:
        """Return the connection of this source."""
        name = source_id if self._passwords is not None else ""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = self._connect(name)
            self._selector.register(line, selectors.EVENT_READ)
        return line

    def _connect(self, name: str) -> PublishingConnection:
        if self._passwords is None:
            return PublishingConnection(self._mqtt, f"vigil-simulator-{secrets.token_hex(4)}")
        if name not in self._passwords:
            raise Refused(f"{name} is not in the file of credentials; `vigil guard|device import` makes one")
        return PublishingConnection(self._mqtt, name, username=name, password=self._passwords[name])

    def listen(self, *, wait_s: float) -> None:
        """Take acknowledgements for `wait_s` seconds, and keep the connections alive."""
        for line in self._lines.values():
            line.keep_alive()
        for key, _ in self._selector.select(max(0.0, wait_s)):
            key.fileobj.listen()  # type: ignore[union-attr]

    @property
    def acknowledged(self) -> int:
        return sum(line.acknowledged for line in self._lines.values())

    def close(self) -> None:
        """Wait until all messages are acknowledged, then disconnect."""
        for line in self._lines.values():
            line.close()
        self._selector.close()


@click.command()
@click.option(
    "--guards", type=click.IntRange(1, 100_000), default=25, show_default=True, help="Size of the fleet."
)
@click.option(
    "--rate", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Messages a second."
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Seed of the random walks; the same seed gives the same walks.",
)
@click.option("--duration", type=float, default=0.0, help="Seconds to run; 0 is for ever.")
@click.option(
    "--fast",
    is_flag=True,
    help="As fast as the broker accepts, without regard to --rate, and without an outbox: nothing is sent again.",
)
@click.option(
    "--outbox",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep what has no receipt in this directory, and send it at the next start. Without it, in memory.",
)
@click.option(
    "--settle",
    type=click.FloatRange(0.0),
    default=15.0,
    show_default=True,
    help="Seconds to wait at the end for receipts that are missing.",
)
@click.option("--eventful", is_flag=True, help="Ten times as many faults.")
@click.option(
    "--credentials",
    type=INPUT_FILE,
    help="CSV of username and password: each source connects with its own. Without it all share one connection.",
)
@click.option(
    "--write-sources",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write guards.csv and devices.csv for `vigil guard|device import` into this directory, and end.",
)
@click.option(
    "--json-progress",
    is_flag=True,
    help="One JSON object a line: `sent`, `acknowledged`, `stored`, `pending`, or an `event`.",
)
def simulate(
    guards: int,
    rate: float,
    seed: int,
    duration: float,
    fast: bool,
    outbox: Path | None,
    settle: float,
    eventful: bool,
    credentials: Path | None,
    write_sources: Path | None,
    json_progress: bool,
) -> None:
    """Run a simulated fleet against the broker. Ctrl-C ends it.

    Each message is sent until its receipt comes, as docs/devices/outbox.md asks of a device.
    """
    if fast and outbox is not None:
        raise Refused("--fast sends without an outbox; leave one of --fast and --outbox out")

    apply_environment()
    mqtt = config.load().mqtt
    odds = EventChances(*(10 * chance for chance in EventChances())) if eventful else EventChances()

    fleet = Fleet(guards=guards, chance=random.Random(seed), run=secrets.token_hex(4), odds=odds)  # noqa: S311
    if write_sources is not None:
        write_sources_files(fleet, write_sources)
        return

    passwords = read_passwords(credentials) if credentials else None
    ends_s = time.monotonic() + duration if duration else float("inf")

    teller = FleetProgress(as_json=json_progress)
    try:
        if not fast:
            with closing(Phones(mqtt, passwords, directory=outbox)) as phones:
                run_phones(fleet, phones, teller, rate=rate, ends_s=ends_s, settle_s=settle)
            return

        while time.monotonic() < ends_s:
            try:
                lines = FleetConnections(mqtt, passwords)
                run_fleet(fleet, lines, teller, ends_s=ends_s)
            except (OSError, Unavailable) as error:
                click.echo(f"broker {mqtt.host}:{mqtt.port}: {error}; again in {RECONNECT_S:g} s", err=True)
                if time.monotonic() + RECONNECT_S > ends_s:
                    raise Unavailable(
                        f"the broker {mqtt.host}:{mqtt.port} does not answer: {error}"
                    ) from error
                time.sleep(RECONNECT_S)  # the broker sends no sign when it is back
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    finally:
        teller.progress()


def write_sources_files(fleet: Fleet, directory: Path) -> None:
    """Write the sources of the fleet as files to import."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = fleet.sources()
    guards = [(source_id,) for source_id, family in sources if family == "guard"]
    devices = [(source_id, family) for source_id, family in sources if family != "guard"]

    files: list[tuple[str, list[str], Sequence[Sequence[str]]]] = [
        ("guards.csv", ["id"], guards),
        ("devices.csv", ["id", "family"], devices),
    ]
    for name, header, rows in files:
        with (directory / name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])


def read_passwords(path: Path) -> dict[str, str]:
    """Return user name to password. When a name is there twice, the later one counts."""
    content = read_bytes(path)
    with naming(path):
        table = read_table(content, known=CREDENTIAL_COLUMNS, required=("username", "password"), others=True)
        found: dict[str, str] = {}
        for row in table.rows:
            if row.problem:
                raise Refused(f"line {row.number}: {row.problem}")
            fields = table.fields(row)
            found[fields["username"]] = fields["password"]
        return found


def run_phones(
    fleet: Fleet, phones: Phones, teller: FleetProgress, *, rate: float, ends_s: float, settle_s: float
) -> None:
    """Let the fleet send until `ends_s`, then wait `settle_s` seconds for missing receipts."""
    started_s = progress_s = time.monotonic()
    elapsed_s = len(fleet) / rate

    while (now_s := time.monotonic()) < ends_s:
        for outgoing in fleet.turn(now=datetime.now(UTC), elapsed_s=elapsed_s):
            phones.put(outgoing)
            teller.sent += 1
            if outgoing.notable:
                teller.notable(outgoing.notable)

        due_s = started_s + teller.sent / rate
        phones.step(wait_s=0.0)

        while (left_s := min(due_s, ends_s) - time.monotonic()) > 0:
            phones.step(wait_s=left_s)

        teller.take(phones)
        if now_s - progress_s > PROGRESS_S:
            progress_s = now_s
            teller.progress()

    settled_s = time.monotonic() + settle_s
    while phones.pending and (left_s := settled_s - time.monotonic()) > 0:
        phones.step(wait_s=min(left_s, 0.1))

    teller.take(phones)
    if phones.pending:
        click.echo(f"{phones.pending} messages have no receipt yet; {phones.where}", err=True)


def run_fleet(fleet: Fleet, lines: FleetConnections, teller: FleetProgress, *, ends_s: float) -> None:
    """Let the fleet send as fast as the broker takes messages, until `ends_s`."""
    progress_s = time.monotonic()
    while (now_s := time.monotonic()) < ends_s:
        for outgoing in fleet.turn(now=datetime.now(UTC), elapsed_s=1.0):
            lines.of(outgoing.source_id).publish(outgoing.topic, outgoing.payload)
            teller.sent += 1
            if outgoing.notable:
                teller.notable(outgoing.notable)

        lines.listen(wait_s=0.0)
        if now_s - progress_s > PROGRESS_S:
            progress_s = now_s
            teller.acknowledged = lines.acknowledged
            teller.progress()

    lines.close()
    teller.acknowledged = lines.acknowledged
