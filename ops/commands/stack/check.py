"""`vigil check`: the configuration, without starting anything."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import msgspec

from gateway.noc.static import map_file
from ops.environment import apply_environment, home, read_env, secrets_file
from ops.hosting import production
from ops.install.secret_files import name_of
from ops.servers.edge import certificate
from ops.servers.privileges import OWN_URLS, PRIVILEGES
from services.feed.keyring import read_key_files
from services.messaging.http_server import client_address
from services.notifications import settings as notifications
from services.notifications.channels.sms_providers import secrets_of
from services.notifications.providers import make_providers
from services.platform import config
from services.telemetry.rules import parse_rules

KEY_FILES = ("CHANNELS_ENCRYPTION_KEY_FILE", "FCM_CREDENTIALS_FILE", "VIGIL_EVIDENCE_KEY_FILE")


@click.command()
@click.option(
    "--deploy",
    is_flag=True,
    help="Check it for production: errors that stop the start, and recommendations.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of the problems.")
def check(deploy: bool, as_json: bool) -> None:
    """Check the configuration; exit code 0 when it is right.

    A channel whose settings are left out is not used, and is no fault.
    """
    apply_environment()
    settings = config.load()
    parse_rules(settings.rules)
    found = notifications.problems(settings.notifications)
    make_providers(settings.notifications, environment=settings.environment, report=found.append)
    found += client_address.problems(settings.noc)
    found += map_file.problems(settings.noc)

    if deploy:
        found += production.problems(settings, files=read_key_files(settings))
        found += production.shortcomings(settings, os.environ, _modes(os.environ))
        if file := os.environ.get("VIGIL_EDGE_CERTIFICATE"):
            found += certificate.problems(Path(file), public_url=settings.notifications.public_url)
        found += _shared_logins(os.environ)

    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo("\n".join(found) or "the configuration is sound")

    sys.exit(1 if found else 0)


def _shared_logins(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each server at which all processes have one login.

    There, a person who controls one process has all that the server holds.
    """
    for variable in OWN_URLS:
        own = {
            process: _own_url(process, variable, environ)
            for process, may in PRIVILEGES.items()
            if variable in may.secrets
        }
        shared = config.value_or_file(variable, environ)
        known = [url for url in own.values() if url]
        one_for_all = bool(environ.get(variable)) and not known
        if shared and (one_for_all or shared in known):
            yield (
                f"{variable} is the same for all processes; give each its own, with the rights that"
                " ops/servers/privileges.py declares (`vigil secrets write` makes the logins)"
            )


def _own_url(process: str, variable: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of a process, from a development stack or from the secret files.

    The secret files are beside the file that the environment names.
    """
    if found := read_env(secrets_file(home(environ), process)).get(variable):
        return found
    named = environ.get(f"{variable}_FILE")
    file = Path(named).parent / name_of(variable, process) if named else None
    return file.read_text().strip() if file and file.exists() else None


def _modes(environ: Mapping[str, str]) -> dict[str, int]:
    """Return the permissions of the secret files that the environment names and that are there."""
    secrets = config.SECRETS.union(secret.variable for secret in secrets_of())
    names = [*sorted(f"{name}_FILE" for name in secrets), *KEY_FILES]
    files = [Path(environ[name]) for name in names if environ.get(name)]
    return {str(file): stat.S_IMODE(file.stat().st_mode) for file in files if file.exists()}
