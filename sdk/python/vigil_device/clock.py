"""The offset of the device's clock, measured from receipts. Pure.

The offset is information for the device. The outbox applies it to nothing: `timestamp` is the
device's own time at the press, and Vigil itself measures and corrects a steady offset.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

KEPT = 8


class ClockOffset(NamedTuple):
    """Offset of the device's clock.

    Add `seconds` to the device's clock to get Vigil's. The true offset differs by at most
    `uncertainty_s`.
    """

    seconds: float
    uncertainty_s: float


class ClockMeasure:
    """Store of the latest measurements. It returns the most certain one.

    Vigil writes `at` into a receipt between the send of the message and the arrival of the receipt.
    """

    def __init__(self) -> None:
        self._latest: list[ClockOffset] = []

    def add(self, *, sent: datetime, at: datetime, arrived: datetime) -> None:
        """Add one measurement. Times of the device are aware.

        A measurement is dropped when the clock was set back in between.
        """
        if arrived < sent:
            return
        most_s, least_s = (at - sent).total_seconds(), (at - arrived).total_seconds()
        self._latest.append(ClockOffset((most_s + least_s) / 2, (most_s - least_s) / 2))
        del self._latest[:-KEPT]

    def forget(self) -> None:
        """Drop all measurements, because the device's clock was set."""
        self._latest.clear()

    def offset(self) -> ClockOffset | None:
        """Return the offset; None before the first receipt."""
        return min(self._latest, key=lambda found: found.uncertainty_s, default=None)
