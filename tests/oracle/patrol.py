"""Guards whose episodes are long: outside for minutes, back for minutes.

Even if the queue mixes up some fixes, each episode is one violation, and one alert.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from math import cos, radians
from random import Random

from tests.oracle.geometry import Shape
from tests.oracle.words import Fix, Needed, Zone
from tests.oracle.worlds import METRES_A_DEGREE, Guard

LAT, LON = 12.97, 77.59
INTERVAL_S = 10.0
AN_EPISODE = 18
"""Fixes of an episode: three minutes."""
NEEDED = Needed(2, 60)
GROUP = 3
"""The group of the patrolling guards.

They are in no other group, and its zones apply to nobody else.
"""
ZONES = [
    Zone(101, 1, "required", Shape(centre=(LON, LAT), radius_m=150.0), NEEDED, NEEDED, group_id=GROUP),
    Zone(
        102, 1, "forbidden", Shape(centre=(LON, LAT + 0.0010), radius_m=40.0), NEEDED, NEEDED, group_id=GROUP
    ),
    Zone(
        103, 1, "speed", Shape(centre=(LON, LAT - 0.0010), radius_m=40.0), NEEDED, NEEDED, 3.0, group_id=GROUP
    ),
]
PLACES = {"home": 0.0, "outside": 400.0, "forbidden": 111.2, "road": -111.2}
"""Metres north of the middle."""


def patrol(random: Random, guard_id: str, begins: datetime, *, episodes: int) -> Guard:
    """Return a guard who is at home and somewhere else in turn.

    The last episode may be at either.
    """
    at = begins + timedelta(seconds=random.uniform(0, INTERVAL_S))
    fixes = []
    for nth in range(episodes):
        place = "home" if nth % 2 == 0 else random.choice(("outside", "forbidden", "road"))
        for lap in range(AN_EPISODE):
            at += timedelta(seconds=INTERVAL_S * random.uniform(0.8, 1.2))
            driving = place == "road"
            east_m = 0.0 if not driving else 25.0 if lap % 2 else -25.0
            fixes.append(_fix(random, at, PLACES[place], east_m, 6.0 if driving else 0.5))
    return Guard(guard_id, frozenset({GROUP}), tuple(fixes))


def _fix(random: Random, at: datetime, north_m: float, east_m: float, speed: float) -> Fix:
    lat = LAT + (north_m + random.gauss(0, 2)) / METRES_A_DEGREE
    lon = LON + (east_m + random.gauss(0, 2)) / METRES_A_DEGREE / cos(radians(LAT))
    received_at = at + timedelta(seconds=random.uniform(0, 2))
    return Fix(random.randbytes(16), at, received_at, lat, lon, random.uniform(4, 8), speed)


def mixed_up(random: Random, guards: list[Guard], *, size: int) -> list[list[tuple[str, Fix]]]:
    """Return batches as a gateway would make them: by time, of all guards.

    Some fixes come again, some come late.
    """
    everything = sorted(
        ((guard.guard_id, fix) for guard in guards for fix in guard.fixes),
        key=lambda item: item[1].recorded_at,
    )
    batches = [list(everything[n : n + size]) for n in range(0, len(everything), size)]
    for nth, batch in enumerate(batches):
        for item in random.sample(batch, len(batch) // 8):
            if random.random() < 0.5:
                batch.remove(item)
            batches[min(len(batches) - 1, nth + random.randint(1, 6))].append(item)
    return [batch for batch in batches if batch]


def only(zones: list[Zone], groups: tuple[int, ...]) -> list[Zone]:
    """Return the zones with those of all guards limited to these groups.

    Guards on patrol have zones of their own.
    """
    turn = itertools.cycle(groups)
    return [
        zone
        if zone.guard_id
        else replace(zone, group_id=zone.group_id if zone.group_id in groups else next(turn))
        for zone in zones
    ]
