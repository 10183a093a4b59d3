"""`vigil zone transitions|why|time|implausible`: records of guards and zones."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ops.commands.connections import service_database
from ops.commands.options import tenant_option
from ops.commands.zones.zone import json_object, zone
from ops.input_output.tables import as_json_option, limit_option, show
from services.location.tracks.dwell_report import DwellReport
from services.location.tracks.queries import TrackQueries

guard_option = click.option("--guard", "guard_id", help="Only this guard.")
since_option = click.option("--since", metavar="TIME", help="Begin, such as 2026-03-01T22:00+05:30.")
until_option = click.option("--until", metavar="TIME", help="End, not included.")
FEW_FIXES = ("at", "lat", "lon", "accuracy", "error_radius_m", "distance_m", "weight", "speed_mps")


@zone.command("transitions")
@guard_option
@click.option("--zone", "zone_id", type=int, help="Only this zone (id).")
@since_option
@until_option
@click.option("--superseded", is_flag=True, help="Also transitions that late fixes showed to be wrong.")
@tenant_option
@limit_option
@as_json_option
def transitions(as_json: bool, **asked: Any) -> None:
    """List entries, exits, violations and speeding, newest first."""
    found = TrackQueries(service_database()).transitions(**asked)
    show(found, as_json=as_json)
    _say_that_there_may_be_more(found, asked["limit"])


@zone.command("why")
@click.argument("transition_id")
@tenant_option
@json_object
def why(transition_id: str, tenant_id: int, as_json: bool) -> None:
    """Say in plain words why a guard was taken to have entered or left, with the fixes that showed it."""
    found = TrackQueries(service_database()).transition(transition_id, tenant_id=tenant_id)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return

    click.echo(found["why"])
    click.echo()
    fixes = found["evidence"].get("fixes", [])
    show([{name: fix.get(name) for name in FEW_FIXES} for fix in fixes], as_json=False)

    if (count := found["evidence"].get("count", len(fixes))) > len(fixes):
        click.echo(f"The first and the last of {count} fixes.")


@zone.command("time")
@guard_option
@click.option("--day", metavar="DATE", help="A day of each zone's own time zone, such as 2026-03-29.")
@since_option
@until_option
@tenant_option
@limit_option
@as_json_option
def time(as_json: bool, **asked: Any) -> None:
    """List how many seconds guards were believed in zones, day by day: --day, or --since and --until."""
    found = DwellReport(service_database()).time_in_zones(**asked)
    show(found["days"], as_json=as_json)
    if found["truncated"]:
        click.echo(f"There are more than {asked['limit']}: give a higher --limit, or --guard.", err=True)


@zone.command("implausible")
@guard_option
@since_option
@until_option
@tenant_option
@limit_option
@as_json_option
def implausible(as_json: bool, **asked: Any) -> None:
    """List fixes that no verdict was built on, newest first: mocked, too fast, from too far away."""
    found = TrackQueries(service_database()).implausible(**asked)
    show(found, as_json=as_json, hide=("message_key",))
    _say_that_there_may_be_more(found, asked["limit"])


def _say_that_there_may_be_more(found: list[dict[str, Any]], limit: int) -> None:
    if len(found) == limit:
        click.echo(
            f"These are the newest {limit}. For older ones, give a higher --limit, or --until.", err=True
        )
