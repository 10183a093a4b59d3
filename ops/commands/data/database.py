"""`vigil database`: objects that a superuser of PostgreSQL makes once, before the migrations."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ops.environment import apply_environment
from ops.install.secret_files import name_of
from ops.servers import database as servers_database
from ops.servers.privileges import PRIVILEGES
from services.contracts.errors import Misconfigured
from services.platform import config


@click.group()
def database() -> None:
    """The database server: logins, roles, the database itself."""


@database.command()
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory of `vigil secrets write`: each process is given the login that its file there names.",
)
def prepare(secrets: Path | None) -> None:
    """Make owner, login, roles, database and PostGIS.

    Another run changes nothing. The superuser's URL is VIGIL_SUPERUSER_DATABASE_URL (or a file,
    VIGIL_SUPERUSER_DATABASE_URL_FILE). Logins, passwords and the database's name are those of
    DATABASE_URL and VIGIL_OWNER_DATABASE_URL.
    """
    apply_environment()
    superuser = config.value_or_file("VIGIL_SUPERUSER_DATABASE_URL", os.environ)
    if not superuser:
        raise Misconfigured(
            "VIGIL_SUPERUSER_DATABASE_URL is not set; for example postgresql://postgres:PASSWORD@db:5432/postgres"
        )

    settings = config.load().database
    made = servers_database.prepare(
        superuser,
        owner_url=settings.owner_url,
        service_url=settings.url,
        process_urls=_urls_of_processes(secrets, but=settings.url) if secrets else {},
    )
    click.echo("made " + ", ".join(made) if made else "the database is prepared already")


def _urls_of_processes(directory: Path, *, but: str) -> dict[str, str]:
    """Return the URLs of processes that have a login of their own.

    When all share one login, that login is made already.
    """
    files = {process: directory / name_of("DATABASE_URL", process) for process in PRIVILEGES}
    found = {process: file.read_text().strip() for process, file in files.items() if file.exists()}
    return {process: url for process, url in found.items() if url != but}
