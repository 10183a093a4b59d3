"""`vigil erase`: a person's data, on request."""

from __future__ import annotations

from typing import get_args

import click
import msgspec

from gateway.mqtt import access_control
from ops.commands.options import tenant_option
from ops.data import erasure
from ops.environment import apply_environment
from ops.servers.mosquitto import BrokerAdmin
from services.feed.stream import FeedWriter
from services.platform import config
from services.platform.config import Config
from services.platform.database import Database


@click.command()
@click.argument("kind", type=click.Choice(get_args(erasure.Kind)))
@click.argument("name")
@tenant_option
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would change.")
@click.option("--force", is_flag=True, help="Also when alerts are open, or messages on their way.")
@click.option(
    "--with-alerts",
    is_flag=True,
    help="Erase closed alerts of others whole when their sealed timelines name the person.",
)
def erase(
    kind: erasure.Kind, name: str, tenant_id: int, dry_run: bool, force: bool, with_alerts: bool
) -> None:
    """Erase a guard, contact or user by NAME or id.

    docs/privacy.md says which rows go and which stay. The answer is one JSON list: rows by table
    and what was done. `kept` are timeline rows that name the person.
    """
    apply_environment()
    settings = config.load()
    database = Database(settings, name="cli", pool_size=1, as_owner=True)
    person = erasure.find(database, kind, name, tenant_id=tenant_id)

    # First a rehearsal: a refusal must come before anything is changed at the broker and in Redis.
    counts = erasure.erase(database, person, dry_run=True, force=force, with_alerts=with_alerts)
    if not dry_run:
        if kind == "guard":
            _forget_outside(settings, person)
        counts = erasure.erase(database, person, force=force, with_alerts=with_alerts, say=_say)

    click.echo(msgspec.json.encode([count._asdict() for count in counts]))


def _say(what: str) -> None:
    click.echo(what, err=True)


def _forget_outside(settings: Config, person: erasure.ErasedPerson) -> None:
    """Remove the guard's access to the broker, and the data that an older version kept in Redis.

    Raises:
        Unavailable: a server does not answer.
    """
    if person.credential:
        broker = BrokerAdmin(settings.mqtt)
        try:
            broker.run(access_control.remove(person.key), ignore=["Client not found"])
        finally:
            broker.close()
    FeedWriter.from_config(settings).remove_former_positions(person.tenant_id)
