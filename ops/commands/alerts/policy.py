"""`vigil policy`: escalation policies."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import yaml

from ops.commands.alerts.plans import document_argument, plans, read_document
from ops.commands.options import site_option, tenant_option
from ops.input_output.tables import as_json_option, show
from services.contracts.time_range import as_time


@click.group()
def policy() -> None:
    """Escalation policies: steps, channels, times."""


@policy.command("show")
@site_option
@tenant_option
def show_policy(site_id: int | None, tenant_id: int) -> None:
    """The own policy of a site or a tenant, as YAML; empty when that of config.yaml holds."""
    click.echo(
        yaml.safe_dump(plans().get_policy(tenant_id=tenant_id, site_id=site_id), sort_keys=False), nl=False
    )


@policy.command("set")
@document_argument
@click.option("--by", default="operator", show_default=True, help="Who decided this.")
@site_option
@tenant_option
def set_policy(file: Path, by: str, site_id: int | None, tenant_id: int) -> None:
    """Give a tenant or a site its own policy.

    The file is like `alerts.policy` in config.yaml. An empty object, {}, removes the policy.
    """
    plans().set_policy(tenant_id=tenant_id, site_id=site_id, policy=read_document(file), by=by)
    click.echo(f"policy of {'site ' + str(site_id) if site_id else 'tenant ' + str(tenant_id)} is set")


@policy.command("preview")
@click.option("--type", "alert_type", default="PANIC", show_default=True, help="Type of the alert.")
@click.option("--severity", help="Its severity; by default that of its type.")
@click.option("--at", help="When it is raised, such as 2026-01-31T18:00:00+05:30; by default now.")
@site_option
@tenant_option
@as_json_option
def preview(
    alert_type: str, severity: str | None, at: str | None, site_id: int | None, tenant_id: int, as_json: bool
) -> None:
    """Show who would be notified now, step by step."""
    rows = plans().preview(
        tenant_id=tenant_id,
        alert_type=alert_type.upper(),
        severity=severity.upper() if severity else None,
        site_id=site_id,
        at=as_time(at, what="--at") if at else datetime.now(UTC),
    )

    if not as_json:
        rows = [
            {
                "step": row["step"],
                "at": row["at"],
                "channels": ", ".join(row["channels"]),
                "told": ", ".join(person["name"] for person in row["told"]) or "NOBODY",
                "again every": f"{row['repeat_s']:g} s" if row["repeat_s"] else "",
                "until": row["until"],
            }
            for row in rows
        ]

    show(rows, as_json=as_json)
