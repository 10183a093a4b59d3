"""`vigil keys`: the keys that seal the feed."""

from __future__ import annotations

import base64
import json
import secrets

import click

from ops.environment import apply_environment
from services import config, envelope


@click.group()
def keys() -> None:
    """The keys that seal the feed (CHANNELS_ENCRYPTION_KEY)."""


@keys.command()
def generate() -> None:
    """Print a new key, ready for CHANNELS_ENCRYPTION_KEY."""
    click.echo(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())


@keys.command("list")
@click.option("--tenant", type=int, help="Tenant id; the default tenant when left out.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_keys(tenant: int | None, as_json: bool) -> None:
    """Print the ids of a tenant's keys, newest first; never the keys."""
    apply_environment()
    settings = config.load()
    tenant_id = tenant if tenant is not None else settings.default_tenant_id
    ids = list(envelope.tenant_keys(settings.feed.encryption_keys, tenant_id))
    click.echo(json.dumps(ids) if as_json else "\n".join(ids))
