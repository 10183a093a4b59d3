"""What a reading says about a source: conditions that call for an alert, or no longer do. Pure.

Thresholds are the contract's; raising and clearing ones differ where a value would flap.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from services.messages import AlertType, DeviceReading, HealthReading, SensorReading

ACTIVE_STATES = frozenset({"DETECTED", "ALARM"})
QUIET_STATES = frozenset({"CLEAR", "NORMAL", "CLOSED"})


class Thresholds(msgspec.Struct, frozen=True):
    """Battery and usage in per cent, smoke in the sensor's own unit."""

    low_battery_raise_below: float = 20
    low_battery_clear_from: float = 25
    smoke_raise_above: float = 100
    usage_raise_above: float = 90


class Finding(msgspec.Struct, frozen=True):
    """One condition of one source. `met` False means that it is over; in between nothing is found at all."""

    alert_type: AlertType
    name: str
    met: bool
    message: str

    def dedup_key(self, source_id: str) -> str:
        """Two findings with one key are about the same trouble."""
        return f"{self.alert_type}:{source_id}:{self.name}"


def of_device(reading: DeviceReading, thresholds: Thresholds) -> Iterator[Finding]:
    """Low battery. 0 per cent counts; an unknown battery says nothing."""
    battery = reading.battery
    if battery is None:
        return
    if battery < thresholds.low_battery_raise_below:
        yield Finding(AlertType.LOW_BATTERY, "battery", True, f"Battery at {battery:g} %")
    elif battery >= thresholds.low_battery_clear_from:
        yield Finding(AlertType.LOW_BATTERY, "battery", False, f"Battery back at {battery:g} %")


def of_sensor(reading: SensorReading, thresholds: Thresholds) -> Iterator[Finding]:
    """Smoke, intrusion, broken glass, water."""
    match reading.type:
        case "SMOKE":
            yield from _smoke(reading, thresholds)
        case "INTRUSION" | "GLASS_BREAK":
            yield from _by_state(reading, AlertType.INTRUSION)
        case "WATER_LEAK":
            yield from _by_state(reading, AlertType.EQUIPMENT_FAILURE)


def of_system(reading: HealthReading, thresholds: Thresholds) -> Iterator[Finding]:
    """CPU, memory or disk nearly used up; each is a trouble of its own."""
    usages = (("cpu", reading.cpu), ("memory", reading.memory), ("disk", reading.disk))
    for name, usage in usages:
        if usage is not None:
            met = usage > thresholds.usage_raise_above
            yield Finding(AlertType.EQUIPMENT_FAILURE, name, met, f"{name} at {usage:g} %")


def _smoke(reading: SensorReading, thresholds: Thresholds) -> Iterator[Finding]:
    too_much = reading.value is not None and reading.value > thresholds.smoke_raise_above
    if too_much or reading.state in ACTIVE_STATES:
        yield Finding(AlertType.FIRE, "smoke", True, f"Smoke: value {reading.value}, state {reading.state}")
    elif reading.value is not None or reading.state in QUIET_STATES:
        yield Finding(AlertType.FIRE, "smoke", False, "Smoke gone")


def _by_state(reading: SensorReading, alert_type: AlertType) -> Iterator[Finding]:
    name = reading.type.lower()
    if reading.state in ACTIVE_STATES:
        yield Finding(alert_type, name, True, f"{name.replace('_', ' ').capitalize()}: {reading.state}")
    elif reading.state in QUIET_STATES:
        yield Finding(alert_type, name, False, f"{name.replace('_', ' ').capitalize()} over")
