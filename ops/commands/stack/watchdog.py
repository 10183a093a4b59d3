"""`vigil watchdog`: test messages that show whether an alarm would arrive."""

from __future__ import annotations

import json
import sys

import click
import msgspec

from ops.environment import apply_environment
from ops.input_output.tables import as_json_option
from ops.watchdog import sources
from ops.watchdog.lanes import send_by_lanes
from ops.watchdog.probe import ROADS, LaneName
from services.platform import config


@click.group()
def watchdog() -> None:
    """Test messages from MQTT to a websocket session."""
    apply_environment()


@watchdog.command()
def prepare() -> None:
    """Register the watchdog's sources.

    Another run changes nothing.
    """
    settings = config.load()
    sources.prepare(settings)
    click.echo(f"test messages belong to tenant {settings.watchdog.tenant_id}")


@watchdog.command()
@click.option("--lane", "lanes", type=click.Choice(list(ROADS)), multiple=True, help="Only on this lane.")
@as_json_option
def test(lanes: tuple[LaneName, ...], as_json: bool) -> None:
    """Send a test message by each lane.

    Exit code 1 when one is lost; the answer names the place where it was last seen.
    """
    found = send_by_lanes(config.load(), lanes)
    if as_json:
        click.echo(json.dumps([msgspec.structs.asdict(one) for one in found]))
    else:
        for one in found:
            click.echo(f"{one.lane:<6} {'FAIL' if one.lost else 'ok  '} {one.detail}")
    sys.exit(1 if any(one.lost for one in found) else 0)
