"""Cost of verdicts: CPU of one, with few zones and with many, and of a batch.

The zones are those of a city: circles, and polygons of 4 to 200 corners. Each guard walks inside an
own zone, every tenth near its edge. Figures are medians of CPU time over several runs, in one
process.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from shapely.geometry import Point, Polygon

from services.contracts.zone_parameters import Confirmation
from services.geofencing.geometry import METRES_A_DEGREE, Geofence, ZoneIndex
from services.geofencing.rule.track import Belief, Judge, TrackFix, ZoneSubject
from services.platform import config

FEW, MANY = 10, 10_000
FIXES = 500
RUNS = 9
LAT, LON = 12.97, 77.59
SPACING_M = 400.0
CIRCLES = 0.5
T0 = datetime(2026, 3, 2, 8, tzinfo=UTC)
USUAL = Confirmation(2, 60.0)

Track = tuple[ZoneSubject, Belief | None, Sequence[TrackFix]]


def zones(count: int, chance: random.Random) -> list[Geofence]:
    """Return a grid of zones, 400 m apart, half of them circles."""
    across = math.ceil(math.sqrt(count))
    found = []
    for number in range(count):
        row, column = divmod(number, across)
        lat, lon = LAT + _degrees(row * SPACING_M), LON + _degrees(column * SPACING_M)
        area, radius_m = (
            (Point(lon, lat), chance.uniform(80, 180))
            if chance.random() < CIRCLES
            else (_polygon(lat, lon, chance), None)
        )

        found.append(
            Geofence(
                zone_id=number + 1, kind="required", area=area, radius_m=radius_m, enter=USUAL, exit=USUAL
            )
        )

    return found


def _polygon(lat: float, lon: float, chance: random.Random) -> Polygon:
    corners, size = chance.choice([4, 6, 12, 40, 200]), _degrees(chance.uniform(80, 180))
    angles = [2 * math.pi * n / corners for n in range(corners)]
    return Polygon([(lon + size * math.cos(a), lat + size * math.sin(a)) for a in angles])


def _degrees(metres: float) -> float:
    return metres / METRES_A_DEGREE


def tracks(
    count: int, zone_count: int, *, turn: int, chance: random.Random
) -> list[tuple[ZoneSubject, list[TrackFix]]]:
    """Return one fix for each guard, ten seconds after the previous one."""
    across = math.ceil(math.sqrt(zone_count))
    found = []
    for number in range(count):
        row, column = divmod(number * 7 % zone_count, across)
        off_m = chance.uniform(60, 200) if number % 10 == 0 else chance.uniform(-30, 30)
        at = T0 + timedelta(seconds=10 * turn)
        lat = LAT + _degrees(row * SPACING_M + off_m)
        lon = LON + _degrees(column * SPACING_M + chance.uniform(-30, 30))
        key = number.to_bytes(8, "big") + turn.to_bytes(8, "big")
        fix = TrackFix(key, at, at, lat, lon, chance.uniform(4, 15), None)
        found.append((ZoneSubject(f"guard-{number}"), [fix]))

    return found


def batch_s(judge: Judge, zone_count: int, *, seed: int) -> list[float]:
    """Return CPU seconds of batches with one fix for each of 500 walking guards."""
    chance = random.Random(seed)  # noqa: S311
    beliefs: list[Belief | None] = [None] * FIXES

    used = []
    for turn in range(RUNS + 3):
        now = tracks(FIXES, zone_count, turn=turn, chance=chance)
        asked: list[Track] = [
            (guard, belief, fixes) for (guard, fixes), belief in zip(now, beliefs, strict=True)
        ]
        started = time.process_time()
        judged = judge.judge_many(asked)
        used.append(time.process_time() - started)
        beliefs = [belief for belief, _ in judged]

    return used[3:]  # the first runs warm the caches


def measure(*, seed: int = 1) -> dict[str, float]:
    """Return the figures of a verdict and of a batch.

    They are microseconds of one verdict with few and with many zones, their ratio, and milliseconds
    of a batch with many.
    """
    settings = config.load(environ={}).location
    chance = random.Random(seed)  # noqa: S311
    judges = {count: Judge(ZoneIndex(zones(count, chance)), settings) for count in (FEW, MANY)}

    # The zones take turns, so that other work of the machine affects both.
    used: dict[int, list[float]] = {FEW: [], MANY: []}
    for again in range(3):
        for count, judge in judges.items():
            used[count] += batch_s(judge, count, seed=seed + again)

    few, many = (statistics.median(used[count]) for count in (FEW, MANY))
    return {
        "verdict_us_10": round(few / FIXES * 1e6, 2),
        "verdict_us_10000": round(many / FIXES * 1e6, 2),
        "verdict_growth": round(many / few, 3),
        "batch_500_ms": round(many * 1e3, 2),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
