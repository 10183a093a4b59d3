"""Tests of the documents.

Every link leads somewhere, every page is in the index, and the page of commands matches
the commands.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.commands.cli_page import page as cli_page
from ops.environment import PROJECT

DOCS = PROJECT / "docs"
PAGES = [
    *sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "adr" or path.name == "README.md"),
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    PROJECT / "sdk" / "python" / "README.md",
]
LEAD_ON = ("docs/devices.md", "docs/devices/outbox.md", "sdk/python/README.md")
"""Pages for device makers, which refer to each other."""


def targets(path: Path) -> list[str]:
    return [
        target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()) if "://" not in target
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    assert [target for target in targets(path) if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("name", LEAD_ON)
def test_pages_of_device_makers_have_links(name: str) -> None:
    assert targets(PROJECT / name)


def test_the_index_has_every_page() -> None:
    listed = {(DOCS / target).resolve() for target in targets(DOCS / "README.md")}
    pages = {path for path in DOCS.rglob("*.md") if path.parent.name != "adr"} | {DOCS / "adr" / "README.md"}
    assert pages - listed - {DOCS / "README.md"} == set()


def test_the_index_of_decisions_has_each_once() -> None:
    listed = targets(DOCS / "adr" / "README.md")
    assert sorted(listed) == sorted(path.name for path in (DOCS / "adr").glob("[0-9]*.md"))


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    assert (DOCS / "cli.md").read_text() == cli_page(), "run `python -m ops.commands.cli_page > docs/cli.md`"


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) < 150
