"""`vigil group`: groups of guards."""

from __future__ import annotations

import click

from ops.commands.options import tenant_option
from ops.commands.registry.rows import make_group, store

group = make_group("group", "Groups of guards.", switchable=False)


@group.command("add")
@click.argument("name")
@tenant_option
def add_group(name: str, tenant_id: int) -> None:
    """Add a group of guards."""
    click.echo(f"group {store().add('group', tenant_id=tenant_id, name=name)} added")


@group.command("join")
@click.argument("name")
@click.argument("guard_id")
@tenant_option
def join_group(name: str, guard_id: str, tenant_id: int) -> None:
    """Put a guard into a group."""
    store().set_member(name, guard_id, tenant_id=tenant_id, member=True)
    click.echo(f"{guard_id} is in {name}")


@group.command("leave")
@click.argument("name")
@click.argument("guard_id")
@tenant_option
def leave_group(name: str, guard_id: str, tenant_id: int) -> None:
    """Take a guard out of a group."""
    store().set_member(name, guard_id, tenant_id=tenant_id, member=False)
    click.echo(f"{guard_id} is not in {name}")
