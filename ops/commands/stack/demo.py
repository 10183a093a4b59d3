"""`vigil demo`: the whole stack and a simulated fleet, in the foreground."""

from __future__ import annotations

import sys

import click

from ops.commands.stack.stack import clear_leftovers, read_state, run_stack
from ops.local.stack import Stack
from ops.local.supervisor import Process

PASSWORDS = "fleet-credentials.csv"


@click.command()
@click.option("--guards", default=25, show_default=True)
@click.option("--rate", default=20.0, show_default=True, help="Messages a second.")
def demo(guards: int, rate: float) -> None:
    """Start everything with a simulated guard company. Ctrl-C stops all of it."""
    if read_state() is not None:
        click.echo("Vigil is up here already; `make down` stops it, `vigil simulate` gives it a fleet.")
        sys.exit(1)

    clear_leftovers()

    def add_fleet(stack: Stack) -> str:
        provision(stack, guards=guards)
        stack.supervisor.add(simulator(stack, guards=guards, rate=rate))
        return "\nfleet        vigil logs simulator -f\nCtrl-C stops everything."

    run_stack(add_to=add_fleet)


def provision(stack: Stack, *, guards: int) -> None:
    """Give every simulated source its own credential, by the commands that an operator uses."""
    files, passwords = stack.home / "fleet", str(stack.home / PASSWORDS)
    stack.run("fleet", "simulate", "--guards", str(guards), "--write-sources", str(files))
    for kind in ("guard", "device"):
        stack.run("fleet", kind, "import", str(files / f"{kind}s.csv"), "--credentials", passwords)


def simulator(stack: Stack, *, guards: int, rate: float) -> Process:
    """Return the fleet as one more supervised process."""
    command = [
        sys.executable,
        "-m",
        "ops.cli",
        "simulate",
        "--guards",
        str(guards),
        "--rate",
        str(rate),
        "--eventful",
        "--credentials",
        str(stack.home / PASSWORDS),
    ]
    return Process(
        "simulator",
        command,
        log=stack.home / "log" / "simulator.log",
        environment=stack.operator_environment(),
        probe=lambda: True,
    )
