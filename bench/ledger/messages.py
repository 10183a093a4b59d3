"""Messages of the ledger: every family, some refused and some sent twice on purpose. Pure."""

from __future__ import annotations

import json
import math
import random
from datetime import datetime, timedelta
from typing import Any, NamedTuple

LAT, LON = 12.9716, 77.5946
METRES_A_DEGREE = 111_195.0
WALK_MPS = 1.4
BEAT_M = 200.0
"""Distance that guards walk east and west of the middle. Each guard has its own line."""
NOMINAL_PER_S = 8_000
"""Pace of the timestamps. It is near the real pace, so clocks seem right within seconds."""
WEIGHTS = {"guard": 60.0, "device": 25.0, "sensor": 10.0, "system": 4.8, "alert": 0.2}
"""Shares in per cent. One alert in 500 messages is still far more than any guard company has."""
REFUSED_SHARE = 0.005
TWICE_SHARE = 0.005


ZONE_M = 500.0
"""Radius of the site's own zone, which `vigil seed` makes."""
NEIGHBOUR_M, NEIGHBOURS_APART_M = 300.0, 800.0


class LedgerEntry(NamedTuple):
    """One line of the ledger before it is sent. `copies` is the number of its sends."""

    family: str
    topic: str
    payload: bytes
    msg_id: str
    refused: bool
    copies: int


def make(*, count: int, sources: int, seed: int, run: str, now: datetime) -> list[LedgerEntry]:
    """Return `count` distinct messages from `sources` sources.

    The same seed makes the same messages.
    """
    chance = random.Random(seed)  # noqa: S311 - a benchmark wants repeatable chance
    families = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    chosen = [(family, chance.randrange(sources)) for family in families]
    entries = []
    for number, (family, source) in enumerate(chosen):
        at = now + timedelta(seconds=number / NOMINAL_PER_S)
        entries.append(_entry(family, f"{run}-{number}", source, chance, at))
    return entries


def zones(count: int) -> list[tuple[float, float, float]]:
    """Return circles as (latitude, longitude, radius in metres).

    The site's own circle is first, then others on a grid around it.
    """
    reach = math.ceil(math.sqrt(count) / 2)
    places = sorted(
        ((north, east) for north in range(-reach, reach + 1) for east in range(-reach, reach + 1)),
        key=lambda place: (place[0] ** 2 + place[1] ** 2, place),
    )
    found = [(LAT, LON, ZONE_M)]

    for north, east in places[1:count]:
        lat = LAT + north * NEIGHBOURS_APART_M / METRES_A_DEGREE
        lon = LON + east * NEIGHBOURS_APART_M / METRES_A_DEGREE / math.cos(math.radians(LAT))
        found.append((lat, lon, NEIGHBOUR_M))

    return found


def _entry(family: str, msg_id: str, source: int, chance: random.Random, at: datetime) -> LedgerEntry:
    guards = family == "guard"
    topic, fields = _guard(source, chance, at) if guards else _MAKERS[family](source, chance)

    refused = guards and chance.random() < REFUSED_SHARE
    if refused:
        del fields["lat"]

    copies = 2 if chance.random() < TWICE_SHARE else 1
    timed = {**fields, "timestamp": at.isoformat(), "msg_id": msg_id}
    return LedgerEntry(
        family, topic, json.dumps(timed, separators=(",", ":")).encode(), msg_id, refused, copies
    )


def _guard(source: int, chance: random.Random, at: datetime) -> tuple[str, dict[str, Any]]:
    accuracy = chance.uniform(3, 15)
    walked = (at.timestamp() * WALK_MPS + source * 37.0) % (4 * BEAT_M)
    east_m = abs(walked - 2 * BEAT_M) - BEAT_M + chance.gauss(0, accuracy / 3)
    north_m = (source % 41 - 20) * 10.0 + chance.gauss(0, accuracy / 3)
    fields = {
        "lat": round(LAT + north_m / METRES_A_DEGREE, 7),
        "lon": round(LON + east_m / METRES_A_DEGREE / math.cos(math.radians(LAT)), 7),
        "accuracy": round(accuracy, 1),
        "speed": WALK_MPS,
        "heading": chance.randrange(360),
        "guard_id": source + 1000,
        "client_id": 1,
    }

    return f"guard/guard-{source + 1000}/gps", fields


def _device(source: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
    fields = {
        "battery": chance.randrange(30, 100),
        "signal": chance.randrange(-95, -50),
        "temperature": round(chance.gauss(29, 2), 1),
        "connectivity": "ONLINE",
    }
    return f"device/bench-device-{source}/telemetry", fields


def _sensor(source: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
    kind = ("TEMPERATURE", "HUMIDITY")[source % 2]
    return f"sensor/bench-sensor-{source}/reading", {"type": kind, "value": round(chance.uniform(10, 40), 1)}


def _system(source: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
    fields = {name: chance.randrange(5, 80) for name in ("cpu", "memory", "disk")}
    return f"system/health/bench-system-{source % 20}", {**fields, "uptime": chance.randrange(100_000)}


def _alert(source: int, chance: random.Random) -> tuple[str, dict[str, Any]]:  # noqa: ARG001
    return f"alert/panic/guard-{source + 1000}", {"severity": "critical", "message": "bench"}


_MAKERS = {"device": _device, "sensor": _sensor, "system": _system, "alert": _alert}
