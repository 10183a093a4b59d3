"""`vigil shift`: times when guards are on duty."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from ops.commands.options import tenant_option
from ops.commands.registry.rows import make_group, store
from ops.input_output.csv_tables import read_table
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes, safe_name
from services.contracts.errors import Conflict, NotFound, Refused
from services.directory.registry.source_ids import check_source_id
from services.directory.registry.store import DirectoryStore

COLUMNS = ("guard", "starts_at", "ends_at")

shift = make_group("shift", "When guards are on duty.", switchable=False)


@shift.command("add")
@click.argument("guard_id")
@click.argument("starts_at")
@click.argument("ends_at")
@tenant_option
def add_shift(guard_id: str, starts_at: str, ends_at: str, tenant_id: int) -> None:
    """Add a shift: times as 2026-03-01T22:00+05:30; no two of a guard overlap."""
    added = store().add("shift", **values_of(guard_id, starts_at, ends_at), tenant_id=tenant_id)
    click.echo(f"shift {added} added")


@shift.command("import")
@click.argument("file", type=INPUT_FILE)
@tenant_option
def import_shifts(file: Path, tenant_id: int) -> None:
    """Add the shifts of a CSV FILE (columns guard, starts_at, ends_at); refused lines are named."""
    content = read_bytes(file)
    with naming(file):
        lines = list(lines_of(content))

    directory, added, refused = store(), 0, 0
    for number, fields, slip in lines:
        problem = slip or _add(directory, fields, tenant_id=tenant_id)
        if problem:
            refused += 1
            click.echo(f"{safe_name(file)}, line {number}: {problem}", err=True)
        else:
            added += 1

    click.echo(f"{added} shifts added, {refused} refused")
    if refused:
        raise SystemExit(1)


def _add(directory: DirectoryStore, fields: tuple[str, str, str], *, tenant_id: int) -> str:
    """Add a shift; return why it is refused, or "" when it is added."""
    try:
        directory.add("shift", **values_of(*fields), tenant_id=tenant_id)
    except (Refused, Conflict, NotFound) as error:
        return str(error)
    return ""


@shift.command("remove")
@click.argument("shift_id", type=int)
@tenant_option
def remove_shift(shift_id: int, tenant_id: int) -> None:
    """Remove a shift; positions that were stored during it stay."""
    store().remove_shift(shift_id, tenant_id=tenant_id)
    click.echo(f"shift {shift_id} is removed")


def lines_of(document: bytes) -> Iterator[tuple[int, tuple[str, str, str], str]]:
    """Yield (line number, (guard, start, end), problem of the line) of a CSV file.

    Raises:
        Refused: the file has another form.
    """
    table = read_table(document, known=COLUMNS, required=COLUMNS)
    for row in table.rows:
        fields = table.fields(row)
        guard, starts_at, ends_at = (fields.get(name, "") for name in COLUMNS)
        yield row.number, (guard, starts_at, ends_at), row.problem


def values_of(guard_id: str, starts_at: str, ends_at: str) -> dict[str, object]:
    """Return the checked values of a shift. Raises `Refused`, which says what is wrong."""
    return {
        "guard_id": check_source_id(guard_id.strip(), family="guard"),
        "starts_at": time_of(starts_at),
        "ends_at": time_of(ends_at),
    }


def time_of(text: str) -> datetime:
    """Return a time with its time zone. Raises `Refused`."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Refused(f"{text!r} is not a time; write it as 2026-03-01T22:00+05:30") from error
    if found.tzinfo is None:
        raise Refused(f"{text!r} does not say in which time zone; write it as {text.strip()}+05:30 or with Z")
    return found.astimezone(UTC)
