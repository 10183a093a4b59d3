"""The messages that are sent: every family, some refused on purpose, some sent twice on purpose. Pure."""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import Any, NamedTuple

LAT, LON = 12.9716, 77.5946
WEIGHTS = {"guard": 60.0, "device": 25.0, "sensor": 10.0, "system": 4.8, "alert": 0.2}
"""In per cent. One alert in 500 messages is still far more than any guard company has."""
REFUSED_SHARE = 0.005
TWICE_SHARE = 0.005


class Entry(NamedTuple):
    """One line of the ledger before it is sent. `copies` counts how often it goes out."""

    family: str
    topic: str
    payload: bytes
    msg_id: str
    refused: bool
    copies: int


def make(*, count: int, sources: int, seed: int, run: str, now: datetime) -> list[Entry]:
    """`count` distinct messages from `sources` sources; the same seed makes the same ones."""
    chance = random.Random(seed)  # noqa: S311 - a benchmark wants repeatable chance
    families = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    return [
        _entry(family, number, sources, chance, run, now.isoformat())
        for number, family in enumerate(families)
    ]


def _entry(family: str, number: int, sources: int, chance: random.Random, run: str, timestamp: str) -> Entry:
    msg_id = f"{run}-{number}"
    source = chance.randrange(sources)
    topic, fields = _MAKERS[family](source, chance)
    refused = family == "guard" and chance.random() < REFUSED_SHARE
    if refused:
        del fields["lat"]
    copies = 2 if chance.random() < TWICE_SHARE else 1
    payload = json.dumps({**fields, "timestamp": timestamp, "msg_id": msg_id}, separators=(",", ":")).encode()
    return Entry(family, topic, payload, msg_id, refused, copies)


def _guard(source: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
    fields = {
        "lat": round(LAT + chance.uniform(-0.002, 0.002), 7),
        "lon": round(LON + chance.uniform(-0.002, 0.002), 7),
        "accuracy": round(chance.uniform(3, 15), 1),
        "speed": 1.4,
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


_MAKERS = {"guard": _guard, "device": _device, "sensor": _sensor, "system": _system, "alert": _alert}
