"""How commands print rows: a table for people, one JSON list for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

F = TypeVar("F", bound=Callable[..., Any])
PIPED_WIDTH = 240


def limit_option(command: F) -> F:
    """`--limit`: how many rows at the most."""
    return click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)(command)


def as_json_option(command: F) -> F:
    """`--json`: one JSON list and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON list and nothing else.")(
        command
    )


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, hide: Sequence[str] = ()) -> None:
    """Print rows; `hide` names columns that only the JSON has."""
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    if not rows:
        click.echo("nothing yet")
        return
    names = [name for name in rows[0] if name not in hide]
    table = Table(*names, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    # Control characters from a device must not reach the operator's terminal.
    return str(value).encode("unicode_escape").decode()[:60]
