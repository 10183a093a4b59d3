"""Order of one source's readings, and which of them are late. Pure.

Only times of one clock are compared. Two device times are compared with each other. When one of the
two readings has no device time, both are compared by receipt. A device time ahead of receipt is the
time of a clock that is wrong by an unknown amount. It never makes a later reading late: within
`UNSURE_S` of it, receipt decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, TypeVar

from services.contracts.families import Origin
from services.ingestion.clock_offset import RIGHT_WITHIN_S

T = TypeVar("T")

UNSURE_S = RIGHT_WITHIN_S
"""Most seconds that a stored time is ahead: a clock that is ahead by more is corrected."""


class MessageTimes(NamedTuple):
    """Both times of one message. `timed`: `recorded_at` is a device time that is believed."""

    recorded_at: datetime
    received_at: datetime
    timed: bool = True

    @property
    def at(self) -> datetime:
        """Return the device time, or the time of receipt when the device is ahead of it."""
        recorded_at, received_at, _ = self
        return recorded_at if recorded_at < received_at else received_at


def message_times_of(origin: Origin) -> MessageTimes:
    """Return the times of a message whose clock has been corrected."""
    return MessageTimes(origin.recorded_at, origin.received_at, not origin.clock_suspect)


def is_older(first: MessageTimes, second: MessageTimes) -> bool:
    """Return True when `first` was measured before `second`."""
    first_at, first_received_at, first_timed = first
    second_at, second_received_at, second_timed = second
    if first_timed and second_timed:
        if first_at < first_received_at and second_at < second_received_at:
            return (first_at, first_received_at) < (second_at, second_received_at)
        if abs((first.at - second.at).total_seconds()) > UNSURE_S:
            return first.at < second.at
    return (first_received_at, first_at) < (second_received_at, second_at)


def in_order(items: Iterable[tuple[MessageTimes, T]]) -> list[tuple[MessageTimes, T]]:
    """Sort readings of one source by device time, or else by receipt.

    They are sorted by device time when each of them has one that is not ahead.
    """
    found = list(items)
    if all(moment.timed and moment.recorded_at < moment.received_at for moment, _ in found):
        found.sort(key=lambda item: (item[0].recorded_at, item[0].received_at))
    else:
        found.sort(key=lambda item: (item[0].received_at, item[0].recorded_at))
    return found
