"""`vigil device`: devices, sensors, systems and alert buttons, and the guards who carry them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from ops.commands.options import site_option, tenant_option
from ops.commands.registry.profiles import make_profile_group
from ops.commands.registry.rows import store
from ops.commands.registry.sources import add_source, credential_options, make_group
from ops.input_output.tables import as_json_option, limit_option, show
from ops.sources.credentials import SourceRequest
from services.directory.registry import offline_limit
from services.directory.registry.source_ids import FAMILIES

device = make_group("device", "Devices, sensors, systems, alert buttons.")
device.add_command(make_profile_group("device"))


@device.command("add")
@click.argument("device_id")
@click.option("--name", default="")
@click.option("--family", type=click.Choice(FAMILIES), default="device", show_default=True)
@site_option
@tenant_option
@credential_options
def add_device(
    device_id: str, name: str, family: str, site_id: int | None, tenant_id: int, **options: Any
) -> None:
    """Add a device, sensor, system or alert button."""
    add_source(SourceRequest(device_id, family, name, site_id), tenant_id, **options)


@device.command("limit")
@click.argument("device_id")
@click.argument("seconds")
@tenant_option
def limit(device_id: str, seconds: str, tenant_id: int) -> None:
    """Set after how many SECONDS without a message it is OFFLINE; `default`: as its family, `never`.

    The time counts from now on.
    """
    store().set_silence_limit(device_id, offline_limit.parse(seconds), tenant_id=tenant_id)
    click.echo(f"device {device_id}: offline limit is {seconds}")


@device.command("assign")
@click.argument("device_id")
@click.argument("guard_id")
@tenant_option
def assign(device_id: str, guard_id: str, tenant_id: int) -> None:
    """From now on GUARD_ID carries the device; its alerts name the guard."""
    store().assign(device_id, guard_id, tenant_id=tenant_id, at=datetime.now(UTC))
    click.echo(f"{guard_id} carries {device_id}")


@device.command("release")
@click.argument("device_id")
@tenant_option
def release(device_id: str, tenant_id: int) -> None:
    """Nobody carries the device any more."""
    store().release(device_id, tenant_id=tenant_id, at=datetime.now(UTC))
    click.echo(f"no guard carries {device_id}")


@device.command("carriers")
@click.argument("device_id")
@tenant_option
@limit_option
@as_json_option
def carriers(device_id: str, tenant_id: int, limit: int, as_json: bool) -> None:
    """List the guards who carried a device, newest first."""
    show(store().carriers(device_id, tenant_id=tenant_id, limit=limit), as_json=as_json)
