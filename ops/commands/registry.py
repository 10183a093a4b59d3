"""`vigil tenant|site|zone|guard|device|user`: the registry."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gateway.noc.auth import ROLES
from ops.environment import apply_environment
from ops.tables import as_json_option, limit_option, show
from services import config, providers
from services.directory import passwords, shapes
from services.directory.store import DirectoryStore
from services.errors import Refused

F = TypeVar("F", bound=Callable[..., Any])


def store() -> DirectoryStore:
    apply_environment()
    return DirectoryStore(providers.make_engine(config.load(), name="cli", pool_size=1))


def tenant_option(command: F) -> F:
    return click.option("--tenant", "tenant_id", type=int, default=1, show_default=True, help="Tenant id.")(
        command
    )


def site_option(command: F) -> F:
    return click.option("--site", "site_id", type=int, help="Site id.")(command)


def make_group(kind: str, help_text: str, *, switchable: bool = True) -> click.Group:
    """A group with `list`, and `enable` and `disable` where that means something."""

    @click.group(kind, help=help_text)
    def group() -> None:
        pass

    @group.command("list", help=f"List them ({kind}).")
    @tenant_option
    @limit_option
    @as_json_option
    def list_rows(tenant_id: int, limit: int, as_json: bool) -> None:
        show(store().list_rows(kind, tenant_id=tenant_id, limit=limit), as_json=as_json)

    if switchable:
        for verb, enabled in (("enable", True), ("disable", False)):
            group.add_command(_switch(kind, verb, enabled))
    return group


def _switch(kind: str, verb: str, enabled: bool) -> click.Command:
    @click.command(verb, help=f"{verb.capitalize()} one; known everywhere within two seconds.")
    @click.argument("key")
    @tenant_option
    def switch(key: str, tenant_id: int) -> None:
        store().set_enabled(kind, key, tenant_id=tenant_id, enabled=enabled)
        click.echo(f"{kind} {key} is {verb}d")

    return switch


tenant = make_group("tenant", "Guard companies' client accounts.", switchable=False)
site = make_group("site", "Guarded places.", switchable=False)
zone = make_group("zone", "Geofences.")
guard = make_group("guard", "Guards.")
device = make_group("device", "Devices, sensors, systems.")
user = make_group("user", "People who log in.")


@tenant.command("add")
@click.argument("tenant_id", type=click.IntRange(min=1))
@click.argument("name")
def add_tenant(tenant_id: int, name: str) -> None:
    """Add a tenant; TENANT_ID is the client_id of its payloads."""
    click.echo(f"tenant {store().add('tenant', tenant_id=tenant_id, name=name)} added")


@site.command("add")
@click.argument("name")
@click.option("--lat", type=float)
@click.option("--lon", type=float)
@click.option("--time-zone", default="UTC", show_default=True)
@tenant_option
def add_site(name: str, lat: float | None, lon: float | None, time_zone: str, tenant_id: int) -> None:
    """Add a site."""
    added = store().add("site", tenant_id=tenant_id, name=name, lat=lat, lon=lon, time_zone=time_zone)
    click.echo(f"site {added} added")


@zone.command("add")
@click.argument("name")
@click.option("--circle", nargs=3, type=float, metavar="LAT LON RADIUS_M", help="A circle.")
@click.option("--polygon", metavar="LON,LAT ...", help="A polygon: its corners, parted by spaces.")
@click.option("--kind", type=click.Choice(["required", "forbidden"]), default="required", show_default=True)
@site_option
@tenant_option
def add_zone(
    name: str,
    circle: tuple[float, float, float] | None,
    polygon: str | None,
    kind: str,
    site_id: int | None,
    tenant_id: int,
) -> None:
    """Add a zone: give --circle or --polygon."""
    if (circle is None) == (polygon is None):
        raise Refused("give either --circle LAT LON RADIUS_M or --polygon 'LON,LAT LON,LAT LON,LAT'")
    radius_m = circle[2] if circle else None
    area = (
        shapes.circle(lat=circle[0], lon=circle[1], radius_m=circle[2])
        if circle
        else shapes.polygon(_corners(polygon or ""))
    )
    values = {"tenant_id": tenant_id, "site_id": site_id, "name": name, "kind": kind}
    click.echo(f"zone {store().add('zone', **values, area=area, radius_m=radius_m)} added")


def _corners(text: str) -> list[list[float]]:
    try:
        return [[float(part) for part in corner.split(",")] for corner in text.split()]
    except ValueError as error:
        raise Refused(f"--polygon: {error}; write corners as LON,LAT parted by spaces") from error


@guard.command("add")
@click.argument("guard_id")
@click.option("--name")
@site_option
@tenant_option
def add_guard(guard_id: str, name: str | None, site_id: int | None, tenant_id: int) -> None:
    """Add a guard, such as guard-123."""
    values = {"tenant_id": tenant_id, "site_id": site_id, "name": name or guard_id}
    click.echo(f"guard {store().add('guard', guard_id=guard_id, **values)} added")


@device.command("add")
@click.argument("device_id")
@click.option("--name")
@click.option("--family", type=click.Choice(["device", "sensor", "system", "alert"]), default="device")
@site_option
@tenant_option
def add_device(device_id: str, name: str | None, family: str, site_id: int | None, tenant_id: int) -> None:
    """Add a device, sensor, system or alert button."""
    values = {"tenant_id": tenant_id, "site_id": site_id, "name": name or device_id, "family": family}
    click.echo(f"device {store().add('device', device_id=device_id, **values)} added")


@user.command("add")
@click.argument("login")
@click.option("--name")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@click.option("--password", help="Made and printed when left out.")
@tenant_option
def add_user(login: str, name: str | None, role: str, password: str | None, tenant_id: int) -> None:
    """Add a person who can log in."""
    chosen = password or secrets.token_urlsafe(12)
    hashed = passwords.hash_password(chosen)
    store().add("user", tenant_id=tenant_id, login=login, name=name or login, role=role, password_hash=hashed)
    click.echo(f"user {login} added" + ("" if password else f"; password {chosen}"))
