"""`vigil site`: guarded places."""

from __future__ import annotations

from zoneinfo import available_timezones

import click

from ops.commands.options import tenant_option
from ops.commands.registry.profiles import make_profile_group
from ops.commands.registry.rows import make_group, store
from services.contracts.errors import Refused

site = make_group("site", "Guarded places.", switchable=False)
site.add_command(make_profile_group("site"))


@site.command("add")
@click.argument("name")
@click.option("--lat", type=float)
@click.option("--lon", type=float)
@click.option("--time-zone", default="UTC", show_default=True)
@tenant_option
def add_site(name: str, lat: float | None, lon: float | None, time_zone: str, tenant_id: int) -> None:
    """Add a site."""
    if time_zone not in available_timezones():
        raise Refused(f"--time-zone: there is no {time_zone!r}; write it as Asia/Kolkata or UTC")
    added = store().add("site", tenant_id=tenant_id, name=name, lat=lat, lon=lon, time_zone=time_zone)
    click.echo(f"site {added} added")
