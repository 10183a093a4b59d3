"""Tests that docstrings, comments and documents are plain technical English.

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
UNUSUAL_IN_DOCUMENTS = re.compile(r"\b(owed|screens|silence|(?<!dead )letters)\b", re.IGNORECASE)
"""Further words that no document has: their place takes a word of docs/glossary.md."""
SENTENCES = re.compile(r"(?<=[.:;!?])\s|\n\s*\n|\n\s*[-*]")
DOCUMENTS = (
    "*.md",
    "docs/*.md",
    "docs/devices/*.md",
    "docs/howto/*.md",
    "docs/adr/README.md",
    "sdk/python/*.md",
)
"""Patterns of the documents. A decision (docs/adr) keeps the words of its time."""
OLD_VERSIONS = re.compile(r"^## (?!Unreleased).*", re.MULTILINE | re.DOTALL)
"""The part of CHANGELOG.md about versions that are out, which never changes."""
MARKUP = (
    (re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL), "\n\n"),  # blocks of code
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),  # links and pictures
    (re.compile(r"`[^`]*`"), "code"),
    (re.compile(r"^\s*(#+|[-*]|\d+\.)\s", re.MULTILINE), "\n\n"),  # headings and items of lists
    (re.compile(r"^\|.*$", re.MULTILINE), lambda row: "\n\n" + row.group().replace("|", "\n\n")),
)
"""Markdown, and the text in its place."""
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


def plain(markdown: str) -> str:
    """Return the text of a document without code and markup. Each cell of a table is a paragraph."""
    for pattern, text in MARKUP:
        markdown = pattern.sub(text, markdown)
    return markdown


def faults_of_document(markdown: str) -> Iterator[str]:
    """Yield each sentence of a document that breaks a rule, with the rule."""
    for sentence in SENTENCES.split(plain(markdown)):
        words = sentence.split()
        if found := UNUSUAL.search(sentence) or UNUSUAL_IN_DOCUMENTS.search(sentence):
            yield f"{found.group(0)!r} in: {' '.join(words)}"
        if len(words) > MAX_WORDS:
            yield f"more than {MAX_WORDS} words: {' '.join(words)}"


def documents() -> list[Path]:
    return [path for pattern in DOCUMENTS for path in sorted(PROJECT.glob(pattern))]


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


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_no_document_breaks_a_rule(document: Path) -> None:
    text = document.read_text()
    if document.name == "CHANGELOG.md":
        text = OLD_VERSIONS.sub("", text)
    assert list(faults_of_document(text)) == []


def test_the_documents_that_are_checked_are_there() -> None:
    names = {path.relative_to(PROJECT).as_posix() for path in documents()}
    assert names >= {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/runbook.md"}
    assert len(names) > 20


@pytest.mark.parametrize(
    ("markdown", "count"),
    [
        ("# Zones\n\nA zone is an area. `whoever` is code.\n", 0),
        ("- The guard is told.\n", 1),
        ("| Dies | Seen |\n|---|---|\n| Redis | screens get a snapshot |\n", 1),
        ("Dead letters are kept.\n", 0),
        ("Letters are kept.\n", 1),
        ("```\nthe house\n```\n", 0),
        ("[" + "word " * 26 + "](page.md)\n", 1),
        ("| " + "word " * 20 + "| " + "word " * 20 + "|\n", 0),
    ],
)
def test_a_document_that_breaks_a_rule_is_found(markdown: str, count: int) -> None:
    assert len(list(faults_of_document(markdown))) == count


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
