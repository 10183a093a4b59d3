"""Tests that the comparison can fail.

Each comparison of the judge, when negated, is noticed.
"""

import __future__

import ast
import copy
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

import pytest

from tests.oracle.comparison import Judged, at_once, judged, made
from tests.oracle.geometry import Shape
from tests.oracle.production import judge_of
from tests.oracle.words import Fix, Needed, Zone
from tests.oracle.worlds import DEFAULTS, METRES_A_DEGREE, Guard, World

JUDGING = (
    "rule.plausibility:assess",
    "rule.plausibility:doubted",
    "rule.plausibility:own_radius_m",
    "rule.plausibility:reachable",
    "rule.plausibility:too_sudden",
    "rule.plausibility:_follows",
    "rule.accuracy:scatters_m",
    "assignment:holds",
    "assignment:applies",
    "rule.confirmation:confirmed",
    "rule.evaluator:FixVerdict.zone",
    "rule.evaluator:FixVerdict.within",
    "rule.evaluator:FixVerdict.violation",
    "rule.evaluator:FixVerdict._side",
    "rule.evaluator:FixVerdict._speed",
)
WORLDS = 60
OF_NAMES = {"self._nearest.zone_id == zone_id"}
"""Comparisons that decide only which name the evidence has. The oracle has no word for it."""


class Negation(ast.NodeTransformer):
    """Negation of the nth comparison."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def visit_Compare(self, node: ast.Compare) -> ast.expr:  # noqa: N802 - the name that ast calls
        self.generic_visit(node)
        self._left -= 1
        return ast.UnaryOp(ast.Not(), node) if self._left == -1 else node


def definition_of(path: str) -> tuple[Any, list[str], ast.FunctionDef]:
    """Return the module, the names that lead to the function in it, and its definition."""
    module_name, _, function = path.partition(":")
    module = importlib.import_module(f"services.geofencing.{module_name}")
    names = function.split(".")
    node: Any = ast.parse(inspect.getsource(module))
    for name in names:
        node = next(inner for inner in node.body if getattr(inner, "name", None) == name)
    return module, names, node


def comparisons() -> Iterator[Any]:
    for path in JUDGING:
        _, _, definition = definition_of(path)
        # This is the order in which the transformer leaves them: the inner ones first.
        found: list[ast.Compare] = []
        Collected(found).visit(definition)
        for nth, node in enumerate(found):
            if (comparison := ast.unparse(node)) not in OF_NAMES:
                yield pytest.param(path, nth, id=f"{path}: {comparison}")


class Collected(ast.NodeVisitor):
    def __init__(self, found: list[ast.Compare]) -> None:
        self._found = found

    def visit_Compare(self, node: ast.Compare) -> None:  # noqa: N802 - the name that ast calls
        self.generic_visit(node)
        self._found.append(node)


@lru_cache(maxsize=1)
def worlds() -> list[tuple[World, list[Judged]]]:
    random = Random(1)
    return [*(made(random) for _ in range(WORLDS)), a_limit_taken_away_for_half_a_minute()]


def a_limit_taken_away_for_half_a_minute() -> tuple[World, list[Judged]]:
    """Return a world in which one fast fix before and one after are not evidence of speeding.

    Chance reaches this once in 100,000 tracks.
    """
    begins = datetime(2026, 5, 4, 12, tzinfo=UTC)
    gone, back = begins + timedelta(seconds=75), begins + timedelta(seconds=105)
    needed = Needed(DEFAULTS.confirm_fixes, DEFAULTS.confirm_s)
    yard = Zone(7, 1, "speed", Shape(centre=(13.0, 52.0), radius_m=500), needed, needed, limit_mps=3.0)
    zones = [
        replace(yard, holds_to=gone),
        replace(yard, version=2, kind="required", limit_mps=None, holds_from=gone, holds_to=back),
        replace(yard, version=3, holds_from=back),
    ]
    fixes = []
    for nth, speed in enumerate((1.0, 1.0, 9.0, 1.0, 9.0, 1.0)):
        at = begins + timedelta(seconds=30 * nth)
        # far enough to be that fast in between
        lat = 52.0 + (65 if nth % 2 else -65) / METRES_A_DEGREE
        fixes.append(Fix(bytes([nth]) * 16, at, at, lat, 13.0, accuracy=5.0, speed=speed))
    place = World(zones, DEFAULTS, 52.0, 13.0, begins, [])
    guard = Guard("guard-0", frozenset(), tuple(fixes))
    rows, _ = judged(place, guard)
    return place, [(guard, rows, 0)]


def mutate(monkeypatch: pytest.MonkeyPatch, path: str, nth: int) -> None:
    """Put the mutant in the place of the function, wherever the function was imported."""
    module, names, definition = definition_of(path)
    tree = ast.Module([Negation(nth).visit(copy.deepcopy(definition))], [])
    code = compile(
        ast.fix_missing_locations(tree), module.__file__, "exec", flags=__future__.annotations.compiler_flag
    )
    namespace = dict(vars(module))
    exec(code, namespace)
    *owner, name = names
    if owner:
        monkeypatch.setattr(getattr(module, owner[0]), name, namespace[name])
        return
    real = getattr(module, name)
    for other in [
        m for n, m in sys.modules.items() if n.startswith(("services.location", "services.geofencing"))
    ]:
        if getattr(other, name, None) is real:
            monkeypatch.setattr(other, name, namespace[name])


def noticed() -> bool:
    for place, guards in worlds():
        try:
            if at_once(judge_of(place.zones, place.rules), guards):
                return True
        except Exception:
            # A judge that fails with an exception is noticed as well.
            return True
    return False


@pytest.mark.parametrize(("path", "nth"), comparisons())
def test_the_opposite_of_a_comparison_is_noticed(
    monkeypatch: pytest.MonkeyPatch, path: str, nth: int
) -> None:
    mutate(monkeypatch, path, nth)
    assert noticed()


def test_the_judge_as_it_is_differs_in_nothing() -> None:
    assert not [
        line for place, guards in worlds() for line in at_once(judge_of(place.zones, place.rules), guards)
    ]
