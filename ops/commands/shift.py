"""`vigil shift`: when guards are on duty."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from ops.commands.registry import make_group, store, tenant_option
from services.directory.sources import check_source_id
from services.errors import Conflict, NotFound, Refused

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
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@tenant_option
def import_shifts(file: Path, tenant_id: int) -> None:
    """Add the shifts of a CSV FILE (columns guard, starts_at, ends_at); refused lines are named."""
    directory, added, refused = store(), 0, 0
    for number, fields in lines_of(file):
        try:
            directory.add("shift", **values_of(*fields), tenant_id=tenant_id)
            added += 1
        except (Refused, Conflict, NotFound) as error:
            refused += 1
            click.echo(f"{file}, line {number}: {error}", err=True)
    click.echo(f"{added} shifts added, {refused} refused")
    if refused:
        raise SystemExit(1)


@shift.command("remove")
@click.argument("shift_id", type=int)
@tenant_option
def remove_shift(shift_id: int, tenant_id: int) -> None:
    """Remove a shift; positions that were stored during it stay."""
    store().remove_shift(shift_id, tenant_id=tenant_id)
    click.echo(f"shift {shift_id} is removed")


def lines_of(path: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """(line number, guard, start, end). Raises `Refused` for a file of another shape."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if set(reader.fieldnames or ()) != set(COLUMNS):
            raise Refused(f"{path}: the columns must be {', '.join(COLUMNS)}")
        for fields in reader:
            guard, starts_at, ends_at = (fields[name] or "" for name in COLUMNS)
            yield reader.line_num, (guard, starts_at, ends_at)


def values_of(guard_id: str, starts_at: str, ends_at: str) -> dict[str, object]:
    """Raises `Refused` that says what is wrong."""
    return {
        "guard_id": check_source_id(guard_id.strip(), family="guard"),
        "starts_at": time_of(starts_at),
        "ends_at": time_of(ends_at),
    }


def time_of(text: str) -> datetime:
    """A moment, never one of an unknown time zone. Raises `Refused`."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Refused(f"{text!r} is no time; write it as 2026-03-01T22:00+05:30") from error
    if found.tzinfo is None:
        raise Refused(f"{text!r} does not say in which time zone; write it as {text.strip()}+05:30 or with Z")
    return found.astimezone(UTC)
