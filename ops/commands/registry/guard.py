"""`vigil guard`: guards, their credentials, and their positions."""

from __future__ import annotations

from typing import Any

import click

from ops.commands.options import site_option, tenant_option
from ops.commands.registry import guard_places
from ops.commands.registry.profiles import make_profile_group
from ops.commands.registry.sources import add_source, credential_options, make_group
from ops.sources.credentials import SourceRequest

guard = make_group("guard", "Guards.")
for _command in guard_places.COMMANDS:
    guard.add_command(_command)
guard.add_command(make_profile_group("guard"))


@guard.command("add")
@click.argument("guard_id")
@click.option("--name", default="")
@site_option
@tenant_option
@credential_options
def add_guard(guard_id: str, name: str, site_id: int | None, tenant_id: int, **options: Any) -> None:
    """Add a guard, such as guard-123; entered as a number, the phone may publish to guard/123/gps as well."""
    add_source(SourceRequest(guard_id, "guard", name, site_id), tenant_id, **options)
