"""A simulated guard company: guards on rounds, devices that drain, and some trouble. Pure.

Rounds are correlated random walks at walking speed within the site. A guard who leaves the site
does so on a motorcycle. GPS noise is Gaussian, of the size of the claimed accuracy. All chance
comes from the `random.Random` that the caller seeds; time is an argument.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

SITE_LAT, SITE_LON = 12.9716, 77.5946
SITE_RADIUS_M = 500.0
METRES_A_DEGREE = 111_195.0
WALK_MPS = 1.4
RIDE_MPS = 12.0
ROUND_RADIUS_M = 350.0
AWAY_RADIUS_M = 650.0
AWAY_TURNS = 6


class SimulatedMessage(NamedTuple):
    """One message to publish. `notable` is text for a person who watches."""

    source_id: str
    topic: str
    payload: bytes
    notable: str = ""


class EventChances(NamedTuple):
    """Chances for each turn of one source."""

    panic: float = 0.0005
    leave: float = 0.0005
    smoke: float = 0.003
    overload: float = 0.001


class SimulatedGuard:
    """A guard on a round: `turn` walks on and reports the fix."""

    family = "guard"

    def __init__(self, number: int, chance: random.Random) -> None:
        self.source_id = f"guard-{number}"
        self._number = number
        self._chance = chance
        self._east_m = chance.uniform(-200, 200)
        self._north_m = chance.uniform(-200, 200)
        self._heading = chance.uniform(0, 360)
        self._speed_mps = 0.0
        self._aim_m: float | None = None
        self._away_turns = 0

    def turn(
        self, *, now: datetime, elapsed_s: float, odds: EventChances, msg_id: str
    ) -> Iterator[SimulatedMessage]:
        if self._aim_m is None and self._chance.random() < odds.leave:
            self._aim_m, self._away_turns = AWAY_RADIUS_M, AWAY_TURNS

        notable = self._move(elapsed_s)
        if self._chance.random() < odds.panic:
            panic = {"severity": "critical", "message": "simulated panic", "timestamp": now.isoformat()}
            where = self._position(0.0)
            yield SimulatedMessage(
                self.source_id,
                f"alert/panic/{self.source_id}",
                _json({**panic, "location": where, "msg_id": f"{msg_id}-p"}),
                f"{self.source_id} presses the panic button",
            )

        accuracy = self._chance.uniform(3, 15)
        fix = {
            **self._position(accuracy / 2),
            "accuracy": round(accuracy, 1),
            "speed": round(self._speed_mps, 1),
            "heading": round(self._heading % 360, 1),
            "guard_id": self._number,
            "source": "gps",
            "timestamp": now.isoformat(),
            "msg_id": msg_id,
        }
        yield SimulatedMessage(self.source_id, f"guard/{self.source_id}/gps", _json(fix), notable)

    def _move(self, elapsed_s: float) -> str:
        """Move on for `elapsed_s` seconds; return a text when that crosses the edge of the site."""
        east_m, north_m = self._east_m, self._north_m
        if self._aim_m is None:
            self._walk(WALK_MPS * elapsed_s)
        else:
            self._ride(RIDE_MPS * elapsed_s, self._aim_m)

        moved_east_m, moved_north_m = self._east_m - east_m, self._north_m - north_m
        self._speed_mps = math.hypot(moved_east_m, moved_north_m) / elapsed_s

        was_inside = math.hypot(east_m, north_m) <= SITE_RADIUS_M
        is_inside = math.hypot(self._east_m, self._north_m) <= SITE_RADIUS_M
        if was_inside == is_inside:
            return ""

        return f"{self.source_id} {'comes back into' if is_inside else 'leaves'} the zone"

    def _walk(self, step_m: float) -> None:
        self._heading += self._chance.gauss(0, 20)
        angle = math.radians(self._heading)
        self._east_m += step_m * math.sin(angle)
        self._north_m += step_m * math.cos(angle)
        if math.hypot(self._east_m, self._north_m) > ROUND_RADIUS_M:
            self._scale_to(ROUND_RADIUS_M)
            self._heading = math.degrees(math.atan2(-self._east_m, -self._north_m))

    def _ride(self, step_m: float, aim_m: float) -> None:
        """Ride straight out to the aim, stay a few turns there, and ride straight back."""
        distance_m = math.hypot(self._east_m, self._north_m)
        outward = math.atan2(self._east_m, self._north_m)
        self._heading = math.degrees(outward if aim_m >= distance_m else outward + math.pi)
        self._scale_to(distance_m + max(-step_m, min(step_m, aim_m - distance_m)))

        if abs(aim_m - distance_m) > step_m:
            return
        if self._away_turns:
            self._away_turns -= 1
        else:
            self._aim_m = ROUND_RADIUS_M if aim_m == AWAY_RADIUS_M else None

    def _scale_to(self, radius_m: float) -> None:
        factor = radius_m / (math.hypot(self._east_m, self._north_m) or 1.0)
        self._east_m *= factor
        self._north_m *= factor

    def _position(self, noise_m: float) -> dict[str, float]:
        north = self._north_m + self._chance.gauss(0, noise_m)
        east = self._east_m + self._chance.gauss(0, noise_m)
        lat = SITE_LAT + north / METRES_A_DEGREE
        lon = SITE_LON + east / (METRES_A_DEGREE * math.cos(math.radians(SITE_LAT)))
        return {"lat": round(lat, 7), "lon": round(lon, 7)}


class SimulatedDevice:
    """A device whose battery drains and is charged again."""

    family = "device"

    def __init__(self, number: int, chance: random.Random) -> None:
        self.source_id = f"device-{number}"
        self._chance = chance
        self._battery = chance.uniform(30, 100)

    def turn(self, *, now: datetime, msg_id: str) -> Iterator[SimulatedMessage]:
        self._battery -= self._chance.uniform(0, 0.2)
        notable = ""
        if self._battery < 15:
            self._battery = 100.0
            notable = f"{self.source_id} is charged"

        reading = {
            "battery": round(self._battery, 1),
            "signal": self._chance.randint(-95, -50),
            "temperature": round(self._chance.gauss(29, 2), 1),
            "connectivity": "ONLINE",
            "timestamp": now.isoformat(),
            "msg_id": msg_id,
        }
        yield SimulatedMessage(self.source_id, f"device/{self.source_id}/telemetry", _json(reading), notable)


class SimulatedSensor:
    """A smoke, door or motion sensor."""

    family = "sensor"

    TYPES = ("SMOKE", "DOOR", "MOTION", "TEMPERATURE")

    def __init__(self, number: int, chance: random.Random) -> None:
        self.source_id = f"sensor-{number}"
        self._type = self.TYPES[number % len(self.TYPES)]
        self._chance = chance

    def turn(self, *, now: datetime, odds: EventChances, msg_id: str) -> Iterator[SimulatedMessage]:
        reading: dict[str, Any] = {"type": self._type, "timestamp": now.isoformat(), "msg_id": msg_id}
        notable = ""
        if self._type == "SMOKE":
            smoke = self._chance.random() < odds.smoke
            reading["value"] = 180 if smoke else round(self._chance.uniform(2, 20), 1)
            notable = f"{self.source_id} sees smoke" if smoke else ""
        elif self._type == "TEMPERATURE":
            reading["value"] = round(self._chance.gauss(26, 1), 1)
        else:
            reading["state"] = self._chance.choice(["OPEN", "CLOSED"] if self._type == "DOOR" else ["CLEAR"])

        yield SimulatedMessage(self.source_id, f"sensor/{self.source_id}/reading", _json(reading), notable)


class SimulatedSystem:
    """A machine of the company that reports its own health."""

    family = "system"

    def __init__(self, number: int, chance: random.Random) -> None:
        self.source_id = f"system-{number}"
        self._chance = chance
        self._uptime_s = chance.uniform(3600, 1_000_000)
        self._disk = chance.uniform(20, 70)

    def turn(
        self, *, now: datetime, elapsed_s: float, odds: EventChances, msg_id: str
    ) -> Iterator[SimulatedMessage]:
        self._uptime_s += elapsed_s
        overloaded = self._chance.random() < odds.overload
        health = {
            "cpu": 97.0 if overloaded else round(self._chance.uniform(5, 60), 1),
            "memory": round(self._chance.uniform(30, 70), 1),
            "disk": round(self._disk, 1),
            "uptime": int(self._uptime_s),
            "timestamp": now.isoformat(),
            "msg_id": msg_id,
        }

        notable = f"{self.source_id} is overloaded" if overloaded else ""
        yield SimulatedMessage(self.source_id, f"system/health/{self.source_id}", _json(health), notable)


class Fleet:
    """All simulated sources; each `turn` sends the messages of the next source."""

    def __init__(
        self, *, guards: int, chance: random.Random, run: str, odds: EventChances | None = None
    ) -> None:
        self._chance = chance
        self._run = run
        self._odds = odds or EventChances()
        self._sources: list[SimulatedGuard | SimulatedDevice | SimulatedSensor | SimulatedSystem] = [
            *(SimulatedGuard(100 + n, chance) for n in range(guards)),
            *(SimulatedDevice(n, chance) for n in range(max(1, guards // 2))),
            *(SimulatedSensor(n, chance) for n in range(max(4, guards // 4))),
            *(SimulatedSystem(n, chance) for n in range(max(1, guards // 10))),
        ]
        self._turns = 0

    def turn(self, *, now: datetime, elapsed_s: float) -> list[SimulatedMessage]:
        """Return the messages of the next source.

        `elapsed_s` is the time since its last messages, above 0.
        """
        source = self._sources[self._turns % len(self._sources)]
        self._turns += 1
        msg_id = f"{self._run}-{self._turns}"
        if isinstance(source, SimulatedGuard | SimulatedSystem):
            return list(source.turn(now=now, elapsed_s=elapsed_s, odds=self._odds, msg_id=msg_id))
        if isinstance(source, SimulatedSensor):
            return list(source.turn(now=now, odds=self._odds, msg_id=msg_id))
        return list(source.turn(now=now, msg_id=msg_id))

    def sources(self) -> list[tuple[str, str]]:
        """Return (id, family) of each source, for its registration."""
        return [(source.source_id, source.family) for source in self._sources]

    def __len__(self) -> int:
        return len(self._sources)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
