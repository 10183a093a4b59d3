"""Tests of docs/security.md: its files and tests exist, and each of its attacks has a test."""

import re

import pytest

from ops.environment import PROJECT

TEXT = (PROJECT / "docs" / "security.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.partition("## Attacks")[2].partition("## Shut out a user or a source")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| Attack")
]
NAMED = re.compile(r"`((?:tests|gateway|services|ops|console)/[\w/.]+)`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_attack_has_a_bound_a_place_in_the_code_and_a_test(row: list[str]) -> None:
    attack, bound, where, tests = row
    assert attack
    assert bound
    assert all(not path.startswith("tests/") for path in NAMED.findall(where))
    assert all(path.startswith("tests/") for path in NAMED.findall(tests))
    assert NAMED.findall(where)
    assert NAMED.findall(tests)


def test_what_it_names_is_there() -> None:
    paths = NAMED.findall(TEXT)
    assert len(paths) > 50
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    adrs = re.findall(r"docs/adr/(\d{4})", TEXT)
    assert all(list((PROJECT / "docs" / "adr").glob(f"{number}-*.md")) for number in adrs)
