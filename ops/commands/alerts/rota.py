"""`vigil rota`: on-call schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from ops.commands.alerts.plans import document_argument, plans, read_document
from ops.commands.options import tenant_option
from ops.input_output.tables import as_json_option, show


@click.group()
def rota() -> None:
    """On-call schedules."""


@rota.command("set")
@click.argument("name")
@document_argument
@tenant_option
def set_rota(name: str, file: Path, tenant_id: int) -> None:
    """Add or replace an on-call schedule.

    A YAML file with members, time_zone, first_day, handover, turn_days and exceptions;
    examples/on-call-night.yaml is one.
    """
    document = msgspec.to_builtins(read_document(file))
    plans().set_rota(tenant_id=tenant_id, name=name, document=document)
    click.echo(f"rota {name} is set")


@rota.command("list")
@tenant_option
@as_json_option
def list_rotas(tenant_id: int, as_json: bool) -> None:
    """The rotas, and who is on call now."""
    rows = plans().list_rotas(tenant_id=tenant_id, at=datetime.now(UTC))
    if not as_json:
        rows = [
            {
                "name": row["name"],
                "on call": row["on_call"] or row["problem"],
                "members": ", ".join(row["rota"]["members"]),
                "time zone": row["rota"]["time_zone"],
            }
            for row in rows
        ]

    show(rows, as_json=as_json)


@rota.command("remove")
@click.argument("name")
@tenant_option
def remove_rota(name: str, tenant_id: int) -> None:
    """Remove a rota; policies that name it tell the contacts from now on."""
    plans().remove_rota(tenant_id=tenant_id, name=name)
    click.echo(f"rota {name} is removed")
