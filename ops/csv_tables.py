"""A CSV file as rows with named columns: separators, headers and slips as spreadsheets write them. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from services.errors import Refused
from services.text_files import text_of

CSV_UTF_8 = "CSV UTF-8"
SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=(?P<separator>[,;\t|])"?[ \t;,]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""What Excel reads and writes as a first line."""
SHOWN_COLUMNS = 8


class Row(NamedTuple):
    """One line with content. `number` counts lines as an editor does; `problem`: why the cells fit no columns."""

    number: int
    cells: Sequence[str]
    problem: str = ""


class Table(NamedTuple):
    """The header's names in lower case, and the rows below. Rows of blank cells are left out."""

    columns: Sequence[str]
    rows: Sequence[Row]
    separator: str

    def fields(self, row: Row) -> dict[str, str]:
        """The cells of a row by column; those of columns without a name are left out."""
        return {name: cell.strip() for name, cell in zip(self.columns, row.cells, strict=False) if name}


def read_table(
    document: bytes, *, known: Collection[str], required: Collection[str], others: bool = False
) -> Table:
    """Return the rows of a CSV file.

    The separator is the one that an Excel line `sep=;` names, else the one that gives the most columns of `known`:
    comma, semicolon, tab or bar. Case and blanks in the header do not matter.

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
    rows: list[Row] = []
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
            f"line {line}: the file is no CSV ({error}): mend its quotation marks, or shorten the cell"
        ) from error

    if not columns:
        raise Refused(f"the file is empty: line 1 must name the columns {', '.join(required)}")
    return Table(columns, rows, separator)


def column_name(cell: str) -> str:
    """The name of a column: lower case, without blanks around; a blank or dash inside is an underscore."""
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _separator_of(text: str, known: Collection[str]) -> str:
    """The separator that makes the most known columns of the header; a comma when none does."""
    # The reader refuses a longer cell, and says where it is; here it must not stop the guess.
    header = next((line for line in text.splitlines() if line.strip()), "")[: csv.field_size_limit()]

    def hits(separator: str) -> int:
        cells = next(csv.reader([header], delimiter=separator), [])
        return sum(column_name(cell) in known for cell in cells)

    return max(SEPARATORS, key=hits)


def _check_columns(
    columns: Sequence[str], *, known: Collection[str], required: Collection[str], others: bool
) -> None:
    """Raises `Refused`."""
    named = [name for name in columns if name]
    wanted = f"wanted: {', '.join(known)} ({', '.join(required)} must be there)"
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise Refused(f"the column {twice[0]} is there twice: keep one of them; {wanted}")
    if not set(required) <= set(named) or (not others and set(named) - set(known)):
        shown = ", ".join(named[:SHOWN_COLUMNS]) + (", ..." if len(named) > SHOWN_COLUMNS else "")
        raise Refused(f"line 1 has the columns {shown or 'none'}; {wanted}")


def _row(number: int, cells: Sequence[str], wanted: int) -> Row:
    """Blank cells behind the last column do no harm: spreadsheets write them."""
    while len(cells) > wanted and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) == wanted:
        return Row(number, cells)
    return Row(number, cells, f"it has {len(cells)} cells, and the header has {wanted} columns")


def renamed(columns: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The place of each column by our name for it; `names`: what files call it, the first that is there counts."""
    return {
        ours: columns.index(found)
        for ours, theirs in names.items()
        if (found := next((name for name in theirs if name in columns), None)) is not None
    }
