"""`vigil check`: the configuration, without starting anything."""

from __future__ import annotations

import sys

import click
import msgspec

from gateway.noc import peers
from ops.environment import apply_environment
from services import config
from services import deploy as production
from services.notifications import settings as notifications
from services.notifications.senders import make_providers
from services.telemetry.rules import parse_rules


@click.command()
@click.option("--deploy", is_flag=True, help="Judge it as production would.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of the problems.")
def check(deploy: bool, as_json: bool) -> None:
    """Read the configuration and say what is wrong with it. Exit code 0 only when nothing is.

    Settings of notifications that are left out are not wrong: nobody is told by that channel.
    """
    apply_environment()
    settings = config.load()
    parse_rules(settings.rules)
    found = notifications.problems(settings.notifications)
    make_providers(settings.notifications, report=found.append)
    found += peers.problems(settings.noc)
    if deploy:
        found += production.problems(settings)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo("\n".join(found) or "the configuration is sound")
    sys.exit(1 if found else 0)
