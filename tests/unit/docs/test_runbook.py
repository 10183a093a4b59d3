"""Tests that the runbook is complete.

Every alert and every check has a page with all its parts, and every link leads somewhere.
"""

from __future__ import annotations

import re

import pytest
import yaml

from ops.checks.health import PAGES
from tests.support import runbook
from tests.support.runbook import FILE, KINDS, PARTS, PROJECT, RunbookPage

RULES = PROJECT / "prometheus" / "rules"
PAGES_OF_ALERTS = [
    page for page in runbook.pages() if page.title in runbook.alert_names() | runbook.OF_HEALTH_ALONE
]


def rules() -> set[str]:
    """Return the names of alerts in Prometheus's files.

    Where the files do not exist, return the names that were agreed on.
    """
    found = {
        rule["alert"]
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    return found or runbook.alert_names()


def test_every_alert_has_its_page_and_every_page_of_an_alert_its_alert() -> None:
    titles = {page.title for page in runbook.pages() if page.title.startswith("Vigil")}
    assert titles == rules() | runbook.OF_HEALTH_ALONE
    assert rules() == runbook.alert_names()


def test_every_check_of_health_leads_to_a_page() -> None:
    anchors = {page.anchor for page in runbook.pages()}
    assert {*PAGES.values(), "vigilprocessmissing"} <= anchors


def test_an_anchor_is_the_name_in_lower_case() -> None:
    assert {page.anchor for page in PAGES_OF_ALERTS} == {page.title.lower() for page in PAGES_OF_ALERTS}


@pytest.mark.parametrize("page", PAGES_OF_ALERTS, ids=lambda page: page.title)
def test_a_page_says_what_it_means_where_to_look_what_to_do_and_how_to_see_that_it_helped(
    page: RunbookPage,
) -> None:
    parts = re.findall(r"^\*\*(\w+)\.\*\*", page.text, re.MULTILINE)
    assert tuple(parts) == PARTS
    assert {block.kind for block in page.blocks} >= {"sh"}, "nothing to type"


def test_every_block_says_how_it_is_run() -> None:
    odd = [(b.line, b.kind) for page in runbook.pages() for b in page.blocks if b.kind not in KINDS]
    assert odd == []
    assert not [b.line for page in runbook.pages() for b in page.blocks if not b.commands]


def test_every_link_leads_somewhere() -> None:
    anchors = [page.anchor for page in runbook.pages()]
    assert len(anchors) == len(set(anchors)), "two headings have one anchor"
    targets = re.findall(r"\]\(([^)\s]+)\)", FILE.read_text())
    assert len(targets) > 100
    dead = [
        target
        for target in targets
        if not (target[1:] in anchors if target[0] == "#" else (FILE.parent / target).exists())
    ]
    assert dead == []


def test_lines_of_shell_are_taken_apart() -> None:
    [*words] = runbook.simple_commands(
        'curl -H "A: $(vigil token | tail -1)" http://h/ | grep x && vigil down'
    )
    assert [command[0] for command in words] == ["vigil", "tail", "curl", "grep", "vigil"]
    assert [*runbook.simple_commands("vigil alert show <alert id>")] == [
        ["vigil", "alert", "show", "PLACEHOLDER"]
    ]


def test_pages_and_blocks_are_found() -> None:
    text = "# A\n\n## VigilX y\nwords\n```sh\n# said\nvigil down\n```\n   ```sh systemd\n   systemctl stop a\n   ```\n"
    [_, page] = runbook.pages(text)
    assert page.anchor == "vigilx-y"
    assert [(block.kind, block.commands) for block in page.blocks] == [
        ("sh", ("vigil down",)),
        ("sh systemd", ("systemctl stop a",)),
    ]
