"""`vigil secrets`: the secret files of an installation."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ops.install import secret_files
from ops.install.secret_files import ServerAddresses
from services.platform import config

# User and group in the containers of docker-compose.yml. Vigil's group reads the files that it
# shares with a server.
VIGIL, SERVER, GRAFANA = 10001, 999, 472
OF_SERVERS = ("postgres_password", "rabbitmq_conf", "rabbitmq_definitions", "redis_auth", "redis_users")


@click.group()
def secrets() -> None:
    """Files of passwords and keys."""


@secrets.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--postgres", default="127.0.0.1:5432", show_default=True, help="host:port of PostgreSQL.")
@click.option("--amqp", default="127.0.0.1:5672", show_default=True, help="host:port of RabbitMQ.")
@click.option("--redis", default="127.0.0.1:6379", show_default=True, help="host:port of Redis.")
@click.option(
    "--for-containers", is_flag=True, help="Give each file to the user that reads it in its container."
)
@click.option(
    "--one-login",
    multiple=True,
    type=click.Choice(["AMQP_URI", "REDIS_URL", "DATABASE_URL"]),
    help="Give every process this URL as it is: of a server that knows no users of processes. May be repeated.",
)
def write(
    directory: Path, postgres: str, amqp: str, redis: str, for_containers: bool, one_login: tuple[str, ...]
) -> None:
    """Make the secret files that DIRECTORY lacks.

    Passwords, keys, and addresses with passwords in them, each in a file. A file that is there is
    kept.
    """
    owners = None
    if for_containers:
        owners = {
            "": (VIGIL, VIGIL),
            **dict.fromkeys(OF_SERVERS, (SERVER, VIGIL)),
            "grafana_admin_password": (GRAFANA, VIGIL),
        }

    made = secret_files.write(
        directory,
        ServerAddresses(postgres, amqp, redis),
        # Without the secrets, because some of them do not exist yet.
        settings=config.load(environ={k: v for k, v in os.environ.items() if not k.endswith("_FILE")}),
        owners=owners,
        one_login=one_login,
    )
    click.echo("made " + ", ".join(made) if made else "all secrets are there")
