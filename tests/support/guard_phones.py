"""Guards' phones as seen from outside.

A tenant has one zone, and its guards' phones publish messages.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.support.commands import run_vigil
from tests.support.mqtt_device import MqttClient
from tests.support.outside_clients import OutsideClients

LAT, LON = 12.9716, 77.5946
RADIUS_M = 200
METRES_A_DEGREE = 111_195.0
NO_PLACE = "no place"


def north(metres: float) -> dict[str, float]:
    """Return a place `metres` north of the middle of the zone."""
    return {"lat": LAT + metres / METRES_A_DEGREE, "lon": LON}


INSIDE, OUTSIDE = north(0.0), north(600.0)


class GuardPhones:
    """A tenant of its own.

    Its one zone, in which all guards must be, is a circle round `LAT`, `LON`.
    """

    def __init__(self, outside: OutsideClients, name: str) -> None:
        self.outside = outside
        self.run = outside.run
        self.tenant_id = int(outside.run, 16) % 1_000_000 + 2_000_000
        self._client = MqttClient(int(outside.env["MQTT_BROKER_PORT"]), f"phones-{name}-{outside.run}")
        self._published = 0
        tenant = ("--tenant", str(self.tenant_id))
        run_vigil(outside.env, "tenant", "add", str(self.tenant_id), f"{name} {outside.run}")
        circle = ("--circle", str(LAT), str(LON), str(RADIUS_M))
        run_vigil(outside.env, "zone", "add", f"Yard {outside.run}", *circle, *tenant)
        # A zone is in force two seconds after it was made, and fixes with a slow clock have a time
        # before that.
        outside.execute("UPDATE zone SET in_force_from = '-infinity' WHERE tenant_id = %s", self.tenant_id)
        outside.execute(
            "UPDATE zone_version SET in_force_from = '-infinity' WHERE tenant_id = %s", self.tenant_id
        )

    def guard(self, name: str) -> str:
        """Register a guard, and return its id."""
        guard_id = f"guard-{name.replace(' ', '-').replace(',', '')}-{self.run}"
        self.outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) VALUES (%s, %s, %s)",
            guard_id,
            self.tenant_id,
            name,
        )
        return guard_id

    def shift(self, guard_id: str, starts_s: float, ends_s: float) -> None:
        """Add a shift, in seconds from now."""
        now = datetime.now(UTC)
        starts, ends = now + timedelta(seconds=starts_s), now + timedelta(seconds=ends_s)
        self.outside.execute(
            "INSERT INTO guard_shift (tenant_id, guard_id, starts_at, ends_at) VALUES (%s, %s, %s, %s)",
            self.tenant_id,
            guard_id,
            starts,
            ends,
        )

    def send(
        self, guard_id: str, place: dict[str, float], *, ahead_s: float | None = 0.0, **changes: Any
    ) -> None:
        """Publish a fix whose device's clock is `ahead_s` ahead of ours, or has no time with None."""
        body: dict[str, Any] = {**place, "accuracy": 5}
        if ahead_s is not None:
            body["timestamp"] = (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()
        self._client.publish(f"guard/{guard_id}/gps", json.dumps({**body, **changes}).encode())
        self._published += 1

    def settle(self) -> None:
        """Wait until the broker has taken all messages."""
        self._client.settle(self._published)

    def beat(self, seconds: float = 1.0) -> None:
        """Wait until the next fix is due.

        Phones send in time, and that is how their clocks are measured.
        """
        due_s = time.monotonic() + seconds
        while (left_s := due_s - time.monotonic()) > 0:
            self._client.listen(wait_s=left_s)

    def violations(self, guard_id: str) -> list[tuple[Any, ...]]:
        """Return the guard's violations: message, occurrences, when it was cleared."""
        return self.outside.rows(
            "SELECT message, occurrences, cleared_at FROM mqtt_device_alert"
            " WHERE source_id = %s AND alert_type = 'GEOFENCE_VIOLATION'",
            guard_id,
        )

    def violates(self, guard_id: str, timeout_s: float = 15.0) -> list[tuple[Any, ...]]:
        """Wait for a violation of the guard."""
        found: list[tuple[Any, ...]] = self.outside.until(lambda: self.violations(guard_id), timeout_s)
        return found

    def stored(self, guard_id: str) -> int:
        return int(
            self.outside.rows("SELECT count(*) FROM mqtt_guard_location WHERE guard_id = %s", guard_id)[0][0]
        )

    def quality(self, guard_id: str) -> list[list[str]]:
        """Return the quality of each fix, in the order of receipt."""
        found = self.outside.rows(
            "SELECT quality FROM mqtt_guard_location WHERE guard_id = %s ORDER BY received_at, recorded_at",
            guard_id,
        )
        return [quality or [] for (quality,) in found]

    def implausible(self, guard_id: str) -> list[str]:
        found = self.outside.rows(
            "SELECT reason FROM implausible_fix WHERE guard_id = %s ORDER BY recorded_at", guard_id
        )
        return [reason for (reason,) in found]

    def shown_at(self, guard_id: str) -> tuple[float, float] | None:
        """Return the place at which the control room sees the guard, or None."""
        found = self.outside.rows("SELECT lat, lon FROM guard_state WHERE guard_id = %s", guard_id)
        return (float(found[0][0]), float(found[0][1])) if found else None

    def has_no_pending_alert(self, guard_id: str) -> bool:
        """Return True when no timer will raise an alert from the guard's fixes."""
        return not self.outside.rows(
            "SELECT 1 FROM guard_state WHERE guard_id = %s AND settles_at IS NOT NULL", guard_id
        )


class FinishedPhones(NamedTuple):
    """Phones that have sent everything, and the id of each guard by its name in the test."""

    phones: GuardPhones
    guards: dict[str, str]
