"""`vigil policy|rota|report|notification`: escalation policies, on-call schedules and reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from ops.commands.registry.registry import site_option, tenant_option
from ops.environment import apply_environment
from ops.input_output.input_files import INPUT_FILE, read_yaml, shown
from ops.input_output.tables import as_json_option, limit_option, show
from services.alerts.escalation_worker import Guidance
from services.alerts.lifecycle import as_time
from services.alerts.policy_store import PlanStore
from services.alerts.response_report import NumberStore
from services.contracts.errors import Refused
from services.notifications.store import NotificationStore
from services.platform import config
from services.platform.database import Database


def database() -> tuple[config.Config, Database]:
    apply_environment()
    settings = config.load()
    return settings, Database(settings, name="cli", pool_size=1, as_owner=True)


def plans() -> PlanStore:
    settings, opened = database()
    return PlanStore(opened, Guidance.from_config(settings))


def read_document(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds. Raises `Refused`."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise Refused(f"{shown(path)} must hold one mapping, in YAML or JSON")
    return document


def document_argument(command: Any) -> Any:
    return click.argument("file", type=INPUT_FILE)(command)


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


@click.group()
def notification() -> None:
    """Notifications and their outcome."""


@notification.command("list")
@click.option("--alert", "alert_id", help="Only notifications of this alert.")
@tenant_option
@limit_option
@as_json_option
def list_notifications(alert_id: str | None, tenant_id: int, limit: int, as_json: bool) -> None:
    """Newest first."""
    _, opened = database()
    rows = NotificationStore(opened).list_notifications(tenant_id=tenant_id, alert_id=alert_id, limit=limit)
    if not as_json:
        shown = ("created_at", "channel", "name", "recipient", "state", "provider", "attempts", "error")
        rows = [{name: row[name] for name in shown} for row in rows]
    show(rows, as_json=as_json)


@click.command()
@click.option("--since", help="By default 24 hours before --until.")
@click.option("--until", help="By default now; such as 2026-01-31T18:00:00+05:30.")
@tenant_option
@as_json_option
def report(since: str | None, until: str | None, tenant_id: int, as_json: bool) -> None:
    """Show response times, alarm rates and delivery.

    Alerts accepted within 10 s and 40 s, alarms by operator-hour, delivery by channel. Drills are
    apart.
    """
    end = as_time(until, what="--until") if until else datetime.now(UTC)
    start = as_time(since, what="--since") if since else end - timedelta(days=1)
    _, opened = database()
    found = NumberStore(opened).report(tenant_id=tenant_id, since=start, until=end)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    hours = f"{found.operator_hours:g} operator-hours by {found.operators} operators"
    load = found.alarms_per_operator_hour
    click.echo(f"Tenant {tenant_id}, {start:%Y-%m-%d %H:%M %Z} to {end:%Y-%m-%d %H:%M %Z}")
    click.echo(
        f"{hours}; {'no operator was logged in' if load is None else f'{load:g} alarms per operator-hour'}"
    )
    for title, rows in (
        ("Alerts", found.alerts),
        ("Notifications", found.delivery),
        ("Alerts of drills", found.drills["alerts"]),
        ("Notifications of drills", found.drills["delivery"]),
    ):
        click.echo(f"\n{title}")
        show(rows, as_json=False)
