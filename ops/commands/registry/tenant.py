"""`vigil tenant`: guard companies' client accounts."""

from __future__ import annotations

import click

from ops.commands.registry.rows import make_group, store

tenant = make_group("tenant", "Guard companies' client accounts.", switchable=False)


@tenant.command("add")
@click.argument("tenant_id", type=click.IntRange(min=1))
@click.argument("name")
def add_tenant(tenant_id: int, name: str) -> None:
    """Add a tenant; TENANT_ID is the client_id of its payloads."""
    click.echo(f"tenant {store().add('tenant', tenant_id=tenant_id, name=name)} added")


@tenant.command("set")
@click.argument("tenant_id", type=click.IntRange(min=1))
@click.argument("setting", type=click.Choice(["positions_only_on_shift"]))
@click.argument("value", type=click.Choice(["on", "off"]))
def set_tenant(tenant_id: int, setting: str, value: str) -> None:
    """Change a setting of a tenant.

    It is in force within two seconds. positions_only_on_shift: positions of guards are stored
    during their shifts only (`vigil shift add`).
    """
    directory = store()
    directory.set_tenant(setting, value == "on", tenant_id=tenant_id)
    click.echo(f"tenant {tenant_id}: {setting} is {value}")
    if value == "on" and not directory.has_shift(tenant_id=tenant_id):
        click.echo(
            f"WARNING: tenant {tenant_id} has no shift from now on, so no position of its guards is stored. Add shifts:"
            " `vigil shift import FILE`",
            err=True,
        )
