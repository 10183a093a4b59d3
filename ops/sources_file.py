"""Sources from a CSV file: read line by line, refused with the line and the reason, never half a file for one slip."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ops.credentials import Wanted
from services.directory.sources import FAMILIES
from services.errors import Refused

COLUMNS = {"guard": ("id", "name", "site"), "device": ("id", "name", "family", "site")}


class Line(NamedTuple):
    """One line: what it asks for, or why it cannot be read. `number` counts as an editor does."""

    number: int
    fields: Mapping[str, str]
    wanted: Wanted | None
    reason: str = ""


def count_lines(path: Path) -> int:
    """How many lines there may be, for progress."""
    with path.open("rb") as stream:
        return max(0, sum(1 for _ in stream) - 1)


def read(path: Path, kind: str, *, sites: Mapping[str, int]) -> Iterator[Line]:
    """The lines of a file. `sites` maps names and ids to site ids. Raises `Refused` for a file of another shape."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        _check_header(path, kind, reader.fieldnames or [])
        try:
            for fields in reader:
                yield _line(reader.line_num, fields, kind, sites)
        except UnicodeDecodeError as error:
            raise Refused(
                f"{path} is not UTF-8 after line {reader.line_num}: save it as CSV UTF-8"
            ) from error
        except csv.Error as error:
            raise Refused(f"{path}, line {reader.line_num}: {error}") from error


def _check_header(path: Path, kind: str, names: Sequence[str]) -> None:
    known = COLUMNS[kind]
    if "id" not in names or set(names) - set(known):
        raise Refused(
            f"{path} has the columns {', '.join(names) or 'none'}; wanted: {', '.join(known)} (id must be there)"
        )


def _line(
    number: int, fields: Mapping[str, str | list[str] | None], kind: str, sites: Mapping[str, int]
) -> Line:
    texts = {name: value.strip() for name, value in fields.items() if isinstance(value, str)}
    if len(texts) != len(fields):
        return Line(number, texts, None, "it has more or fewer fields than the header")
    family = texts.get("family") or ("guard" if kind == "guard" else "device")
    if kind == "device" and family not in FAMILIES:
        return Line(number, texts, None, f"family is {family!r}; it must be one of {', '.join(FAMILIES)}")
    site = texts.get("site", "")
    if site and site not in sites:
        return Line(number, texts, None, f"site is {site!r}, which this tenant does not have")
    return Line(number, texts, Wanted(texts["id"], family, texts.get("name", ""), sites.get(site)))
