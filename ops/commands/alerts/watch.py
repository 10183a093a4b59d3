"""`vigil watch`: the live feed, decrypted, in the terminal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import click
import websocket
from rich.console import Console
from rich.text import Text

from ops.environment import apply_environment
from ops.feed.client import FeedClient, dashboard_url
from ops.feed.filter import FROM_LOWEST, FrameFilter
from services.contracts.enum_words import as_words
from services.contracts.errors import InvalidMessage
from services.contracts.events import Severity
from services.contracts.source_status import in_words
from services.platform import config

CLOCK_S = 0.5
SILENT_AFTER = timedelta(seconds=9)
"""Time without a frame after which the link counts as lost. Heartbeats come every 5 s."""
RECONNECT_S = (0.5, 1, 2, 5)
CALL_GUARDS = (
    "Do not rely on the console: call every guard on shift by radio or telephone, now and every 15 minutes."
    " Call the person on call for Vigil."
)
HIDDEN = f"Alarms may not arrive since {{since}}. {{reasons}} {CALL_GUARDS}"
PARTLY = "Vigil works in part since {since}. {reasons} Call the person on call for Vigil."
AGAIN = "Vigil works again, after {length}. Alarms of that time arrive now."
COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow", "LOW": "cyan"}


@click.command()
@click.option("--url", help="Websocket address; the running stack's when left out.")
@click.option("--token", help="A token; made from JWT_SECRET when left out.")
@click.option("--tenant", type=int, help="Tenant id; the default tenant when left out.")
@click.option("--since", type=int, help="Resume after this frame id.")
@click.option("--type", "types", multiple=True, help="Show only frames of this type; may be repeated.")
@click.option(
    "--source", "sources", multiple=True, help="Show only frames about this guard or device; may be repeated."
)
@click.option(
    "--severity",
    type=click.Choice(FROM_LOWEST, case_sensitive=False),
    help="Show only alerts, of this severity and above.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after this number of shown frames.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def watch(
    url: str | None,
    token: str | None,
    tenant: int | None,
    since: int | None,
    types: tuple[str, ...],
    sources: tuple[str, ...],
    severity: str | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Show the live feed. Reconnects and resumes; Ctrl-C ends it."""
    apply_environment()
    settings = config.load()
    address = url or dashboard_url(settings)
    tenant_id = tenant if tenant is not None else settings.default_tenant_id
    feed = FeedClient(settings, url=address, token=token, tenant_id=tenant_id, since=since)
    console = Console(highlight=False, soft_wrap=True)
    wanted = FrameFilter(
        frozenset(types), frozenset(sources), Severity(severity.upper()) if severity else None
    )
    sight = BlindnessReporter(Console(stderr=True, highlight=False, soft_wrap=True))
    threading.Thread(target=sight.watch_clock, daemon=True).start()

    shown = 0
    for received in endless(feed, sight):
        frame = wanted.narrow(received)
        if frame is None or (frame["type"] == "heartbeat" and not as_json and not types):
            continue
        if as_json:
            click.echo(json.dumps(frame))
        else:
            console.print(line_of(frame))

        shown += 1
        if shown == count:
            return


class BlindnessReporter:
    """Reporter of blindness on standard error.

    It says that alarms may not arrive, since when and why, and when they arrive again.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heard_at = datetime.now(UTC)
        self._blind_since: datetime | None = None
        self._said: object = None

    def take(self, frame: dict[str, Any]) -> None:
        """Note a frame that has arrived."""
        self._heard_at = datetime.now(UTC)
        if frame["type"] != "heartbeat":
            return

        if not frame["blind"]:
            self._say_again()
        elif self._said != frame["away"]:
            self._said = frame["away"]
            hides = any(part["hides_alarms"] for part in frame["away"])
            reasons = [part["reason"] for part in frame["away"]]
            self._say(HIDDEN if hides else PARTLY, datetime.fromisoformat(frame["since"]), reasons)

    def watch_clock(self) -> NoReturn:
        """Report by this machine's clock that nothing is heard, whatever the link does.

        It runs in a thread of its own.
        """
        while True:
            time.sleep(CLOCK_S)
            self.look(datetime.now(UTC))

    def look(self, now: datetime) -> None:
        """Report once when nothing is heard."""
        if now - self._heard_at > SILENT_AFTER and self._said != "lost":
            self._said = "lost"
            self._say(HIDDEN, self._heard_at, ["No frame has arrived since then."])

    def _say(self, words: str, since: datetime, reasons: list[str]) -> None:
        self._blind_since = min(since, self._blind_since or since)
        said = words.format(since=f"{self._blind_since.astimezone():%H:%M:%S}", reasons=" ".join(reasons))
        self._console.print(Text(f"{time.strftime('%H:%M:%S')}  {said}", style="bold red"))

    def _say_again(self) -> None:
        if self._blind_since is not None:
            length_s = (datetime.now(UTC) - self._blind_since).total_seconds()
            said = AGAIN.format(length=in_words(length_s))
            self._console.print(Text(f"{time.strftime('%H:%M:%S')}  {said}", style="bold green"))
        self._blind_since = self._said = None


def endless(feed: FeedClient, sight: BlindnessReporter) -> Iterator[dict[str, Any]]:
    """Yield the frames of the feed over all reconnections.

    Lost links and refused frames are reported on standard error.
    """
    failures = 0
    while True:
        try:
            for frame in feed.frames():
                failures = 0
                sight.take(frame)
                yield frame
        except websocket.WebSocketBadStatusException as error:
            if error.status_code in (401, 403):
                raise click.ClickException(f"the gateway refused the connection: {error}") from error
            reason = str(error)
        except InvalidMessage as error:
            reason = f"a frame was rejected: {error}"
        except (websocket.WebSocketException, OSError) as error:
            reason = str(error)

        pause_s = RECONNECT_S[min(failures, len(RECONNECT_S) - 1)]
        failures += 1
        click.echo(f"link lost ({reason}); again in {pause_s} s", err=True)
        time.sleep(pause_s)


def line_of(frame: dict[str, Any]) -> Text:
    """Return a frame as one line of text for an operator."""
    data = frame.get("data")
    kind = frame["type"]
    text = Text(f"{time.strftime('%H:%M:%S')}  {kind:<15} ")

    if kind == "connected":
        text.append(f"tenant {frame['tenant_id']}, {'resumed' if frame['resumed'] else 'from a snapshot'}")
    elif kind == "snapshot" and isinstance(data, dict):
        text.append(
            f"{len(data['alerts'])} open alerts, {len(data['positions'])} guards, {len(data['devices'])} devices"
        )
    elif kind == "positions" and isinstance(data, list):
        shown = ", ".join(f"{p['guard_id']} {p['lat']:.5f},{p['lon']:.5f}" for p in data[:3])
        text.append(shown + (f" and {len(data) - 3} more" if len(data) > 3 else ""))
    elif isinstance(data, dict) and "alert_type" in data:
        colour = COLOURS.get(data["severity"], "")
        text.append(f"{as_words(data['severity'])}: {as_words(data['alert_type'])}", style=colour)
        text.append(
            f" {data['source_id']} {as_words(data['status'])} x{data['occurrences']} {data['message']!r} {data['id']}"
        )
    else:
        text.append(
            json.dumps({key: value for key, value in frame.items() if key != "type"}, default=str)[:200]
        )

    return text
