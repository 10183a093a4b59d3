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

from gateway.noc.auth import Tokens
from ops.environment import apply_environment
from services import config, envelope
from services.config import Config
from services.keyring import KeyRing

RECONNECT_S = (0.5, 1, 2, 5)
SILENCE_S = 60
COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow", "LOW": "cyan"}


class Feed:
    """Frames of one tenant, opened and checked; resumes by itself where it left off."""

    def __init__(
        self, settings: Config, *, url: str, token: str | None, tenant_id: int, since: int | None
    ) -> None:
        self._settings = settings
        self._url = url
        self._token = token
        self._tenant_id = tenant_id
        self._since = since
        self._ring = KeyRing.from_config(settings) if settings.feed.encryption == "fernet" else None

    def frames(self) -> Iterator[dict[str, Any]]:
        """Every frame as {"type", "id"?, "data"? ...}; raises `websocket.WebSocketException`, `OSError`."""
        query = f"?since={self._since}" if self._since is not None else ""
        connection = websocket.create_connection(
            self._url + query, header=[f"Authorization: Bearer {self._fresh_token()}"], timeout=SILENCE_S
        )
        try:
            while True:
                text = connection.recv()
                if not text:
                    raise websocket.WebSocketConnectionClosedException("the gateway closed the connection")
                yield self._open(text)
        finally:
            connection.close()

    def _fresh_token(self) -> str:
        if self._token:
            return self._token
        tokens = Tokens(self._settings.noc.jwt_secret)
        return tokens.make(name="vigil-watch", tenant_id=self._tenant_id, role="operator", lifetime_s=3600)

    def _open(self, text: str) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(text)
        if frame["type"] == "connected" and not frame["resumed"]:
            self._since = None
        if isinstance(frame.get("data"), str):
            # The snapshot bears the id of the last frame that it may contain, which can be none (0).
            after = -1 if frame["type"] == "snapshot" else self._since or 0
            keys = self._ring.of_tenant(self._tenant_id) if self._ring else {}
            body = envelope.open_frame(text, keys=keys, tenant_id=self._tenant_id, after_id=after)
            frame["data"] = body.data
        if frame.get("id") is not None:
            self._since = frame["id"]
        return frame


@click.command()
@click.option("--url", help="Websocket address; the running stack's when left out.")
@click.option("--token", help="A token; made from JWT_SECRET when left out.")
@click.option("--tenant", type=int, help="Tenant id; the default tenant when left out.")
@click.option("--since", type=int, help="Resume after this frame id.")
@click.option("--type", "types", multiple=True, help="Show only frames of this type; may be repeated.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many shown frames.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def watch(
    url: str | None,
    token: str | None,
    tenant: int | None,
    since: int | None,
    types: tuple[str, ...],
    count: int | None,
    as_json: bool,
) -> None:
    """Show the live feed. Reconnects and resumes; Ctrl-C ends it."""
    apply_environment()
    settings = config.load()
    address = url or f"ws://{settings.noc.host}:{settings.noc.port}/ws/noc/dashboard/"
    tenant_id = tenant if tenant is not None else settings.default_tenant_id
    feed = Feed(settings, url=address, token=token, tenant_id=tenant_id, since=since)
    console = Console(highlight=False)
    shown = 0
    for frame in endless(feed):
        if types and frame["type"] not in types:
            continue
        if as_json:
            click.echo(json.dumps(frame))
        else:
            console.print(line_of(frame))
        shown += 1
        if shown == count:
            return


def endless(feed: Feed) -> Iterator[dict[str, Any]]:
    """The feed over all reconnections; says on standard error when the link is lost."""
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
