"""Tests of positions that are not valid, and of wrong numbers beside valid positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from ops.local.stack import Stack
from tests.support.guard_phones import INSIDE, LAT, LON, OUTSIDE, FinishedPhones, GuardPhones, north
from tests.support.outside_clients import OutsideClients

ZERO = {"lat": 0, "lon": 0}
Place = dict[str, float]


class Walk(NamedTuple):
    """Fixes a second apart, the further claims of each, and the expected result."""

    name: str
    places: list[Place]
    violation: bool
    shown_at: Place
    implausible: tuple[str, ...] = ()
    claims: dict[str, Any] = {}


def on_foot(start_m: float, count: int = 6) -> list[Place]:
    return [north(start_m + 1.4 * n) for n in range(count)]


WALKS = [
    Walk("60 km an hour on foot, outside", on_foot(600), True, north(607), (), {"speed": 60}),
    Walk("60 km an hour on foot, inside", on_foot(0), False, north(7), (), {"speed": 60}),
    Walk("knots of a drone", on_foot(600), True, north(607), (), {"speed": 199.9}),
    Walk("a speed of light", on_foot(600), True, north(607), (), {"speed": 299_792_458}),
    Walk("centimetres a second", on_foot(0), False, north(7), (), {"speed": 140}),
    Walk("a speed that is not a number", on_foot(600), True, north(607), (), {"speed": "fast"}),
    Walk("a speed below zero", on_foot(600), True, north(607), (), {"speed": -1}),
    Walk("accuracy -1, outside", [OUTSIDE] * 5, True, OUTSIDE, (), {"accuracy": -1}),
    Walk("accuracy -1, inside", [INSIDE] * 5, False, INSIDE, (), {"accuracy": -1}),
    Walk("accuracy of 5 km, outside", [OUTSIDE] * 5, False, OUTSIDE, (), {"accuracy": 5000}),
    Walk("accuracy 0, outside", [OUTSIDE] * 5, True, OUTSIDE, (), {"accuracy": 0}),
    Walk("first no fix, then inside", [ZERO, ZERO, ZERO, INSIDE, INSIDE], False, INSIDE),
    Walk("first no fix, then outside", [ZERO, ZERO, OUTSIDE, OUTSIDE, OUTSIDE], True, OUTSIDE),
    Walk("no fix in between", [INSIDE, ZERO, INSIDE, ZERO, INSIDE], False, INSIDE),
    Walk("no fix in the end", [INSIDE, INSIDE, ZERO, ZERO, ZERO, ZERO], False, INSIDE),
    Walk("no fix, written otherwise", [{"lat": 0.0, "lon": -0.0}, INSIDE, INSIDE], False, INSIDE),
    Walk(
        "latitude 0 after good fixes",
        [INSIDE, INSIDE, {"lat": 0.0, "lon": LON}, {"lat": 0.0, "lon": LON}],
        False,
        INSIDE,
        ("teleport", "teleport"),
    ),
    Walk(
        "turned round after good fixes",
        [INSIDE, INSIDE, {"lat": LON, "lon": LAT}, {"lat": LON, "lon": LAT}],
        False,
        INSIDE,
        ("teleport", "teleport"),
    ),
    Walk("one spike", [INSIDE, INSIDE, north(40_000), INSIDE], False, INSIDE, ("teleport",)),
]


@pytest.fixture(scope="module")
def heard(stack: Stack) -> Iterator[FinishedPhones]:
    """Send all walks at once, and in the end a fix of one guard outside.

    When that guard's violation is there, every earlier fix has been judged.
    """
    with OutsideClients(stack) as outside:
        phones = GuardPhones(outside, "fixes")
        guards = {walk.name: phones.guard(walk.name) for walk in WALKS}
        marker = phones.guard("marker")
        for nth in range(max(len(walk.places) for walk in WALKS)):
            for walk in WALKS:
                if nth < len(walk.places):
                    phones.send(guards[walk.name], walk.places[nth], **walk.claims)
            phones.beat()
        for _ in range(2):
            phones.send(marker, OUTSIDE)
            phones.beat(0.2)
        phones.settle()
        phones.violates(marker)
        yield FinishedPhones(phones, guards)


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.name)
def test_a_bad_number_neither_hides_a_guard_nor_puts_one_outside(heard: FinishedPhones, walk: Walk) -> None:
    phones, guard = heard.phones, heard.guards[walk.name]
    # Given what a phone sent, when all of it is judged,
    if walk.violation:
        phones.violates(guard)
    phones.outside.until(lambda: phones.has_no_pending_alert(guard), 30)
    # then there is a violation if the guard is outside, and none otherwise,
    assert len(phones.violations(guard)) == walk.violation
    # the guard is shown at the right place, and the quality says why a fix was left out.
    where = phones.shown_at(guard)
    assert where == pytest.approx((walk.shown_at["lat"], walk.shown_at["lon"]), abs=1e-9)
    assert [reason for reason in phones.implausible(guard) if reason != "no_fix"] == [*walk.implausible]


def test_a_speed_that_is_doubted_is_marked(heard: FinishedPhones) -> None:
    said = heard.phones.quality(heard.guards["60 km an hour on foot, outside"])
    assert all("speed_doubted" in quality for quality in said), said
    said = heard.phones.quality(heard.guards["accuracy 0, outside"])
    assert not any("speed_doubted" in quality for quality in said), said
