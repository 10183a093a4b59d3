"""Rules of the package: its imports, and a README that agrees with the code."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import vigil_device
from vigil_device import Outbox, Policy, State

SDK = Path(__file__).resolve().parents[1]
FILES = sorted((SDK / "vigil_device").glob("*.py"))
README = (SDK / "README.md").read_text()
IMPURE = {
    "time",
    "os",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "threading",
    "queue",
    "pathlib",
    "logging",
    "paho",
    "ssl",
}
PURE = [path for path in FILES if "Pure" in (ast.get_docstring(ast.parse(path.read_text())) or "")]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_most_of_the_package_is_pure() -> None:
    assert {path.stem for path in PURE} == {
        "messages",
        "policy",
        "core",
        "ids",
        "receipts",
        "clock",
        "payloads",
    }


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_a_pure_file_has_no_clock_no_chance_and_no_wire(path: Path) -> None:
    assert imports_of(path) & IMPURE == set()
    calls = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert calls & {"now", "utcnow", "today", "monotonic"} == set()


def test_the_package_needs_nothing_but_paho_and_python() -> None:
    found = set.union(*map(imports_of, FILES))
    outside = {name for name in found if "site-packages" in str(getattr(find_spec(name), "origin", ""))}
    assert outside - {"vigil_device"} == {"paho"}


def test_the_readme_names_every_call_and_every_state() -> None:
    calls = {
        name
        for name, value in inspect.getmembers(Outbox)
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }
    missing = {name for name in calls if f"`{name}" not in README}
    assert missing == set()
    assert {state.value for state in State if f"`{state.value}`" not in README} == set()
    assert {name for name in ("max_messages", "window") if name not in README} == set()
    assert {name for name in Policy._fields if not re.search(rf"\b{name}\b", Policy.__doc__ or "")} == set()


def test_what_is_exported_is_there_and_documented() -> None:
    for name in vigil_device.__all__:
        assert inspect.getdoc(getattr(vigil_device, name)), name
