"""`vigil`: one command for operators. Each subcommand is imported only when it is used.

To add a command:

1. Write it in a file of its name, in the folder of its subject under `ops/commands`.
2. Add its line to `COMMANDS`, in the order of `vigil --help`.
3. Run `python -m ops.commands.cli_page > docs/cli.md`.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.metadata import version

import click

from services.contracts.errors import VigilError

COMMANDS = {
    "up": "ops.commands.stack.stack:up",
    "down": "ops.commands.stack.stack:down",
    "restart": "ops.commands.stack.stack:restart",
    "status": "ops.commands.stack.stack:status",
    "logs": "ops.commands.stack.stack:logs",
    "demo": "ops.commands.stack.demo:demo",
    "health": "ops.commands.stack.health:health",
    "watchdog": "ops.commands.stack.watchdog:watchdog",
    "check": "ops.commands.stack.check:check",
    "database": "ops.commands.data.database:database",
    "broker": "ops.commands.servers.broker:broker",
    "edge": "ops.commands.servers.edge:edge",
    "secrets": "ops.commands.servers.secrets:secrets",
    "migrate": "ops.commands.data.migrate:migrate",
    "backup": "ops.commands.data.backup:backup",
    "restore": "ops.commands.data.restore:restore",
    "upgrade": "ops.commands.data.upgrade:command",
    "topology": "ops.commands.servers.topology:topology",
    "seed": "ops.commands.registry.seed:seed",
    "alert": "ops.commands.alerts.alert:alert",
    "api": "ops.commands.messages.api:api",
    "simulate": "ops.commands.messages.simulate:simulate",
    "replay": "ops.commands.messages.replay:replay",
    "watch": "ops.commands.alerts.watch:watch",
    "latest": "ops.commands.messages.latest:latest",
    "rejected": "ops.commands.messages.rejected:rejected",
    "dlq": "ops.commands.messages.dlq:dlq",
    "token": "ops.commands.registry.token:token",
    "keys": "ops.commands.servers.keys:keys",
    "tenant": "ops.commands.registry.tenant:tenant",
    "site": "ops.commands.registry.site:site",
    "zone": "ops.commands.zones.all_of_zone:zone",
    "guard": "ops.commands.registry.guard:guard",
    "device": "ops.commands.registry.device:device",
    "group": "ops.commands.registry.group:group",
    "contact": "ops.commands.registry.contact:contact",
    "user": "ops.commands.registry.user:user",
    "shift": "ops.commands.registry.shift:shift",
    "retention": "ops.commands.data.retention:retention",
    "erase": "ops.commands.data.erase:erase",
    "policy": "ops.commands.alerts.policy:policy",
    "rota": "ops.commands.alerts.rota:rota",
    "notification": "ops.commands.alerts.notification:notification",
    "report": "ops.commands.alerts.report:report",
    "template": "ops.commands.alerts.template:template",
    "rules": "ops.commands.alerts.rules:rules",
}


class LazyGroup(click.Group):
    """Group of commands that are known by name.

    `vigil --help` must not import half of the project to answer.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _log_to_standard_error()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or fail and suggest the nearest name. Raises `click.UsageError`."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            nearest = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean `vigil {nearest[0]}`?" if nearest else ""
            ctx.fail(f"There is no command {name!r}.{hint} `vigil --help` lists the commands.")
        return super().resolve_command(ctx, args)


def _log_to_standard_error() -> None:
    """Send logs to standard error.

    Standard output is for answers: with `--json`, a program reads it.
    """
    import structlog

    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("vigil"), prog_name="vigil")
def group() -> None:
    """Vigil: message bus and control-room backend for companies that guard people and places."""


def main() -> None:
    """Run `vigil`. An error of Vigil is printed as one line that says what to do."""
    # A command is not a process of the service. Nothing reads its metrics, and their directory may
    # not exist yet.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    try:
        group(prog_name="vigil")
    except VigilError as error:
        if os.environ.get("VIGIL_DEBUG"):
            raise
        sys.exit(f"vigil: {error}")
    except OSError as error:
        # For example, a file that may not be written, or a full disk. Any other error is a fault in
        # Vigil, and is shown in full.
        if error.filename is None or os.environ.get("VIGIL_DEBUG"):
            raise
        sys.exit(f"vigil: {error.filename}: {error.strerror}: change its permissions, or name another file")


if __name__ == "__main__":
    main()
