"""Output of rows by commands: a table for operators, one JSON list for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from services.contracts.enum_words import as_words

F = TypeVar("F", bound=Callable[..., Any])
LONGEST_CELL = 80
"""Largest number of characters of a cell. An id has at most 64."""
ENUMS = frozenset({"action", "alert", "alert_type", "channel", "severity", "status"})
"""Columns of enum values: a table has their words, JSON the values."""


def limit_option(command: F) -> F:
    """Add `--limit`: the largest number of rows."""
    return click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)(command)


def as_json_option(command: F) -> F:
    """Add `--json`: one JSON list and nothing else."""
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
    cells = [[_cell(worded(name, row[name])) for name in names] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    needed = sum(widths) + 2 * len(widths)

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = needed  # a program reads it: no cell is cut
    if needed > console.width:
        _show_one_below_the_other(names, cells)
        return

    table = Table(*names, box=None, header_style="bold")
    for row_of_cells in cells:
        table.add_row(*row_of_cells)

    console.print(table)


def _show_one_below_the_other(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print each row as lines of name and value.

    On a narrow terminal a table would cut ids.
    """
    wide = max(map(len, names))
    for row in cells:
        click.echo()
        for name, cell in zip(names, row, strict=True):
            click.echo(f"{name:<{wide}}  {cell}")


def worded(name: str, value: Any) -> Any:
    """Return the words for an enum value of a column; every other value as it is."""
    return as_words(value) if name in ENUMS and isinstance(value, str) and value else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    # Control characters from a device must not reach the operator's terminal.
    shown = str(value).encode("unicode_escape").decode()
    return shown if len(shown) <= LONGEST_CELL else f"{shown[: LONGEST_CELL - 3]}..."
