"""A CSV file as rows with named columns. Pure.

Separators, headers and mistakes are taken as spreadsheets write them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from services.contracts.errors import Refused
from services.platform.files.text_files import text_of

CSV_UTF_8 = "CSV UTF-8"
SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=(?P<separator>[,;\t|])"?[ \t;,]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""Excel reads and writes such a first line, which names the separator."""
SHOWN_COLUMNS = 8


class CsvRow(NamedTuple):
    """One line with content.

    `number` counts lines as an editor does. `problem` says why the cells do not fit the columns.
    """

    number: int
    cells: Sequence[str]
    problem: str = ""


class CsvTable(NamedTuple):
    """The header's names in lower case, and the rows below. Rows of blank cells are left out."""

    columns: Sequence[str]
    rows: Sequence[CsvRow]
    separator: str

    def fields(self, row: CsvRow) -> dict[str, str]:
        """Return the cells of a row by column. Cells of columns without a name are left out."""
        return {name: cell.strip() for name, cell in zip(self.columns, row.cells, strict=False) if name}


def read_table(
    document: bytes, *, known: Collection[str], required: Collection[str], others: bool = False
) -> CsvTable:
    """Return the rows of a CSV file.

    An Excel line `sep=;` names the separator. Otherwise it is the one that gives the most columns
    of `known`: comma, semicolon, tab or bar. Case and blanks in the header do not matter.

    Args:
        known: the names that a column may have.
        required: the names that must be there.
        others: take other columns too.

    Raises:
        Refused: the whole file cannot be read; the message says what is wrong and what to do.
    """
    text = text_of(document, save_as=CSV_UTF_8)
    told = SEPARATOR_LINE.match(text)
    skipped_lines = 1 if told else 0
    body = text[told.end() :] if told else text
    separator = told["separator"] if told else _separator_of(body, known)

    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
    columns: list[str] = []
    rows: list[CsvRow] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [column_name(cell) for cell in cells]
                _check_columns(columns, known=known, required=required, others=others)
            else:
                rows.append(_row(reader.line_num + skipped_lines, cells, len(columns)))
    except csv.Error as error:
        line = reader.line_num + skipped_lines
        raise Refused(
            f"line {line}: the file is not CSV ({error}): correct its quotation marks, or shorten the cell"
        ) from error

    if not columns:
        raise Refused(f"the file is empty: line 1 must name the columns {', '.join(required)}")

    return CsvTable(columns, rows, separator)


def column_name(cell: str) -> str:
    """Return the name of a column: lower case, stripped, with an underscore for a blank or dash."""
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _separator_of(text: str, known: Collection[str]) -> str:
    """Return the separator that makes the most known columns of the header, else a comma."""
    # The reader refuses a longer cell and says where it is. Here it must not stop the guess.
    header = next((line for line in text.splitlines() if line.strip()), "")[: csv.field_size_limit()]

    def hits(separator: str) -> int:
        cells = next(csv.reader([header], delimiter=separator), [])
        return sum(column_name(cell) in known for cell in cells)

    return max(SEPARATORS, key=hits)


def _check_columns(
    columns: Sequence[str], *, known: Collection[str], required: Collection[str], others: bool
) -> None:
    """Check the columns of the header.

    Raises:
        Refused: columns are missing, double or unknown.
    """
    named = [name for name in columns if name]
    wanted = f"wanted: {', '.join(known)} ({', '.join(required)} must be there)"
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise Refused(f"the column {twice[0]} is there twice: keep one of them; {wanted}")
    if not set(required) <= set(named) or (not others and set(named) - set(known)):
        shown = ", ".join(named[:SHOWN_COLUMNS]) + (", ..." if len(named) > SHOWN_COLUMNS else "")
        raise Refused(f"line 1 has the columns {shown or 'none'}; {wanted}")


def _row(number: int, cells: Sequence[str], wanted: int) -> CsvRow:
    """Return a row without blank cells after the last column, which spreadsheets write."""
    while len(cells) > wanted and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) == wanted:
        return CsvRow(number, cells)
    return CsvRow(number, cells, f"it has {len(cells)} cells, and the header has {wanted} columns")


def renamed(columns: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the place of each column, by Vigil's name for it.

    `names` lists the names that files use; the first that is there counts.
    """
    return {
        ours: columns.index(found)
        for ours, theirs in names.items()
        if (found := next((name for name in theirs if name in columns), None)) is not None
    }
