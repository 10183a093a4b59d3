"""Thinning of a track for drawing: ends, changes, gaps and corners stay. Pure.

Corners are found by the method of Visvalingam and Whyatt. The point whose triangle with its
neighbours is smallest is removed first. A guard who stands leaves one point, and a turn of the
street stays.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from datetime import datetime

import msgspec

from services.contracts.errors import Refused

GAP_S = 120.0
"""Shortest pause in seconds that a drawing shows: both of its ends stay."""


class StoredTrackPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One stored fix of a track. Units are as in `services.contracts.events`.

    `implausible` is the reason why no verdict was built on it. `transition` is True when a belief
    changed by it, or because of it.
    """

    recorded_at: datetime
    received_at: datetime
    lat: float
    lon: float
    accuracy: float | None = None
    speed: float | None = None
    heading: float | None = None
    in_geofence: bool = False
    geofence_violation: bool = False
    implausible: str | None = None
    transition: bool = False


def thin(
    points: Sequence[StoredTrackPoint], *, max_points: int, gap_s: float = GAP_S
) -> list[StoredTrackPoint]:
    """Return at most `max_points` of a track, in the order of time.

    There may be too little room even for the points that must stay. Then the ends are kept first,
    then changes, then the ends of gaps, then implausible points. Of each kind, the most prominent
    points are kept first. Raises `Refused` for a bound below 2.
    """
    if max_points < 2:
        raise Refused(f"max_points must be at least 2, for the two ends of a track, not {max_points}")
    if len(points) <= max_points:
        return list(points)
    prominence = _prominence(points)
    ranks = _ranks(points, gap_s)
    order = sorted(range(len(points)), key=lambda index: (ranks[index], -prominence[index], index))
    return [points[index] for index in sorted(order[:max_points])]


def _ranks(points: Sequence[StoredTrackPoint], gap_s: float) -> list[int]:
    """Rank each point: 0 an end, 1 a change, 2 beside a gap, 3 implausible, 4 any other."""
    ranks = [3 if point.implausible else 4 for point in points]
    for index, (before, point) in enumerate(zip(points, points[1:], strict=False), start=1):
        if (point.recorded_at - before.recorded_at).total_seconds() > gap_s:
            ranks[index - 1], ranks[index] = min(2, ranks[index - 1]), 2
        if point.geofence_violation != before.geofence_violation or point.in_geofence != before.in_geofence:
            ranks[index] = 1
    ranks = [1 if point.transition else rank for point, rank in zip(points, ranks, strict=True)]
    ranks[0] = ranks[-1] = 0
    return ranks


def _prominence(points: Sequence[StoredTrackPoint]) -> list[float]:
    """Return twice the area (m2) that each point was worth when its turn came.

    The area of a point is never less than that of a point that went before it. An implausible point
    was nowhere: it makes no corner of another point.
    """
    found = [0.0] * len(points)
    kept = [index for index, point in enumerate(points) if point.implausible is None]
    before = dict(zip(kept[1:], kept, strict=False))
    after = dict(zip(kept, kept[1:], strict=False))
    heap = [(_triangle(points, before[i], i, after[i]), i) for i in kept[1:-1]]
    worth = {index: area for area, index in heap}
    heapq.heapify(heap)
    so_far = 0.0

    for end in (kept[:1] + kept[-1:]) if kept else []:
        found[end] = math.inf

    while heap:
        area, index = heapq.heappop(heap)
        if worth.get(index) != area:
            continue  # its neighbour went, and the point was put in again

        so_far = max(so_far, area)
        found[index] = so_far
        del worth[index]

        left, right = before.pop(index), after.pop(index)
        after[left], before[right] = right, left
        for beside in (left, right):
            if beside in worth:
                worth[beside] = _triangle(points, before[beside], beside, after[beside])
                heapq.heappush(heap, (worth[beside], beside))

    return found


METRES_PER_DEGREE = 111_195.0


def _triangle(points: Sequence[StoredTrackPoint], left: int, middle: int, right: int) -> float:
    """Return twice the area of a triangle (m2), on the plane that touches at the middle.

    Longitudes go the short way round.
    """
    at = points[middle]
    scale = METRES_PER_DEGREE * math.cos(math.radians(at.lat))
    (x1, y1), (x2, y2) = (
        (math.remainder(p.lon - at.lon, 360.0) * scale, (p.lat - at.lat) * METRES_PER_DEGREE)
        for p in (points[left], points[right])
    )
    return abs(x1 * y2 - x2 * y1)
