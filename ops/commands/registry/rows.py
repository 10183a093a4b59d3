"""Rows of the registry: the store, and the commands that its nouns have in common."""

from __future__ import annotations

import click

from ops.commands.connections import owner_database
from ops.commands.options import tenant_option
from ops.input_output.tables import as_json_option, limit_option, show
from services.directory.registry.store import DirectoryStore


def store() -> DirectoryStore:
    return DirectoryStore(owner_database())


def make_group(kind: str, help_text: str, *, switchable: bool = True) -> click.Group:
    """Return a command group with `list`, and where possible `enable` and `disable`."""

    @click.group(kind, help=help_text)
    def commands() -> None:
        pass

    @commands.command("list", help=f"List them ({kind}).")
    @tenant_option
    @limit_option
    @as_json_option
    def list_rows(tenant_id: int, limit: int, as_json: bool) -> None:
        show(store().list_rows(kind, tenant_id=tenant_id, limit=limit), as_json=as_json)

    if switchable:
        for verb, enabled in (("enable", True), ("disable", False)):
            commands.add_command(_switch(kind, verb, enabled))

    return commands


def _switch(kind: str, verb: str, enabled: bool) -> click.Command:
    @click.command(verb, help=f"{verb.capitalize()} one; known everywhere within two seconds.")
    @click.argument("key")
    @tenant_option
    def switch(key: str, tenant_id: int) -> None:
        store().set_enabled(kind, key, tenant_id=tenant_id, enabled=enabled)
        click.echo(f"{kind} {key} is {verb}d")

    return switch
