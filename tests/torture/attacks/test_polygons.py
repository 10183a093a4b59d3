"""Tests of polygons that are made to take long.

Each is judged within a tenth of a second, or refused, and no other request waits for it.
"""

import json
import math
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ops.environment import PROJECT
from tests.support.outside_clients import OutsideClients

MOST_S = 0.1
MOST_MB = 50
CORNERS = 9_990
"""Corners of a polygon. Ten thousand are allowed."""
ATTACKERS = 8
ATTACK_S = 6.0

Ring = list[list[float]]


def polygon(*rings: Ring) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]}


def several(*parts: Ring) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": [[[*part, part[0]]] for part in parts]}


def comb(teeth: int, west: float, east: float, south: float, north: float) -> Ring:
    step = (north - south) / teeth
    inner = west + (east - west) * 0.1
    drawn = [
        [lon, south + (n + half) * step] for n in range(teeth) for lon, half in ((east, 0.0), (inner, 0.5))
    ]
    return [*drawn, [west, north], [west, south]]


def turned(ring: Ring) -> Ring:
    """Return the ring with its axes swapped."""
    return [[lat + 168, lon - 168] for lon, lat in ring]


def parallels(corners: int) -> Ring:
    """Return long thin teeth in a slope. The extents of all of them overlap."""
    drawn = [[77 + 2 * (n % 2) + n * 1e-4, 12 + 2 * (n % 2) - n * 1e-4] for n in range(corners)]
    return [*drawn, [76.9, 10.0]]


def star(corners: int) -> Ring:
    return [
        [
            77 + (2 if n % 2 else 0.01) * math.cos(math.tau * n / corners),
            12 + (2 if n % 2 else 0.01) * math.sin(math.tau * n / corners),
        ]
        for n in range(corners)
    ]


def spiral(corners: int, turns: int) -> Ring:
    half = corners // 2
    arms: list[Ring] = []
    for out in (0.0, 1.2 / turns):
        angles = [(math.tau * turns * n / half, 0.1 + 3 * n / half + out) for n in range(half)]
        arms.append([[77 + r * math.cos(a), 12 + r * math.sin(a)] for a, r in angles])
    return arms[0] + arms[1][::-1]


def scribble(corners: int) -> Ring:
    chance = random.Random(1)
    return [[77 + chance.random(), 12 + chance.random()] for _ in range(corners)]


def over_180(corners: int, width: float) -> Ring:
    drawn = [[180 - width if n % 2 else width - 180, 12 + n * 1e-4] for n in range(corners)]
    return [*drawn, [width - 180, 11.0], [180 - width, 11.0]]


def round_and_round(corners: int) -> Ring:
    """Return a ring that goes round the earth again and again, and back."""
    there = [[(n * 90) % 360 - 180, 12 + n * 1e-4] for n in range(corners // 2)]
    return there + [[lon, lat - 1] for lon, lat in there[::-1]]


def triangles(count: int) -> list[Ring]:
    return [
        [[77 + n % 60 / 100, 12 + n // 60 / 100], [77.005 + n % 60 / 100, 12 + n // 60 / 100],
         [77 + n % 60 / 100, 12.005 + n // 60 / 100]]
        for n in range(count)
    ]  # fmt: skip


ATTACKS: dict[str, Callable[[], object]] = {
    "comb": lambda: polygon(comb(CORNERS // 2 - 1, 76, 79, 12, 15)),
    "comb that stands": lambda: polygon([[y + 65, x - 65] for x, y in comb(CORNERS // 2 - 1, 76, 79, 12, 15)]),
    "parallels": lambda: polygon(parallels(CORNERS)),
    "star": lambda: polygon(star(CORNERS)),
    "spiral": lambda: polygon(spiral(CORNERS, 20)),
    "tight spiral": lambda: polygon(spiral(CORNERS, 200)),
    "collinear": lambda: polygon([[77 + n * 1e-4, 12 + n % 2 * 1e-9] for n in range(CORNERS)]),
    "collinear, one aside": lambda: polygon([[77 + n * 1e-4, 12.0] for n in range(CORNERS)] + [[77.5, 12.5]]),
    "scribble": lambda: polygon(scribble(CORNERS)),
    "small scribble": lambda: polygon(scribble(400)),
    "zigzag over 180": lambda: polygon(over_180(CORNERS, 1)),
    "steep zigzag over 180": lambda: polygon(over_180(CORNERS, 1e-4)),
    "round and round": lambda: polygon(round_and_round(CORNERS)),
    "two combs": lambda: several(
        comb(800, 178, 180, 10, 12), turned(comb(800, 178, 180, 10, 12)), comb(3, -180, -178, 10, 12)
    ),
    "two combs, few teeth": lambda: several(
        comb(100, 178, 180, 10, 12), turned(comb(100, 178, 180, 10, 12)), comb(3, -180, -178, 10, 12)
    ),
    "halves at 180": lambda: several(comb(2400, 180, 178, 10, 12), comb(2400, -180, -178, 10, 12)),
    "teeth at 180": lambda: several(comb(2400, 178, 180, 10, 12), comb(2400, -178, -180, 10, 12)),
    "few teeth at 180": lambda: several(comb(90, 178, 180, 10, 12), comb(90, -178, -180, 10, 12)),
    "many parts": lambda: several(*triangles(3_300)),
    "as many parts as are taken": lambda: several(*triangles(500)),
    "many holes": lambda: polygon([[76, 11], [79, 11], [79, 14], [76, 14]], *triangles(3_300)),
    "as many holes as are taken": lambda: polygon([[76, 11], [79, 11], [79, 14], [76, 14]], *triangles(499)),
    "the same part again": lambda: several(*[star(100)] * 90),
    "nested collections": lambda: {
        "type": "GeometryCollection",
        "geometries": [{"type": "GeometryCollection", "geometries": [polygon(star(300))] * 30}] * 5,
    },
}  # fmt: skip

JUDGE = """
import json, re, sys, time
from pathlib import Path
from services.geofencing import antimeridian
from services.geofencing.validation import draft_of
from services.contracts.errors import Refused
from services.location.tracks.search_area import parse
area = json.load(sys.stdin)
draft_of({"name": "warm", "area": {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]}})
def peak():
    # Megabytes of this process alone; the kernel's usage figures of a child begin with its parent's.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
found = []
kept = []
judges = (
    lambda: kept.append(draft_of({"name": "zone", "area": area}).area),
    lambda: [antimeridian.cut(area) for area in kept[:1]],
    lambda: parse(area),
)
for judge in judges:
    held, taken = peak(), []
    for _ in range(5):
        started = time.process_time()
        try:
            judge()
            said = ""
        except Refused as error:
            said = str(error)
        taken.append(time.process_time() - started)
    found.append({"seconds": min(taken), "megabytes": peak() - held, "said": said})
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", ATTACKS)
def test_a_shape_is_judged_in_a_tenth_of_a_second_or_refused_in_one_sentence(name: str) -> None:
    area = ATTACKS[name]()
    done = subprocess.run(
        [sys.executable, "-c", JUDGE],
        input=json.dumps(area),
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=60,
        check=True,
    )
    for which, found in zip(("zone", "zone in a file", "search area"), json.loads(done.stdout), strict=True):
        print(
            f"{name}, {which}: {found['seconds'] * 1000:.0f} ms, {found['megabytes']:.0f} MB {found['said']}"
        )
        assert found["seconds"] <= MOST_S, (which, found)
        assert found["megabytes"] <= MOST_MB, (which, found)
        assert "\n" not in found["said"]


def test_log_ins_and_lists_go_on_while_shapes_are_judged(outside: OutsideClients) -> None:
    supervisor = outside.token(role="supervisor")
    statuses: list[int] = []
    ended = threading.Event()

    def attack(names: list[str]) -> None:
        bodies = [{"name": "x", "area": ATTACKS[name]()} for name in names]
        while not ended.is_set():
            for body in bodies:
                statuses.append(outside.request("POST", "/api/v1/zones/check", body, token=supervisor)[0])

    def waited() -> float:
        started_s = time.monotonic()
        assert outside.request("GET", "/api/v1/sites", token=supervisor)[0] == 200
        return time.monotonic() - started_s

    quiet = statistics.median(waited() for _ in range(10))
    names = ["comb", "two combs", "spiral", "collinear, one aside", "scribble", "few teeth at 180"]
    threads = [threading.Thread(target=attack, args=(names[n % 3 :],)) for n in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + ATTACK_S
    busy = [waited()]
    while time.monotonic() < until_s:
        busy.append(waited())
    ended.set()
    for thread in threads:
        thread.join()

    print(
        f"GET /sites: {quiet:.3f} s before, {statistics.median(busy):.3f} s median, {max(busy):.3f} s at the most"
    )
    assert set(statuses) <= {200, 400, 429}, set(statuses)
    assert statistics.median(busy) < 1
    assert max(busy) < 5
    outside.until(lambda: waited() < 1.0)


@pytest.mark.parametrize(
    "ring",
    [
        [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]],
        [[0, 0], [180, 0], [180, 10], [0, 10], [0, 0]],
        [[-90, 0], [90, 0], [90, 1], [-90, 1], [-90, 0]],
        [[0, 0], [120, 0], [-120, 0], [0, 0]],
        [[-179.9, -89.9], [179.9, -89.9], [179.9, 89.9], [-179.9, 89.9], [-179.9, -89.9]],
        [[0, 90], [0, -90], [10, 0], [0, 90]],
    ],
    ids=["world", "half a world", "antipodes", "equator", "nearly the world", "pole to pole"],
)
def test_guards_within_more_than_a_hemisphere_are_not_looked_for(outside: OutsideClients, ring: Ring) -> None:
    body = {"shape": {"type": "Polygon", "coordinates": [ring]}}
    status, said = outside.request(
        "POST", "/api/v1/positions/within", body, token=outside.token(role="viewer")
    )
    assert status == 400, said
    assert "80 degrees" in json.dumps(said)
