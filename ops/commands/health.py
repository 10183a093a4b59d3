"""`vigil health`: one line a component."""

from __future__ import annotations

import sys

import click
import msgspec

from ops.commands.stack import read_state
from ops.environment import apply_environment, home
from ops.health import all_checks
from services import config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def health(as_json: bool) -> None:
    """Check every component. Exit code 0 only when all are well."""
    apply_environment()
    checks = all_checks(config.load(), state=read_state(), home=home())
    if as_json:
        click.echo(msgspec.json.encode(checks))
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name:<28} {check.detail}")
    sys.exit(0 if all(check.ok for check in checks) else 1)
