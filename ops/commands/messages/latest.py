"""`vigil latest`: the newest rows of one kind, as the services stored them."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import text

from ops.environment import apply_environment
from ops.input_output.tables import as_json_option, limit_option, show
from services.contracts.families import ALERT, BATCHED
from services.platform import config, database
from services.platform.database import transaction

COMMON = "recorded_at, received_at, clock_suspect, coalesce(quality, '{}') AS quality, msg_id"
KINDS = {row.command: row for row in BATCHED}
# Without a tenant, rows of all tenants are shown, except the watchdog's own messages. Those would
# hide the others.
OF_TENANT = (
    "CASE WHEN CAST(:tenant AS int) IS NULL THEN tenant_id <> :test_tenant ELSE tenant_id = :tenant END"
)
ALERTS = f"""
    SELECT alert_id, tenant_id, alert_type, severity, status, source_id, message, occurrences, recorded_at, received_at,
           last_seen_at, ST_Y(location::geometry) AS lat, ST_X(location::geometry) AS lon, flags, acknowledged_by
    FROM mqtt_device_alert
    WHERE (CAST(:source AS text) IS NULL OR source_id = :source)
      AND {OF_TENANT}
    ORDER BY last_seen_at DESC LIMIT :limit
"""


def query_for(kind: str) -> str:
    """Return the SELECT for a kind, newest first.

    Rows are sorted by the time of arrival, alerts by the time of the last occurrence.
    """
    if kind == ALERT.command:
        return ALERTS
    row = KINDS[kind]
    source, columns = row.source_column, ", ".join(row.columns)
    return (
        f"SELECT {source}, tenant_id, {columns}, {COMMON}, raw_data FROM {row.table}"
        f" WHERE (CAST(:source AS text) IS NULL OR {source} = :source)"
        f" AND {OF_TENANT} ORDER BY received_at DESC LIMIT :limit"
    )


@click.command()
@click.argument("kind", type=click.Choice([*KINDS, ALERT.command]))
@click.option("--source", help="Only this device, guard, sensor or system.")
@click.option("--tenant", type=int, help="Only this tenant.")
@limit_option
@as_json_option
def latest(kind: str, source: str | None, tenant: int | None, limit: int, as_json: bool) -> None:
    """Show the newest stored rows of a kind."""
    apply_environment()
    settings = config.load()
    engine = database.make_engine(settings, name="cli", pool_size=1, as_owner=True)
    with transaction(engine) as connection:
        values: dict[str, Any] = {"source": source, "tenant": tenant, "limit": limit}
        values["test_tenant"] = settings.watchdog.tenant_id
        rows = [dict(row._mapping) for row in connection.execute(text(query_for(kind)), values)]
    show(rows, as_json=as_json, hide=("raw_data",))
