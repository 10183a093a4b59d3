"""Tests of the documents.

- Every link leads somewhere, and every page is in the index.
- The page of commands matches the commands.
- The drawing of a confirmation has the numbers of the rule.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.commands.cli_page import page as cli_page
from ops.environment import PROJECT
from services.geofencing.rule.confirmation import (
    BeliefChange,
    FixEvidence,
    GatheredEvidence,
    NeededEvidence,
    confirmed,
    gather,
)
from services.platform import config

DOCS = PROJECT / "docs"
PAGES = [
    *sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "adr" or path.name == "README.md"),
    PROJECT / "ARCHITECTURE.md",
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


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets on a page."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_link_to_a_heading_leads_to_one(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", path.read_text())
    dead = [
        (page, name) for page, name in links if name not in anchors((path.parent / page) if page else path)
    ]
    assert dead == []


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


def test_the_glossary_is_in_order_and_has_each_word_once() -> None:
    rows = (DOCS / "glossary.md").read_text().partition("|---|---|\n")[2].splitlines()
    words = [row.split("|")[1].strip().lower() for row in rows]
    assert len(words) > 40
    assert words == sorted(set(words))


DRAWING = (DOCS / "images" / "zone-confirmation.svg").read_text()
ERROR_RADIUS_M = 10.0


def test_the_drawing_of_a_confirmation_shows_what_the_rule_says() -> None:
    # Given the settings as shipped, and the fixes beyond the error radius in the drawing
    rule = config.load(environ={}).location
    rows = re.findall(r'<text x="580" y="\d+">([−\d]+)</text>\n  <text x="650" y="\d+">[^<]*</text>', DRAWING)
    beyond_m = [
        float(row.replace("−", "-")) for row in rows if row[0] != "−" and float(row) >= ERROR_RADIUS_M
    ]
    assert beyond_m == [20.0, 30.0, 35.0]
    needed = NeededEvidence(rule.confirm_fixes, rule.confirm_s, 0.0, rule.confirm_weight * rule.confirm_fixes)

    # When they are gathered, a second apart
    changes: list[BeliefChange | None] = []
    gathered: GatheredEvidence | None = None
    for number, distance_m in enumerate(beyond_m):
        weight = min(distance_m / ERROR_RADIUS_M, rule.margin_cap_radii) ** 2
        sign = FixEvidence(b"", number * 1_000_000, 0, 0, None, ERROR_RADIUS_M, distance_m, weight)
        gathered = gather(gathered, sign)
        changes.append(confirmed(gathered, needed))

    # Then the third confirms the exit from the first on, with the sum in the drawing
    assert changes[:2] == [None, None]
    last = changes[2]
    assert last is not None
    assert last.first.distance_m == beyond_m[0]
    assert f">{last.weight:g}</text>" in DRAWING
