"""Tests that the name of a class leads to one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TOPS = ("services", "gateway", "ops", "bench")
SAME_CONCEPT = {
    "FalseAlarm": {"services/contracts/api.py", "services/contracts/frames.py"},
}
"""Names of several classes that are one concept, and the files that define them.

- FalseAlarm: the reason with which a user marks an alert as a false alarm. One is the body of a
  request, the other a frame of the websocket. Both names are in the published API documents.
"""


def classes(source: str) -> list[str]:
    """Return the names of the classes of a module, nested ones included."""
    return [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]


def places() -> dict[str, list[str]]:
    """Return the files that define a class, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for top in TOPS:
        for path in sorted((PROJECT / top).rglob("*.py")):
            for name in classes(path.read_text()):
                found[name].append(path.relative_to(PROJECT).as_posix())
    return found


def test_no_class_name_is_defined_twice() -> None:
    twice = {name: files for name, files in places().items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in SAME_CONCEPT} == {}


def test_the_exceptions_are_those_that_are_listed() -> None:
    found = places()
    assert {name: sorted(found[name]) for name in SAME_CONCEPT} == {
        name: sorted(files) for name, files in SAME_CONCEPT.items()
    }


def test_nested_classes_are_found() -> None:
    assert classes("class A:\n    class B: ...\ndef f():\n    class A: ...\n") == ["A", "B", "A"]
