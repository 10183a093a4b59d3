"""Tests that the documents name only files and words that are there.

A word in backticks that looks like a path must be a file or folder of the project. A word with
underscores must occur in the code.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ops.environment import PROJECT

GENERATED = {"cli.md", "http-api.md", "mqtt.md"}
"""Pages that a program makes from the code. Tests compare them with it."""
DOCUMENTS = [
    *(PROJECT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "sdk/python/README.md")),
    *sorted(path for path in (PROJECT / "docs").rglob("*.md") if path.name not in GENERATED),
]
BACKTICKS = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
SUFFIXES = (
    "cfg",
    "conf",
    "css",
    "html",
    "js",
    "json",
    "lock",
    "md",
    "mjs",
    "py",
    "sh",
    "sql",
    "svg",
    "toml",
    "yml",
)
FILE_NAME = re.compile(rf"[\w@*.-]+\.({'|'.join(SUFFIXES)})")
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
MADE_LATER = ("console/vendor", "secrets.env", "stack.env", "operator.env")
"""Files that are made at run time."""
OF_OTHERS = {
    "check_if_node_is_quorum_critical": "a command of RabbitMQ",
    "cpu_shares": "a field of Docker Compose",
    "max_content_length": "a setting of Werkzeug",
    "per_listener_settings": "a setting of Mosquitto",
    "vigil_edge": "the name that Docker Compose gives a network",
}
"""Words of other programs that the documents name."""
FOLDER = re.compile(r"^- \*\*([\w/]+)\*\*: (.+?)(?=\n- |\n\n)", re.MULTILINE | re.DOTALL)
"""A paragraph of ARCHITECTURE.md about one folder."""
MAX_COLUMNS = 120
CODE = (
    ".py",
    ".js",
    ".mjs",
    ".html",
    ".yaml",
    ".yml",
    ".sql",
    ".json",
    ".cfg",
    ".toml",
    ".conf",
    ".sh",
    ".service",
)


@cache
def listed() -> tuple[str, ...]:
    """Return the files of the project that git knows or would take."""
    command = ["git", "-C", str(PROJECT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(name for name in done.stdout.splitlines() if (PROJECT / name).exists())


@cache
def tops() -> frozenset[str]:
    return frozenset(name.split("/")[0] for name in listed() if "/" in name)


@cache
def words_of_code() -> frozenset[str]:
    """Return every word with an underscore that is in the code or its settings."""
    found: set[str] = set()
    for name in listed():
        if name.endswith(CODE) and not name.startswith(("tests/unit/docs/", "docs/")):
            found |= set(
                re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)+", (PROJECT / name).read_text(errors="replace"))
            )
    return frozenset(found | {Path(name).stem for name in listed()})


def named(text: str) -> Iterator[str]:
    """Yield the words in backticks, outside of blocks of code and of commands of Vigil."""
    for found in BACKTICKS.findall(FENCE.sub("", text)):
        yield from [] if found.split()[0] == "vigil" else found.split()


def is_there(word: str, document: Path) -> bool:
    """Return whether a word is a file or folder, with or without its suffix, or a pattern of some."""
    word = re.sub(r"(::|:\d|[.][A-Z]).*", "", word).rstrip("/.,;:")
    if not word:
        return True
    places = [PROJECT, document.parent]
    return any(any(True for _ in place.glob(pattern)) for place in places for pattern in (word, f"{word}.*"))


def dead_words(text: str, document: Path) -> list[str]:
    """Return the words of a document that name nothing."""
    dead = []
    own = " ".join(FENCE.findall(text))
    for word in named(text):
        first = word.split("/")[0]
        if word.startswith(MADE_LATER) or word in OF_OTHERS or re.search(r"[<>{}$|=()'\"]", word):
            continue
        if "/" in word and first in tops():
            dead += [] if is_there(word, document) else [word]
        elif "/" not in word and FILE_NAME.fullmatch(word):
            dead += [] if word in own or any(Path(name).match(word) for name in listed()) else [word]
        elif SNAKE.fullmatch(word):
            dead += [] if word in own or word in words_of_code() else [word]
    return dead


def folders() -> dict[str, str]:
    """Return the paragraphs of ARCHITECTURE.md about folders."""
    return dict(FOLDER.findall((PROJECT / "ARCHITECTURE.md").read_text()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_file_and_word_of_code_that_a_document_names_is_there(document: Path) -> None:
    assert dead_words(document.read_text(), document) == []


@pytest.mark.parametrize("folder", folders())
def test_a_paragraph_about_a_folder_names_what_is_in_it(folder: str) -> None:
    assert (PROJECT / folder).is_dir()
    missing = [
        name
        for name in named(folders()[folder])
        if not any(is_there(f"{place}{name}", PROJECT / "ARCHITECTURE.md") for place in (f"{folder}/", ""))
    ]
    assert missing == []


def test_every_package_has_a_paragraph() -> None:
    packages = {
        path.parent.relative_to(PROJECT).as_posix()
        for top in ("services", "gateway", "ops")
        for path in (PROJECT / top).glob("*/__init__.py")
    }
    at_the_top = {name for name in tops() if not name.startswith(".")}
    assert (packages | at_the_top) - set(folders()) == {"services", "gateway"}


def test_the_map_of_the_code_is_narrow() -> None:
    lines = (PROJECT / "ARCHITECTURE.md").read_text().splitlines()
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("`services/contracts/errors.py` and `ops/local/setup.sh`", []),
        ("`services/shard_handling` has it", ["services/shard_handling"]),
        ("`shard_handling` has it", ["shard_handling"]),
        ("`rule_book.py` has it", ["rule_book.py"]),
        ("write `job.py`:\n\n```sh\npython job.py\n```\n", []),
        ("```\n`rule_book.py`\n```", []),
    ],
)
def test_a_name_of_nothing_is_found(text: str, dead: list[str]) -> None:
    assert dead_words(text, PROJECT / "README.md") == dead
