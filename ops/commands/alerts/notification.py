"""`vigil notification`: notifications and their outcome."""

from __future__ import annotations

import click

from ops.commands.connections import owner_database
from ops.commands.options import tenant_option
from ops.input_output.tables import as_json_option, limit_option, show
from services.notifications.store import NotificationStore


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
    rows = NotificationStore(owner_database()).list_notifications(
        tenant_id=tenant_id, alert_id=alert_id, limit=limit
    )
    if not as_json:
        shown = ("created_at", "channel", "name", "recipient", "state", "provider", "attempts", "error")
        rows = [{name: row[name] for name in shown} for row in rows]
    show(rows, as_json=as_json)
