"""Tests that long functions have blank lines between their steps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TOPS = ("services", "gateway", "ops", "bench")
LONG = 10
"""Lines of a body, without its docstring, from which on it needs blank lines."""
LEAST_SHARE = 0.6

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_functions(source: str) -> Iterator[tuple[Function, list[ast.stmt]]]:
    """Yield the functions with a long body, and the statements after the docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            body = node.body if ast.get_docstring(node) is None else node.body[1:]
            if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 >= LONG:
                yield node, body


def lines_in_strings(function: Function) -> set[int]:
    """Return the lines that are within a text of several lines, such as a statement of SQL."""
    return {
        line
        for node in ast.walk(function)
        if isinstance(node, ast.Constant | ast.JoinedStr)
        for line in range(node.lineno + 1, node.end_lineno or 0)
    }


def has_air(function: Function, body: list[ast.stmt], lines: list[str]) -> bool:
    """Return whether a blank line is between two statements of the body."""
    inside = range(body[0].lineno, (body[-1].end_lineno or 0) + 1)
    return any(not lines[line - 1].strip() for line in set(inside) - lines_in_strings(function))


def without_air(path: Path) -> tuple[int, list[str]]:
    """Return the number of long functions of a file, and the places of those without blank lines."""
    source = path.read_text()
    lines = source.split("\n")
    found = list(long_functions(source))
    place = path.relative_to(PROJECT).as_posix()

    return len(found), [
        f"{place}:{function.lineno} {function.name}"
        for function, body in found
        if not has_air(function, body, lines)
    ]


def test_most_long_functions_have_air() -> None:
    files = [path for top in TOPS for path in sorted((PROJECT / top).rglob("*.py"))]
    counted = [without_air(path) for path in files]
    long, dense = sum(count for count, _ in counted), [place for _, places in counted for place in places]

    assert long > 500
    assert (long - len(dense)) / long >= LEAST_SHARE, "\n".join(dense)


@pytest.mark.parametrize(
    ("between", "is_airy"),
    [
        ("    b = 1\n", False),
        ("\n    b = 1\n", True),
        ('    b = """\n\n    """\n', False),
        ("    if a:\n        b = 1\n\n        c = 1\n", True),
    ],
)
def test_a_blank_line_within_a_text_is_no_air(between: str, is_airy: bool) -> None:
    source = 'def f():\n    """Text.\n\n    More.\n    """\n    a = 0\n' + between + "    a = 1\n" * LONG
    ((function, body),) = long_functions(source)

    assert has_air(function, body, source.split("\n")) is is_airy


def test_a_short_function_needs_no_air() -> None:
    assert not list(long_functions("def f():\n" + "    a = 1\n" * (LONG - 1)))
