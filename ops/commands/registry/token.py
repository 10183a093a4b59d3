"""`vigil token`: a token for programs and for trials."""

from __future__ import annotations

import click

from gateway.noc.auth.tokens import ROLES, Tokens
from ops.environment import apply_environment
from services.platform import config


@click.command()
@click.option("--tenant", type=int, help="Tenant id; the default tenant when left out.")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@click.option("--name", default="vigil-cli", show_default=True, help="Who acts; shown on the timeline.")
@click.option(
    "--ttl", type=click.IntRange(1, 86400), default=3600, show_default=True, help="Seconds it is good for."
)
def token(tenant: int | None, role: str, name: str, ttl: int) -> None:
    """Print a token, as the last line."""
    apply_environment()
    settings = config.load()
    tenant_id = tenant if tenant is not None else settings.default_tenant_id
    click.echo(
        Tokens(settings.noc.jwt_secret).make(name=name, tenant_id=tenant_id, role=role, lifetime_s=ttl)
    )
