"""Tests that a revision on the main line stays as it is.

A database that has run it never meets another text of it.
"""

import hashlib
import re
from pathlib import Path

import pytest

from tests.upgrades import STATES

MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"
FROZEN = MIGRATIONS / "frozen.sha256"
SCRIPTS = sorted((MIGRATIONS / "versions").glob("*.py"))


def frozen(text: str) -> dict[str, str]:
    """Return the hash of each revision's text by the name of its file."""
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def problem(script: Path, known: dict[str, str]) -> str:
    """Return the fault of a revision's file and its remedy, or "" when there is none."""
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    if script.name not in known:
        return (
            f"{script.name} is a new revision: add the line `{digest}  {script.name}` to migrations/frozen.sha256 in"
            " the same commit, and the state before it to tests/upgrades (migrations/env.py has all steps)"
        )
    if digest != known[script.name]:
        return (
            f"{script.name} was changed. Databases have run its earlier text and will not run it again: take the change"
            " back (git checkout) and write a new revision that makes it (migrations/env.py has the steps)"
        )
    return ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_revision_is_what_it_was_when_it_came(script: Path) -> None:
    assert problem(script, frozen(FROZEN.read_text())) == ""


def test_no_revision_is_taken_away_or_renamed() -> None:
    assert {script.name for script in SCRIPTS} == frozen(FROZEN.read_text()).keys()


def test_a_changed_and_a_new_revision_are_told_apart_and_each_with_what_to_do(tmp_path: Path) -> None:
    # Given a revision that is known
    script = tmp_path / "0099_new.py"
    script.write_text("a")
    known = {script.name: hashlib.sha256(b"a").hexdigest()}
    assert problem(script, known) == ""
    # When a single byte of it changes, then the message asks for a new revision
    script.write_text("b")
    assert "write a new revision" in problem(script, known)
    # And for an unknown revision, the message has the line to add
    assert f"{hashlib.sha256(b'b').hexdigest()}  0099_new.py" in problem(script, {})


def test_every_revision_but_the_newest_has_a_database_of_its_time() -> None:
    numbers = {re.match(r"\d+", script.name)[0] for script in SCRIPTS}  # type: ignore[index]
    newest = max(numbers)
    assert {state.revision for state in STATES} >= numbers - {newest}
    assert [state.name for state in STATES if not state.file.exists()] == []
