"""Bounds on the work that a drawn shape causes, checked before GEOS and PostGIS see it. Pure.

Validity checks and unions compare edges pair by pair wherever the bounding boxes of two edges
overlap. Ten thousand corners can make fifty million such pairs. A bound on corners alone therefore
bounds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from services.contracts.errors import Refused

MAX_VERTICES = 10_000
MAX_RINGS = 500
MAX_EDGE_PAIRS = 200_000
"""Pairs of edges that may overlap.

A coastline of 10,000 corners has about 50,000. A validity check looks at a million pairs in about
20 ms.
"""
CHUNK = 64
"""Edges looked up at once. At most this number times the number of edges are held as pairs."""

Corners = Sequence[tuple[float, float]]
Boxes = npt.NDArray[np.float64]


def check_counts(*, corners: int, rings: int, field: str, noun: str) -> None:
    """Check the numbers of corners and rings. `noun`: the drawn thing, as in "a zone".

    Raises:
        Refused: There are too many; the message names the limit.
    """
    if corners > MAX_VERTICES:
        raise Refused(f"{field} has {corners} corners; {noun} has {MAX_VERTICES} at the most: simplify it")
    if rings > MAX_RINGS:
        raise Refused(
            f"{field} has {rings} parts and holes; {noun} has {MAX_RINGS} at the most: make several of it"
        )


def check_edges(rings: Sequence[Corners], *, field: str, noun: str) -> None:
    """Check the number of pairs of edges that run past each other.

    `rings` come without closing corners.

    Raises:
        Refused: There are too many such pairs.
    """
    boxes = np.concatenate([_boxes(ring) for ring in rings])
    if min(_overlaps(boxes[:, 0], boxes[:, 2]), _overlaps(boxes[:, 1], boxes[:, 3])) <= MAX_EDGE_PAIRS:
        return
    if _more_pairs_than(MAX_EDGE_PAIRS, boxes):
        raise Refused(
            f"{field} has more than {MAX_EDGE_PAIRS} pairs of edges that run past each other;"
            f" {noun} may not have more: simplify it, or split it"
        )


def _boxes(ring: Corners) -> Boxes:
    """Return west, south, east and north of each edge of a ring."""
    corners = np.asarray(ring, dtype=np.float64)
    ends = np.roll(corners, -1, axis=0)
    return np.hstack([np.minimum(corners, ends), np.maximum(corners, ends)])


def _overlaps(lower: npt.NDArray[Any], upper: npt.NDArray[Any]) -> int:
    """Return how many pairs of intervals overlap."""
    begun = np.searchsorted(np.sort(lower), upper, side="right")
    ended = np.searchsorted(np.sort(upper), lower, side="left")
    return int((begun - ended - 1).sum()) // 2


def _more_pairs_than(limit: int, boxes: Boxes) -> bool:
    """Return whether more than `limit` pairs of boxes overlap; stop counting there."""
    shapes = shapely.box(*boxes.T)
    tree = shapely.STRtree(shapes)
    found = 0
    for start in range(0, len(shapes), CHUNK):
        # A pair is found from both sides, and each box finds itself.
        found += tree.query(shapes[start : start + CHUNK]).shape[1]
        if found > 2 * limit + len(shapes):
            return True
    return False
