"""`vigil restore`: put a backup back."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from sqlalchemy import make_url

from ops.commands.data.backup import progress, stoppable
from ops.data.backup import restoring
from ops.data.backup.postgres import owner_url
from ops.data.backup.restoring import RestoreTarget
from ops.environment import apply_environment, home
from services.contracts.errors import Refused
from services.platform import config
from services.platform.database import database_url


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--into", default="", help="Address of the target database, as its owner; the configured one if left out."
)
@click.option(
    "--database", default="", help="Another database on the configured server, made when it is not there."
)
@click.option(
    "--replace", is_flag=True, help="Put a database that holds something aside, under another name."
)
@click.option(
    "--keys", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A key set, into the home."
)
@click.option(
    "--broker-to",
    type=click.Path(file_okay=False, path_type=Path),
    help="The broker's definitions, into this directory.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def restore(
    directory: Path,
    into: str,
    database: str,
    replace: bool,
    keys: Path | None,
    broker_to: Path | None,
    as_json: bool,
) -> None:
    """Restore the backup in DIR.

    It is checked before, compared after, and brought up to this version. Redis needs nothing:
    websocket sessions begin with a snapshot. Messages that a broker sends again are known by their
    identities, and have no second effect.
    """
    apply_environment()
    settings = config.load()

    if into and database:
        raise Refused("give either --into or --database")

    url = owner_url(into or settings.database.owner_url)
    login = make_url(database_url(settings.database.url)).username or ""
    target = RestoreTarget(url.set(database=database) if database else url, login, replace)

    with stoppable():
        restored = restoring.restore(directory, target, say=progress)
        further = restoring.restore_keys(keys, home()) if keys else []
        if broker_to:
            further += restoring.restore_broker(directory, broker_to)
            if restoring.answers(settings.mqtt.host, settings.mqtt.port):
                further.append(
                    "the MQTT broker is running: restart it before any credential is changed, to read them"
                )

    if as_json:
        click.echo(msgspec.json.encode({**msgspec.structs.asdict(restored), "further": further}))
        return

    click.echo(
        f"{restored.name} is in database {restored.database}: {restored.rows} rows, schema {restored.revision}"
    )
    if restored.put_aside:
        click.echo(f"what was there is in database {restored.put_aside}; drop it when nothing is missing")

    for line in [*restored.notes, *further]:
        click.echo(line)
