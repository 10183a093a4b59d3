"""`vigil health`: one line for each component."""

from __future__ import annotations

# The command looks at the classes of the services for their queues, and they need eventlet's
# patches.
import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402

import click  # noqa: E402
import msgspec  # noqa: E402

from ops.checks.health import all_checks  # noqa: E402
from ops.commands.stack.stack import read_state  # noqa: E402
from ops.environment import apply_environment, home  # noqa: E402
from services.platform import config  # noqa: E402


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
            if not check.ok:
                click.echo(f"{'':<33} -> {check.runbook}")

    sys.exit(0 if all(check.ok for check in checks) else 1)
