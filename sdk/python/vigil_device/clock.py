"""The offset of the device's clock, measured from receipts. Pure.

The offset is information for the device. The outbox applies it to nothing: `timestamp` is the device's own time at
the press, and Vigil measures and corrects a steady offset by itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

KEPT = 8


class ClockOffset(NamedTuple):
    """`seconds`: add them to the device's clock to get Vigil's. The truth is at most `uncertainty_s` away from it."""

    seconds: float
    uncertainty_s: float


class ClockMeasure:
    """The narrowest of the latest measurements.

    Vigil writes `at` into a receipt between the send of the message and the arrival of the receipt.
    """

    def __init__(self) -> None:
        self._latest: list[ClockOffset] = []

    def add(self, *, sent: datetime, at: datetime, arrived: datetime) -> None:
        """Take one measurement; times of the device are aware. A clock that was set in between measures nothing."""
        if arrived < sent:
            return
        most_s, least_s = (at - sent).total_seconds(), (at - arrived).total_seconds()
        self._latest.append(ClockOffset((most_s + least_s) / 2, (most_s - least_s) / 2))
        del self._latest[:-KEPT]

    def forget(self) -> None:
        """The device's clock was set."""
        self._latest.clear()

    def offset(self) -> ClockOffset | None:
        """Return the offset; None before the first receipt."""
        return min(self._latest, key=lambda found: found.uncertainty_s, default=None)
