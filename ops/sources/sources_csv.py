"""Sources from a CSV file: each line is taken, or refused with its number and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ops.input_output.csv_tables import CsvRow, CsvTable, read_table
from ops.sources.credentials import SourceRequest
from services.directory.registry.source_ids import FAMILIES

COLUMNS = {"guard": ("id", "name", "site"), "device": ("id", "name", "family", "site")}


class SourceLine(NamedTuple):
    """One line: the source that it asks for, or why it cannot be read.

    `number` counts lines as an editor does.
    """

    number: int
    fields: Mapping[str, str]
    wanted: SourceRequest | None
    reason: str = ""


def read(document: bytes, kind: str) -> CsvTable:
    """Return the lines of a file. Raises `Refused` for a file that cannot be read."""
    return read_table(document, known=COLUMNS[kind], required=("id",))


def lines_of(table: CsvTable, kind: str, *, sites: Mapping[str, int]) -> Iterator[SourceLine]:
    """Yield the source that each line asks for. `sites` maps names and ids to site ids."""
    for row in table.rows:
        yield _line(row, table.fields(row), kind, sites)


def _line(row: CsvRow, texts: Mapping[str, str], kind: str, sites: Mapping[str, int]) -> SourceLine:
    if row.problem:
        return SourceLine(row.number, texts, None, row.problem)

    family = texts.get("family") or ("guard" if kind == "guard" else "device")
    if kind == "device" and family not in FAMILIES:
        return SourceLine(
            row.number, texts, None, f"family is {family!r}; it must be one of {', '.join(FAMILIES)}"
        )

    site = texts.get("site", "")
    if site and site not in sites:
        return SourceLine(row.number, texts, None, f"site is {site!r}, which this tenant does not have")

    return SourceLine(
        row.number, texts, SourceRequest(texts["id"], family, texts.get("name", ""), sites.get(site))
    )
