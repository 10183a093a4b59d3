"""`vigil rejected`: what was refused, and why."""

from __future__ import annotations

import base64

import click
from sqlalchemy import text

from ops.environment import apply_environment
from ops.tables import as_json_option, limit_option, show
from services import config, providers
from services.providers import transaction

QUERY = text(
    "SELECT received_at, topic, reason, detail, source_id, tenant_id, payload FROM rejected_message"
    " WHERE CAST(:reason AS text) IS NULL OR reason = :reason ORDER BY received_at DESC LIMIT :limit"
)


@click.command()
@click.option("--reason", help="Only this reason.")
@limit_option
@as_json_option
def rejected(reason: str | None, limit: int, as_json: bool) -> None:
    """Show refused messages, newest first. The JSON holds the payload as base64."""
    apply_environment()
    engine = providers.make_engine(config.load(), name="cli", pool_size=1)
    with transaction(engine) as connection:
        rows = [dict(row._mapping) for row in connection.execute(QUERY, {"reason": reason, "limit": limit})]
    for row in rows:
        payload = bytes(row["payload"])
        row["payload"] = (
            base64.b64encode(payload).decode()
            if as_json
            else payload[:60].decode("utf-8", "backslashreplace")
        )
    show(rows, as_json=as_json)
