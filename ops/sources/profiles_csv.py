"""Profiles from a CSV file: each line becomes the fields to set of one profile. Pure.

A blank cell leaves its field as it is. A list in one cell is separated by semicolons. Telephones
and the call list are replaced whole when a line has one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ops.input_output.csv_tables import CsvTable, read_table
from services.contracts.errors import Refused

Kind = Literal["guard", "site", "device"]
CALLEES = 5
TELEPHONES = 3
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "guard": (
        "id",
        "call_sign",
        "post",
        *(f"telephone_{n}" for n in range(1, TELEPHONES + 1)),
        "skills",
        "languages",
        "emergency_name",
        "emergency_telephone",
        "emergency_relation",
        "verified_on",
    ),
    "site": (
        "site",
        "address",
        "entry_notes",
        "telephone",
        *(
            f"callee_{n}_{part}"
            for n in range(1, CALLEES + 1)
            for part in ("name", "telephone", "role", "key", "hours")
        ),
        "police_telephone",
        "police_reference",
        "fire_telephone",
        "fire_reference",
        "hazards",
        "post_orders",
        "verified_on",
    ),
    "device": ("id", "mounted_at", "last_test_on", "camera_url"),
}
PLAIN: Mapping[Kind, tuple[str, ...]] = {
    "guard": ("call_sign", "post"),
    "site": ("address", "entry_notes", "post_orders"),
    "device": ("mounted_at", "last_test_on", "camera_url"),
}
LISTS: Mapping[Kind, tuple[str, ...]] = {"guard": ("languages",), "site": ("hazards",), "device": ()}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS = re.compile(r"(?P<first>[a-z]{3})(-(?P<last>[a-z]{3}))? (?P<since>\d\d:\d\d)-(?P<until>\d\d:\d\d)")
YES, NO = ("yes", "y", "true", "1", "x"), ("no", "n", "false", "0", "")


class Line(NamedTuple):
    """One line: the subject and the fields to set, or why the line cannot be read."""

    number: int
    subject: str
    changes: Mapping[str, Any]
    reason: str = ""


def read(document: bytes, kind: Kind) -> CsvTable:
    """Return the lines of a file. Raises `Refused` for a file that cannot be read."""
    return read_table(document, known=COLUMNS[kind], required=COLUMNS[kind][:1])


def lines_of(table: CsvTable, kind: Kind) -> Iterator[Line]:
    """Yield the subject and the fields to set of each line."""
    for row in table.rows:
        texts = table.fields(row)
        subject = texts.get(COLUMNS[kind][0], "")
        if row.problem or not subject:
            yield Line(row.number, subject, {}, row.problem or f"{COLUMNS[kind][0]} is blank")
            continue
        try:
            yield Line(row.number, subject, changes_of(texts, kind))
        except Refused as error:
            yield Line(row.number, subject, {}, str(error))


def changes_of(texts: Mapping[str, str], kind: Kind) -> dict[str, Any]:
    """Return the fields to set from the cells of a line. Raises `Refused`."""
    given = {name: cell for name, cell in texts.items() if cell}
    changes: dict[str, Any] = {name: given[name] for name in PLAIN[kind] if name in given}
    changes |= {name: _parts(given[name]) for name in LISTS[kind] if name in given}
    verified = {"verified_on": given["verified_on"]} if "verified_on" in given else {}
    if kind == "guard":
        changes |= _guard(given, verified)
    if kind == "site":
        changes |= _site(given, verified)
    return changes


def hours_of(text: str) -> list[dict[str, Any]]:
    """Return the hours in a cell such as `mon-fri 08:00-18:00; sat 09:00-13:00`. Raises `Refused`."""
    found = []
    for part in _parts(text.lower()):
        match = HOURS.fullmatch(part)
        days = _days(match["first"], match["last"] or match["first"]) if match else []
        if match is None or not days:
            raise Refused(f"hours: {part[:40]!r} cannot be read; write it as mon-fri 08:00-18:00")
        found.append({"days": days, "since": match["since"], "until": match["until"]})
    return found


def _guard(given: Mapping[str, str], verified: Mapping[str, str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    numbers = [given[f"telephone_{n}"] for n in range(1, TELEPHONES + 1) if f"telephone_{n}" in given]
    if numbers:
        changes["telephones"] = [{"number": _number(number), **verified} for number in numbers]

    if "skills" in given:
        skills = (part.partition("=") for part in _parts(given["skills"]))
        changes["skills"] = [
            {"name": name.strip(), "expires_on": day.strip() or None} for name, _, day in skills
        ]

    if "emergency_telephone" in given or "emergency_name" in given:
        changes["emergency_contact"] = {
            "name": _needed(given, "emergency_name"),
            "number": _number(_needed(given, "emergency_telephone")),
            "relation": given.get("emergency_relation", ""),
            **verified,
        }

    return changes


def _site(given: Mapping[str, str], verified: Mapping[str, str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "telephone" in given:
        changes["telephone"] = {"number": _number(given["telephone"]), **verified}

    for name in ("police", "fire"):
        if f"{name}_telephone" in given or f"{name}_reference" in given:
            changes[name] = {
                "number": _number(_needed(given, f"{name}_telephone")),
                "reference": given.get(f"{name}_reference", ""),
                **verified,
            }

    callees = [_callee(given, n, verified) for n in range(1, CALLEES + 1) if _has_callee(given, n)]
    return changes | ({"call_list": callees} if callees else {})


def _has_callee(given: Mapping[str, str], number: int) -> bool:
    return any(name.startswith(f"callee_{number}_") for name in given)


def _callee(given: Mapping[str, str], number: int, verified: Mapping[str, str]) -> dict[str, Any]:
    place = f"callee_{number}"
    key = given.get(f"{place}_key", "").lower()
    if key not in (*YES, *NO):
        raise Refused(f"{place}_key is {key[:20]!r}; write yes or no")

    return {
        "name": _needed(given, f"{place}_name"),
        "number": _number(_needed(given, f"{place}_telephone")),
        "role": given.get(f"{place}_role", ""),
        "holds_key": key in YES,
        "hours": hours_of(given.get(f"{place}_hours", "")),
        **verified,
    }


def _needed(given: Mapping[str, str], name: str) -> str:
    if name not in given:
        raise Refused(f"{name} is blank; fill it in, or leave the other cells of it blank too")
    return given[name]


def _number(cell: str) -> str:
    """Return a number without the blanks, dashes and brackets that people write into it."""
    return re.sub(r"[\s().\u2010-\u2015-]", "", cell)


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _days(first: str, last: str) -> list[str]:
    """Return the days from the first to the last, over the end of the week too; [] when unknown."""
    if first not in DAYS or last not in DAYS:
        return []
    start, end = DAYS.index(first), DAYS.index(last)
    return list(DAYS[start : end + 1] if start <= end else (*DAYS[start:], *DAYS[: end + 1]))
