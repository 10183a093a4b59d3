"""Tests that shapes are refused by their amount of work before the work begins.

Honest shapes of any detail are taken.
"""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.geofencing.work_limits import (
    MAX_EDGE_PAIRS,
    MAX_RINGS,
    MAX_VERTICES,
    Corners,
    check_counts,
    check_edges,
)


def check(*rings: Corners) -> None:
    check_edges(rings, field="area", noun="a zone")


def coastline(corners: int) -> Corners:
    chance = random.Random(7)
    radii = [1 + chance.random() * 0.01 for _ in range(corners)]
    return [
        (77 + r * math.cos(math.tau * n / corners), 12 + r * math.sin(math.tau * n / corners))
        for n, r in enumerate(radii)
    ]


def comb(teeth: int, *, upright: bool) -> Corners:
    drawn = [(77.0 + 0.9 * (n % 2), 12 + n / (2 * teeth)) for n in range(2 * teeth)]
    return [(lat + 65, lon - 65) for lon, lat in drawn] if upright else drawn


def zigzag(corners: int) -> Corners:
    """Return parallel edges over the whole extent. The boxes of all of them overlap."""
    return [(77 + (n % 2) + n * 1e-5, 12 + (n % 2) - n * 1e-5) for n in range(corners)]


@pytest.mark.parametrize(
    "ring",
    [
        [(77, 12), (78, 12), (78, 13)],
        coastline(MAX_VERTICES),
        comb(MAX_VERTICES // 2, upright=False),
        comb(MAX_VERTICES // 2, upright=True),
        [(77 + n * 1e-6, 12.0) for n in range(MAX_VERTICES)],
    ],
    ids=["triangle", "coastline", "comb", "comb that stands", "collinear"],
)
def test_shapes_of_much_detail_are_taken(ring: Corners) -> None:
    check(ring)


@pytest.mark.parametrize(
    "rings",
    [
        [zigzag(MAX_VERTICES)],
        [comb(1000, upright=False), comb(1000, upright=True)],
        [[(77 + random.Random(n).random(), 12 + random.Random(-n).random()) for n in range(3000)]],
        [zigzag(300) for _ in range(30)],
        [[(77 + (n % 2) * math.cos(n), 12 + (n % 2) * math.sin(n)) for n in range(5000)]],
    ],
    ids=["zigzag", "two combs", "scribble", "many small zigzags", "star"],
)
def test_shapes_whose_edges_run_past_each_other_are_refused_with_the_limit(rings: list[Corners]) -> None:
    with pytest.raises(Refused, match=f"area has more than {MAX_EDGE_PAIRS} pairs of edges"):
        check(*rings)


def test_corners_and_rings_are_counted() -> None:
    check_counts(corners=MAX_VERTICES, rings=MAX_RINGS, field="area", noun="a zone")
    with pytest.raises(Refused, match="10001 corners; a zone has 10000 at the most"):
        check_counts(corners=MAX_VERTICES + 1, rings=1, field="area", noun="a zone")
    with pytest.raises(Refused, match="501 parts and holes; a zone has 500 at the most"):
        check_counts(corners=3, rings=MAX_RINGS + 1, field="area", noun="a zone")


places = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(st.lists(st.lists(places, min_size=1, max_size=40), min_size=1, max_size=5))
def test_few_edges_are_never_too_many(rings: list[list[tuple[float, float]]]) -> None:
    check(*rings)
