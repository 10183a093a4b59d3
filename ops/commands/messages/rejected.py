"""`vigil rejected`: messages that were refused, with the reasons."""

from __future__ import annotations

import base64

import click
from sqlalchemy import text

from ops.environment import apply_environment
from ops.input_output.tables import as_json_option, limit_option, show
from services.platform import config, database
from services.platform.database import transaction
from services.platform.security_events import IDENTITY_REASONS

QUERY = text(
    "SELECT received_at, topic, reason, occurrences, detail, source_id, tenant_id, payload FROM rejected_message"
    " WHERE (CAST(:reasons AS text[]) IS NULL OR reason = ANY(:reasons)) ORDER BY received_at DESC LIMIT :limit"
)


@click.command()
@click.option("--reason", help="Only this reason.")
@click.option(
    "--security", is_flag=True, help="Only rejections about identity: unknown sources and impersonation."
)
@limit_option
@as_json_option
def rejected(reason: str | None, security: bool, limit: int, as_json: bool) -> None:
    """Show refused messages, newest first. The JSON holds the payload as base64."""
    apply_environment()
    engine = database.make_engine(config.load(), name="cli", pool_size=1, as_owner=True)
    with transaction(engine) as connection:
        reasons = [reason] if reason else sorted(IDENTITY_REASONS) if security else None
        rows = [dict(row._mapping) for row in connection.execute(QUERY, {"reasons": reasons, "limit": limit})]

    for row in rows:
        payload = bytes(row["payload"])
        row["payload"] = (
            base64.b64encode(payload).decode()
            if as_json
            else payload[:60].decode("utf-8", "backslashreplace")
        )

    show(rows, as_json=as_json)
