"""`vigil report`: response times, alarm rates and delivery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import msgspec

from ops.commands.connections import owner_database
from ops.commands.options import tenant_option
from ops.input_output.tables import as_json_option, show
from services.alerts.response_report import ReportStore
from services.contracts.time_range import as_time


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
    found = ReportStore(owner_database()).report(tenant_id=tenant_id, since=start, until=end)

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
