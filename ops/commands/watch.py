"""`vigil watch`: the live feed, decrypted, in the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click
import websocket
from rich.console import Console
from rich.text import Text

from ops.environment import apply_environment
from ops.feed_client import Feed, dashboard_url
from ops.feed_filter import FROM_LOWEST, Filter
from services import config
from services.errors import InvalidMessage
from services.messages import Severity

RECONNECT_S = (0.5, 1, 2, 5)
COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow", "LOW": "cyan"}


@click.command()
@click.option("--url", help="Websocket address; the running stack's when left out.")
@click.option("--token", help="A token; made from JWT_SECRET when left out.")
@click.option("--tenant", type=int, help="Tenant id; the default tenant when left out.")
@click.option("--since", type=int, help="Resume after this frame id.")
@click.option("--type", "types", multiple=True, help="Show only frames of this type; may be repeated.")
@click.option(
    "--source", "sources", multiple=True, help="Show only what is of this guard or device; may be repeated."
)
@click.option(
    "--severity",
    type=click.Choice(FROM_LOWEST, case_sensitive=False),
    help="Show only alerts, of this severity and above.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many shown frames.")
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
    feed = Feed(settings, url=address, token=token, tenant_id=tenant_id, since=since)
    console = Console(highlight=False)
    wanted = Filter(frozenset(types), frozenset(sources), Severity(severity.upper()) if severity else None)
    shown = 0
    for received in endless(feed):
        frame = wanted.narrow(received)
        if frame is None:
            continue
        if as_json:
            click.echo(json.dumps(frame))
        else:
            console.print(line_of(frame))
        shown += 1
        if shown == count:
            return


def endless(feed: Feed) -> Iterator[dict[str, Any]]:
    """The feed over all reconnections; says on standard error when the link is lost, or a frame was refused."""
    failures = 0
    while True:
        try:
            for frame in feed.frames():
                failures = 0
                yield frame
        except websocket.WebSocketBadStatusException as error:
            if error.status_code in (401, 403):
                raise click.ClickException(f"the gateway refused us: {error}") from error
            reason = str(error)
        except InvalidMessage as error:
            reason = f"a frame is not to be believed: {error}"
        except (websocket.WebSocketException, OSError) as error:
            reason = str(error)
        pause_s = RECONNECT_S[min(failures, len(RECONNECT_S) - 1)]
        failures += 1
        click.echo(f"link lost ({reason}); again in {pause_s} s", err=True)
        time.sleep(pause_s)


def line_of(frame: dict[str, Any]) -> Text:
    """One line for a person."""
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
        text.append(f"{data['severity']} {data['alert_type']}", style=colour)
        text.append(
            f" {data['source_id']} {data['status']} x{data['occurrences']} {data['message']!r} {data['id']}"
        )
    else:
        text.append(
            json.dumps({key: value for key, value in frame.items() if key != "type"}, default=str)[:200]
        )
    return text
