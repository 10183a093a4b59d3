"""Tests that docstrings and comments are plain technical English.

CONTRIBUTING.md has the rules.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ops.environment import PROJECT

MAX_COLUMNS = 100
MAX_WORDS = 25
OPENING = re.compile(r"(What|Whose|Who|Whom|Whether|Which|How|Since when|When|Where|Why|Of)\b")
"""Words that no docstring begins with.

A function's docstring begins with an imperative, a class's with a noun.
"""
UNUSUAL = re.compile(
    r"\b(whoever|whomever|of whom|of which|by which|to whom|told|tells? (?:it|them|people|screens)"
    r"|telling|put by|all the same|anew|himself|the road|the house)\b",
    re.IGNORECASE,
)
SENTENCES = re.compile(r"(?<=[.:;!?])\s|\n\s*\n|\n\s*[-*]")
FOLDERS = ("services", "gateway", "ops", "bench", "migrations", "sdk", "tests")


class Finding(NamedTuple):
    """A text that breaks a rule."""

    place: str
    rule: str


def faults(text: str, *, is_docstring: bool) -> Iterator[str]:
    """Yield the rules that a text breaks."""
    if is_docstring and OPENING.match(text.strip()):
        yield "it opens with a question word"
    if found := UNUSUAL.search(text):
        yield f"it has the words {found.group(0)!r}"
    if any(len(sentence.split()) > MAX_WORDS for sentence in SENTENCES.split(text)):
        yield f"it has a sentence of more than {MAX_WORDS} words"
    if any(len(line) > MAX_COLUMNS for line in text.split("\n")):
        yield f"it has a line of more than {MAX_COLUMNS} columns"


def texts(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield docstrings and comments: line, text, and whether it is a docstring."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = getattr(statement, "value", None)
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(statement, ast.Expr) and isinstance(text, str):
                yield statement.lineno, text, True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and "noqa" not in token.string and "type:" not in token.string:
            yield token.start[0], token.string.lstrip("# "), False


def findings(path: Path) -> list[Finding]:
    """Return the texts of a file that break the rules."""
    return [
        Finding(f"{path.relative_to(PROJECT)}:{line}", fault)
        for line, text, is_docstring in texts(path.read_text())
        for fault in faults(text, is_docstring=is_docstring)
    ]


def files() -> list[Path]:
    """Return the project's Python files; revisions of the schema never change."""
    return [
        path
        for folder in FOLDERS
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if not {"versions", "node_modules", "build"} & set(path.parts)
    ]


def test_no_docstring_or_comment_breaks_a_rule() -> None:
    assert [f"{place}: {rule}" for path in files() for place, rule in findings(path)] == []


@pytest.mark.parametrize(
    ("text", "is_docstring", "count"),
    [
        ("Return the open alerts of a tenant, newest first.", True, 0),
        ("What one batch came to.", True, 1),
        ("when the server is back, the handler goes on", False, 0),
        ("Whoever asks is told.", True, 1),
        ("word\n" * 26 + "end.", True, 1),
        ("word\n" * 20 + "end. " + "word\n" * 20 + "end.", False, 0),
        ("x" * 101, False, 1),
    ],
)
def test_what_breaks_a_rule_is_found(text: str, is_docstring: bool, count: int) -> None:
    assert len(list(faults(text, is_docstring=is_docstring))) == count
