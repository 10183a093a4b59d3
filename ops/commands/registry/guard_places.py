"""`vigil guard track|near|within`: present and past positions of guards.

Numpy is imported only by the commands that use it, so that `vigil guard add` does not wait for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from sqlalchemy import text

from ops.commands.connections import service_database
from ops.commands.options import tenant_option
from ops.input_output.input_files import INPUT_FILE, read_json
from ops.input_output.tables import as_json_option, limit_option, show
from services.contracts.errors import Refused
from services.platform.database import Database

A_SHIFT = timedelta(hours=12)
OPEN_ALERTS = text(
    "SELECT source_id, carried_by, assigned_to FROM mqtt_device_alert"
    " WHERE tenant_id = :tenant_id AND status NOT IN ('RESOLVED', 'FALSE_ALARM')"
)
json_object = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
HIDDEN = ("received_at", "speed", "heading")


@click.command("track")
@click.argument("guard_id")
@click.option(
    "--since",
    metavar="TIME",
    help="Begin, such as 2026-03-01T22:00+05:30; twelve hours before --until if left out.",
)
@click.option("--until", metavar="TIME", help="End, not included; now if left out.")
@click.option("--points", "max_points", type=click.IntRange(2, 5000), default=200, show_default=True)
@tenant_option
@json_object
def track(
    guard_id: str, since: str | None, until: str | None, max_points: int, tenant_id: int, as_json: bool
) -> None:
    """Show a guard's track, thinned to so many points: ends, changes, gaps and corners stay."""
    from services.location.tracks.queries import TrackQueries

    end = until or datetime.now(UTC).isoformat()
    begin = since or (datetime.fromisoformat(end) - A_SHIFT).isoformat()
    found = TrackQueries(service_database()).track(
        guard_id, tenant_id=tenant_id, since=begin, until=end, max_points=max_points
    )

    if as_json:
        click.echo(msgspec.json.encode(found))
        return

    show([msgspec.structs.asdict(point) for point in found["points"]], as_json=False, hide=HIDDEN)
    click.echo(f"{len(found['points'])} of {found['count']} fixes")


@click.command("near", context_settings={"ignore_unknown_options": True})  # -33.86 is a latitude
@click.argument("lat", type=float)
@click.argument("lon", type=float)
@click.option("--max-age", "max_age_s", type=float, default=600, show_default=True, metavar="SECONDS")
@click.option("--explain", is_flag=True, help="Also guards that are not free, with the reasons.")
@click.option("--limit", type=click.IntRange(1, 100), default=5, show_default=True)
@tenant_option
@json_object
def near(
    lat: float, lon: float, max_age_s: float, explain: bool, limit: int, tenant_id: int, as_json: bool
) -> None:
    """List the nearest guards who could go: on shift, seen lately, and with no open alert to do with them."""
    from services.location.tracks.nearby import NearbyGuards, busy_with

    opened = service_database()
    found = NearbyGuards(opened).nearest(
        lat,
        lon,
        tenant_id=tenant_id,
        busy=busy_with(_open_alerts(opened, tenant_id)),
        limit=limit,
        max_age_s=max_age_s,
        explain=explain,
    )

    if as_json:
        click.echo(msgspec.json.encode(found))
        return

    show(found["guards"], as_json=False)
    for row in found.get("left_out", ()):
        click.echo(f"{row['guard_id']}, {row['distance_m']:.0f} m away, {' and '.join(row['reasons'])}")


def _open_alerts(opened: Database, tenant_id: int) -> list[dict[str, Any]]:
    with opened.of(tenant_id) as connection:
        return [dict(row) for row in connection.execute(OPEN_ALERTS, {"tenant_id": tenant_id}).mappings()]


@click.command("within")
@click.argument("file", required=False, type=INPUT_FILE)
@click.option("--circle", nargs=3, type=float, metavar="LAT LON RADIUS_M")
@tenant_option
@limit_option
@as_json_option
def within(
    file: Path | None, circle: tuple[float, float, float] | None, tenant_id: int, limit: int, as_json: bool
) -> None:
    """List guards whose newest position is in the polygon of a GeoJSON FILE, or in a --circle."""
    from services.location.tracks.nearby import NearbyGuards

    if (file is None) == (circle is None):
        raise Refused("give either a GeoJSON FILE or --circle LAT LON RADIUS_M")
    found = NearbyGuards(service_database()).within(_shape(file, circle), tenant_id=tenant_id, limit=limit)
    show(found, as_json=as_json)


def _shape(file: Path | None, circle: tuple[float, float, float] | None) -> Any:
    if circle is not None:
        lat, lon, radius_m = circle
        return {"type": "Point", "coordinates": [lon, lat], "radius_m": radius_m}
    assert file is not None
    found = read_json(file)
    if isinstance(found, dict) and found.get("type") == "Feature":
        return found.get("geometry")
    return found


COMMANDS = (track, near, within)
