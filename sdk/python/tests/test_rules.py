"""The package keeps its order, and its README says what is so."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    assert {name for name in found if name not in sys.stdlib_module_names} == {"paho", "vigil_device"}


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


def test_the_program_of_the_readme_stores_an_alert(broker: Any, gateway: Any, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines = [line.removeprefix("   ") for line in program.splitlines()]
    text = "\n".join(line for line in lines if not re.match(r"\s+(tls|username|password)=", line))
    text = text.replace("/var/lib/guard/", f"{tmp_path}/")
    text = text.replace("guard-789", "guard-1").replace(
        'host="mqtt.example.com"', f'host="127.0.0.1", port={broker.port}'
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    )
    assert "State.STORED" in done.stdout.splitlines()[-1]
    assert len(gateway.heard) == 1
