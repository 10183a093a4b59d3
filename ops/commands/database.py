"""`vigil database`: what a superuser of PostgreSQL makes once, before the migrations."""

from __future__ import annotations

import os

import click

from ops import database as servers_database
from ops.environment import apply_environment
from services import config
from services.errors import Misconfigured


@click.group()
def database() -> None:
    """The database server: logins, roles, the database itself."""


@database.command()
def prepare() -> None:
    """Make the owner, the services' login, their roles, the database and PostGIS. Harmless when they are there.

    The superuser's URL is VIGIL_SUPERUSER_DATABASE_URL (or a file, VIGIL_SUPERUSER_DATABASE_URL_FILE); logins,
    passwords and the database's name are those of DATABASE_URL and VIGIL_OWNER_DATABASE_URL.
    """
    apply_environment()
    superuser = config.value_or_file("VIGIL_SUPERUSER_DATABASE_URL", os.environ)
    if not superuser:
        raise Misconfigured(
            "VIGIL_SUPERUSER_DATABASE_URL is not set; for example postgresql://postgres:PASSWORD@db:5432/postgres"
        )
    settings = config.load().database
    made = servers_database.prepare(superuser, owner_url=settings.owner_url, service_url=settings.url)
    click.echo("made " + ", ".join(made) if made else "the database is prepared already")
