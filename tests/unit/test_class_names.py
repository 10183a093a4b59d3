"""Tests that the name of a class leads to one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TOPS = ("services", "gateway", "ops", "bench")


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
    assert {name: files for name, files in places().items() if len(files) > 1} == {}


def test_nested_classes_are_found() -> None:
    assert classes("class A:\n    class B: ...\ndef f():\n    class A: ...\n") == ["A", "B", "A"]
