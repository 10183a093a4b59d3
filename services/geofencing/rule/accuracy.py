"""Scatter of fixes from a straight line through the last of them, whatever they claim. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.geofencing.geometry import EARTH_RADIUS_M, TURN
from services.geofencing.rule.plausibility import RememberedFix

ENOUGH = 4
RADIUS_68 = 1.07
"""Radius that holds 68 % of a scatter in two dimensions, in roots of the sum of both variances."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


def scatter_m(fixes: Sequence[RememberedFix]) -> float | None:
    """Return the 68 % radius of the scatter at the last fix, in metres.

    Return None when the fixes are too few or of one time.
    """
    return scatters_m([fixes])[0]


def scatters_m(memories: Sequence[Sequence[RememberedFix]]) -> list[float | None]:
    """Return `scatter_m` of each of many memories.

    Sums are made in the order of the fixes: each result is the same to the bit in any company.
    """
    found: list[float | None] = [None] * len(memories)
    asked = [number for number, fixes in enumerate(memories) if len(fixes) >= ENOUGH]
    if not asked:
        return found

    chosen = [memories[number] for number in asked]
    counts: Ints = np.array([len(fixes) for fixes in chosen], dtype=np.intp)
    whose = np.repeat(np.arange(len(chosen)), counts)
    t, x, y = _from_the_last(chosen, counts, whose)

    def total(values: Floats) -> Floats:
        return np.bincount(whose, weights=values, minlength=len(chosen)).astype(np.float64)

    sum_t, sum_x, sum_y = total(t), total(x), total(y)
    spread: Floats = total(t * t) - sum_t * sum_t / counts
    along_x, along_y = total(t * x) - sum_t * sum_x / counts, total(t * y) - sum_t * sum_y / counts
    squares = total(x * x + y * y) - (sum_x * sum_x + sum_y * sum_y) / counts
    of_one_time = spread <= 0.0
    rest = squares - (along_x * along_x + along_y * along_y) / np.where(of_one_time, 1.0, spread)

    radii = RADIUS_68 * np.sqrt(np.maximum(rest, 0.0) / (counts - 2))
    for number, radius, useless in zip(asked, radii.tolist(), of_one_time.tolist(), strict=True):
        found[number] = None if useless else radius

    return found


def _from_the_last(
    memories: Sequence[Sequence[RememberedFix]], counts: Ints, whose: Ints
) -> tuple[Floats, Floats, Floats]:
    """Return the seconds, metres east and metres north of each fix from the last of its memory."""
    at_us = np.array([fix.at_us for fixes in memories for fix in fixes], dtype=np.int64)
    lat = np.array([fix.lat for fixes in memories for fix in fixes])
    lon = np.array([fix.lon for fixes in memories for fix in fixes])
    last = np.cumsum(counts) - 1
    of_lat = math.radians(EARTH_RADIUS_M)
    of_lon = of_lat * np.array([math.cos(math.radians(fixes[-1].lat)) for fixes in memories])
    east = lon - lon[last][whose]
    east = np.where(np.abs(east) > TURN / 2, east - np.copysign(TURN, east), east)
    return (at_us - at_us[last][whose]) / 1e6, east * of_lon[whose], (lat - lat[last][whose]) * of_lat
